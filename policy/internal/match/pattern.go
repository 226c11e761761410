// Package match finds the rules that name a principal: by its exact id or by a pattern.
//
// It owns the pattern language of principals and the index that keeps a lookup independent of how
// many rules there are. It is called by package policy only.
package match

import (
	"fmt"
	"strings"
)

// MaxPatternBytes is the longest pattern. Ids are no longer either.
const MaxPatternBytes = 1024

// Pattern matches principal ids: an exact id, or one with wildcards. '*' is one or more bytes
// other than ':' and '/'; a last '**' is one or more bytes of any kind. Comparable with ==.
type Pattern struct {
	text    string
	literal int // bytes before the first '*'
	tail    bool
}

// Parse reads a pattern. The error says what is wrong in words for the author of a rule.
func Parse(text string) (Pattern, error) {
	if text == "" {
		return Pattern{}, fmt.Errorf("a principal pattern is empty")
	}
	if len(text) > MaxPatternBytes {
		return Pattern{}, fmt.Errorf("a principal pattern is longer than %d bytes", MaxPatternBytes)
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c == 0x7f {
			return Pattern{}, fmt.Errorf("principal pattern %q has white space or a control character", text)
		}
	}
	body, tail := strings.CutSuffix(text, "**")
	if strings.Contains(body, "**") || tail && strings.HasSuffix(body, "*") {
		return Pattern{}, fmt.Errorf("principal pattern %q has '**' that is not at its end", text)
	}
	literal := strings.IndexByte(text, '*')
	if literal < 0 {
		literal = len(text)
	}
	return Pattern{text: text, literal: literal, tail: tail}, nil
}

// String is the pattern as written.
func (p Pattern) String() string { return p.text }

// Exact says whether the pattern has no wildcard: it names one principal.
func (p Pattern) Exact() bool { return p.literal == len(p.text) }

// Literal is what every matching id begins with.
func (p Pattern) Literal() string { return p.text[:p.literal] }

// Match says whether the pattern matches the id.
//
// A wildcard gets the fewest bytes that work, and only the last one is ever extended: since none
// crosses ':' or '/', a longer earlier wildcard cannot match where the shortest does not.
func (p Pattern) Match(id string) bool {
	if p.Exact() {
		return p.text == id
	}
	body := p.body()
	i, j := 0, 0
	star, mark := -1, 0 // position after the last '*' in body, and where its text ends at present
	for {
		switch {
		case p.tail && j == len(body) && i < len(id):
			return true
		case !p.tail && j == len(body) && i == len(id):
			return true
		case j < len(body) && body[j] == '*' && i < len(id) && inSegment(id[i]):
			star, mark = j+1, i+1
			i, j = mark, star
			continue
		case j < len(body) && body[j] != '*' && i < len(id) && body[j] == id[i]:
			i, j = i+1, j+1
			continue
		}
		if star < 0 || mark >= len(id) || !inSegment(id[mark]) {
			return false
		}
		mark++
		i, j = mark, star
	}
}

// CanMatchUnder says whether the pattern can match any id that begins with prefix and goes on.
func (p Pattern) CanMatchUnder(prefix string) bool {
	body, end := p.body(), len(p.text)
	// at[j]: the pattern's first j bytes can have consumed what was read so far.
	at := make([]bool, end+1)
	at[0] = true
	for i := range len(prefix) {
		at = p.step(at, prefix[i])
	}
	for j := range body {
		if at[j] {
			return true
		}
	}
	return p.tail && (at[len(body)] || at[end]) || at[end] && strings.HasSuffix(body, "*")
}

// step moves the automaton over one byte.
func (p Pattern) step(at []bool, c byte) []bool {
	body, end := p.body(), len(p.text)
	next := make([]bool, len(at))
	for j, on := range at {
		switch {
		case !on:
			continue
		case p.tail && j == end:
			next[end] = true
			continue
		case j > 0 && body[j-1] == '*' && inSegment(c):
			next[j] = true // the wildcard before goes on
		}
		switch {
		case j == len(body):
			next[end] = next[end] || p.tail
		case body[j] == c, body[j] == '*' && inSegment(c):
			next[j+1] = true
		}
	}
	return next
}

// body is the pattern without a last '**'.
func (p Pattern) body() string {
	if p.tail {
		return p.text[:len(p.text)-2]
	}
	return p.text
}

func inSegment(c byte) bool { return c != ':' && c != '/' }

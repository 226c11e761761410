package iam

import (
	"strings"
	"unicode/utf8"
)

// Literal writes a raw text as a part of a Resource, or of a value of StringLike, that
// matches it alone: '*' and '?' are escaped, and so is a '$' that would begin a variable.
func Literal(raw string) string { return escape(raw, true) }

// Exact writes a raw text as a value of StringEquals, in which '*' and '?' mean themselves.
func Exact(raw string) string { return escape(raw, false) }

func escape(raw string, wildcards bool) string {
	if !strings.ContainsAny(raw, "*?$") {
		return raw
	}
	var b strings.Builder
	for i := range len(raw) {
		c := raw[i]
		switch {
		case wildcards && (c == '*' || c == '?'):
			b.WriteString("${" + string(c) + "}")
		// What follows may be an escape, and begin with "${": "$${*}" must not be open to two
		// readings.
		case c == '$' && i+1 < len(raw) && strings.IndexByte("{$*?", raw[i+1]) >= 0:
			b.WriteString("${$}")
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// HasVariable says whether a pattern holds a policy variable, an escape among them.
func HasVariable(pattern string) bool { return strings.Contains(pattern, "${") }

// token is one step of a pattern: a character, any one character, or any text.
type token rune

const (
	anyText      token = -1
	anyCharacter token = -2
)

func tokens(pattern string) []token {
	all := make([]token, 0, len(pattern))
	for i := 0; i < len(pattern); {
		if rest := pattern[i:]; strings.HasPrefix(rest, "${") {
			if end := strings.IndexByte(rest, '}'); end > 0 {
				switch name := rest[2:end]; name {
				case "*", "?", "$":
					all = append(all, token(name[0]))
				default:
					all = append(all, anyText) // a variable: whatever it is in a request
				}
				i += end + 1
				continue
			}
		}
		r, n := utf8.DecodeRuneInString(pattern[i:])
		switch r {
		case '*':
			all = append(all, anyText)
		case '?':
			all = append(all, anyCharacter)
		default:
			all = append(all, token(r))
		}
		i += n
	}
	return all
}

// Overlap says whether some text is matched by both patterns. A policy variable is taken for
// anything, so it may say yes where no request makes it so, and never no where one does.
func Overlap(a, b string) bool {
	n := min(plain(a), plain(b))
	if a[:n] != b[:n] {
		return false
	}
	p, q := tokens(a[n:]), tokens(b[n:])
	// reach[j] says whether p so far and q[:j] match a common text.
	reach, next := make([]bool, len(q)+1), make([]bool, len(q)+1)
	reach[0] = true
	for j := range q {
		reach[j+1] = reach[j] && q[j] == anyText
	}
	for i := range p {
		next[0] = reach[0] && p[i] == anyText
		for j := range q {
			if p[i] == anyText || q[j] == anyText {
				// The text is empty, or takes one more step of the other side.
				next[j+1] = next[j] || reach[j+1]
			} else {
				next[j+1] = reach[j] && (p[i] == q[j] || p[i] == anyCharacter || q[j] == anyCharacter)
			}
		}
		reach, next = next, reach
	}
	return reach[len(q)]
}

// plain is how many bytes of a pattern stand for themselves before the first that may not.
func plain(pattern string) int {
	if i := strings.IndexAny(pattern, "*?$"); i >= 0 {
		return i
	}
	return len(pattern)
}

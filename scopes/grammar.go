package scopes

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of what is written down. What is over one is an error, never cut.
const (
	MaxScopeBytes = 512 // of a scope's text
	MaxSegments   = 32  // of a resource, a last ** counting as one
	MaxSetScopes  = 64  // of a set, after minimising
)

// AnyAction is the action that stands for every action of a tool.
const AnyAction = "*"

var (
	// ErrTooMany says that a set, once minimal, has more than MaxSetScopes
	// scopes; or that finding out would take too long: its text is longer than
	// so many can be, or 256 of its scopes do not cover one another.
	ErrTooMany = errors.New("more than 64 scopes in a set")
	// ErrTooLong says that a scope of a set, made by Intersect or Expand, has
	// no text of at most MaxScopeBytes bytes.
	ErrTooLong = errors.New("scope longer than 512 bytes")
	// ErrUnknownTool says that the catalog has no actions for a tool.
	ErrUnknownTool = errors.New("unknown tool")
	// ErrFold says that a resource has a byte outside ASCII, so that it has no
	// lower-case form on which everybody agrees.
	ErrFold = errors.New("a case-insensitive resource must be ASCII")
)

// A SyntaxError says why a text is no canonical scope, resource or set.
type SyntaxError struct {
	Text    string // what was parsed, cut to 96 bytes
	Offset  int    // of the fault, in bytes
	Problem string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("scope %q: %s (at byte %d)", e.Text, e.Problem, e.Offset)
}

func syntaxError(text string, offset int, problem string) error {
	const shown = 96
	if len(text) > shown {
		text = text[:shown] + "…"
	}
	return &SyntaxError{Text: text, Offset: offset, Problem: problem}
}

// ValidName says whether name may name a tool or an action: [a-z][a-z0-9_-]*.
func ValidName(name string) bool {
	return name != "" && nameLength(name) == len(name)
}

// nameLength is the length of the longest name that text begins with.
func nameLength(text string) int {
	for i := range len(text) {
		c := text[i]
		switch {
		case 'a' <= c && c <= 'z':
		case i > 0 && ('0' <= c && c <= '9' || c == '_' || c == '-'):
		default:
			return i
		}
	}
	return len(text)
}

// isLiteral says whether a byte stands for itself in a resource.
func isLiteral(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	case c == '.', c == '_', c == '~', c == '@', c == '=', c == '-':
		return true
	}
	return false
}

const upperHex = "0123456789ABCDEF"

func fromHex(digit byte) (byte, bool) {
	switch {
	case '0' <= digit && digit <= '9':
		return digit - '0', true
	case 'A' <= digit && digit <= 'F':
		return digit - 'A' + 10, true
	}
	return 0, false
}

// unescape reads the %XX at the head of text. Only the canonical form is one:
// upper-case digits, and a byte that may not stand for itself.
func unescape(text string) (byte, bool) {
	if len(text) < 3 || text[0] != '%' {
		return 0, false
	}
	high, okHigh := fromHex(text[1])
	low, okLow := fromHex(text[2])
	if !okHigh || !okLow {
		return 0, false
	}
	c := high<<4 | low
	return c, !isLiteral(c)
}

// shape is what one pass over a resource learns of it.
type shape struct {
	segments uint8
	tail     bool // ends in **
	wild     bool // has a wildcard
}

// scanResource checks that text is canonical. The problem is "" if it is.
func scanResource(text string, patterns bool) (sh shape, offset int, problem string) {
	for start := 0; ; {
		end, problem := scanSegment(text, start, patterns)
		if problem != "" {
			return shape{}, end, problem
		}
		if sh.segments++; sh.segments > MaxSegments {
			return shape{}, start, "more than 32 segments"
		}
		if text[end-1] == '*' {
			sh.wild = true
			sh.tail = end-start == 2 && text[start] == '*'
		}
		if end == len(text) {
			return sh, 0, ""
		}
		start = end + 1
	}
}

// scanSegment returns where the segment that begins at start ends, or where
// and what its problem is.
func scanSegment(text string, start int, patterns bool) (int, string) {
	i := start
	for i < len(text) && text[i] != '/' {
		c := text[i]
		switch {
		case isLiteral(c):
			i++
		case c == '%':
			if _, ok := unescape(text[i:]); !ok {
				return i, "not the canonical percent-encoding of a byte that needs one"
			}
			i += 3
		case c == '*' && !patterns:
			return i, "wildcard in a concrete resource"
		case c == '*' && i == start && text[i:] == "**":
			return len(text), ""
		case c == '*' && (i+1 == len(text) || text[i+1] == '/'):
			return i + 1, ""
		case c == '*':
			return i, "'*' is allowed only at the end of a segment, and '**' only as the last segment"
		default:
			return i, fmt.Sprintf("byte 0x%02X must be percent-encoded", c)
		}
	}
	switch text[start:i] {
	case "":
		return start, "empty segment"
	case ".", "..":
		return start, "'.' and '..' are no segments"
	}
	return i, ""
}

// EncodeSegment returns the canonical text of one concrete segment: every byte
// that is no literal is percent-encoded, so that no byte of raw can end the
// segment or act as a wildcard. It refuses "", "." and "..".
func EncodeSegment(raw string) (string, error) {
	switch raw {
	case "":
		return "", syntaxError(raw, 0, "empty segment")
	case ".", "..":
		return "", syntaxError(raw, 0, "'.' and '..' are no segments")
	}
	escapes := 0
	for i := range len(raw) {
		if !isLiteral(raw[i]) {
			escapes++
		}
	}
	if len(raw)+2*escapes > MaxScopeBytes {
		return "", syntaxError(raw, 0, "longer than 512 bytes")
	}
	if escapes == 0 {
		return raw, nil
	}
	text := make([]byte, 0, len(raw)+2*escapes)
	for i := range len(raw) {
		if c := raw[i]; isLiteral(c) {
			text = append(text, c)
		} else {
			text = append(text, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(text), nil
}

// Resource builds a concrete resource from raw segments. It is the only safe
// way from data to a resource: pasting strings lets a value with a '/' or a
// '*' in it name another resource than the one meant.
func Resource(segments ...string) (string, error) {
	encoded := make([]string, len(segments))
	for i, raw := range segments {
		text, err := EncodeSegment(raw)
		if err != nil {
			return "", fmt.Errorf("segment %d: %w", i+1, err)
		}
		encoded[i] = text
	}
	text := strings.Join(encoded, "/")
	if err := ParseResource(text); err != nil {
		return "", err
	}
	return text, nil
}

// ParseResource returns nil if text is a canonical concrete resource: one
// without wildcards that a scope could hold. Otherwise it returns a
// *SyntaxError.
func ParseResource(text string) error {
	if len(text) > maxResourceBytes {
		return syntaxError(text, maxResourceBytes, "longer than a scope can hold")
	}
	if _, offset, problem := scanResource(text, false); problem != "" {
		return syntaxError(text, offset, problem)
	}
	return nil
}

// maxResourceBytes leaves room for the shortest tool and action.
const maxResourceBytes = MaxScopeBytes - len("t:a:")

// FoldResource returns the lower-case form of a canonical resource, pattern or
// concrete, for a tool that declares its resources case-insensitive. Bytes
// outside ASCII are refused with ErrFold: they have no lower-case form on
// which every resource server agrees.
func FoldResource(text string) (string, error) {
	if _, offset, problem := scanResource(text, true); problem != "" {
		return "", syntaxError(text, offset, problem)
	}
	upper := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '%':
			if b, _ := unescape(text[i:]); b >= 0x80 {
				return "", fmt.Errorf("resource %q: %w", text, ErrFold)
			}
			i += 2 // the digits of an escape stay upper-case: that is their canonical form
		case 'A' <= c && c <= 'Z':
			upper = true
		}
	}
	if !upper {
		return text, nil
	}
	folded := []byte(text)
	for i := 0; i < len(folded); i++ {
		switch c := folded[i]; {
		case c == '%':
			i += 2
		case 'A' <= c && c <= 'Z':
			folded[i] = c + ('a' - 'A')
		}
	}
	return string(folded), nil
}

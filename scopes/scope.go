package scopes

import (
	"fmt"
	"strings"
)

// Scope is one tool:action:resource. It is a value: two scopes are == exactly
// when their texts are equal, and it may be a map key. The zero value is no
// scope; it covers and overlaps nothing.
type Scope struct {
	// Everything below text is derived from it, so that == compares texts.
	text     string
	tool     uint16 // text[:tool]
	action   uint16 // text[tool+1:action]; the resource is text[action+1:]
	segments uint8
	tail     bool
	wild     bool
}

// Parse reads a scope. Only the canonical text is one: the error is a
// *SyntaxError otherwise. The action may be AnyAction.
func Parse(text string) (Scope, error) {
	if len(text) > MaxScopeBytes {
		return Scope{}, syntaxError(text, MaxScopeBytes, "longer than 512 bytes")
	}
	tool := nameLength(text)
	if tool == 0 {
		return Scope{}, syntaxError(text, 0, "a tool is [a-z][a-z0-9_-]*")
	}
	if tool == len(text) || text[tool] != ':' {
		return Scope{}, syntaxError(text, tool, "expected tool:action:resource")
	}
	rest := text[tool+1:]
	length := nameLength(rest)
	if strings.HasPrefix(rest, AnyAction) {
		length = len(AnyAction)
	}
	action := tool + 1 + length
	if length == 0 {
		return Scope{}, syntaxError(text, action, "an action is [a-z][a-z0-9_-]*, or *")
	}
	if action == len(text) || text[action] != ':' {
		return Scope{}, syntaxError(text, action, "expected tool:action:resource")
	}
	sh, offset, problem := scanResource(text[action+1:], true)
	if problem != "" {
		return Scope{}, syntaxError(text, action+1+offset, problem)
	}
	return Scope{
		text: text, tool: uint16(tool), action: uint16(action),
		segments: sh.segments, tail: sh.tail, wild: sh.wild,
	}, nil
}

// Make builds a scope from a tool, an action (or AnyAction) and the canonical
// text of a resource, pattern or concrete. The error is a *SyntaxError.
func Make(tool, action, resource string) (Scope, error) {
	if !ValidName(tool) {
		return Scope{}, syntaxError(tool, 0, "a tool is [a-z][a-z0-9_-]*")
	}
	if action != AnyAction && !ValidName(action) {
		return Scope{}, syntaxError(action, 0, "an action is [a-z][a-z0-9_-]*, or *")
	}
	return Parse(tool + ":" + action + ":" + resource)
}

// Tool is the part before the first colon.
func (s Scope) Tool() string { return s.text[:s.tool] }

// Action is the part between the colons: a name, or AnyAction.
func (s Scope) Action() string {
	if s.text == "" {
		return ""
	}
	return s.text[s.tool+1 : s.action]
}

// Resource is the part after the second colon.
func (s Scope) Resource() string {
	if s.text == "" {
		return ""
	}
	return s.text[s.action+1:]
}

// String is the canonical text, which Parse reads back.
func (s Scope) String() string { return s.text }

// IsZero says whether s is the zero value, which is no scope.
func (s Scope) IsZero() bool { return s.text == "" }

// IsConcrete says whether s is one access: a named action on a resource
// without wildcards.
func (s Scope) IsConcrete() bool { return s.text != "" && !s.wild && !s.anyAction() }

// anyAction is false for the zero value.
func (s Scope) anyAction() bool {
	return s.action == s.tool+2 && s.text[s.tool+1] == '*'
}

// WithAction returns s with another action, or the zero Scope if action is
// neither a name nor AnyAction, or s is zero. Its text may be over
// MaxScopeBytes: then no Set takes it.
func (s Scope) WithAction(action string) Scope {
	if s.text == "" || action == s.Action() {
		return s
	}
	if action != AnyAction && !ValidName(action) || len(action) > MaxScopeBytes {
		return Scope{}
	}
	tool := s.text[:s.tool+1]
	s.text, s.action = tool+action+s.text[s.action:], s.tool+1+uint16(len(action))
	return s
}

// Fold returns s with its resource in lower case, for a tool that declares its
// resources case-insensitive. The error wraps ErrFold where the resource has
// bytes outside ASCII.
func (s Scope) Fold() (Scope, error) {
	if s.text == "" {
		return s, nil
	}
	folded, err := FoldResource(s.Resource())
	if err != nil {
		return Scope{}, fmt.Errorf("scope %q: %w", s.text, err)
	}
	if folded != s.Resource() {
		s.text = s.text[:s.action+1] + folded
	}
	return s, nil
}

// MarshalText is the canonical text; of the zero Scope it is empty.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s.text), nil }

// UnmarshalText is Parse: an empty text is an error.
func (s *Scope) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

func (s Scope) sameTool(b Scope) bool {
	return s.tool == b.tool && s.text[:s.tool] == b.text[:b.tool]
}

// Covers says whether every access that b matches is matched by s. AnyAction
// covers every action; a named action never covers AnyAction.
func (s Scope) Covers(b Scope) bool {
	return s.fits(b) && s.sameTool(b) && (s.anyAction() || s.Action() == b.Action()) &&
		covers(s.Resource(), b.Resource())
}

// CoversResource is Covers for the resources alone. The tools must be equal.
func (s Scope) CoversResource(b Scope) bool {
	return s.fits(b) && s.sameTool(b) && covers(s.Resource(), b.Resource())
}

// fits says whether the numbers of segments let s cover b: the cheap half of
// the answer, and the one that refuses the zero values.
func (s Scope) fits(b Scope) bool {
	if s.segments == 0 || b.segments == 0 {
		return false
	}
	if s.tail {
		return s.segments <= b.segments
	}
	return s.segments == b.segments && !b.tail
}

// Overlaps says whether some access is matched by both.
func (s Scope) Overlaps(b Scope) bool {
	return s.OverlapsResource(b) && (s.anyAction() || b.anyAction() || s.Action() == b.Action())
}

// OverlapsResource is Overlaps for the resources alone. The tools must be
// equal.
func (s Scope) OverlapsResource(b Scope) bool {
	if s.segments == 0 || b.segments == 0 || !s.sameTool(b) {
		return false
	}
	return overlaps(s.Resource(), b.Resource())
}

// Intersect returns the scope that matches exactly the accesses which both
// match, and false if there are none. It is exact even where its text is over
// MaxScopeBytes; no Set takes such a scope.
func (s Scope) Intersect(b Scope) (Scope, bool) {
	switch {
	case !s.Overlaps(b):
		return Scope{}, false
	case s.Covers(b):
		return b, true
	case b.Covers(s):
		return s, true
	}
	named := s
	if s.anyAction() {
		named = b
	}
	var text strings.Builder
	text.Grow(max(len(s.text), len(b.text)) + 16)
	text.WriteString(named.text[:named.action+1])
	intersect(&text, s.Resource(), b.Resource())
	both := Scope{
		text: text.String(), tool: named.tool, action: named.action,
		segments: max(s.segments, b.segments), tail: s.tail && b.tail,
	}
	both.wild = strings.IndexByte(both.Resource(), '*') >= 0
	return both, true
}

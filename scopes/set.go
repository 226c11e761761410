package scopes

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Actions is the catalog's answer: every action that a tool has now; none for
// a tool that it does not know.
type Actions func(tool string) []string

// Set is a union of scopes, minimal and sorted: sets that match the same
// accesses have the same text. It is immutable; the zero value is the empty
// set, which covers and allows nothing.
//
// "The same accesses" takes AnyAction as a set of actions that nobody knows
// yet: it covers the named ones, which never add up to it.
type Set struct{ scopes []Scope }

// NewSet returns the union of scopes. The error is ErrTooMany, ErrTooLong, or
// a *SyntaxError for a zero Scope.
func NewSet(scopes ...Scope) (Set, error) {
	return newSet(slices.Clone(scopes))
}

func newSet(owned []Scope) (Set, error) {
	if len(owned) == 0 {
		return Set{}, nil
	}
	kept, err := minimize(owned)
	if err != nil {
		return Set{}, err
	}
	return Set{kept}, nil
}

// ParseSet reads scopes separated by single spaces (RFC 6749, section 3.3), in
// any order, minimal or not; an empty text is the empty set. The error is a
// *SyntaxError or ErrTooMany.
func ParseSet(text string) (Set, error) {
	if text == "" {
		return Set{}, nil
	}
	if len(text) > MaxSetScopes*(MaxScopeBytes+1) {
		return Set{}, fmt.Errorf("%w: the text is longer than 64 scopes", ErrTooMany)
	}
	owned := make([]Scope, 0, 1+strings.Count(text, " "))
	for part := range strings.SplitSeq(text, " ") {
		s, err := Parse(part)
		if err != nil {
			return Set{}, err
		}
		owned = append(owned, s)
	}
	return newSet(owned)
}

// Len is the number of scopes of the minimal form.
func (s Set) Len() int { return len(s.scopes) }

// At is the i-th scope in the order of their texts.
func (s Set) At(i int) Scope { return s.scopes[i] }

// All yields the scopes in the order of their texts.
func (s Set) All() iter.Seq[Scope] { return slices.Values(s.scopes) }

// IsEmpty says whether the set matches nothing.
func (s Set) IsEmpty() bool { return len(s.scopes) == 0 }

// Equal says whether both sets match the same accesses.
func (s Set) Equal(t Set) bool { return slices.Equal(s.scopes, t.scopes) }

// String is the scopes' texts, separated by single spaces.
func (s Set) String() string {
	switch len(s.scopes) {
	case 0:
		return ""
	case 1:
		return s.scopes[0].text
	}
	text, _ := s.AppendText(make([]byte, 0, s.textLength()))
	return string(text)
}

func (s Set) textLength() int {
	n := max(0, len(s.scopes)-1)
	for _, scope := range s.scopes {
		n += len(scope.text)
	}
	return n
}

// AppendText appends String to b. It never fails.
func (s Set) AppendText(b []byte) ([]byte, error) {
	for i, scope := range s.scopes {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, scope.text...)
	}
	return b, nil
}

// MarshalText is String.
func (s Set) MarshalText() ([]byte, error) {
	return s.AppendText(make([]byte, 0, s.textLength()))
}

// UnmarshalText is ParseSet.
func (s *Set) UnmarshalText(text []byte) error {
	parsed, err := ParseSet(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// Covers says whether every access that x matches is matched by the set. It is
// exact for the union. Where the action of x is AnyAction, actions gives the
// tool's; without it, or for a tool that it does not know, only members with
// AnyAction count.
func (s Set) Covers(x Scope, actions Actions) bool {
	var named []string
	if actions != nil && x.anyAction() {
		named = actions(x.Tool())
	}
	return CoversAll(s.scopes, x, named)
}

// CoversSet says whether the set covers each scope of t. The empty set is
// covered by every set: whoever grants on this must refuse it first.
func (s Set) CoversSet(t Set, actions Actions) bool {
	for _, x := range t.scopes {
		if !s.Covers(x, actions) {
			return false
		}
	}
	return true
}

// Allows says whether the set matches one concrete access. It is false for a
// resource that is not canonical or has a wildcard, for a name that is no tool
// or no action, and for an access longer than a scope can be. It allocates
// nothing.
func (s Set) Allows(tool, action, resource string) bool {
	for i := range s.scopes {
		scope := &s.scopes[i]
		if scope.Tool() != tool || !scope.anyAction() && scope.Action() != action {
			continue
		}
		if covers(scope.Resource(), resource) {
			return isAccess(tool, action, resource)
		}
	}
	return false
}

// isAccess says whether the parts make up a concrete scope.
func isAccess(tool, action, resource string) bool {
	if len(tool)+len(action)+len(resource)+2 > MaxScopeBytes || !ValidName(tool) || !ValidName(action) {
		return false
	}
	_, _, problem := scanResource(resource, false)
	return problem == ""
}

// Overlaps says whether some access is matched by both the set and x.
func (s Set) Overlaps(x Scope) bool {
	for i := range s.scopes {
		if s.scopes[i].Overlaps(x) {
			return true
		}
	}
	return false
}

// Intersect returns the set of what both match. The error is ErrTooMany or
// ErrTooLong where that has no text within the limits: never less, or more,
// than both match.
func (s Set) Intersect(t Set) (Set, error) {
	var both []Scope
	for _, a := range s.scopes {
		for _, b := range t.scopes {
			if x, ok := a.Intersect(b); ok {
				both = append(both, x)
			}
		}
	}
	return newSet(both)
}

// Expand returns the set with AnyAction replaced by the actions that the
// catalog names now, so that what is minted does not grow with the catalog. A
// tool without actions is ErrUnknownTool.
func (s Set) Expand(actions Actions) (Set, error) {
	if !slices.ContainsFunc(s.scopes, Scope.anyAction) {
		return s, nil
	}
	expanded := make([]Scope, 0, 2*len(s.scopes))
	for _, scope := range s.scopes {
		if !scope.anyAction() {
			expanded = append(expanded, scope)
			continue
		}
		var named []string
		if actions != nil {
			named = actions(scope.Tool())
		}
		if len(named) == 0 {
			return Set{}, fmt.Errorf("expanding %s: %w", scope, ErrUnknownTool)
		}
		for _, action := range named {
			if !ValidName(action) {
				return Set{}, syntaxError(action, 0, "the catalog's action is no name")
			}
			expanded = append(expanded, scope.WithAction(action))
		}
	}
	return newSet(expanded)
}

// Package scopes is the scope algebra: what a credential may do, as text that can be compared.
package scopes

import (
	"errors"
	"iter"
)

// Limits of a scope and of a set. What is over a limit is an error, never cut.
const (
	MaxScopeBytes = 512
	MaxSegments   = 32
	MaxSetScopes  = 64
)

// AnyAction is the action that stands for every action of a tool.
const AnyAction = "*"

var (
	ErrTooMany     = errors.New("scopes: more than 64 scopes in a set")
	ErrTooLong     = errors.New("scopes: scope longer than 512 bytes")
	ErrUnknownTool = errors.New("scopes: unknown tool")
	ErrFold        = errors.New("scopes: a case-insensitive resource must be ASCII")
)

type SyntaxError struct {
	Text    string
	Offset  int
	Problem string
}

func (e *SyntaxError) Error() string { return e.Problem }

type Scope struct {
	text         string
	tool, action uint16
	segments     uint8
	tail, wild   bool
}

func Parse(text string) (Scope, error) { return Scope{text: text}, nil }
func Make(tool, action, resource string) (Scope, error) {
	return Parse(tool + ":" + action + ":" + resource)
}
func Resource(segments ...string) (string, error)             { return "", nil }
func ParseResource(text string) error                         { return nil }
func FoldResource(text string) (string, error)                { return text, nil }
func EncodeSegment(raw string) (string, error)                { return raw, nil }
func ValidName(name string) bool                              { return name != "" }
func (s Scope) Tool() string                                  { return "" }
func (s Scope) Action() string                                { return "" }
func (s Scope) Resource() string                              { return "" }
func (s Scope) String() string                                { return s.text }
func (s Scope) IsZero() bool                                  { return s.text == "" }
func (s Scope) IsConcrete() bool                              { return false }
func (s Scope) WithAction(action string) Scope                { return s }
func (s Scope) Fold() (Scope, error)                          { return s, nil }
func (s Scope) MarshalText() ([]byte, error)                  { return []byte(s.text), nil }
func (s *Scope) UnmarshalText(text []byte) error              { s.text = string(text); return nil }
func (s Scope) Overlaps(b Scope) bool                         { return false }
func (s Scope) Intersect(b Scope) (Scope, bool)               { return s, false }
func (s Scope) Covers(b Scope) bool                           { return false }
func (s Scope) CoversResource(b Scope) bool                   { return false }
func (s Scope) OverlapsResource(b Scope) bool                 { return false }
func CoversAll(union []Scope, s Scope, actions []string) bool { return false }
func MinusIsEmpty(p Scope, inner []Scope) bool                { return false }

// Actions is the catalog's answer: every action of a tool now, nil for a tool it does not know.
type Actions func(tool string) []string

type Set struct{ scopes []Scope }

func NewSet(scopes ...Scope) (Set, error)               { return Set{}, nil }
func ParseSet(text string) (Set, error)                 { return Set{}, nil }
func (s Set) Len() int                                  { return len(s.scopes) }
func (s Set) At(i int) Scope                            { return s.scopes[i] }
func (s Set) All() iter.Seq[Scope]                      { return func(func(Scope) bool) {} }
func (s Set) String() string                            { return "" }
func (s Set) IsEmpty() bool                             { return len(s.scopes) == 0 }
func (s Set) Equal(t Set) bool                          { return false }
func (s Set) Covers(x Scope, a Actions) bool            { return false }
func (s Set) CoversSet(t Set, a Actions) bool           { return false }
func (s Set) Allows(tool, action, resource string) bool { return false }
func (s Set) Overlaps(x Scope) bool                     { return false }
func (s Set) Intersect(t Set) (Set, error)              { return Set{}, nil }
func (s Set) Expand(a Actions) (Set, error)             { return s, nil }
func (s Set) AppendText(b []byte) ([]byte, error)       { return b, nil }
func (s Set) MarshalText() ([]byte, error)              { return nil, nil }
func (s *Set) UnmarshalText(text []byte) error          { return nil }

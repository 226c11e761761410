package awssts

import (
	"errors"
	"fmt"
	"strings"

	"github.com/writbroker/writ/scopes"
)

// ErrNothing says that no scope was given: there is no policy that allows nothing and is
// worth a session.
var ErrNothing = errors.New("no scopes to compile")

// A ScopeError says that IAM cannot say a scope as narrowly as it is meant, and what to ask
// for instead. With are the scopes that it cannot stand beside.
type ScopeError struct {
	Scope   scopes.Scope
	With    []scopes.Scope
	Problem string
	Ask     string
}

func (e *ScopeError) Error() string {
	text := fmt.Sprintf("scope %s: %s", e.Scope, e.Problem)
	if len(e.With) > 0 {
		text += ": " + join(e.With)
	}
	return text + "; " + e.Ask
}

// A RoleError says that the scopes do not lead to one role.
type RoleError struct {
	Asked   string // the role that was asked for, if any
	Scopes  []scopes.Scope
	Problem string
	Ask     string
}

func (e *RoleError) Error() string {
	text := e.Problem
	if len(e.Scopes) > 0 {
		text += " (" + join(e.Scopes) + ")"
	}
	return text + "; " + e.Ask
}

// Cost is how many characters of a policy are there for one scope alone.
type Cost struct {
	Scope scopes.Scope
	Size  int
}

// A SizeError says that the policy is longer than a session policy may be, and what each
// scope has in it: the dearest first. Shared is what several have in common.
type SizeError struct {
	Size, Limit int
	Shared      int
	Costs       []Cost
}

func (e *SizeError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the session policy has %d characters, %d more than AWS takes (%d of them for all):", e.Size, e.Size-e.Limit, e.Shared)
	for _, c := range e.Costs {
		fmt.Fprintf(&b, " %s %d;", c.Scope, c.Size)
	}
	b.WriteString(" ask for fewer scopes at once, or for a pattern that holds several of them")
	return b.String()
}

func join(all []scopes.Scope) string {
	texts := make([]string, 0, len(all))
	for _, s := range all {
		texts = append(texts, s.String())
	}
	return strings.Join(texts, ", ")
}

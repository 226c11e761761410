package policy

import (
	"net/netip"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/scopes"
)

// Request asks whether a chain of principals may have scopes. Authorize reads it and keeps no
// reference to it.
type Request struct {
	// ID names the decision. The caller chooses it; it is copied into the answer.
	ID string
	// Subject is whom the authority belongs to.
	Subject identity.Principal
	// Actors act on behalf of the subject: the current agent first, the one nearest to the subject
	// last (as in RFC 8693's act). Empty: the subject acts for itself.
	Actors []identity.Principal
	// Parent is the token of ours that the request starts from, or nil.
	Parent *Parent
	// Scopes asked for. Empty: the profile of the current agent.
	Scopes []scopes.Scope
	// Audiences asked for (RFC 8693 audience and resource). Empty: those of the scopes' tools.
	Audiences []string
	// Task that the credential is for (txn).
	Task string
	// TTL asked for. Zero: the default. Negative is refused.
	TTL time.Duration
	// Time of the request. Authorize has no clock: conditions and windows are read from it.
	Time time.Time
	// SourceIP of the caller, where it is known for certain; the zero value reads as "".
	SourceIP netip.Addr
}

// Parent is what a token of ours contributes to a request that starts from it.
type Parent struct {
	// Scopes of the parent; the child's must lie within.
	Scopes scopes.Set
	// Remaining life of the parent; the child never outlives it.
	Remaining time.Duration
	// Roles of the parent and of its ancestors. They are handed on to the child.
	Roles []string
	// Depth of the parent's act chain. A request with fewer actors sheds one of them, and is refused.
	Depth int
}

// Agent is the current agent: the outermost actor, or the subject if it acts for itself.
func (r *Request) Agent() *identity.Principal {
	if len(r.Actors) > 0 {
		return &r.Actors[0]
	}
	return &r.Subject
}

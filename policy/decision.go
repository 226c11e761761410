package policy

import (
	"slices"
	"time"

	"github.com/writbroker/writ/scopes"
)

// Reason says in one word why a request was refused. It discloses no rule.
type Reason string

// The reasons. Authorize gives the first that applies in this order.
const (
	ReasonNone       Reason = ""           // allowed
	ReasonProfile    Reason = "profile"    // no scope asked for, and no single profile says what is meant
	ReasonTarget     Reason = "target"     // an audience that is unknown, or not that of a scope's tool
	ReasonParts      Reason = "parts"      // too large to decide: too many parts or scopes; ask for less at once
	ReasonDelegation Reason = "delegation" // an agent may not act for this subject, or not at this depth
	ReasonScope      Reason = "scope"      // some scopes are not allowed: Refused names them
	ReasonTTL        Reason = "ttl"        // no whole second of life is left
)

// Decision is the answer to a Request.
type Decision struct {
	ID      string
	Allowed bool
	Reason  Reason
	// Refused are the scopes that were not allowed, as they were asked for.
	Refused []scopes.Scope
	// Grant is what may be minted. It is nil unless Allowed.
	Grant *Grant
	// Trace names every rule that took part. It is for the owner of the policy, not for the caller.
	Trace Trace
	// PolicyVersion is the Version of the bundle that decided.
	PolicyVersion string
}

// Grant is the authority that one decision gave. Only Authorize makes one; the zero value grants
// nothing. It is immutable.
type Grant struct {
	decisionID string
	policy     string
	subject    string
	actors     []string
	scopes     scopes.Set
	audience   []string
	roles      []string
	task       string
	ttl        time.Duration
	tags       []map[string]string
}

// Scopes granted: minimal, every action named.
func (g *Grant) Scopes() scopes.Set { return g.scopes }

// Audience is the sorted set of the audiences of the scopes' tools. It is never empty.
func (g *Grant) Audience() []string { return slices.Clone(g.audience) }

// TTL is how long the credential may live from the request's time: whole seconds, at least one.
func (g *Grant) TTL() time.Duration { return g.ttl }

// Roles are the sorted names of all roles that gave some of this, to any principal of the chain,
// and the parent's.
func (g *Grant) Roles() []string { return slices.Clone(g.roles) }

// Subject is the id of the principal whose authority this is.
func (g *Grant) Subject() string { return g.subject }

// Actors are the ids of those who act, the current agent first.
func (g *Grant) Actors() []string { return slices.Clone(g.actors) }

// Task is the task of the request.
func (g *Grant) Task() string { return g.task }

// Policy is the short version of the bundle (Bundle.Short), for the claim pol.
func (g *Grant) Policy() string { return g.policy }

// DecisionID is the ID of the request.
func (g *Grant) DecisionID() string { return g.decisionID }

// Tags are the distinct combinations of tags that the granted scopes can reach, for the audit.
// The maps must not be changed.
func (g *Grant) Tags() []map[string]string { return slices.Clone(g.tags) }

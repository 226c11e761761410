package broker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// cutoffs are the times before which AWS sessions of an identity, or of a whole role, are
// denied at AWS, though no rule hits them: those that are made between a rule and its cutoff.
// They would do nothing, for as long as an SDK keeps them. The zero value has none.
type cutoffs struct {
	now atomic.Pointer[cutoffTable]

	mu     sync.Mutex
	denies map[mint.Deny]bool // guarded by mu
}

// cutoffTable is immutable.
type cutoffTable struct {
	identity map[[2]string]time.Time // by role and source identity
	role     map[string]time.Time
	agent    map[string]time.Time // by the agent's id: what kept sessions are found by
	roles    time.Time            // the latest of a whole role
}

// add notes denies, and forgets what is spent or belongs to a rule that is no more.
func (c *cutoffs) add(denies []mint.Deny, now time.Time, rules *revocation.Index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.denies == nil {
		c.denies = map[mint.Deny]bool{}
	}
	for _, d := range denies {
		if d.Kind != mint.DenySession {
			c.denies[d] = true
		}
	}
	t := &cutoffTable{identity: map[[2]string]time.Time{}, role: map[string]time.Time{}, agent: map[string]time.Time{}}
	for d := range c.denies {
		r, ok := rules.Rule(d.Rule)
		switch {
		case !ok || !d.Expires.After(now):
			delete(c.denies, d)
		case d.Kind == mint.DenyRole:
			t.role[d.Role] = later(t.role[d.Role], d.Before)
			t.roles = later(t.roles, d.Before)
		default: // the rule's value is the agent: see isItself
			k := [2]string{d.Role, d.Value}
			t.identity[k] = later(t.identity[k], d.Before)
			t.agent[r.Value] = later(t.agent[r.Value], d.Before)
		}
	}
	c.now.Store(t)
}

// of is the cutoff for a role's sessions of a source identity.
func (c *cutoffs) of(role, identity string) time.Time {
	t := c.now.Load()
	if t == nil {
		return time.Time{}
	}
	return later(t.role[role], t.identity[[2]string{role, identity}])
}

// mayDeny reports whether a kept session of these claims may be denied at AWS. It errs: what is
// kept can be made again.
func (c *cutoffs) mayDeny(claims *token.Claims) bool {
	t := c.now.Load()
	return t != nil && time.Unix(claims.IssuedAt, 0).Before(later(t.roles, t.agent[claims.ClientID]))
}

// deniedAtAWS refuses to give out a session that AWS denies already, until one can be made that
// it does not: for as long after a rule as another replica might not have applied it.
func (x *exchange) deniedAtAWS(s *mint.Session) error {
	cutoff := x.cutoffs.of(s.Role, s.SourceIdentity)
	if !s.Issued.Before(cutoff) {
		return nil
	}
	return &UnavailableError{
		RetryAfter: max(cutoff.Sub(x.cfg.Now()), 0) + time.Second,
		Detail:     fmt.Sprintf("AWS denies sessions of this role that are made before %s, for a revocation; try again then", cutoff.UTC().Format(time.RFC3339)),
	}
}

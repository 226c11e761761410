package broker

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/revocation"
)

// SessionRevoker has AWS itself refuse sessions: mint/awssts/revoker. Its methods may be called
// concurrently, and none waits for AWS but Wait.
type SessionRevoker interface {
	// Deny notes what should stand, for all replicas; within a second it returns.
	Deny(ctx context.Context, denies []mint.Deny)
	// Wake has it ask for what is due soon: rules have changed.
	Wake()
	// Cutoff is the time before which AWS denies, or soon will, all sessions of a role, or those
	// of a source identity in it; zero if it denies none of them so.
	Cutoff(role, sourceIdentity string) time.Time
	// Wait gives how far denies have come, one status a role, when none is pending or ctx ends.
	Wait(ctx context.Context, denies []mint.Deny) []mint.DenyStatus
}

// TakenBack is what becomes of the AWS sessions that a rule hits. Nobody but AWS can refuse
// them: what it does not deny, lives on.
type TakenBack struct {
	// Off says that nothing has AWS deny sessions, in this broker.
	Off bool
	// LiveUntil is when the last of them ends by itself.
	LiveUntil time.Time
	Roles     []RoleTaken
}

// RoleTaken is the part of one role.
type RoleTaken struct {
	Role     string // ARN
	Sessions int    // that the rule hits
	// Kinds are what they are denied by. Identities are source identities, and Before the
	// cutoff: whatever is denied by one or by the whole role, is so if AWS made it before then.
	Kinds      []mint.DenyKind
	Identities []string
	Before     time.Time
	Until      time.Time      // when the denies are spent
	State      mint.DenyState // empty for a rule that is not applied
	Detail     string
}

// maxNarrow is how many denies of one rule a role is given before a wider one stands for them:
// the inline policies of a role have room for about 150 session names.
const maxNarrow = 100

// slowestCall is how long after the decision AWS may make a session, at most.
const slowestCall = time.Minute

// sessionGrain is what ends of single sessions are rounded up to, so that their denies share a
// statement.
const sessionGrain = 5 * time.Minute

// deniesOf maps a rule, and the live sessions that it hits, to the narrowest denies that take
// all of them back: an agent's sessions by its source identity, others by their names, or by the
// identities of their agents where names are too many, and the whole role where those are too, or
// where the rule is for every token.
//
// Denies by identity and by role have a cutoff that lies ahead: a replica that has not applied
// the rule yet may make sessions until max_staleness after it, when it refuses by itself, by a
// clock that differs as AWS's does. Those that it makes are in no ledger yet. Where sessions
// are denied by name, Due finds the late ones.
func (b *Broker) deniesOf(r *revocation.Rule, hit []LiveSession) []mint.Deny {
	byRole := map[string][]LiveSession{}
	for _, s := range hit {
		byRole[s.Role] = append(byRole[s.Role], s)
	}
	for _, role := range b.forgeable(r) {
		byRole[role] = append(byRole[role], LiveSession{}) // nobody knows what a forger made
	}
	var out []mint.Deny
	for role, sessions := range byRole {
		out = append(out, b.roleDenies(r, role, sessions)...)
	}
	slices.SortFunc(out, func(a, b mint.Deny) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Value, b.Value))
	})
	return slices.Compact(out)
}

func (b *Broker) roleDenies(r *revocation.Rule, role string, sessions []LiveSession) []mint.Deny {
	wide := mint.Deny{Rule: r.ID, Role: role, Before: b.cutoff(r)}
	wide.Expires = wide.Before.Add(b.cfg.Limits.ruleLife())
	whole := wide
	whole.Kind = mint.DenyRole
	if r.Selector == revocation.SelectAll {
		return []mint.Deny{whole}
	}
	if slices.Contains(b.forgeable(r), role) {
		whole.Expires = later(whole.Expires, whole.Before.Add(longestSession))
		return []mint.Deny{whole}
	}
	seen := map[mint.Deny]bool{}
	var out []mint.Deny
	for i := range sessions {
		d := wide
		if s := &sessions[i]; isItself(r, s) {
			d.Kind, d.Value = mint.DenyIdentity, s.SourceIdentity
		} else {
			d.Kind, d.Value, d.Identity = mint.DenySession, s.Name, s.SourceIdentity
			// No later than needed, though a name is one session's: where names have no room, the
			// whole role is denied up to the latest cutoff.
			d.Before = later(d.Before, s.Issued.Add(slowestCall+2*b.cfg.Limits.Skew))
			d.Expires = later(d.Before, s.Expires.Add(b.cfg.Limits.Skew+sessionGrain).Truncate(sessionGrain))
		}
		if !seen[d] {
			seen[d] = true
			out = append(out, d)
		}
	}
	if len(out) <= maxNarrow {
		return out
	}
	if out, ok := byIdentity(wide, sessions); ok && len(out) <= maxNarrow {
		return out
	}
	return []mint.Deny{whole}
}

// byIdentity denies all sessions of the same source identities: agents that have others keep
// theirs. False is for sessions without one.
func byIdentity(wide mint.Deny, sessions []LiveSession) (out []mint.Deny, ok bool) {
	seen := map[string]bool{}
	for i := range sessions {
		seen[sessions[i].SourceIdentity] = true
	}
	if seen[""] {
		return nil, false
	}
	for identity := range seen {
		wide.Kind, wide.Value = mint.DenyIdentity, identity
		out = append(out, wide)
	}
	return out, true
}

// longestSession is AWS's own limit: a forger asks for what he likes.
const longestSession = 12 * time.Hour

// forgeable are the roles in which a rule may hit sessions that no ledger has: whoever holds a
// key that AWS takes for the broker's makes his own.
func (b *Broker) forgeable(r *revocation.Rule) []string {
	if r.Selector != revocation.SelectKey || b.cfg.AWS == nil {
		return nil
	}
	return b.cfg.AWS.Vouched(b.cfg.Policy())
}

// isItself reports whether a session is by the principal that the rule names, acting for
// itself if the rule is about a subject: all that has its source identity is the rule's.
func isItself(r *revocation.Rule, s *LiveSession) bool {
	return (r.Selector == revocation.SelectAgent || r.Selector == revocation.SelectSubject && s.Claims.Subject == r.Value) &&
		s.Claims.ClientID == r.Value && s.SourceIdentity != ""
}

// cutoff is when each replica has applied a rule, or makes no sessions, by anybody's clock.
func (b *Broker) cutoff(r *revocation.Rule) time.Time {
	return r.CreatedAt.Add(b.cfg.Limits.MaxStaleness + 2*b.cfg.Limits.Skew)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Due is what AWS should deny by the rules and sessions that are known now: those of other
// replicas too, and sessions that were made by one that had not applied a rule. It is called
// about every minute, for as long as the broker runs.
//
// Of the rules that denies stand for, it gives those that were lifted before it looked: what
// other rules deny of their sessions is due too, and is to stand before theirs go. Where the
// sessions cannot be read, none of them goes.
func (b *Broker) Due(ctx context.Context, standing []string) (denies []mint.Deny, lifted []string) {
	now := b.cfg.Now()
	changed := b.due.begin(b.cfg.Index.Changes(), now)
	for _, id := range standing {
		if _, ok := b.cfg.Index.Lifted(id); ok {
			lifted = append(lifted, id)
		}
	}
	if !changed && len(lifted) == 0 {
		return nil, nil
	}
	all, missing := b.ledger.liveSessions(ctx)
	b.due.end(missing == "", now.Add(b.cfg.Limits.MaxStaleness+2*b.cfg.Limits.Skew+slowestCall))
	if missing == sessionsUnread {
		lifted = nil
	}
	byRule := map[string][]LiveSession{}
	for _, s := range all {
		if hit, ok := b.cfg.Index.Revoked(s.Claims, s.KeyID); ok {
			byRule[hit.RuleID] = append(byRule[hit.RuleID], *s)
		}
	}
	for id, hit := range byRule {
		if r, ok := b.cfg.Index.Rule(id); ok {
			denies = append(denies, b.deniesOf(&r, hit)...)
		}
	}
	return denies, lifted
}

// Taken is the revoker's word that its Cutoff gives what the last Due gave: from then on sessions can
// be made again that AWS does not deny.
func (b *Broker) Taken() { b.due.taken() }

// dueState keeps the shared sessions, which may be many, from being read for nothing: after a
// rule they are, until no replica can make sessions that it hits; and every so often.
type dueState struct {
	mu      sync.Mutex
	changes uint64    // of the index, at the last look
	changed bool      // it was another than at the look before
	until   time.Time // sessions may still come that a rule hits
	next    time.Time // when to look anyway
	found   uint64    // changes of the index, at the last look that saw all sessions
	seen    uint64    // likewise, at the last one whose denies the revoker has
}

const dueAnyway = 10 * time.Minute

func (d *dueState) begin(changes uint64, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changes == changes && now.After(d.until) && now.Before(d.next) {
		return false
	}
	d.changed = d.changed || d.changes != changes
	d.changes, d.next = changes, now.Add(dueAnyway)
	return true
}

// end notes that a look saw all sessions, or not: then there is another soon.
func (d *dueState) end(complete bool, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed || !complete {
		d.until = until
	}
	if d.changed = false; complete {
		d.found = d.changes
	}
}

// taken notes that the revoker has what the last look found.
func (d *dueState) taken() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = d.found
}

// sawAll reports whether a look saw all sessions after the index had come to these changes, and the
// revoker knows what it found.
func (d *dueState) sawAll(changes uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen == changes
}

// takenBack says what becomes of the sessions that a rule hits; nil if there are none.
func (b *Broker) takenBack(r *revocation.Rule, hit []LiveSession) (*TakenBack, []mint.Deny) {
	denies := b.deniesOf(r, hit)
	if len(denies) == 0 {
		return nil, nil
	}
	out := &TakenBack{Off: b.cfg.Revoker == nil}
	sessions := map[string]int{}
	for i := range hit {
		sessions[hit[i].Role]++
		out.LiveUntil = later(out.LiveUntil, hit[i].Expires)
	}
	for _, d := range denies {
		if r.Selector == revocation.SelectKey && d.Kind == mint.DenyRole {
			out.LiveUntil = later(out.LiveUntil, d.Expires)
		}
		if n := len(out.Roles); n == 0 || out.Roles[n-1].Role != d.Role {
			out.Roles = append(out.Roles, RoleTaken{Role: d.Role, Sessions: sessions[d.Role]})
		}
		role := &out.Roles[len(out.Roles)-1]
		role.Until = later(role.Until, d.Expires)
		if !slices.Contains(role.Kinds, d.Kind) {
			role.Kinds = append(role.Kinds, d.Kind)
		}
		switch d.Kind {
		case mint.DenyIdentity:
			role.Before, role.Identities = d.Before, append(role.Identities, d.Value)
		case mint.DenyRole:
			role.Before = d.Before
		case mint.DenySession:
		}
	}
	return out, denies
}

// denyAtAWS has AWS refuse the sessions that a rule in force hits. What it takes is bounded,
// and fails nothing: Due finds again what is lost here.
func (b *Broker) denyAtAWS(ctx context.Context, r *revocation.Rule, hit []LiveSession) (*TakenBack, []mint.Deny) {
	taken, denies := b.takenBack(r, hit)
	if taken == nil || taken.Off {
		return taken, nil
	}
	b.cfg.Revoker.Deny(ctx, denies)
	return taken, denies
}

// stateAtAWS says how far the denies have come when none is pending, or ctx ends.
func (b *Broker) stateAtAWS(ctx context.Context, taken *TakenBack, denies []mint.Deny) {
	if taken == nil || taken.Off {
		return
	}
	for _, s := range b.cfg.Revoker.Wait(ctx, denies) {
		for i := range taken.Roles {
			if role := &taken.Roles[i]; role.Role == s.Role {
				role.State, role.Detail = s.State, s.Detail
			}
		}
	}
}

// AtAWS says what has become of the AWS sessions that a rule in force hits; nil if none lives.
func (b *Broker) AtAWS(ctx context.Context, r revocation.Rule) *TakenBack {
	ctx, cancel := context.WithTimeout(ctx, previewTimeout)
	defer cancel()
	hit, _ := b.ledger.Sessions(ctx, r)
	taken, denies := b.takenBack(&r, hit)
	b.stateAtAWS(atOnce(), taken, denies)
	return taken
}

// atOnce is a context in which nothing is waited for.
func atOnce() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

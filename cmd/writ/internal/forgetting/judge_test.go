package forgetting_test

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/token"
	"github.com/writbroker/writ/verifier"
)

// grain is the error of what the record keeper dates itself: when a signal took effect.
const grain = 20 * time.Millisecond

// verdict is what a resource server said of a token, and when.
type verdict struct {
	server        string
	follows       int       // a replica
	before, after time.Time // of the question
	confirmed     time.Time // the confirmation that it had before; zero is none
	err           error
}

// judge holds a verdict to what is known.
func (r *record) judge(g *grant, v *verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.verdict++
	// A confirmation that comes with the first read of a replica that was suspect is as
	// good as any; what was acknowledged before it is dated against it.
	if v.err == nil {
		r.accepted(g, v)
	} else {
		r.refused(g, v)
	}
	if v.confirmed.After(r.confirmed[v.follows]) {
		r.confirmed[v.follows] = v.confirmed
	}
}

// accepted holds: nobody accepts what was taken back, nor anything at all without word
// from Redis.
func (r *record) accepted(g *grant, v *verdict) {
	for _, s := range r.cutOff[v.follows] {
		if s.holds(v.before) && v.before.Sub(s.from) > maxStaleness+grain {
			r.violation("%s accepts a token %v after %d was cut off from Redis; last confirmed %v ago",
				v.server, v.before.Sub(s.from), v.follows, v.before.Sub(v.confirmed))
		}
	}
	for _, f := range r.matching(g.Claims) {
		if f.acked.IsZero() || f.lift != nil || !r.older(g, f) || !f.acked.Before(v.before) {
			continue
		}
		late := v.before.Sub(f.acked)
		if v.confirmed.After(f.acked) || late > maxStaleness {
			r.violation("%s, of replica %d, accepts a token of replica %d %v after the revocation by %s %q (rule %s) was acknowledged by replica %d with %d, with a confirmation that is %v later than that; rev %s",
				v.server, v.follows, g.by, late, f.selector, f.value, f.rule, f.by, f.answer, v.confirmed.Sub(f.acked), g.Rev)
		}
		r.counts.graced++
		r.counts.longest = max(r.counts.longest, late)
	}
}

// older reports whether a token certainly was minted by a replica that had not applied
// the rule.
func (r *record) older(g *grant, f *fact) bool {
	return g.answered.Before(f.tried) || r.unaware(g.by, f, g.answered)
}

// refused holds: every refusal has a cause.
func (r *record) refused(g *grant, v *verdict) {
	var revoked *verifier.RevokedError
	switch {
	case errors.Is(v.err, verifier.ErrStale):
		r.counts.refusals["stale feed"]++
		if !r.wasTroubled(v.before) {
			r.violation("%s is stale, and nothing was wrong with replica %d; last confirmed %v ago", v.server, v.follows, v.before.Sub(v.confirmed))
		}
	case errors.Is(v.err, token.ErrExpired):
		r.counts.refusals["expired"]++
		if v.after.Unix() < g.Expiry {
			r.violation("%s takes a token for expired %d s before its time", v.server, g.Expiry-v.after.Unix())
		}
	case errors.As(v.err, &revoked):
		r.counts.refusals["rule"]++
		r.revoked(g, v, revoked)
	default:
		r.violation("%s refuses a token of replica %d without a cause: %v", v.server, g.by, v.err)
	}
}

// revoked holds: the rule that a refusal names matches, was asked for, and is not lifted.
func (r *record) revoked(g *grant, v *verdict, hit *verifier.RevokedError) {
	matching := r.matching(g.Claims)
	f := r.rules[hit.RuleID]
	if f == nil {
		unknown := func(f *fact) bool { return f.rule == "" && f.selector == hit.Selector && f.tried.Before(v.after) }
		if !slices.ContainsFunc(matching, unknown) {
			r.violation("%s refuses a token by a rule %s (%s) that nobody asked for", v.server, hit.RuleID, hit.Selector)
		}
		return
	}
	if !slices.Contains(matching, f) {
		r.violation("%s refuses a token by rule %s (%s %q) that does not match", v.server, f.rule, f.selector, f.value)
	}
	if l := f.lift; l != nil && !l.acked.IsZero() && v.confirmed.After(l.acked) {
		r.violation("%s, of replica %d, refuses a token by rule %s (%s %q), lifted %v ago by replica %d, though it has confirmed the log since",
			v.server, v.follows, f.rule, f.selector, f.value, v.before.Sub(l.acked), l.by)
	}
}

// exchanged holds an exchange to what is known: no principal in quarantine gets a token,
// and every refusal has a cause.
func (r *record) exchanged(n int, principals, roles []string, asked time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answered := time.Now()
	var holds, hits []*fact
	for _, p := range principals {
		holds = append(holds, r.facts[key("agent", p)]...)
		holds = append(holds, r.facts[key("subject", p)]...)
	}
	for _, role := range roles {
		hits = append(hits, r.facts[key("role", role)]...)
	}
	live := func(f *fact) bool { return f.lift == nil || f.lift.acked.IsZero() || !r.settled(f.lift, n, asked) }
	if err == nil {
		for _, f := range holds {
			known := !f.acked.IsZero() && f.acked.Before(asked) && (n == f.by || asked.Sub(f.acked) > maxStaleness)
			if f.quarantine && known && f.lift == nil {
				r.violation("replica %d issues to %s %v after its quarantine %s was acknowledged by replica %d", n, f.value, asked.Sub(f.acked), f.rule, f.by)
			}
		}
		return
	}
	r.counts.refusedExchanges++
	var refused *client.ResponseError
	switch spoke := errors.As(err, &refused); {
	case spoke && refused.Status == http.StatusServiceUnavailable && slices.ContainsFunc(hits, live) && !r.wasTroubled(answered):
		// What would be minted would be refused at once: the rule has no place in the log yet.
		r.counts.refusals["exchange: rule or quarantine"]++
	case !spoke || refused.Status == http.StatusServiceUnavailable:
		what := "exchange: no answer"
		if refused != nil {
			what = "exchange: stale replica"
		}
		r.counts.refusals[what]++
		if !r.wasTroubled(answered) {
			r.violation("replica %d does not answer an exchange, and nothing was wrong with it: %v", n, err)
		}
	case slices.ContainsFunc(holds, live):
		r.counts.refusals["exchange: rule or quarantine"]++
	default:
		r.violation("replica %d refuses an exchange of %v without a cause: %v", n, principals, err)
	}
}

// settled reports whether a replica has certainly applied a fact by some time.
func (r *record) settled(f *fact, n int, at time.Time) bool {
	return n == f.by && f.acked.Before(at) || at.Sub(f.acked) > maxStaleness+settle
}

// wholeAgain holds the lists of all replicas, taken after every fault has ended, to what was
// acknowledged before. It gives what is missing, and what is back.
func (r *record) wholeAgain(lists []map[string]bool, before time.Time) (faults []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.ordered {
		if f.acked.After(before) {
			continue
		}
		for n, have := range lists {
			lifted := f.lift != nil && !f.lift.acked.IsZero() && f.lift.acked.Before(before)
			switch {
			case f.lift == nil && !have[f.rule]:
				faults = append(faults, "rule "+f.rule+" ("+f.selector+" "+f.value+") is missing on "+replicaName(n)+", acknowledged by "+replicaName(f.by))
			case lifted && have[f.rule]:
				faults = append(faults, "rule "+f.rule+" ("+f.selector+" "+f.value+") is live on "+replicaName(n)+", lifted by "+replicaName(f.lift.by))
			}
		}
	}
	return faults
}

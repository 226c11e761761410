package forgetting_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/writbroker/writ/token"
)

// settle is how long what recovers may take after a fault: brokers come back to Redis, and
// resource servers to brokers, after pauses that grow to some seconds.
const settle = 10 * time.Second

// back is how long after a fault a stale feed may be its doing, beyond max_staleness.
const back = 5 * time.Second

// fact is a rule or a lift, as the operator who asked for it knows it.
type fact struct {
	rule            string // its id; empty while the answer is unknown
	selector, value string
	quarantine      bool
	by              int       // the replica that was asked
	tried, acked    time.Time // acked is zero while, or for ever if, the answer is unknown
	answer          int       // the status of its acknowledgement
	lift            *fact     // of a rule: what lifted it, tried at least
}

// grant is a token, and what is known of its making.
type grant struct {
	*token.Claims
	raw             string
	by              int // the replica that minted it
	asked, answered time.Time
}

// span is a stretch of time; to is zero while it lasts.
type span struct{ from, to time.Time }

func (s span) holds(at time.Time) bool {
	return !at.Before(s.from) && (s.to.IsZero() || at.Before(s.to))
}

// record is the record keeper: it knows what was acknowledged, and which faults there
// were, and nothing from inside a broker.
type record struct {
	mu sync.Mutex // guards what follows

	facts   map[string][]*fact // rules, by selector and value
	rules   map[string]*fact   // by id
	ordered []*fact            // rules that were acknowledged, oldest first
	tokens  []*grant           // the latest
	doomed  []*grant           // the latest that a rule hits

	confirmed []time.Time // by replica: the latest confirmation that a resource server of it had
	cutOff    [][]span    // by replica: when it certainly could not reach Redis, or did not run
	troubled  [][]span    // by replica: when something was wrong with its way to Redis, or with it

	counts counts
}

// counts is what the test prints.
type counts struct {
	faults                            map[string]int
	refusals                          map[string]int // by cause
	tokens, refusedExchanges, verdict int
	inLog, local, lifts, unknown      int
	graced                            int           // acceptances after the acknowledgement, without a confirmation that is later
	longest                           time.Duration // after it
	whole                             int
	slowest                           time.Duration
	violations                        []string
}

func newRecord(replicas int) *record {
	return &record{
		facts: map[string][]*fact{}, rules: map[string]*fact{}, confirmed: make([]time.Time, replicas),
		cutOff: make([][]span, replicas), troubled: make([][]span, replicas),
		counts: counts{faults: map[string]int{}, refusals: map[string]int{}},
	}
}

// violation is called with mu held.
func (r *record) violation(format string, args ...any) {
	if len(r.counts.violations) < 50 {
		r.counts.violations = append(r.counts.violations, fmt.Sprintf(format, args...))
	}
}

func key(selector, value string) string { return selector + "|" + value }

// matching gives the rules that match a token, by what the selectors mean.
func (r *record) matching(c *token.Claims) []*fact {
	var out []*fact
	add := func(selector string, values ...string) {
		slices.Sort(values)
		for _, v := range slices.Compact(values) {
			out = append(out, r.facts[key(selector, v)]...)
		}
	}
	ids := []string{c.ID}
	for _, a := range c.Ancestors {
		ids = append(ids, a.ID)
	}
	add("token", ids...)
	add("subject", c.Subject)
	add("agent", append(c.Actor.Chain(), c.ClientID, c.Subject)...)
	add("task", c.Task)
	add("role", slices.Clone(c.Roles)...)
	return slices.DeleteFunc(out, func(f *fact) bool { return f.quarantine })
}

// try notes that an operator asks for a rule, or for a quarantine.
func (r *record) try(by int, selector, value string, quarantine bool) *fact {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := &fact{
		selector: selector, value: value, quarantine: quarantine, by: by, tried: time.Now(),
	}
	r.facts[key(selector, value)] = append(r.facts[key(selector, value)], f)
	return f
}

// tryLift notes that an operator asks to lift a rule.
func (r *record) tryLift(by int, rule *fact) *fact {
	r.mu.Lock()
	defer r.mu.Unlock()
	rule.lift = &fact{by: by, tried: time.Now()}
	return rule.lift
}

// ack notes the answer to a rule or a lift. Called with mu held.
func (r *record) ack(f *fact, id string, local bool) {
	f.acked, f.rule, f.answer = time.Now(), id, http.StatusOK
	if local {
		f.answer = http.StatusAccepted
		r.counts.local++
	} else {
		r.counts.inLog++
	}
}

// inForce notes the answer to a rule: it has an id from the same moment.
func (r *record) inForce(f *fact, id string, local bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ack(f, id, local)
	r.rules[f.rule] = f
	r.ordered = append(r.ordered, f)
	for _, g := range r.tokens {
		if slices.Contains(r.matching(g.Claims), f) {
			r.doomed = append(r.doomed, g)
		}
	}
	r.doomed = r.doomed[max(0, len(r.doomed)-200):]
}

// trouble notes that something is wrong with replicas, or with their way to Redis, and
// with cut that they certainly do not reach it.
func (r *record) trouble(cut bool, replicas ...int) (over func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lists := [][][]span{r.troubled}
	if cut {
		lists = append(lists, r.cutOff)
	}
	type place struct {
		list [][]span
		n, i int
	}
	var places []place
	for _, list := range lists {
		for _, n := range replicas {
			list[n] = append(list[n], span{from: time.Now()})
			places = append(places, place{list, n, len(list[n]) - 1})
		}
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, p := range places {
			p.list[p.n][p.i].to = time.Now()
		}
	}
}

// wasTroubled reports whether there was a fault that explains why a replica, or a server of
// it, is not up to date: on its own way, or on that of another that it waits for. Called
// with mu held.
func (r *record) wasTroubled(at time.Time) bool {
	return slices.ContainsFunc(slices.Concat(r.troubled...), func(s span) bool {
		return s.from.Before(at) && (s.to.IsZero() || at.Sub(s.to) < maxStaleness+back)
	})
}

// unaware reports whether a replica certainly could not learn of a fact that another had,
// from when it was tried up to a moment.
func (r *record) unaware(n int, f *fact, until time.Time) bool {
	return n != f.by && slices.ContainsFunc(r.cutOff[n], func(s span) bool {
		return s.from.Before(f.tried) && (s.to.IsZero() || s.to.After(until))
	})
}

func (r *record) issued(g *grant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.tokens++
	r.tokens = append(r.tokens, g)
	if len(r.tokens) > 600 {
		r.tokens = append([]*grant(nil), r.tokens[300:]...)
	}
}

// String is the account that the test gives.
func (c *counts) String() string {
	var b strings.Builder
	list := func(title string, of map[string]int) {
		fmt.Fprintf(&b, "\n%s:", title)
		sum := 0
		for _, k := range slices.Sorted(maps.Keys(of)) {
			fmt.Fprintf(&b, " %s %d,", k, of[k])
			sum += of[k]
		}
		fmt.Fprintf(&b, " in all %d", sum)
	}
	list("faults", c.faults)
	fmt.Fprintf(&b, "\ntokens: %d issued, %d exchanges refused, %d verdicts of resource servers", c.tokens, c.refusedExchanges, c.verdict)
	fmt.Fprintf(&b, "\nrevocations and lifts: %d acknowledged with 200, %d with 202, %d of them lifts, %d not answered", c.inLog, c.local, c.lifts, c.unknown)
	fmt.Fprintf(&b, "\naccepted after the acknowledgement, and before the next confirmation: %d times, %v after it at most", c.graced, c.longest.Round(time.Millisecond))
	list("refusals", c.refusals)
	fmt.Fprintf(&b, "\nwhole again %d times, within %v at most", c.whole, c.slowest.Round(time.Millisecond))
	fmt.Fprintf(&b, "\nviolations: %d", len(c.violations))
	return b.String()
}

package journal_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/revocation"
	jrnl "github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

type (
	Journal      = jrnl.Journal
	config       = jrnl.Config
	subscription = jrnl.Subscription
)

const (
	durableLog   = jrnl.DurableLog
	durableLocal = jrnl.DurableLocal
	simDir       = "/replica"
	simFile      = simDir + "/revocations.journal"
	ruleLife     = 8 * time.Hour
)

var simStart = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openJournal(t testing.TB, c config) *Journal {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	j, err := jrnl.Open(t.Context(), c)
	must(t, err)
	return j
}

func simID(seed, n uint64) string {
	var u uuid.UUID
	binary.BigEndian.PutUint64(u[:8], seed<<16|0x7000)
	binary.BigEndian.PutUint64(u[8:], 1<<63|n)
	return u.String()
}

// simSelector gives each rule a value of its own, so that a token can be made that no
// other rule matches.
func simSelector(n int) (revocation.Selector, string) {
	kinds := []revocation.Selector{revocation.SelectRole, revocation.SelectToken, revocation.SelectSubject, revocation.SelectAgent,
		revocation.SelectTask, revocation.SelectIssuer, revocation.SelectAudience, revocation.SelectScope}
	switch s := kinds[n%len(kinds)]; s {
	case revocation.SelectToken:
		return s, simID(1<<20, uint64(n))
	case revocation.SelectIssuer:
		return s, fmt.Sprintf("issuer-%d:", n)
	case revocation.SelectScope:
		return s, fmt.Sprintf("tool:*:only/%d/**", n)
	default:
		return s, fmt.Sprintf("%s:%d", s, n)
	}
}

// claimsFor makes a token of that rev which the rule matches, and no other rule.
func claimsFor(r *revocation.Rule, rev token.Rev, issued time.Time) *token.Claims {
	c := &token.Claims{Subject: "s", ClientID: "c", ID: simID(1<<21, 1), Rev: rev, IssuedAt: issued.Unix()}
	switch r.Selector {
	case revocation.SelectRole:
		c.Roles = []string{"other", r.Value}
	case revocation.SelectToken:
		c.Ancestors = []token.Ancestor{{ID: r.Value, KeyID: "k"}}
	case revocation.SelectSubject:
		c.Subject = r.Value
	case revocation.SelectAgent:
		c.Actor = &token.Actor{Subject: "a", Actor: &token.Actor{Subject: r.Value}}
	case revocation.SelectTask:
		c.Task = r.Value
	case revocation.SelectIssuer:
		c.ClientID = r.Value + "agent"
	case revocation.SelectAudience:
		c.Audience = []string{r.Value}
	case revocation.SelectScope:
		var n int
		_, _ = fmt.Sscanf(r.Value, "tool:*:only/%d/**", &n)
		c.Scope, _ = scopes.ParseSet(fmt.Sprintf("tool:read:only/%d/a", n))
	default:
		panic(r.Selector)
	}
	return c
}

type counts struct {
	Minted, Logged, Local, Refused, Lifted, Kills, Failovers, Splits, CameBack, Wipes int
	Hits, Proven, Snapshots, Resumes, Confirmed, Stops                                int
}

func (c *counts) add(o *counts) {
	c.Minted += o.Minted
	c.Logged += o.Logged
	c.Local += o.Local
	c.Refused += o.Refused
	c.Lifted += o.Lifted
	c.Kills += o.Kills
	c.Failovers += o.Failovers
	c.Splits += o.Splits
	c.CameBack += o.CameBack
	c.Wipes += o.Wipes
	c.Hits += o.Hits
	c.Proven += o.Proven
	c.Snapshots += o.Snapshots
	c.Resumes += o.Resumes
	c.Confirmed += o.Confirmed
	c.Stops += o.Stops
}

// check reports what the simulation did not exercise.
func (c *counts) check(t *testing.T) {
	if c.Minted == 0 || c.Logged == 0 || c.Local == 0 || c.Lifted == 0 || c.Hits == 0 || c.Proven == 0 || c.Snapshots == 0 || c.Resumes == 0 || c.Confirmed == 0 {
		t.Errorf("the simulation shows nothing: %+v", *c)
	}
}

// known is everybody who judges tokens.
func (s *sim) known(visit func(who string, x *revocation.Index, lifted map[int]bool)) {
	for _, r := range s.replicas {
		visit(r.name, r.index, r.lifted)
	}
	for i, v := range s.verifiers {
		visit(fmt.Sprintf("verifier-%d", i), v.index, v.lifted)
	}
}

// checkAlways holds at every moment: what a checker knows to be lifted stays lifted; and
// a rule that a checker has hits every token whose minter had not applied it. The second
// is looked at on one checker after the other.
func (s *sim) checkAlways() {
	checkers, n := len(s.replicas)+len(s.verifiers), 0
	s.known(func(who string, x *revocation.Index, lifted map[int]bool) {
		for i, rule := range s.rules {
			if _, ok := x.Lifted(rule.ID); ok {
				lifted[i] = true
			}
			if _, live := x.Rule(rule.ID); live && lifted[i] {
				s.t.Errorf("seed %d step %d: lifted rule %d came back on %s", s.seed, s.step, i, who)
			}
		}
		if n++; s.step%checkers == n-1 || s.step%25 == 0 {
			s.checkOld(who, x)
		}
	})
}

func (s *sim) checkOld(who string, x *revocation.Index) {
	for i, rule := range s.rules {
		live, have := x.Rule(rule.ID)
		if !have || rule.Quarantine || s.over(rule) {
			continue
		}
		for n, tok := range s.tokens {
			if tok.applied[i] {
				continue
			}
			if _, hit := x.Revoked(claimsFor(&rule.Rule, tok.rev, tok.issued), "k"); !hit {
				s.t.Errorf("seed %d step %d: token %d (%v, minted by %s in step %d) survives rule %d (%v) on %s, lineages %s",
					s.seed, s.step, n, tok.rev, tok.by, tok.step, i, live.Entries, who, chains(x))
				return
			}
			s.counts.Hits++
		}
	}
}

// checkWhole holds when the log is whole again: nothing acknowledged is missing, what
// was lifted is gone, and no token is hit by a rule that its minter had from the log.
func (s *sim) checkWhole() {
	s.known(func(who string, x *revocation.Index, _ map[int]bool) {
		s.checkOld(who, x)
		for i, rule := range s.rules {
			live, have := x.Rule(rule.ID)
			_, gone := x.Lifted(rule.ID)
			switch {
			case rule.lifted && have && !s.over(rule):
				s.t.Errorf("seed %d: rule %d was lifted and is live on %s", s.seed, i, who)
			case rule.acked && !rule.lifted && !have && !gone && !s.over(rule):
				s.t.Errorf("seed %d: acknowledged rule %d is missing on %s", s.seed, i, who)
			}
			if !have || rule.Quarantine || s.over(rule) {
				continue
			}
			for n, tok := range s.tokens {
				hit, ok := x.Revoked(claimsFor(&rule.Rule, tok.rev, tok.issued), "k")
				if ok && tok.inLog[i] {
					s.t.Errorf("seed %d: token %d (%v, minted by %s in step %d) is hit on %s by rule %d, which its minter had from the log: %+v, entries %v, lineages %+v",
						s.seed, n, tok.rev, tok.by, tok.step, who, i, hit, live.Entries, chains(x))
					return
				}
				if !ok {
					s.counts.Proven++
				}
			}
		}
	})
	for _, r := range s.replicas {
		if !r.Ready() || r.Pending() > 0 {
			s.t.Errorf("seed %d: %s is not ready, %d pending", s.seed, r.name, r.Pending())
		}
	}
}

// over reports whether some clock may say that the rule has expired.
func (s *sim) over(r *simRule) bool {
	return !r.ExpiresAt.IsZero() && !s.now.Add(time.Minute).Before(r.ExpiresAt)
}

// connect makes a verifier read from a replica, from where it is.
func (s *sim) connect() { s.attach(s.verifiers[s.rng.IntN(len(s.verifiers))], s.anyReplica()) }

func (s *sim) attach(v *reader, r *replica) {
	if v.sub != nil {
		v.sub.Close()
	}
	v.from, v.sub = r, r.Subscribe(v.index.Position())
	if v.sub.Snapshot {
		s.counts.Snapshots++
		for part := range r.index.Snapshots(3) {
			data, err := json.Marshal(part)
			must(s.t, err)
			var got revocation.Snapshot
			must(s.t, json.Unmarshal(data, &got))
			must(s.t, v.index.Merge(got))
		}
	} else {
		s.counts.Resumes++
	}
	for _, f := range v.sub.Backlog {
		s.apply(v, f)
	}
	s.say("verifier reads from %s, snapshot %v, backlog %d, at %v", r.name, v.sub.Snapshot, len(v.sub.Backlog), v.index.Position())
}

// apply takes a frame as it comes over the wire.
func (s *sim) apply(v *reader, f *jrnl.Frame) {
	d := revocation.NewDecoder(bytes.NewReader(f.SSE), 0)
	e, err := d.Next()
	must(s.t, err)
	if _, err := d.Next(); err != io.EOF { //nolint:errorlint // the decoder promises the bare io.EOF
		s.t.Fatalf("after a frame: %v", err)
	}
	must(s.t, v.index.Apply(e))
}

func (s *sim) drain() { s.drainOne(s.verifiers[s.rng.IntN(len(s.verifiers))]) }

// drainOne applies what has come. A verifier that has applied all must have every rule
// of its replica, and its position.
func (s *sim) drainOne(v *reader) (current bool) {
	if v.sub == nil {
		return false
	}
	for {
		select {
		case f, ok := <-v.sub.C:
			if !ok {
				v.sub = nil
				return false
			}
			s.apply(v, f)
			continue
		default:
		}
		break
	}
	h := v.from.Heartbeat()
	if !v.index.Covers(v.index.Position(), h.Position) {
		s.t.Errorf("seed %d step %d: a verifier that has applied all is at %v, its replica at %v", s.seed, s.step, v.index.Position(), h.Position)
	}
	s.checkConfirmed(v, h)
	for rule := range v.from.index.Rules() {
		have, ok := v.index.Rule(rule.ID)
		if _, lifted := v.index.Lifted(rule.ID); !ok && !lifted {
			s.t.Errorf("seed %d step %d: a verifier that has applied all lacks rule %s", s.seed, s.step, rule.ID)
		}
		// A replica by whose clock the rule is over tells nothing of it any more.
		if ok && len(have.Entries) < len(rule.Entries) && !s.over(&simRule{Rule: rule}) {
			s.t.Errorf("seed %d step %d: a verifier that has applied all knows %v of rule %s, its replica %v", s.seed, s.step, have.Entries, rule.ID, rule.Entries)
		}
	}
	return true
}

// checkConfirmed holds for a verifier that has applied all, and has this heartbeat: it lacks
// nothing that anybody had acknowledged by the time of the confirmation, wherever that was,
// and whatever the log has lost since.
func (s *sim) checkConfirmed(v *reader, h revocation.Heartbeat) {
	if h.ConfirmedAgoMS < 0 || v.from.stopped {
		return
	}
	confirmed := s.now.Add(-time.Duration(h.ConfirmedAgoMS) * time.Millisecond)
	for i, rule := range s.rules {
		if !rule.acked || rule.unmet || !rule.at.Before(confirmed) || s.over(rule) {
			continue
		}
		_, live := v.index.Rule(rule.ID)
		_, lifted := v.index.Lifted(rule.ID)
		if !live && !lifted {
			s.t.Errorf("seed %d step %d: a verifier of %s with a confirmation of %v lacks rule %d, acknowledged %v before that",
				s.seed, s.step, v.from.name, confirmed, i, confirmed.Sub(rule.at))
		}
		s.counts.Confirmed++
	}
}

// chains shows what each lineage rests on.
func chains(x *revocation.Index) string {
	out := ""
	for _, g := range x.Lineages() {
		out += fmt.Sprintf("\n\t%016x.%d on %v", g.ID, g.Marker, g.Base)
	}
	return out
}

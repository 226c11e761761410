package revocation_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

func subjectClaims(sub string, rev token.Rev) *token.Claims {
	return &token.Claims{Subject: sub, ClientID: "c:c", ID: testID(1 << 40), Rev: rev}
}

// TestPositionNeverRunsAhead: whoever has read a position finds every rule before it.
func TestPositionNeverRunsAhead(t *testing.T) {
	const n = 30_000
	x := revocation.NewIndex(revocation.Options{})
	must(t, x.Apply(marker(1, 1)))
	var failed atomic.Bool
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			var at token.Rev
			for at.Seq < n && !failed.Load() {
				at = x.Position()
				if at.Seq < 2 {
					continue
				}
				// The token's rev is before the rule's, so the rule hits it if it is there.
				c := subjectClaims(fmt.Sprintf("user:%d", at.Seq), token.Rev{Lineage: 1, Seq: 1})
				if _, ok := x.Revoked(c, "k"); !ok {
					failed.Store(true)
					t.Errorf("at position %d, its rule is not there", at.Seq)
				}
			}
		})
	}
	for seq := uint64(2); seq <= n; seq += 2 {
		events := make([]revocation.Event, 0, 2)
		for i := seq; i < seq+2; i++ {
			events = append(events, ruleEvent(testRule(i, revocation.SelectSubject, fmt.Sprintf("user:%d", i)), token.Rev{Lineage: 1, Seq: i}))
		}
		must(t, x.Apply(events...))
	}
	readers.Wait()
}

// TestReadersAndWriters is for the race detector: growth, lifts, sweeps and snapshots
// under readers that must always find what stays.
func TestReadersAndWriters(t *testing.T) {
	x := revocation.NewIndex(revocation.Options{})
	must(t, x.Apply(marker(1, 1), ruleEvent(testRule(1, revocation.SelectSubject, "user:stays"), token.Rev{Lineage: 1, Seq: 2}),
		ruleEvent(testRule(2, revocation.SelectScope, "crm:*:a/**"), token.Rev{Lineage: 1, Seq: 3}),
		ruleEvent(testRule(3, revocation.SelectToken, testID(7)), token.Rev{Lineage: 1, Seq: 4})))
	byScope := subjectClaims("user:x", token.Rev{})
	byScope.Scope = scopeSet(t, "crm:read:a/b/c")
	byToken := subjectClaims("user:x", token.Rev{})
	byToken.ID = testID(7)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, c := range []*token.Claims{subjectClaims("user:stays", token.Rev{}), byScope, byToken} {
					if _, ok := x.Revoked(c, "k"); !ok {
						t.Error("a rule that stays was not found")
						return
					}
				}
				x.Quarantined("user:q")
				x.RefusesForeign(revocation.ForeignToken{Subject: "user:q", IssuedAt: testStart})
			}
		})
	}
	readers.Go(func() {
		for range 20 {
			must(t, revocation.NewIndex(revocation.Options{}).Merge(x.Snapshot()))
		}
	})
	seq := uint64(10)
	for round := range 6 {
		for i := range uint64(1500) {
			seq++
			id := seq + 100
			r := testRule(id, revocation.SelectToken, testID(id))
			switch i % 4 {
			case 0:
				r.Selector, r.Value = revocation.SelectScope, fmt.Sprintf("crm:read:b/%d/*", seq)
			case 1:
				r.Selector, r.Value = revocation.SelectSubject, fmt.Sprintf("user:%d", seq)
			}
			r.ExpiresAt = testStart.Add(time.Duration(round+1) * time.Minute)
			must(t, x.Apply(ruleEvent(r, token.Rev{Lineage: 1, Seq: seq})))
			if i%3 == 0 {
				must(t, x.Apply(revocation.Event{Type: revocation.EventLift, Lift: &revocation.Lift{ID: testID(id), RuleID: r.ID, At: testStart, ExpiresAt: r.ExpiresAt}}))
			}
		}
		x.Sweep(testStart.Add(time.Duration(round) * time.Minute))
	}
	close(stop)
	readers.Wait()
	if n := x.Len(); n != 1003 {
		t.Errorf("%d rules are left, want the 3 that stay and the last round's 1000", n)
	}
}

func TestSweepForgetsNothingTooEarly(t *testing.T) {
	x := revocation.NewIndex(revocation.Options{Retain: time.Hour})
	quarantine := testRule(1, revocation.SelectAgent, "k8s:a:a")
	quarantine.Quarantine, quarantine.ExpiresAt = true, time.Time{}
	other := quarantine
	other.ID, other.Value = testID(2), "k8s:a:b"
	rule := testRule(3, revocation.SelectSubject, "user:ann")
	lift := func(id string, expires time.Time) revocation.Event {
		return revocation.Event{Type: revocation.EventLift, Lift: &revocation.Lift{ID: testID(9), RuleID: id, At: testStart, ExpiresAt: expires}}
	}
	must(t, x.Apply(marker(1, 1), ruleEvent(quarantine, token.Rev{Lineage: 1, Seq: 2}), ruleEvent(other, token.Rev{Lineage: 1, Seq: 3}),
		ruleEvent(rule, token.Rev{Lineage: 1, Seq: 4}), lift(other.ID, testStart.Add(time.Minute))))
	later := revocation.Event{Type: revocation.EventLineage, Position: token.Rev{Lineage: 2, Seq: 1},
		Lineage: &revocation.Lineage{ID: 2, Marker: 1, Base: []token.Rev{{Lineage: 1, Seq: 4}}, OpenedAt: testStart.Add(time.Minute)}}
	must(t, x.Apply(later))
	if x.Sweep(testStart.Add(59 * time.Minute)); x.Len() != 2 || len(x.Lineages()) != 2 {
		t.Fatalf("%d rules, %d lineages", x.Len(), len(x.Lineages()))
	}
	x.Sweep(testStart.Add(10 * 365 * 24 * time.Hour))
	if _, ok := x.Quarantined("k8s:a:a"); !ok || x.Len() != 1 {
		t.Error("time ended a quarantine, or did not end a rule")
	}
	if len(x.Lineages()) != 1 {
		t.Errorf("%d lineages, want the present one", len(x.Lineages()))
	}
	// An old log and a replica that slept come back.
	must(t, x.Apply(ruleEvent(other, token.Rev{}), ruleEvent(rule, token.Rev{})))
	if _, ok := x.Quarantined("k8s:a:b"); ok {
		t.Error("a lifted quarantine came back")
	}
	if x.Len() != 1 {
		t.Error("an expired rule came back")
	}
}

func TestLiftBeforeItsRule(t *testing.T) {
	x := revocation.NewIndex(revocation.Options{})
	rule := testRule(3, revocation.SelectSubject, "user:ann")
	must(t, x.Apply(revocation.Event{Type: revocation.EventLift, Lift: &revocation.Lift{ID: testID(9), RuleID: rule.ID, At: testStart, ExpiresAt: testStart}}))
	must(t, x.Apply(ruleEvent(rule, token.Rev{}), ruleEvent(rule, token.Rev{Lineage: 1, Seq: 3})))
	if _, ok := x.Revoked(subjectClaims("user:ann", token.Rev{}), "k"); ok {
		t.Error("a rule that was lifted before it came hits")
	}
	if l, ok := x.Lifted(rule.ID); !ok || !l.ExpiresAt.Equal(rule.ExpiresAt) {
		t.Errorf("the lift ends at %v, before its rule", l.ExpiresAt)
	}
}

func TestRuleIDStandsForOneRule(t *testing.T) {
	x := revocation.NewIndex(revocation.Options{})
	must(t, x.Apply(marker(1, 1), ruleEvent(testRule(3, revocation.SelectSubject, "user:ann"), token.Rev{Lineage: 1, Seq: 2})))
	err := x.Apply(ruleEvent(testRule(3, revocation.SelectSubject, "user:bob"), token.Rev{Lineage: 1, Seq: 3}),
		ruleEvent(testRule(4, revocation.SelectSubject, "user:eve"), token.Rev{Lineage: 1, Seq: 4}))
	if err == nil || x.Position().Seq != 2 {
		t.Errorf("went past a rule that it could not take: %v, at %v", err, x.Position())
	}
	if _, ok := x.Revoked(subjectClaims("user:eve", token.Rev{}), "k"); !ok {
		t.Error("what followed was not applied")
	}
}

func TestCostDoesNotDependOnHits(t *testing.T) {
	x := revocation.NewIndex(revocation.Options{})
	must(t, x.Apply(marker(1, 1), ruleEvent(testRule(3, revocation.SelectRole, "agent"), token.Rev{Lineage: 1, Seq: 2})))
	hit := 0
	for i := range 10_000 {
		c := subjectClaims(fmt.Sprintf("user:%d", i), token.Rev{Lineage: 1, Seq: 1})
		c.Roles = []string{"agent"}
		if _, ok := x.Revoked(c, "k"); ok {
			hit++
		}
	}
	if hit != 10_000 || x.Len() != 1 {
		t.Errorf("one rule of %d hit %d", x.Len(), hit)
	}
}

func TestRevokedAllocatesNothingOnAMiss(t *testing.T) {
	x, tokens := crowded(t, 2000)
	if n := testing.AllocsPerRun(100, func() {
		for _, c := range tokens[:16] {
			if hit, ok := x.Revoked(c, "key-2026-09"); ok {
				t.Errorf("hit: %+v", hit)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAcks(t *testing.T) {
	x := revocation.NewIndex(revocation.Options{})
	must(t, x.Apply(marker(1, 1), marker(2, 1, token.Rev{Lineage: 1, Seq: 5})))
	now := testStart
	a := revocation.NewAcks(func() time.Time { return now }, x.Covers)
	at := token.Rev{Lineage: 1, Seq: 4}
	if s := a.Wait(t.Context(), at, "", now); s.Connected != 0 || len(s.Lagging) != 0 {
		t.Errorf("nobody is connected: %+v", s)
	}
	if a.Report(revocation.Ack{Verifier: "v1", Position: at}) {
		t.Error("a verifier that is not connected was counted")
	}
	leave1 := a.Join("v1", "crm", "k8s:prod:crm")
	leave2 := a.Join("v2", "mail", "")
	a.Join("v2", "mail", "")() // it reconnected, and the old stream ended later
	now = now.Add(10 * time.Millisecond)
	a.Report(revocation.Ack{Verifier: "v1", Position: at})
	now = now.Add(90 * time.Millisecond)
	a.Report(revocation.Ack{Verifier: "v1", Position: token.Rev{Lineage: 1, Seq: 5}})
	a.Report(revocation.Ack{Verifier: "v2", Position: token.Rev{Lineage: 1, Seq: 3}})
	if s := a.Status(at, "", testStart); s.Count != 1 || s.P50 != 10*time.Millisecond || len(s.Lagging) != 1 || s.Lagging[0].Name != "mail" {
		t.Errorf("status %+v", s)
	}
	done := make(chan revocation.AckSummary)
	go func() { done <- a.Wait(t.Context(), at, "", testStart) }()
	a.Report(revocation.Ack{Verifier: "v2", Position: token.Rev{Lineage: 2, Seq: 1}, Local: []string{testID(5)}})
	if s := <-done; s.Count != 2 || s.P50 != 10*time.Millisecond || s.P99 != 100*time.Millisecond || s.Connected != 2 {
		t.Errorf("a later lineage does not count: %+v", s)
	}
	if s := a.Status(token.Rev{}, testID(5), testStart); s.Count != 1 || len(s.Lagging) != 1 || s.Lagging[0].ID != "v1" {
		t.Errorf("local rule: %+v", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if s := a.Wait(ctx, token.Rev{}, testID(5), testStart); len(s.Lagging) != 1 {
		t.Errorf("waited for %+v", s)
	}
	leave1()
	leave1()
	leave2()
	if n := len(a.Verifiers()); n != 0 {
		t.Errorf("%d verifiers are left", n)
	}
}

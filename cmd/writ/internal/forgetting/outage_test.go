package forgetting_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/redistest"
	"github.com/writbroker/writ/verifier"
)

// server runs a resource server that follows one replica until the test ends, and waits
// until it accepts tokens.
func (w *world) server(r *replica, name string) *verifier.Verifier {
	w.t.Helper()
	v, err := verifier.New(w.t.Context(), verifier.Config{
		Issuer: issuer, Audience: []string{audience}, FeedToken: w, Name: name, MaxStaleness: w.bounds.staleness,
		Leeway: time.Second, Transport: newRoad(w.t, r.public),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("%s: %v", name, err)
		}
	})
	wait, stop := context.WithTimeout(w.t.Context(), time.Minute)
	defer stop()
	if err := v.Wait(wait); err != nil {
		w.t.Fatalf("%s: %v\n%s", name, err, r.out)
	}
	return v
}

func (w *world) exchange(r *replica, agent string) (string, error) {
	t, err := r.client(w).Exchange(w.t.Context(), client.Request{
		SubjectToken: w.workload(agent), Scopes: []string{scope}, Task: "task-of-" + agent,
	})
	if err != nil {
		return "", err
	}
	return t.Secret.Reveal(), nil
}

func (w *world) mustExchange(r *replica, agent string) string {
	w.t.Helper()
	raw, err := w.exchange(r, agent)
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

func (w *world) mustRevoke(r *replica, selector, value string) *wire.RevokeResponse {
	w.t.Helper()
	out, err := r.operator(w).Revoke(w.t.Context(), wire.RevokeRequest{Selector: selector, Value: value, Apply: true, Reason: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) refuses(v *verifier.Verifier, raw string) bool {
	_, err := v.Verify(w.t.Context(), raw)
	return errors.Is(err, verifier.ErrRevoked)
}

func (w *world) accepts(v *verifier.Verifier, raw string) bool {
	_, err := v.Verify(w.t.Context(), raw)
	return err == nil
}

// inLog reports whether a replica shows a rule with a place in the log.
func (w *world) inLog(r *replica, id string) bool {
	s, err := r.operator(w).Rule(w.t.Context(), id)
	return err == nil && len(s.Rule.Positions) > 0
}

// unavailable reports whether an error is 503 with Retry-After.
func unavailable(err error) bool {
	var refused *client.ResponseError
	return errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable && refused.RetryAfter > 0
}

// TestRedisStopped holds the table of DESIGN.md for a Redis that is gone.
func TestRedisStopped(t *testing.T) {
	w := newBoundedWorld(t, 2, false, patientBounds)
	here, there := w.replicas[0], w.replicas[1]
	near, far := w.server(here, "near"), w.server(there, "far")
	victim := w.mustExchange(here, "a-victim")
	if !w.accepts(near, victim) || !w.accepts(far, victim) {
		t.Fatal("a good token is refused")
	}

	w.primary.Stop(t)
	stopped := time.Now()
	if _, err := w.exchange(here, "a-graced"); err != nil {
		t.Errorf("an exchange within the grace: %v", err)
	}
	out := w.mustRevoke(here, "agent", "k8s:a-victim")
	acked := time.Now()
	if out.Durability != wire.DurabilityLocal || out.Ack == nil || len(out.Ack.AppliedBy) != 1 || out.Ack.AppliedBy[0].Name != "near" {
		t.Errorf("a revocation without Redis answers %+v, %+v", out, out.Ack)
	}
	// A machine that was too slow for the grace shows no more than a refusal.
	if !w.refuses(near, victim) && (time.Since(stopped) < w.bounds.staleness/2 || w.accepts(near, victim)) {
		t.Error("a connected resource server accepts what was revoked")
	}
	for time.Since(acked) <= w.bounds.staleness {
		time.Sleep(20 * time.Millisecond)
	}
	if w.accepts(far, victim) {
		t.Error("another replica's resource server accepts it after max_staleness")
	}
	redistest.Until(t, "exchange is refused", func() bool { _, err := w.exchange(here, "a-late"); return err != nil })
	for _, r := range w.replicas {
		if _, err := w.exchange(r, "a-late"); !unavailable(err) {
			t.Errorf("%s: an exchange after the grace: %v", r.name, err)
		}
		if r.ready() {
			t.Errorf("%s is ready after the grace", r.name)
		}
	}
	late := w.mustRevoke(there, "task", "task-of-nobody")
	if late.Durability != wire.DurabilityLocal {
		t.Errorf("a revocation after the grace answers %+v", late)
	}

	w.primary.Continue(t)
	back := time.Now()
	for _, id := range []string{out.Rule.ID, out.Quarantine.ID, late.Rule.ID} {
		for _, r := range w.replicas {
			redistest.Until(t, "rule is in the log", func() bool { return w.inLog(r, id) })
		}
	}
	t.Logf("back in the log, on every replica, %v after Redis was", time.Since(back).Round(time.Millisecond))
	for _, r := range w.replicas {
		redistest.Until(t, r.name+" issues again", func() bool { _, err := w.exchange(r, "a-after"); return err == nil })
		if _, err := w.exchange(r, "a-victim"); err == nil {
			t.Errorf("%s issues to a quarantined agent", r.name)
		}
	}
	fresh := w.mustExchange(there, "a-after")
	for _, v := range []*verifier.Verifier{near, far} {
		redistest.Until(t, "good tokens are accepted", func() bool { return w.accepts(v, fresh) })
		if !w.refuses(v, victim) {
			t.Error("the revoked token is accepted again")
		}
	}
}

// TestAReplicaThatDiedStopsNobody: with bounds as they come, the others wait for it and go
// on, without a refusal; and one that is started again is met again.
func TestAReplicaThatDiedStopsNobody(t *testing.T) {
	w := newBoundedWorld(t, 2, false, plainBounds)
	dead, alive := w.replicas[0], w.replicas[1]
	v := w.server(alive, "server")
	token := w.mustExchange(alive, "a-agent")
	metric := func(name string) bool {
		return strings.Contains(alive.metrics(w), "\n"+name+" 1\n")
	}
	dead.kill()
	redistest.Until(t, "it is missed", func() bool { return metric("writ_revocation_replicas_late") })
	redistest.Until(t, "it is given up", func() bool {
		if !w.accepts(v, token) {
			t.Error("a resource server of the other replica refuses a good token")
		}
		if _, err := w.exchange(alive, "a-agent"); err != nil {
			t.Errorf("the other replica does not issue: %v", err)
		}
		return t.Failed() || metric("writ_revocation_replicas_absent")
	})
	dead.start(t)
	redistest.Until(t, "it is ready again", dead.ready)
	redistest.Until(t, "nobody is missed", func() bool {
		return !metric("writ_revocation_replicas_absent") && !metric("writ_revocation_replicas_late")
	})
}

// TestTwoReplicasWriteLocally lets two replicas take revocations that neither can tell the
// other, loses what Redis had, and kills one of them before it is back.
func TestTwoReplicasWriteLocally(t *testing.T) {
	w := newBoundedWorld(t, 2, false, patientBounds)
	one, two := w.replicas[0], w.replicas[1]
	before := w.mustRevoke(one, "task", "task-before")
	if before.Durability != wire.DurabilityLog {
		t.Fatalf("a revocation with Redis answers %+v", before)
	}
	victims := map[string]string{}
	for _, agent := range []string{"a-one", "b-two", "c-both"} {
		victims[agent] = w.mustExchange(one, agent)
	}
	bystander := w.mustExchange(two, "a-bystander")

	w.primary.Kill(t)
	// A token that the other replica mints now, without the rule, is older than it.
	first := w.mustRevoke(one, "agent", "k8s:a-one")
	unaware := w.mustExchange(two, "a-one")
	rules := map[string]*wire.RevokeResponse{
		"of the first":              first,
		"of the second":             w.mustRevoke(two, "agent", "k8s:b-two"),
		"of the first, on the same": w.mustRevoke(one, "agent", "k8s:c-both"),
		"of the second, too":        w.mustRevoke(two, "agent", "k8s:c-both"),
	}
	lifted := w.mustRevoke(two, "task", "task-lifted")
	if _, err := two.operator(w).Lift(t.Context(), lifted.Rule.ID, wire.LiftRequest{Apply: true, Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	for what, r := range rules {
		if r.Durability != wire.DurabilityLocal || len(r.Rule.Positions) > 0 {
			t.Errorf("rule %s: %+v", what, r)
		}
	}
	two.kill()
	w.primary.RestartEmpty(t)
	two.start(t)
	for _, r := range w.replicas {
		redistest.Until(t, r.name+" is ready", r.ready)
		for what, rule := range rules {
			for _, id := range []string{rule.Rule.ID, rule.Quarantine.ID} {
				redistest.Until(t, r.name+" has rule "+what, func() bool { return w.inLog(r, id) })
			}
		}
		redistest.Until(t, r.name+" has the rule from before", func() bool { return w.inLog(r, before.Rule.ID) })
		if _, err := r.operator(w).Rule(t.Context(), lifted.Rule.ID); err == nil {
			t.Errorf("%s has the rule that was lifted", r.name)
		}
		v := w.server(r, "server of "+r.name)
		for agent, raw := range victims {
			if !w.refuses(v, raw) {
				t.Errorf("%s: the token of %s is accepted", r.name, agent)
			}
		}
		if !w.refuses(v, unaware) {
			t.Errorf("%s: a token that was minted without knowledge of the rule is accepted", r.name)
		}
		if !w.accepts(v, bystander) {
			t.Errorf("%s: a token that no rule matches is refused", r.name)
		}
	}
}

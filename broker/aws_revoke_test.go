package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/internal/iamtest"
	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/mint/awssts/denylist"
	"github.com/writbroker/writ/mint/awssts/revoker"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// newDenying is a cloud whose revoker runs.
func newDenying(t *testing.T, changes ...func(*brokertest.AWS)) *cloud {
	t.Helper()
	a := brokertest.NewAWS(awssts.WebIdentity)
	for _, change := range changes {
		change(a)
	}
	a.IAM = iamtest.New(iamtest.Options{Roles: []string{brokertest.LakeRole, brokertest.AuditRole}})
	c := &cloud{newWorld(t, a.Options(t)), a}
	c.revoking(t)
	return c
}

// revoking runs the revoker until the test ends.
func (c *cloud) revoking(t *testing.T) {
	t.Helper()
	c.revokingBy(t, c.Broker)
}

// revokingBy runs it on what a source knows.
func (c *cloud) revokingBy(t *testing.T, src revoker.Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Revoker.Run(ctx, src) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// takeBack revokes, and waits for AWS.
func (c *cloud) takeBack(sel revocation.Selector, value string, changes ...func(*broker.RevokeOrder)) *broker.Revocation {
	c.tb.Helper()
	order := broker.RevokeOrder{Selector: sel, Value: value, Apply: true, Wait: 20 * time.Second}
	for _, change := range changes {
		change(&order)
	}
	out, err := c.Broker.Revoke(c.tb.Context(), broker.BreakGlass(0), order)
	if err != nil {
		c.tb.Fatal(err)
	}
	return out
}

// cutOff is for how long an agent gets no session that AWS would deny. While a look is under way
// nobody can tell.
func (c *cloud) cutOff(agent string) (wait time.Duration) {
	c.tb.Helper()
	c.eventually("a look that is over", func() bool {
		var unavailable *broker.UnavailableError
		if err := c.noSession(broker.ErrUnavailable, c.workload(agent)); !errors.As(err, &unavailable) {
			c.tb.Fatalf("got %v", err)
		}
		wait = unavailable.RetryAfter
		return !strings.Contains(unavailable.Detail, "looked up")
	})
	return wait
}

func reissued(o *broker.RevokeOrder) { o.AllowReissue = true }

// denied is what a role denies in truth, as "kind value".
func (c *cloud) denied(role string) []string {
	c.tb.Helper()
	entries, err := denylist.Parse(c.IAM.Policy(role, denylist.PolicyName))
	if err != nil {
		c.tb.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, fmt.Sprintf("%s %s", e.Kind, e.Value))
	}
	slices.Sort(out)
	return out
}

// eventually waits for something that happens behind.
func (c *cloud) eventually(what string, holds func() bool) {
	c.tb.Helper()
	for range 12_000 {
		if holds() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	if c.IAM != nil {
		c.tb.Logf("the role denies %v", c.denied(brokertest.LakeRole))
	}
	c.tb.Fatalf("%s: it did not come to that", what)
}

// Whatever the selector, exactly the sessions that it hits are denied, as narrowly as can be.
func TestRevokingDeniesAtAWS(t *testing.T) {
	one := func(s *mint.Session) string { return "session " + s.Name }
	for name, row := range map[string]struct {
		sel   revocation.Selector
		value func(c *cloud, forAlice *mint.Session) string
		want  func(forAlice, itself, helper *mint.Session) []string
	}{
		"an agent": {revocation.SelectAgent, is("k8s:analyst"), func(_, s, _ *mint.Session) []string {
			return []string{"source identity " + s.SourceIdentity}
		}},
		"an agent as a subject": {revocation.SelectSubject, is("k8s:analyst"), func(_, s, _ *mint.Session) []string {
			return []string{"source identity " + s.SourceIdentity}
		}},
		"a person": {revocation.SelectSubject, is("user:alice"), func(s, _, _ *mint.Session) []string { return []string{one(s)} }},
		"a token": {revocation.SelectToken, func(_ *cloud, s *mint.Session) string { return s.Claims.ID },
			func(s, _, _ *mint.Session) []string { return []string{one(s)} }},
		"a task":    {revocation.SelectTask, is("t"), func(s, _, _ *mint.Session) []string { return []string{one(s)} }},
		"a role":    {revocation.SelectRole, is("lake"), func(a, b, h *mint.Session) []string { return []string{one(a), one(b), one(h)} }},
		"an issuer": {revocation.SelectIssuer, is("user:"), func(s, _, _ *mint.Session) []string { return []string{one(s)} }},
		"all":       {revocation.SelectAll, is(""), func(_, _, _ *mint.Session) []string { return []string{"whole role "} }},
	} {
		t.Run(name, func(t *testing.T) {
			c := newDenying(t)
			forAlice, _ := c.session(c.person("alice"), actor(c.workload("analyst")), task("t"))
			itself, _ := c.session(c.workload("analyst"))
			helper, _ := c.session(c.workload("helper"))
			out := c.takeBack(row.sel, row.value(c, forAlice))
			if out.AWS == nil || len(out.AWS.Roles) != 1 || out.AWS.Roles[0].State != mint.DenyDone || out.AWS.Roles[0].Role != brokertest.LakeRole {
				t.Fatalf("got %+v", out.AWS)
			}
			// A cutoff that lies further ahead would deny new sessions, where the role is widened.
			entries, err := denylist.Parse(c.IAM.Policy(brokertest.LakeRole, denylist.PolicyName))
			for _, e := range entries {
				if e.Before.After(c.Now().Add(brokertest.MaxStaleness + 2*brokertest.Skew + time.Minute)) {
					t.Errorf("%+v denies what is made later (%v)", e, err)
				}
			}
			want := row.want(forAlice, itself, helper)
			slices.Sort(want)
			if got := c.denied(brokertest.LakeRole); !slices.Equal(got, want) {
				t.Errorf("denies %v, want %v", got, want)
			}
			if got := c.IAM.Policy(brokertest.AuditRole, denylist.PolicyName); got != "" {
				t.Errorf("a role without sessions denies %s", got)
			}
		})
	}
}

// An agent that acted before another is hit too, and what has the other's identity is not the
// agent's alone.
func TestRevokingAnAgentOfAChain(t *testing.T) {
	c := newDenying(t)
	parent := c.token(c.person("alice"), actor(c.workload("analyst")), scope(readLake))
	s, _ := c.session(parent, actor(c.workload("helper")))
	c.session(c.workload("helper"))
	c.takeBack(revocation.SelectAgent, "k8s:analyst")
	if got := c.denied(brokertest.LakeRole); !slices.Equal(got, []string{"session " + s.Name}) {
		t.Errorf("denies %v", got)
	}
}

func is(v string) func(*cloud, *mint.Session) string {
	return func(*cloud, *mint.Session) string { return v }
}

// Without credentials for it, the answer says that AWS is not told, and until when that matters.
func TestRevokingWithoutARevoker(t *testing.T) {
	c := newCloud(t, awssts.AssumeRole)
	s, _ := c.session(c.workload("analyst"))
	out := c.takeBack(revocation.SelectAgent, "k8s:analyst")
	if out.AWS == nil || !out.AWS.Off || !out.AWS.LiveUntil.Equal(s.Expires.Truncate(time.Second)) || out.AWS.Roles[0].State != "" {
		t.Errorf("got %+v", out.AWS)
	}
	if out := c.takeBack(revocation.SelectAgent, "k8s:helper"); out.AWS != nil {
		t.Errorf("of an agent without sessions: %+v", out.AWS)
	}
}

func TestADryRunTellsAWSNothing(t *testing.T) {
	c := newDenying(t)
	c.session(c.workload("analyst"))
	out := c.takeBack(revocation.SelectAgent, "k8s:analyst", func(o *broker.RevokeOrder) { o.Apply = false })
	if out.AWS == nil || len(out.AWS.Roles) != 1 || !slices.Equal(out.AWS.Roles[0].Kinds, []mint.DenyKind{mint.DenyIdentity}) || out.AWS.Roles[0].State != "" {
		t.Errorf("got %+v", out.AWS)
	}
	// What is written next would be written with it.
	helper, _ := c.session(c.workload("helper"))
	c.takeBack(revocation.SelectToken, helper.Claims.ID)
	if got := c.denied(brokertest.LakeRole); !slices.Equal(got, []string{"session " + helper.Name}) {
		t.Errorf("denies %v", got)
	}
}

// A session that a replica makes which has not applied the rule is denied as well: by the
// cutoff if it has the identity, and else when it is in the ledger.
func TestLateSessionsAreDenied(t *testing.T) {
	c := newDenying(t)
	early, _ := c.session(c.person("alice"), actor(c.workload("analyst")), task("t"))
	c.takeBack(revocation.SelectTask, "t")
	late := atAWS("user:alice", "k8s:analyst", "t", c.Now().Add(time.Hour))
	c.Ledger.Session(t.Context(), late)
	c.eventually("a late session", func() bool { return slices.Contains(c.denied(brokertest.LakeRole), "session "+late.Name) })
	if !slices.Contains(c.denied(brokertest.LakeRole), "session "+early.Name) {
		t.Error("the early session is not denied any more")
	}

	c = newDenying(t)
	c.session(c.workload("analyst"))
	c.takeBack(revocation.SelectAgent, "k8s:analyst")
	entries, err := denylist.Parse(c.IAM.Policy(brokertest.LakeRole, denylist.PolicyName))
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	if last := c.Now().Add(brokertest.MaxStaleness + 2*brokertest.Skew); entries[0].Before.Before(last) || entries[0].Expires.Before(last.Add(brokertest.MaxTTL)) {
		t.Errorf("a replica may make sessions until %s, and the deny is %+v", last, entries[0])
	}
}

// Sessions are looked at while a rule may still find some, after each change, and every so often:
// not each time, since they may be many.
func TestDueDeniesRest(t *testing.T) {
	c := newCloud(t, awssts.AssumeRole)
	c.session(c.workload("analyst"))
	c.Revoke(t, revocation.SelectAgent, "k8s:analyst")
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {brokertest.MaxStaleness, 1}, {2 * time.Minute, 1}, {3 * time.Minute, 0}, {9 * time.Minute, 1}, {time.Second, 0}} {
		c.Advance(step.after)
		if got, _ := c.Due(t.Context(), nil); len(got) != step.want {
			t.Fatalf("after %s more: %d due, want %d", step.after, len(got), step.want)
		}
	}
	c.Revoke(t, revocation.SelectSubject, "user:bob")
	if got, _ := c.Due(t.Context(), nil); len(got) != 1 {
		t.Errorf("after a change: %d due", len(got))
	}
}

// Where single sessions have no room, the whole role is denied, and the answer says so.
func TestManySessionsAreTheWholeRole(t *testing.T) {
	c := newDenying(t)
	for i := range 101 {
		s := atAWS("user:alice", "k8s:analyst", fmt.Sprint("t", i), c.Now().Add(time.Hour))
		s.Claims.ID = fmt.Sprintf("019f4199-6600-791d-910d-%012d", i)
		s.Name = fmt.Sprintf("d-%d", i)
		c.Ledger.Session(t.Context(), s)
	}
	out := c.takeBack(revocation.SelectSubject, "user:alice")
	if got := c.denied(brokertest.LakeRole); !slices.Equal(got, []string{"whole role "}) ||
		!slices.Equal(out.AWS.Roles[0].Kinds, []mint.DenyKind{mint.DenyRole}) || out.AWS.Roles[0].Sessions != 101 {
		t.Errorf("denies %v, says %+v", got, out.AWS.Roles)
	}
}

// Any agent may give back a token of its own, with all that descends from it, however much that
// is. Others keep the sessions that they have in the same role.
func TestWhatAnAgentGivesBackLeavesOthersTheirs(t *testing.T) {
	c := newDenying(t)
	helper, _ := c.session(c.workload("helper"))
	parent, err := c.exchange(c.person("alice"), actor(c.workload("analyst")), scope(readLake))
	if err != nil {
		t.Fatal(err)
	}
	var last *mint.Session
	for n := range 101 {
		last, _ = c.session(parent.Token, actor(c.workload("analyst")), task(fmt.Sprint("t", n)))
	}
	if err := c.RevokeToken(t.Context(), c.client("analyst"), parent.Token); err != nil {
		t.Fatal(err)
	}
	c.eventually("the denies", func() bool {
		return slices.Equal(c.denied(brokertest.LakeRole), []string{"source identity " + last.SourceIdentity})
	})
	if again, _ := c.session(c.workload("helper")); again != helper {
		t.Error("another agent's session went too")
	}
}

// However often he does so: where the names of all that he made have no room in the policy, or in
// the plan, it is his identity that is denied.
func TestWhatAnAgentGivesBackAgainAndAgainLeavesOthersTheirs(t *testing.T) {
	c := newDenying(t)
	helper, _ := c.session(c.workload("helper"))
	c.Advance(time.Second)
	var last *mint.Session
	for k := range 4 {
		parent := fmt.Sprintf("019f4199-6600-791d-910d-9%011d", k)
		for n := range 95 {
			s := atAWS("user:alice", "k8s:analyst", fmt.Sprint("t", n), c.Now().Add(time.Hour))
			s.Claims.ID = fmt.Sprintf("019f4199-6600-791d-910d-%06d%06d", k, n)
			s.Claims.Ancestors = []token.Ancestor{{ID: parent}}
			s.Name, s.SourceIdentity = s.Claims.ID, "k8s.analyst"
			c.Ledger.Session(t.Context(), s)
			last = s
		}
		out := c.takeBack(revocation.SelectToken, parent)
		if state := out.AWS.Roles[0]; state.State != mint.DenyDone {
			t.Fatalf("the denies are %s: %s", state.State, state.Detail)
		}
	}
	if !slices.Contains(c.denied(brokertest.LakeRole), "source identity "+last.SourceIdentity) {
		t.Errorf("it was not widened: %v", c.denied(brokertest.LakeRole))
	}
	if cut := c.Revoker.Cutoff(brokertest.LakeRole, helper.SourceIdentity); helper.Issued.Before(cut) || slices.Contains(c.denied(brokertest.LakeRole), "whole role ") {
		t.Errorf("another agent's session is denied: %v", c.denied(brokertest.LakeRole))
	}
}

// No credentials leave that AWS would deny for a rule that does not hit them; after the cutoff
// there are new ones, and none from before are kept.
func TestNoSessionsThatACutoffCatches(t *testing.T) {
	c := newDenying(t)
	c.session(c.workload("analyst"))
	c.Advance(time.Second)
	c.takeBack(revocation.SelectAgent, "k8s:analyst", reissued)
	c.Pass(t, 2*brokertest.Skew)
	wait := c.cutOff("analyst")
	if wait <= 0 || wait > brokertest.MaxStaleness+2*time.Second {
		t.Fatalf("try again after %v", wait)
	}
	if n := len(c.STS.Calls("AssumeRoleWithWebIdentity")); n != 1 {
		t.Errorf("STS was asked %d times, and once for what was given out", n)
	}
	c.session(c.workload("helper")) // of others there are
	c.Pass(t, wait)
	s, _ := c.session(c.workload("analyst"))
	if again, _ := c.session(c.workload("analyst")); again != s {
		t.Error("what was made after the cutoff is not kept")
	}
}

// Nor does a session leave that AWS denies since it was asked for it.
func TestDeniedWhileSTSIsAsked(t *testing.T) {
	c := newDenying(t)
	hold, done := make(chan struct{}), make(chan error, 1)
	c.STS.Fail(ststest.Fault{Hold: hold})
	req := c.request(c.workload("analyst"), []change{forAWS})
	go func() {
		_, err := c.Exchange(t.Context(), req)
		done <- err
	}()
	c.eventually("a call", func() bool { return len(c.STS.Calls("")) > 0 })
	end := c.Now().Add(time.Minute)
	c.Revoker.Deny(t.Context(), []mint.Deny{{Rule: "of another", Role: brokertest.LakeRole, Kind: mint.DenyRole, Before: end, Expires: end}})
	close(hold)
	if err := <-done; !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if n := c.Sessions.Kept(); n != 0 {
		t.Errorf("%d sessions are kept", n)
	}
}

// Where single sessions have no room in a policy, AWS denies the whole role, up to a cutoff that
// lies ahead. No credentials leave for it that would be dead, though no rule hits them.
func TestNoSessionsThatAWidenedDenyCatches(t *testing.T) {
	c := newDenying(t)
	const people, each = 3, 95
	for n := range people * each {
		s := atAWS(fmt.Sprintf("user:u%d", n/each), fmt.Sprint("k8s:analyst-", n), fmt.Sprint("t", n), c.Now().Add(time.Hour))
		s.Claims.ID = fmt.Sprintf("019f4199-6600-791d-910d-%012d", n)
		s.Name = s.Claims.ID
		c.Ledger.Session(t.Context(), s)
	}
	early, _ := c.session(c.workload("helper"))
	c.Advance(time.Second)
	for n := range people {
		c.takeBack(revocation.SelectSubject, fmt.Sprintf("user:u%d", n), reissued)
	}
	entries, err := denylist.Parse(c.IAM.Policy(brokertest.LakeRole, denylist.PolicyName))
	if err != nil || !slices.ContainsFunc(entries, func(e denylist.Entry) bool { return e.Kind == denylist.WholeRole && early.Issued.Before(e.Before) }) {
		t.Fatalf("it was not widened: this shows nothing (%d entries, %v)", len(entries), err)
	}
	c.Pass(t, c.cutOff("helper"))
	if late, _ := c.session(c.workload("helper")); late == early {
		t.Error("what AWS denies was kept")
	}
}

// A rule of another replica, which has AWS deny what it hits: this one, which has applied the rule,
// gives nothing out that the deny will catch.
func TestNoSessionsThatAnotherReplicasDenyCatches(t *testing.T) {
	c := newDenying(t, func(a *brokertest.AWS) { a.Every = time.Hour })
	first, _ := c.session(c.workload("analyst"))
	c.Revoke(t, revocation.SelectAgent, "k8s:analyst")
	c.Pass(t, 2*brokertest.Skew) // so that a new proof is newer than the rule
	c.eventually("a refusal", func() bool {
		_, err := c.exchange(c.workload("analyst"), forAWS)
		return errors.Is(err, broker.ErrUnavailable)
	})
	c.eventually("a look", func() bool { return !c.Revoker.Cutoff(brokertest.LakeRole, first.SourceIdentity).IsZero() })
}

// Lifting a rule removes its denies; what another rule denies stays.
func TestLiftingGivesBackAtAWS(t *testing.T) {
	c := newDenying(t)
	s, _ := c.session(c.person("alice"), actor(c.workload("analyst")), task("t"))
	agent := c.takeBack(revocation.SelectAgent, "k8s:analyst", reissued)
	c.takeBack(revocation.SelectTask, "t")
	if got := len(c.denied(brokertest.LakeRole)); got != 2 {
		t.Fatalf("denies %v", c.denied(brokertest.LakeRole))
	}
	c.lift(agent.Rule.ID)
	c.eventually("the lift", func() bool { return slices.Equal(c.denied(brokertest.LakeRole), []string{"session " + s.Name}) })
	if status := c.AtAWS(t.Context(), agent.Rule); status == nil {
		t.Error("the live session is not told of")
	}
}

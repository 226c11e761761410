package policy_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
	"pgregory.net/rapid"
)

// scene is a bundle and a request, for the package and for the reference.
type scene struct {
	bundle    *policy.Bundle
	request   policy.Request
	reference *refBundle
	asked     refRequest
}

// requestsPerBundle: a bundle costs much more to draw than a request.
const requestsPerBundle = 20

func drawScene(t *rapid.T) *scene {
	s := &scene{reference: drawBundle(t)}
	var err error
	s.bundle, err = policy.Load(fstest.MapFS{"b.yaml": {Data: []byte(s.reference.yaml())}}, policy.Options{Issuer: "https://writ"})
	if err != nil {
		t.Fatalf("%v\n%s", err, s.reference.yaml())
	}
	return s
}

func (s *scene) drawRequest(t *rapid.T) {
	s.asked = refRequest{subject: drawParty(t, s.reference)}
	for range one(t, []int{0, 0, 1, 1, 2, 2, 3}, "actors") {
		s.asked.actors = append(s.asked.actors, drawParty(t, s.reference))
	}
	s.asked.task = one(t, []string{"", "x"}, "task")
	s.request = policy.Request{
		Subject: principal(s.asked.subject), Task: s.asked.task,
		TTL:  one(t, []time.Duration{0, 7 * time.Minute, time.Hour}, "ttl"),
		Time: start.Add(time.Duration(uniform(t, 3600, "second")) * time.Second),
	}
	for _, a := range s.asked.actors {
		s.request.Actors = append(s.request.Actors, principal(a))
	}
	if chance(t, 25, "parent") {
		s.drawParent(t)
	}
	for range one(t, []int{1, 1, 2, 3}, "scopes") {
		s.request.Scopes = append(s.request.Scopes, parsed(t, s.reference.drawScope(t).text()))
	}
}

func (s *scene) drawParent(t *rapid.T) {
	parent := &policy.Parent{Remaining: 40 * time.Minute, Depth: uniform(t, len(s.asked.actors)+1, "depth")}
	if chance(t, 5, "an actor was shed") {
		parent.Depth++
	}
	s.asked.parent, s.asked.parentDepth = []refScope{}, parent.Depth
	var members []scopes.Scope
	for range rapid.IntRange(1, 3).Draw(t, "parent scopes") {
		drawn := s.reference.drawScope(t)
		for _, action := range s.reference.tool(drawn.tool).actions {
			if drawn.action == "*" || drawn.action == action { // a token names its actions
				named := refScope{drawn.tool, action, drawn.resource}
				s.asked.parent = append(s.asked.parent, named)
				members = append(members, parsed(t, named.text()))
			}
		}
	}
	set, err := scopes.NewSet(members...)
	if err != nil {
		t.Fatal(err)
	}
	parent.Scopes = set
	s.request.Parent = parent
}

func principal(p *refParty) identity.Principal {
	kind := identity.KindWorkload
	if p.user {
		kind = identity.KindUser
	}
	return identity.Principal{ID: p.id, Kind: kind, Attributes: p.claims}
}

func parsed(t *rapid.T, text string) scopes.Scope {
	s, err := scopes.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// accesses are the concrete accesses that a scope permits, from the universe.
func (s *scene) accesses(of scopes.Scope) []access {
	var all []access
	tool := s.reference.tool(of.Tool())
	for _, action := range tool.actions {
		if of.Action() != action && of.Action() != "*" {
			continue
		}
		for _, r := range matching(of.Resource()) {
			all = append(all, access{tool.name, action, r})
		}
	}
	return all
}

// alone asks about one access and nothing else.
func (s *scene) alone(t *rapid.T, a access, at time.Time) policy.Decision {
	r := s.request
	resource := a.resource
	if s.reference.tool(a.tool).folds && len(resource)%2 == 0 {
		resource = strings.ToUpper(resource)
	}
	r.Scopes, r.Time = []scopes.Scope{parsed(t, a.tool+":"+a.action+":"+resource)}, at
	return s.bundle.Authorize(r)
}

// TestSoundness is the rule that makes it sound: no granted token permits, at any time of its life, a
// concrete access that the policy, asked about that access alone, would refuse. The reference says what
// the policy is, and Authorize itself must say the same.
func TestSoundness(t *testing.T) {
	granted, total := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		for range requestsPerBundle {
			s.drawRequest(t)
			total++
			if d := s.bundle.Authorize(s.request); d.Allowed {
				granted++
				s.checkGrant(t, d)
			}
		}
	})
	t.Logf("%d of %d requests were granted", granted, total)
	if granted*20 < total {
		t.Errorf("only %d of %d requests were granted: the test shows too little", granted, total)
	}
}

// checkGrant looks at every access that a granted token permits, at the telling times of its life.
func (s *scene) checkGrant(t *rapid.T, d policy.Decision) {
	times := s.times(t, d.Grant.TTL())
	for permitted := range d.Grant.Scopes().All() {
		all := s.accesses(permitted)
		if len(all) == 0 {
			t.Fatalf("no access stands for %s", permitted)
		}
		for n, a := range all {
			at := times
			if n%8 != 0 { // all accesses at some times, some accesses at all
				at = []time.Time{times[n%len(times)], times[n/8%len(times)]}
			}
			for _, at := range at {
				if !s.reference.allows(&s.asked, a, at) {
					t.Fatalf("the token permits %v at %v, which the policy refuses\nTTL %s\n%s\n%s", a, at, d.Grant.TTL(), d.Trace, s.reference.yaml())
				}
			}
		}
		for range 8 {
			a, at := one(t, all, "access"), one(t, times, "at")
			// Within the last second of a window no token is made, though the access is allowed.
			if alone := s.alone(t, a, at); !alone.Allowed && alone.Reason != policy.ReasonTTL {
				t.Fatalf("the token permits %v at %v, which alone is refused (%s)\n%s\n%s\n%s", a, at, alone.Reason, alone.Trace, d.Trace, s.reference.yaml())
			}
		}
	}
}

// times are instants of a token's life: its ends, the instants that conditions name and those just
// after, the minutes, and any other.
func (s *scene) times(t *rapid.T, ttl time.Duration) []time.Time {
	begin, end := s.request.Time, s.request.Time.Add(ttl)
	times := []time.Time{begin, end.Add(-1), begin.Add(time.Duration(rapid.Int64Range(0, int64(ttl)-1).Draw(t, "into")))}
	for at := start; at.Before(end); at = at.Add(5 * time.Minute) {
		for _, x := range []time.Time{at, at.Add(1)} {
			if !x.Before(begin) && x.Before(end) {
				times = append(times, x)
			}
		}
	}
	return times
}

// TestDecisionsAreExact holds Authorize against the reference in both directions: a pattern is allowed
// exactly when every access that it stands for is.
func TestDecisionsAreExact(t *testing.T) {
	allowed := 0
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		for range requestsPerBundle {
			s.drawRequest(t)
			if s.checkExact(t, s.request.Scopes[0]) {
				allowed++
			}
		}
	})
	t.Logf("%d scopes were allowed", allowed)
	if allowed < 20 {
		t.Errorf("only %d scopes were allowed: the test shows too little", allowed)
	}
}

// checkExact says whether the scope is allowed, which it must be exactly when all of it is.
func (s *scene) checkExact(t *rapid.T, asked scopes.Scope) bool {
	r := s.request
	r.Scopes = []scopes.Scope{asked}
	d := s.bundle.Authorize(r)
	if d.Reason == policy.ReasonTTL {
		return false // the window ends within the second
	}
	var refused *access
	for _, a := range s.accesses(asked) {
		if !s.reference.allows(&s.asked, a, r.Time) {
			refused = &a
			break
		}
	}
	switch {
	case d.Allowed && refused != nil:
		t.Fatalf("%s is allowed, though %v is not\n%s\n%s", asked, *refused, d.Trace, s.reference.yaml())
	case !d.Allowed && refused == nil:
		t.Fatalf("%s is refused (%s), though all that it stands for is allowed\n%s\n%s", asked, d.Reason, d.Trace, s.reference.yaml())
	}
	s.checkAlone(t, asked)
	return d.Allowed
}

// checkAlone compares single accesses.
func (s *scene) checkAlone(t *rapid.T, asked scopes.Scope) {
	all := s.accesses(asked)
	for range 8 {
		a := one(t, all, "access")
		d := s.alone(t, a, s.request.Time)
		want := s.reference.allows(&s.asked, a, s.request.Time)
		if d.Reason != policy.ReasonTTL && d.Allowed != want {
			t.Fatalf("%v is %v, the reference says %v\n%s\n%s", a, d.Allowed, want, d.Trace, s.reference.yaml())
		}
	}
}

// TestDecisionsAreDeterministic: the same bundle, written in another order, gives the same decision,
// trace and version.
func TestDecisionsAreDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		s.drawRequest(t)
		first, second := s.bundle.Authorize(s.request), s.bundle.Authorize(s.request)
		if first.Trace.String() != second.Trace.String() || outcome(first) != outcome(second) {
			t.Fatal("two decisions differ")
		}
		shuffled := *s.reference
		shuffled.bindings, shuffled.denies = slices.Clone(shuffled.bindings), slices.Clone(shuffled.denies)
		shuffled.delegations, shuffled.inventory = slices.Clone(shuffled.delegations), slices.Clone(shuffled.inventory)
		slices.Reverse(shuffled.inventory)
		other, err := policy.Load(fstest.MapFS{"x/y.yml": {Data: []byte("# a comment\n" + shuffled.yaml())}}, policy.Options{Issuer: "https://writ"})
		if err != nil {
			t.Fatal(err)
		}
		if other.Version() != s.bundle.Version() {
			t.Fatal("the order of the inventory changes the version")
		}
		if got := other.Authorize(s.request); outcome(got) != outcome(first) || got.Allowed && got.Grant.TTL() != first.Grant.TTL() {
			t.Fatal("the order of the inventory changes the decision")
		}
	})
}

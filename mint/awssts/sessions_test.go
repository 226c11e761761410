package awssts_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/token"
)

func get(t *testing.T, all *awssts.Sessions, o *mint.SessionOrder) (*mint.Session, bool) {
	t.Helper()
	s, fresh, err := all.Session(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s, fresh
}

// An order that differs in anything that matters never gets another's session.
func TestSessionsAreNotShared(t *testing.T) {
	s := newStudio(t, awssts.AssumeRole)
	all := s.sessions()
	base := workload{subject: "k8s:ns:boss", task: "t", ttl: time.Hour}
	first, fresh := get(t, all, s.order(base))
	if !fresh {
		t.Fatal("the first is not fresh")
	}
	if again, fresh := get(t, all, s.order(base)); fresh || again != first {
		t.Fatal("an equal order is not served")
	}
	with := func(change func(*workload)) workload {
		w := base
		change(&w)
		return w
	}
	ancestor := func(id, kid string) func(*mint.Input) {
		return func(in *mint.Input) { in.Ancestors = []token.Ancestor{{ID: id, KeyID: kid}} }
	}
	for name, w := range map[string]workload{
		"another subject":             with(func(w *workload) { w.subject = "k8s:ns:other" }),
		"the agent for itself":        with(func(w *workload) { w.subject = "" }),
		"another task":                with(func(w *workload) { w.task = "t2" }),
		"no task":                     with(func(w *workload) { w.task = "" }),
		"other scopes":                with(func(w *workload) { w.asked = []string{"lake:write:sales/eu/**"} }),
		"more scopes":                 with(func(w *workload) { w.asked = []string{readLake, "lake:read:hr/x"} }),
		"another life":                with(func(w *workload) { w.ttl = 30 * time.Minute }),
		"another client":              with(func(w *workload) { w.change = func(in *mint.Input) { in.ClientID = "k8s:ns:other" } }),
		"a token that it descends of": with(func(w *workload) { w.change = ancestor("a", "k") }),
		"another one":                 with(func(w *workload) { w.change = ancestor("b", "k") }),
		"one of another key":          with(func(w *workload) { w.change = ancestor("a", "k2") }),
		"parts that run together":     with(func(w *workload) { w.change = ancestor("ak", "") }),
	} {
		if got, fresh := get(t, all, s.order(w)); !fresh || got == first {
			t.Errorf("%s: gets the session of another", name)
		}
	}
	// Another role, and another policy.
	s.cfg.ExternalID = "42"
	audit := s.sessions()
	a, _ := get(t, audit, s.order(base))
	if b, fresh := get(t, audit, s.order(with(func(w *workload) { w.role = "audit" }))); !fresh || a.Role == b.Role {
		t.Error("another role gets the session of the first")
	}
	if c, fresh := get(t, audit, s.order(with(func(w *workload) { w.role = "default" }))); fresh || c != a {
		t.Error("the same role by its name is another")
	}
	changed := s.order(base)
	changed.Bundle = loadBundle(t, sessionYAML+"\n---\nkind: roles\nroles:\n- {name: unused, grants: [{scopes: [\"lake:read:x\"]}]}\n")
	if got, fresh := get(t, audit, changed); !fresh || got == a {
		t.Error("another policy gets the session of the first")
	}
}

// A session is given out while it is what the order would get: alive, not longer than is
// granted now, and long enough for SDKs that renew early.
func TestWhenAKeptSessionServes(t *testing.T) {
	for name, row := range map[string]struct {
		ttl   time.Duration
		after time.Duration
		then  func(*mint.SessionOrder)
		want  bool
	}{
		"at once":                          {ttl: time.Hour, want: true},
		"before SDKs renew it":             {ttl: time.Hour, after: 43 * time.Minute, want: true},
		"when SDKs renew it":               {ttl: time.Hour, after: 44 * time.Minute},
		"in the first half of a short one": {ttl: 5 * time.Minute, after: 2 * time.Minute, want: true},
		"in its second half":               {ttl: 5 * time.Minute, after: 3 * time.Minute},
		"after its end":                    {ttl: time.Hour, after: 2 * time.Hour},
		"to one whose grant ends sooner":   {ttl: time.Hour, then: func(o *mint.SessionOrder) { o.Claims().Expiry -= 60 }},
		"when a rule hits it":              {ttl: time.Hour, then: func(o *mint.SessionOrder) { o.Alive = dead }},
		"when nobody can say":              {ttl: time.Hour, then: func(o *mint.SessionOrder) { o.Alive = nil }},
	} {
		s := newStudio(t, awssts.AssumeRole)
		all := s.sessions()
		first, _ := get(t, all, s.order(workload{ttl: row.ttl}))
		s.now = s.now.Add(row.after)
		o := s.order(workload{ttl: row.ttl})
		if row.then != nil {
			row.then(o)
		}
		if got, fresh := get(t, all, o); fresh == row.want || (got == first) != row.want {
			t.Errorf("%s: fresh %v", name, fresh)
		}
	}
}

func dead(*mint.Session) bool { return false }

// What a rule hits is gone, not only hidden: when it is lifted, nobody gets it back.
func TestARevokedSessionIsDropped(t *testing.T) {
	s := newStudio(t, awssts.WebIdentity)
	all := s.sessions()
	first, _ := get(t, all, s.order(workload{}))
	hit := ""
	second, fresh := get(t, all, s.order(workload{alive: func(kept *mint.Session) bool {
		hit = kept.Claims.ID + " " + kept.KeyID
		return kept != first
	}}))
	if !fresh || hit != first.Claims.ID+" k1" {
		t.Errorf("fresh %v; asked about %q", fresh, hit)
	}
	if got, _ := get(t, all, s.order(workload{})); got != second {
		t.Error("the revoked session came back")
	}
	if all.Forget(func(kept *mint.Session) bool { return kept == second }); all.Kept() != 0 {
		t.Errorf("%d kept", all.Kept())
	}
}

// Equal orders that come together make one call; those whose caller leaves do not end it for
// the others.
func TestOneCallForMany(t *testing.T) {
	s := newStudio(t, awssts.AssumeRole)
	all := s.sessions()
	hold := make(chan struct{})
	entered := make(chan struct{}, 1)
	s.cfg.HTTP.Transport = holding{s.cfg.HTTP.Transport.RoundTrip, hold, entered}
	leaving, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var fresh atomic.Int32
	seen := make(chan *mint.Session, 20)
	wg.Go(func() { // leads, and leaves
		got, isFresh, err := all.Session(leaving, s.order(workload{}))
		if err != nil || !isFresh {
			t.Errorf("who left ended the call: fresh %t, %v", isFresh, err)
			return
		}
		fresh.Add(1)
		seen <- got
	})
	<-entered
	leave()
	o := s.order(workload{})
	for range 16 {
		wg.Go(func() {
			got, isFresh, err := all.Session(t.Context(), o)
			if err != nil {
				t.Error(err)
				return
			}
			if isFresh {
				fresh.Add(1)
			}
			seen <- got
		})
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := all.Session(gone, o); err == nil {
		t.Error("a caller that left waits")
	}
	close(hold)
	wg.Wait()
	close(seen)
	one := map[*mint.Session]bool{}
	for got := range seen {
		one[got] = true
	}
	if n := len(s.sts.Calls("")); n != 1 || len(one) != 1 || fresh.Load() != 1 {
		t.Errorf("%d calls, %d sessions, %d fresh", n, len(one), fresh.Load())
	}
}

// holding keeps calls until hold is closed.
type holding struct {
	next    func(*http.Request) (*http.Response, error)
	hold    <-chan struct{}
	entered chan<- struct{}
}

func (h holding) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case h.entered <- struct{}{}:
	default:
	}
	<-h.hold
	return h.next(r)
}

// A session that is revoked while others wait for it is not given to them.
func TestRevokedWhileOthersWait(t *testing.T) {
	s := newStudio(t, awssts.AssumeRole)
	all := s.sessions()
	hold, entered := make(chan struct{}), make(chan struct{}, 1)
	s.cfg.HTTP.Transport = holding{s.cfg.HTTP.Transport.RoundTrip, hold, entered}
	leader := s.order(workload{})
	var wg sync.WaitGroup
	wg.Go(func() { _, _, _ = all.Session(t.Context(), leader) })
	<-entered
	wg.Go(func() {
		got, fresh, err := all.Session(t.Context(), s.order(workload{alive: func(made *mint.Session) bool { return made.Claims.ID != leader.Claims().ID }}))
		if err != nil || !fresh || got.Claims.ID == leader.Claims().ID {
			t.Errorf("fresh %v, error %v", fresh, err)
		}
	})
	close(hold)
	wg.Wait()
}

// Nobody gets a session that is not noted yet: neither who waits for it, nor who finds it kept.
// One that the ledger does not know could not be taken back, should the broker die now.
func TestASessionIsNotedBeforeAnybodyGetsIt(t *testing.T) {
	s := newStudio(t, awssts.AssumeRole)
	all := s.sessions()
	entered, release := make(chan struct{}), make(chan struct{})
	var noted atomic.Pointer[mint.Session]
	leader := s.order(workload{})
	leader.Note = func(_ context.Context, made *mint.Session) {
		close(entered)
		<-release
		noted.Store(made)
	}
	var wg sync.WaitGroup
	given := func(o *mint.SessionOrder) {
		got, _, err := all.Session(t.Context(), o)
		if err != nil || noted.Load() != got {
			t.Errorf("a session is given out before it is noted (error %v)", err)
		}
	}
	wg.Go(func() { given(leader) })
	<-entered
	for range 4 {
		o := s.order(workload{})
		o.Note = func(context.Context, *mint.Session) { t.Error("a session is noted that was not made") }
		wg.Go(func() { given(o) })
	}
	time.Sleep(20 * time.Millisecond) // they are there, and wait
	close(release)
	wg.Wait()
}

// A failure is not kept, and those who waited for it are told it.
func TestFailuresAreNotKept(t *testing.T) {
	s := newStudio(t, awssts.AssumeRole)
	all := s.sessions()
	s.sts.Fail(ststest.Fault{Status: 403, Code: "AccessDenied"})
	if _, _, err := all.Session(t.Context(), s.order(workload{})); err == nil {
		t.Fatal("no error")
	}
	if _, fresh := get(t, all, s.order(workload{})); !fresh || all.Kept() != 1 {
		t.Errorf("fresh %v, kept %d", fresh, all.Kept())
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	s := newStudio(t, awssts.AssumeRole)
	for bound, want := range map[int]int{4: 4, -1: 0} {
		m, err := awssts.New(s.cfg)
		if err != nil {
			t.Fatal(err)
		}
		all, err := awssts.NewSessions(awssts.SessionsConfig{Minter: m, Entries: bound})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			get(t, all, s.order(workload{task: fmt.Sprint(i)}))
		}
		if all.Kept() != want {
			t.Errorf("bound %d: %d kept", bound, all.Kept())
		}
		s.now = s.now.Add(time.Hour)
		last, _ := get(t, all, s.order(workload{task: "last"}))
		if got, fresh := get(t, all, s.order(workload{task: "last"})); want > 0 && (fresh || got != last) {
			t.Error("the last is not kept")
		}
	}
}

// Calls in flight and callers that wait are bounded: a slow STS costs no more.
func TestAtOnceIsBounded(t *testing.T) {
	s := newStudio(t, awssts.AssumeRole)
	s.cfg.AtOnce = 1
	hold, entered := make(chan struct{}), make(chan struct{}, 64)
	s.cfg.HTTP.Transport = holding{s.cfg.HTTP.Transport.RoundTrip, hold, entered}
	all := s.sessions()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	busy := make(chan error, 64)
	for i := range 32 {
		o := s.order(workload{task: fmt.Sprint(i)})
		wg.Go(func() {
			if _, _, err := all.Session(ctx, o); err != nil {
				busy <- err
			}
		})
	}
	for range 32 - 9 { // one in flight, eight wait
		named, ok := errors.AsType[*mint.SessionError](<-busy)
		if !ok || named.Reason != awssts.ReasonBusy {
			t.Fatalf("got %v", named)
		}
	}
	if len(entered) > 1 {
		t.Errorf("%d calls in flight", len(entered))
	}
	close(hold)
	wg.Wait()
	if len(busy) != 0 {
		t.Errorf("%d more were refused", len(busy))
	}
}

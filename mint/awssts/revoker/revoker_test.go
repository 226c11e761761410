package revoker_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/internal/iamtest"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts/denylist"
	"github.com/writbroker/writ/mint/awssts/revoker"
)

// hard is an IAM at its worst.
var hard = iamtest.Options{Lag: 4 * time.Second, Throttle: 0.05, Fail: 0.03, Lose: 0.05}

// Fifty writers on five replicas, on an IAM where the last writer wins, what is read is old,
// and calls fail: every deny is there in the end, and stays, whatever others write over it.
func TestFiftyWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, hard)
		var replicas []*revoker.Revoker
		for range 5 {
			r := a.replica()
			replicas = append(replicas, r)
			defer a.run(r, source{})()
		}
		var asked []mint.Deny
		for i := range 50 {
			d := deny([]string{lake, reports}[i%2], fmt.Sprintf("agent-%02d", i))
			if i%5 == 0 {
				d.Kind, d.Value = mint.DenySession, fmt.Sprintf("session-%02d", i)
			}
			asked = append(asked, d)
		}
		var writers sync.WaitGroup
		for i, d := range asked {
			writers.Go(func() {
				time.Sleep(time.Duration(i%7) * 300 * time.Millisecond)
				r := replicas[i%len(replicas)]
				r.Deny(t.Context(), []mint.Deny{d})
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
				defer cancel()
				for _, s := range r.Wait(ctx, []mint.Deny{d}) {
					if s.State == mint.DenyPending {
						t.Errorf("%s is not done: %+v", d.Value, s)
					}
				}
			})
		}
		writers.Wait()
		a.stay(t, asked, "after the writers")
		// Somebody takes the policy away, and somebody puts an older one back.
		old := a.iam.Policy(reports, denylist.PolicyName)
		a.iam.SetPolicy(lake, denylist.PolicyName, "")
		late := deny(reports, "agent-late")
		replicas[3].Deny(t.Context(), []mint.Deny{late})
		time.Sleep(time.Minute)
		a.iam.SetPolicy(reports, denylist.PolicyName, old)
		a.stay(t, append(asked, late), "after drift")
		if n := a.iam.Policy(idle, denylist.PolicyName); n != "" {
			t.Errorf("a role that nobody uses denies %s", n)
		}
		time.Sleep(time.Hour)
		for _, arn := range []string{lake, reports} {
			if text := a.iam.Policy(arn, denylist.PolicyName); text != "" {
				t.Errorf("%s still has a policy when all is spent: %s", arn, text)
			}
		}
	})
}

// stay gives repair the time that it may take, and then looks again and again.
func (a *account) stay(t *testing.T, asked []mint.Deny, when string) {
	t.Helper()
	time.Sleep(4 * time.Minute)
	for range 10 {
		time.Sleep(20 * time.Second)
		for _, d := range asked {
			if !a.denies(d) {
				t.Fatalf("%s, %s of %s is not denied: %v", when, d.Value, d.Role, a.says(d.Role))
			}
		}
	}
}

// Done is said of what has stayed: not while others write over it.
func TestDoneHasStayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, iamtest.Options{})
		r := a.replica()
		defer a.run(r, source{})()
		d := deny(lake, "agent-1")
		r.Deny(t.Context(), []mint.Deny{d})
		var over atomic.Bool
		var other sync.WaitGroup
		other.Go(func() {
			for range 30 {
				time.Sleep(time.Second)
				a.iam.SetPolicy(lake, denylist.PolicyName, "")
			}
			over.Store(true)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		got := r.Wait(ctx, []mint.Deny{d})
		if len(got) != 1 || got[0].State != mint.DenyDone || !over.Load() || !a.denies(d) {
			t.Errorf("got %+v, while others wrote: %v, denied: %v", got, !over.Load(), a.denies(d))
		}
		other.Wait()
	})
}

// A replica that only finds the plan in the store keeps up what others noted.
func TestAnotherReplicaRepairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, iamtest.Options{Lag: time.Second})
		first := a.replica()
		d := deny(lake, "agent-1")
		first.Deny(t.Context(), []mint.Deny{d}) // and it dies before it did anything
		stop := a.run(a.replica(), source{})
		time.Sleep(time.Minute)
		stop()
		if !a.denies(d) {
			t.Fatal("another replica did not do it")
		}
		a.iam.SetPolicy(lake, denylist.PolicyName, "")
		defer a.run(a.replica(), source{})() // after a restart
		time.Sleep(time.Minute)
		if !a.denies(d) {
			t.Fatal("the deny was not put back")
		}
	})
}

// What the broker finds due is denied without anybody calling Deny: rules of other replicas.
func TestDueIsDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, iamtest.Options{})
		d := deny(lake, "agent-1")
		defer a.run(a.replica(), source{due: func() []mint.Deny { return []mint.Deny{d} }})()
		time.Sleep(time.Minute)
		if !a.denies(d) || a.iam.Calls("PutRolePolicy") != 1 {
			t.Fatalf("%v, in %d writes", a.says(lake), a.iam.Calls("PutRolePolicy"))
		}
	})
}

// Lifting a rule removes its denies and no other's, though both say the same, and also where
// the policy was widened for lack of room.
func TestLift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, hard)
		r := a.replica()
		var lifted lifts
		defer a.run(r, lifted.source())()
		defer a.run(a.replica(), source{})()
		gone, stays, same := deny(lake, "agent-1"), deny(lake, "agent-2"), deny(lake, "agent-1")
		other := deny(reports, "agent-1")
		same.Role, same.Rule = reports, "rule-other"
		r.Deny(t.Context(), []mint.Deny{gone, stays, other, same})
		time.Sleep(3 * time.Minute)
		if !a.denies(gone) || !a.denies(stays) || !a.denies(other) {
			t.Fatal("not denied to begin with")
		}
		lifted.lift(r, gone.Rule)
		time.Sleep(5 * time.Minute)
		if a.denies(gone) || !a.denies(stays) || !a.denies(same) {
			t.Errorf("after the lift: %v, %v", a.says(lake), a.says(reports))
		}
	})
}

func TestLiftNarrowsWhatWasWidened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, iamtest.Options{Lag: time.Second})
		a.iam.SetPolicy(lake, "of-others", `{"Version":"2012-10-17","Statement":["`+strings.Repeat("x", 9600)+`"]}`)
		time.Sleep(2 * time.Second) // until every read shows it
		r := a.replica()
		var lifted lifts
		defer a.run(r, lifted.source())()
		var many []mint.Deny
		for i := range 40 {
			d := deny(lake, fmt.Sprintf("agent-%02d", i))
			d.Rule = "rule-many"
			many = append(many, d)
		}
		few := deny(lake, "agent-x")
		r.Deny(t.Context(), append(many, few))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		got := r.Wait(ctx, many)
		if len(got) != 1 || got[0].State != mint.DenyDone || !strings.Contains(got[0].Detail, "every session") {
			t.Fatalf("got %+v", got)
		}
		lifted.lift(r, "rule-many")
		time.Sleep(3 * time.Minute)
		says := a.says(lake)
		if len(says) != 1 || says[0].Kind != denylist.SourceIdentity || says[0].Value != "agent-x" {
			t.Errorf("after the lift: %v", says)
		}
	})
}

// A rule that the broker says is lifted goes, though nobody told the revoker.
func TestLiftedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, iamtest.Options{})
		d := deny(lake, "agent-1")
		a.replica().Deny(t.Context(), []mint.Deny{d})
		defer a.run(a.replica(), source{lifted: func(id string) bool { return id == d.Rule }})()
		time.Sleep(2 * time.Minute)
		if says := a.says(lake); len(says) != 0 {
			t.Errorf("still denied: %v", says)
		}
	})
}

// More denies of a role than are told apart become one of the role, which no lift ends.
func TestTooManyDenies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, iamtest.Options{})
		r := a.replica()
		var lifted lifts
		defer a.run(r, lifted.source())()
		var many []mint.Deny
		for i := range 400 {
			many = append(many, deny(lake, fmt.Sprintf("agent-%03d", i)))
		}
		for i := range 8 {
			r.Deny(t.Context(), many[i*50:i*50+50])
		}
		lifted.lift(r, many[7].Rule)
		time.Sleep(3 * time.Minute)
		for _, d := range many[8:] {
			if !a.denies(d) {
				t.Fatalf("%s is not denied: %v", d.Value, a.says(lake))
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if got := r.Wait(ctx, many[8:]); len(got) != 1 || got[0].State != mint.DenyDone {
			t.Errorf("got %+v", got)
		}
	})
}

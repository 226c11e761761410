package revoker_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/internal/iamtest"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts/denylist"
	"github.com/writbroker/writ/mint/awssts/revoker"
)

type hook struct {
	next   http.RoundTripper
	before func(action string)
}

func (h hook) RoundTrip(r *http.Request) (*http.Response, error) {
	raw, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(raw))
	body := string(raw) + "&"
	for _, a := range []string{"GetRolePolicy", "DeleteRolePolicy", "PutRolePolicy"} {
		if strings.Contains(body, "Action="+a+"&") {
			h.before(a)
		}
	}
	return h.next.RoundTrip(r)
}

// A rule was lifted. Then the agent is revoked again, at another replica, while the first one is
// between reading the plan and reading the role.
func TestALiftTakesNoNewRulesDenyAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, iamtest.Options{})
		var armed, fired atomic.Bool
		var taken atomic.Int32
		second := a.replica() // shares its plan, and writes
		var again mint.Deny
		first := a.replica(func(c *revoker.Config) {
			c.HTTP = &http.Client{Transport: hook{a.iam, func(action string) {
				switch {
				case action == "GetRolePolicy" && armed.CompareAndSwap(true, false):
					second.Deny(t.Context(), []mint.Deny{again})
					e, _ := denylist.Entry{Kind: denylist.SourceIdentity, Value: again.Value, Before: again.Before, Expires: again.Expires}.Rounded()
					r, err := denylist.Merge(a.iam.Policy(lake, denylist.PolicyName), []denylist.Entry{e}, time.Now(), 0) // what second writes
					if err != nil {
						t.Error(err)
						return
					}
					a.iam.SetPolicy(lake, denylist.PolicyName, r.Document)
					fired.Store(true)
				case action == "PutRolePolicy" && fired.Load():
					taken.Add(1)
				}
			}}}
		})
		var gone lifts
		defer a.run(first, gone.source())()
		once := deny(lake, "agent-1")
		first.Deny(t.Context(), []mint.Deny{once, deny(lake, "agent-2")})
		time.Sleep(time.Minute)
		gone.lift(first, once.Rule)
		time.Sleep(time.Minute)
		again = deny(lake, "agent-1")
		again.Rule, again.Before = "rule-again", once.Before.Add(5*time.Minute)
		again.Expires = once.Expires.Add(5 * time.Minute)
		armed.Store(true)
		for range 3000 {
			time.Sleep(100 * time.Millisecond)
			if fired.Load() {
				break
			}
		}
		missing := time.Duration(0)
		for range 1200 {
			time.Sleep(100 * time.Millisecond)
			if !a.denies(again) {
				missing += 100 * time.Millisecond
			}
		}
		if !fired.Load() {
			t.Fatal("the window was not hit: this shows nothing")
		}
		if taken.Load() > 0 || missing > 0 {
			t.Errorf("a live deny was removed %d times, and was gone for %s", taken.Load(), missing)
		}
	})
}

package revoker_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/internal/iamtest"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts/denylist"
	"github.com/writbroker/writ/mint/awssts/revoker"
)

// Over a connection, with the SDK's own client on one side and IAM's protocol on the other.
func TestOverHTTP(t *testing.T) {
	a := newAccount(t, iamtest.Options{Keys: []string{"AKIAREVOKER"}})
	for _, name := range []string{"a", "b", "c", "d", "e"} { // pages of them
		a.iam.SetPolicy(lake, name, `{"Version": "2012-10-17", "Statement": ["100% + `+name+`"]}`)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	r := a.replica(func(c *revoker.Config) {
		c.Endpoint, c.HTTP, c.Settle = a.iam.Serve(t), &http.Client{Transport: transport}, 50*time.Millisecond
	})
	defer a.run(r, source{})()
	d := deny(lake, "agent+1@example.com")
	r.Deny(t.Context(), []mint.Deny{d})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := r.Wait(ctx, []mint.Deny{d})
	if len(got) != 1 || got[0] != (mint.DenyStatus{Role: lake, State: mint.DenyDone}) || !a.denies(d) {
		t.Errorf("got %+v", got)
	}
}

func TestFaultsAreNamed(t *testing.T) {
	elsewhere := strings.Replace(lake, "123456789012", "999999999999", 1)
	foreign := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	for name, row := range map[string]struct {
		role   string
		change func(*account)
		want   string
	}{
		"another account":   {role: elsewhere, want: "another account"},
		"a role that went":  {role: lake + "-gone", want: "not in the account"},
		"no right to do it": {role: lake, change: func(a *account) { a.iam.Change(func(o *iamtest.Options) { o.Keys = []string{"AKIAOTHER"} }) }, want: "writ aws setup"},
		"throttled":         {role: lake, change: func(a *account) { a.iam.Change(func(o *iamtest.Options) { o.Throttle = 1 }) }, want: "throttles"},
		"away":              {role: lake, change: func(a *account) { a.iam.Down(true) }, want: "does not answer"},
		"somebody's policy": {role: lake, change: func(a *account) { a.iam.SetPolicy(lake, denylist.PolicyName, foreign) }, want: "written by somebody else"},
		"no room in the role": {role: lake, change: func(a *account) {
			a.iam.SetPolicy(lake, "big", `{"Version":"2012-10-17","Statement":["`+strings.Repeat("x", 10170)+`"]}`)
		}, want: "leave no room"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, iamtest.Options{})
				if row.change != nil {
					row.change(a)
				}
				r := a.replica()
				defer a.run(r, source{})()
				d, well := deny(row.role, "agent-1"), deny(reports, "agent-2")
				r.Deny(t.Context(), []mint.Deny{d, well})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				got := r.Wait(ctx, []mint.Deny{d})
				if len(got) != 1 || got[0].State != mint.DenyFailed || !strings.Contains(got[0].Detail, row.want) {
					t.Errorf("got %+v, want %q", got, row.want)
				}
				if text := a.iam.Policy(lake, denylist.PolicyName); text != "" && text != foreign {
					t.Errorf("the role of another's name got %s", text)
				}
			})
		})
	}
}

// What could not be done is done when it can be.
func TestIAMComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, iamtest.Options{})
		a.iam.Down(true)
		r := a.replica()
		defer a.run(r, source{})()
		d := deny(lake, "agent-1")
		r.Deny(t.Context(), []mint.Deny{d})
		time.Sleep(10 * time.Minute)
		a.iam.Down(false)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		for ctx.Err() == nil && !a.denies(d) {
			time.Sleep(time.Second)
		}
		if !a.denies(d) {
			t.Errorf("not denied after IAM was back")
		}
	})
}

// Without the store, what was asked here is denied all the same; when it comes back, it is
// shared. A store that was tampered with takes nothing back.
func TestStoreAwayOrForged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, iamtest.Options{})
		a.cells.away.Store(true)
		r := a.replica()
		defer a.run(r, source{})()
		d := deny(lake, "agent-1")
		r.Deny(t.Context(), []mint.Deny{d})
		time.Sleep(time.Minute)
		if !a.denies(d) {
			t.Fatal("not denied without the store")
		}
		a.cells.away.Store(false)
		time.Sleep(2 * time.Minute)
		a.cells.forged.Store(true)
		time.Sleep(2 * time.Minute)
		a.iam.SetPolicy(lake, denylist.PolicyName, "")
		defer a.run(a.replica(), source{})()
		time.Sleep(2 * time.Minute)
		if a.cells.forged.Load() || !a.denies(d) {
			t.Errorf("forged: %v, denies %v", a.cells.forged.Load(), a.says(lake))
		}
	})
}

func TestNewRefuses(t *testing.T) {
	if _, err := revoker.New(revoker.Config{Region: "eu-central-1"}); err == nil {
		t.Error("no error without credentials")
	}
}

var _ revoker.Source = source{}

package httpapi_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// TestARotationThatWaitsIsShown: a connected verifier that has not reported the next key holds
// up a scheduled rotation, and the admin API says which one.
func TestARotationThatWaitsIsShown(t *testing.T) {
	var ahead atomic.Int64
	s := serve(t, options{running: true, world: brokertest.Options{Now: func() time.Time {
		return time.Now().Add(time.Duration(ahead.Load()))
	}}})
	active, next := kidIn(s, keys.StageActive), kidIn(s, keys.StageNext)
	pass := func(d time.Duration) {
		t.Helper()
		ahead.Add(int64(d))
		if err := errors.Join(s.Journal.Sync(t.Context()), s.Keys.Refresh(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	pass(24*time.Hour - 5*time.Minute)
	auth := s.reader()
	st := s.feed(s.public, "/revocations/feed?verifier=v1&name=warehouse", auth, token.Rev{})
	st.next()
	report := func(kids ...string) {
		t.Helper()
		ack := revocation.Ack{Verifier: "v1", Name: "warehouse", Position: s.Index.Position(), Keys: kids}
		if a := s.call(s.public, "POST", "/revocations/ack", auth, ack); a.status != 204 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if err := s.Keys.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	report(active)
	pass(5*time.Minute + time.Second)
	list := decode[wire.KeyList](t, s.call(s.admin, "GET", "/admin/v1/keys", s.secops("writ:keys:read"), nil))
	w := list.Waiting
	if w == nil || w.ID != next || w.Total != 1 || len(w.Verifiers) != 1 || !strings.HasPrefix(w.Verifiers[0], "warehouse (k8s:warehouse-api v1)") || !w.Until.After(w.Due) {
		t.Fatalf("waiting is %+v", w)
	}
	verifiers := decode[wire.VerifierList](t, s.call(s.admin, "GET", "/admin/v1/verifiers", s.secops("writ:revoke:read"), nil)).Verifiers
	if len(verifiers) != 1 || !slices.Equal(verifiers[0].Keys, []string{active}) {
		t.Errorf("verifiers are %+v", verifiers)
	}
	report(active, next)
	list = decode[wire.KeyList](t, s.call(s.admin, "GET", "/admin/v1/keys", s.secops("writ:keys:read"), nil))
	if list.Waiting != nil || kidIn(s, keys.StageActive) != next {
		t.Errorf("the verifier has the key: %+v", list)
	}
}

func kidIn(s *server, stage keys.Stage) string {
	for _, k := range s.Keys.List() {
		if k.Stage == stage {
			return k.ID
		}
	}
	return ""
}

package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/revocation"
)

func TestRefusals(t *testing.T) {
	now := time.Now() // and it stays so: nothing is earned back while the test runs
	s := serve(t, options{world: brokertest.Options{Now: func() time.Time { return now }}})
	rule := s.Revoke(t, revocation.SelectTask, "t1")
	auth := s.reader()
	jti := uuid.NewString()
	report := map[string]any{"verifier": "v1", "name": "warehouse", "dropped": 3, "refusals": []map[string]any{
		{"rule": rule.ID, "jti": jti, "at": s.Now()}, {"rule": rule.ID, "jti": jti, "at": s.Now()},
		{"rule": uuid.NewString(), "jti": jti, "at": s.Now()}, {"rule": rule.ID, "jti": "not a\njti", "at": s.Now()},
	}}
	if a := s.call(s.public, "POST", "/revocations/refusals", auth, report); a.status != 204 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	got := decode[wire.RuleStatus](t, s.call(s.admin, "GET", "/admin/v1/revocations/"+rule.ID, s.secops("writ:revoke:read"), nil))
	if r := got.Refusals; r == nil || r.Total != 2 || r.Tokens != 1 || len(r.By) != 1 || r.By[0].Principal != "k8s:warehouse-api" ||
		r.By[0].Name != "warehouse" || r.By[0].TokenIDs[0] != jti {
		t.Errorf("refusals %+v", got.Refusals)
	}
	records := 0
	for rec, err := range audit.Query(s.Audit.Files(), audit.Filter{Kind: audit.KindUse}) {
		if err != nil {
			t.Fatal(err)
		}
		records++
		if rec.ClientID != "k8s:warehouse-api" || rec.Detail["rules"] != rule.ID || !strings.Contains(rec.Detail["jtis"], jti) || rec.Detail["dropped"] != "3" {
			t.Errorf("record %+v", rec.Event)
		}
	}
	if records != 1 {
		t.Errorf("%d records of one report", records)
	}

	t.Run("only for itself, and only who may read the feed", func(t *testing.T) {
		for _, auth := range []string{"", "nonsense"} {
			if a := s.call(s.public, "POST", "/revocations/refusals", auth, report); a.status != 401 {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
		if a := s.call(s.public, "POST", "/revocations/refusals", s.secops("writ:revoke:read"), report); a.status != 403 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("is bounded", func(t *testing.T) {
		many := make([]map[string]any, wire.MaxRefusals+1)
		for i := range many {
			many[i] = map[string]any{"rule": rule.ID, "jti": jti, "at": s.Now()}
		}
		for name, bad := range map[string]map[string]any{
			"too many":        {"verifier": "v1", "refusals": many},
			"nobody":          {"refusals": many[:1]},
			"an unfit name":   {"verifier": "v1\nk8s:other", "refusals": many[:1]},
			"a name too long": {"verifier": strings.Repeat("v", 200), "refusals": many[:1]},
		} {
			if a := s.call(s.public, "POST", "/revocations/refusals", auth, bad); a.status != 400 {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
		}
		limited := false
		for range 200 {
			if a := s.call(s.public, "POST", "/revocations/refusals", auth, report); a.status == 429 {
				limited = true
				break
			}
		}
		if !limited {
			t.Error("a flood of reports was taken")
		}
	})
}

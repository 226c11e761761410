package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

const ruleID = "01981c2e-58f0-7000-8000-00000000f00d"

// Each administrative call needs its own scope, and no other will do.
func TestAdminScopes(t *testing.T) {
	s := serve(t, options{})
	rule := s.Revoke(t, revocation.SelectTask, "t9")
	calls := map[string]struct {
		method, path string
		body         any
		scope        string
		status       int
	}{
		"revoke":    {"POST", "/admin/v1/revocations", wire.RevokeRequest{Selector: "agent", Value: "k8s:helper"}, "writ:revoke:agent/k8s%3Ahelper", 200},
		"rules":     {"GET", "/admin/v1/revocations", nil, "writ:revoke:read", 200},
		"rule":      {"GET", "/admin/v1/revocations/" + rule.ID, nil, "writ:revoke:read", 200},
		"no rule":   {"GET", "/admin/v1/revocations/" + ruleID, nil, "writ:revoke:read", 404},
		"verifiers": {"GET", "/admin/v1/verifiers", nil, "writ:revoke:read", 200},
		"lift":      {"POST", "/admin/v1/revocations/" + rule.ID + "/lift", wire.LiftRequest{}, "writ:lift:task/t9", 200},
		"no lift":   {"POST", "/admin/v1/revocations/" + ruleID + "/lift", wire.LiftRequest{}, "writ:lift:**", 404},
		"keys":      {"GET", "/admin/v1/keys", nil, "writ:keys:read", 200},
		"rotate":    {"POST", "/admin/v1/keys/rotate", wire.RotateRequest{}, "writ:keys:rotate", 200},
		"policy":    {"GET", "/admin/v1/policy", nil, "writ:policy:read", 200},
		"decision":  {"GET", "/admin/v1/decisions/" + ruleID, nil, "writ:policy:read", 404},
		"audit":     {"GET", "/admin/v1/audit", nil, "writ:audit:read", 200},
	}
	everything := []string{
		"writ:revoke:agent/k8s%3Ahelper", "writ:revoke:read", "writ:lift:task/t9", "writ:lift:**", "writ:keys:read", "writ:keys:rotate",
		"writ:policy:read", "writ:audit:read", "writ:feed:read",
	}
	for name, c := range calls {
		t.Run(name, func(t *testing.T) {
			a := s.call(s.admin, c.method, c.path, s.secops(c.scope), c.body)
			if a.status != c.status {
				t.Errorf("with %s: %d %s", c.scope, a.status, a.body)
			}
			uncached(t, a)
			var rest []string
			for _, e := range everything {
				if e != c.scope && !(strings.HasPrefix(c.scope, "writ:lift:") && e == "writ:lift:**") {
					rest = append(rest, e)
				}
			}
			a = s.call(s.admin, c.method, c.path, s.secops(strings.Join(rest, " ")), c.body)
			want := fmt.Sprintf(`Bearer realm="writ", error="insufficient_scope", scope=%q`, c.scope)
			if a.status != 403 || a.error(t).Code != "insufficient_scope" || a.header.Get("WWW-Authenticate") != want {
				t.Errorf("with every other: %d %s %q", a.status, a.body, a.header.Get("WWW-Authenticate"))
			}
			for who, auth := range map[string]string{
				"nobody": "", "rubbish": "x", "a person's own token": s.Corp.Token(t, "sec", nil), "an agent's": s.token(s.agent(), readEU),
			} {
				if a := s.call(s.admin, c.method, c.path, auth, c.body); a.status != 401 || a.error(t).Code != "invalid_token" {
					t.Errorf("%s: %d %s", who, a.status, a.body)
				}
			}
		})
	}
}

// A workload's certificate on the admin listener is no token.
func TestACertificateAloneAdministratesNothing(t *testing.T) {
	s := serve(t, options{world: brokertest.Options{Bundle: strings.Replace(brokertest.Bundle,
		`principals: ["user:sec", "k8s:sentinel"]`, `principals: ["user:sec", "spiffe://prod.example/sentinel"]`, 1)}})
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/admin/v1/keys", nil)
	req.TLS = tlsState(s.SVID(t, "sentinel"))
	w := httptest.NewRecorder()
	s.api.Admin().ServeHTTP(w, req)
	if w.Code != 401 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAdminBodies(t *testing.T) {
	s := serve(t, options{})
	auth := s.secops("writ:revoke:** writ:lift:** writ:keys:**")
	send := func(path, kind, body string) answer {
		return s.send(s.admin, "POST", path, strings.NewReader(body), http.Header{
			"Content-Type": {kind}, "Authorization": {"Bearer " + auth},
		})
	}
	const revoke, json = "/admin/v1/revocations", "application/json"
	for name, row := range map[string]struct {
		a      answer
		status int
	}{
		"no body":                   {send(revoke, json, ""), 400},
		"not JSON":                  {send(revoke, json, "selector=all"), 400},
		"a form":                    {send(revoke, "application/x-www-form-urlencoded", "selector=all"), 415},
		"two values":                {send(revoke, json, `{"selector":"all"}{"apply":true}`), 400},
		"rubbish after it":          {send(revoke, json, `{"selector":"all"}]`), 400},
		"a misspelt member":         {send(revoke, json, `{"selector":"agent","value":"x","alow_reissue":true}`), 400},
		"apply in words":            {send(revoke, json, `{"selector":"all","apply":"yes"}`), 400},
		"a long body":               {send(revoke, json, `{"selector":"all","reason":"`+strings.Repeat("x", 64<<10)+`"}`), 413},
		"a long body after a value": {send(revoke, json, `{"selector":"all"}`+strings.Repeat(" ", 70<<10)), 413},
		"no selector":               {send(revoke, json, `{"value":"x"}`), 400},
		"an unknown selector":       {send(revoke, json, `{"selector":"colour","value":"red"}`), 400},
		"no value":                  {send(revoke, json, `{"selector":"agent"}`), 400},
		"a value too many":          {send(revoke, json, `{"selector":"all","value":"x"}`), 400},
		"a malformed scope":         {send(revoke, json, `{"selector":"scope","value":"x"}`), 400},
		"an unknown issuer":         {send(revoke, json, `{"selector":"issuer","value":"x"}`), 400},
		"a long wait":               {send(revoke, json, `{"selector":"all","wait_seconds":61}`), 400},
		"a wait into the past":      {send(revoke, json, `{"selector":"all","wait_seconds":-1}`), 400},
		"a long reason":             {send(revoke, json, `{"selector":"all","reason":"`+strings.Repeat("x", 600)+`"}`), 400},
		"an unknown key":            {send("/admin/v1/keys/rotate", json, `{"revoke_kid":"x","apply":true}`), 404},
	} {
		t.Run(name, func(t *testing.T) {
			if row.a.status != row.status || row.a.error(t).Description == "" {
				t.Errorf("%d %s", row.a.status, row.a.body)
			}
		})
	}
	if s.Index.Len() != 0 {
		t.Errorf("%d rules came of it", s.Index.Len())
	}
	// Names of sources are for those who may revoke.
	a := s.call(s.admin, "POST", revoke, s.secops("writ:revoke:read"), wire.RevokeRequest{Selector: "issuer", Value: "x"})
	if a.status != 403 || strings.Contains(string(a.body), "cluster") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestAdminRevokes(t *testing.T) {
	s := serve(t, options{running: true})
	auth := s.secops("writ:revoke:** writ:lift:**")
	raw := s.token(s.agent(), readEU)
	order := wire.RevokeRequest{Selector: "agent", Value: "k8s:analyst", Reason: "leaked"}
	a := s.call(s.admin, "POST", "/admin/v1/revocations", auth, order)
	got := decode[wire.RevokeResponse](t, a)
	if got.Applied || got.Preview.Tokens != 1 || got.Preview.Agents != 1 || got.Preview.BySource["cluster"] != 1 || got.Durability != "" || s.Index.Len() != 0 {
		t.Errorf("preview: %s", a.body)
	}
	order.Apply = true
	order.WaitSeconds = 5
	a = s.call(s.admin, "POST", "/admin/v1/revocations", auth, order)
	got = decode[wire.RevokeResponse](t, a)
	if a.status != 200 || !got.Applied || got.Quarantine == nil || got.Durability != "log" || got.Position == "" || got.Ack == nil || !got.Ack.Complete ||
		got.Rule.By != "user:sec" || len(got.Rule.Positions) != 1 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.post("/token", exchangeForm(raw, readEU), ""); a.status != 400 {
		t.Errorf("the revoked token is exchanged: %d", a.status)
	}
	list := decode[wire.RuleList](t, s.call(s.admin, "GET", "/admin/v1/revocations?selector=agent&value=k8s:analyst&limit=1", s.secops("writ:revoke:read"), nil))
	if list.Total != 2 || len(list.Rules) != 1 || list.Next == "" {
		t.Errorf("%+v", list)
	}
	rest := decode[wire.RuleList](t, s.call(s.admin, "GET", "/admin/v1/revocations?cursor="+list.Next, s.secops("writ:revoke:read"), nil))
	if len(rest.Rules) != 1 || rest.Rules[0].ID == list.Rules[0].ID || rest.Next != "" {
		t.Errorf("%+v", rest)
	}
	if a := s.call(s.admin, "GET", "/admin/v1/revocations?limit=0", s.secops("writ:revoke:read"), nil); a.status != 400 {
		t.Errorf("limit 0: %d", a.status)
	}
	status := decode[wire.RuleStatus](t, s.call(s.admin, "GET", "/admin/v1/revocations/"+got.Rule.ID, s.secops("writ:revoke:read"), nil))
	if status.Rule.Value != "k8s:analyst" || status.Ack == nil {
		t.Errorf("%+v", status)
	}
	lifted := decode[wire.LiftResponse](t, s.call(s.admin, "POST", "/admin/v1/revocations/"+got.Quarantine.ID+"/lift", auth, wire.LiftRequest{Apply: true}))
	if !lifted.Applied || lifted.Durability != "log" {
		t.Errorf("%+v", lifted)
	}
	records := decode[wire.AuditPage](t, s.call(s.admin, "GET", "/admin/v1/audit?limit=1000", s.secops("writ:audit:read"), nil))
	var kinds []string
	for _, r := range records.Records {
		kinds = append(kinds, r.Kind)
	}
	if all := strings.Join(kinds, " "); !strings.Contains(all, "lift") || !strings.Contains(all, "revocation") || strings.Contains(fmt.Sprint(records), raw) {
		t.Errorf("audit log: %s", all)
	}
	if a := s.call(s.admin, "GET", "/admin/v1/audit?since=yesterday", s.secops("writ:audit:read"), nil); a.status != 400 {
		t.Errorf("since yesterday: %d", a.status)
	}
}

// With --wait the answer says who has applied it, even past the server's bound on reading.
func TestAdminWaits(t *testing.T) {
	t.Parallel()                  // it waits
	const bound = 3 * time.Second // a request that is late by so much fails the test
	s := serve(t, options{running: true, server: func(srv *httptest.Server) {
		srv.Config.ReadTimeout, srv.Config.IdleTimeout = bound, time.Hour
	}})
	auth := s.secops("writ:revoke:**")
	st := s.feed(s.public, "/revocations/feed?verifier=v1&name=warehouse", s.reader(), token.Rev{})
	st.next()
	order := wire.RevokeRequest{Selector: "task", Value: "t1", Apply: true, WaitSeconds: 4}
	began := time.Now()
	got := decode[wire.RevokeResponse](t, s.call(s.admin, "POST", "/admin/v1/revocations", auth, order))
	if took := time.Since(began); took < bound || got.Ack == nil || got.Ack.Complete || len(got.Ack.Lagging) != 1 || got.Ack.Lagging[0].Name != "warehouse" {
		t.Errorf("after %v: %+v", took, got.Ack)
	}
	reader := s.reader()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			e, err := st.events.Next()
			if err != nil {
				return
			}
			if !e.Position.IsZero() {
				s.call(s.public, "POST", "/revocations/ack", reader, revocation.Ack{Verifier: "v1", Position: e.Position})
			}
		}
	}()
	order.Value, order.WaitSeconds = "t2", 30
	got = decode[wire.RevokeResponse](t, s.call(s.admin, "POST", "/admin/v1/revocations", auth, order))
	if got.Ack == nil || !got.Ack.Complete || got.Ack.Acknowledged != 1 || got.Ack.P99MS > 20_000 {
		t.Errorf("%+v", got.Ack)
	}
	st.close()
	<-done
}

// While the log is away a revocation is durable here alone: 202.
func TestAdminRevokesLocally(t *testing.T) {
	log := &switched{}
	s := serve(t, options{world: brokertest.Options{Log: func(l store.Log) store.Log { log.LiveLog = l.(store.LiveLog); return log }}})
	auth := s.secops("writ:revoke:** writ:lift:**")
	log.gone.Store(true)
	a := s.call(s.admin, "POST", "/admin/v1/revocations", auth, wire.RevokeRequest{Selector: "task", Value: "t1", Apply: true})
	got := decode[wire.RevokeResponse](t, a)
	if a.status != 202 || got.Durability != "local" || got.Position != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.call(s.admin, "POST", "/admin/v1/revocations/"+got.Rule.ID+"/lift", auth, wire.LiftRequest{Apply: true}); a.status != 202 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestAdminRotates(t *testing.T) {
	s := serve(t, options{})
	auth := s.secops("writ:keys:**")
	before := decode[wire.KeyList](t, s.call(s.admin, "GET", "/admin/v1/keys", auth, nil))
	dry := decode[wire.RotateResponse](t, s.call(s.admin, "POST", "/admin/v1/keys/rotate", auth, wire.RotateRequest{}))
	if dry.Applied || dry.Retired == "" || dry.Activated == "" || before.Algorithm != "ES256" || before.NextRotation == nil {
		t.Errorf("%+v, %+v", before, dry)
	}
	done := decode[wire.RotateResponse](t, s.call(s.admin, "POST", "/admin/v1/keys/rotate", auth, wire.RotateRequest{Apply: true, RevokeKID: dry.Retired, Reason: "leaked"}))
	if !done.Applied || done.Activated != dry.Activated || done.Revocation == nil || done.Revocation.Rule.Selector != "key" {
		t.Errorf("%+v", done)
	}
	if a := s.call(s.admin, "GET", "/admin/v1/keys", auth, nil); a.status != 401 {
		t.Errorf("a token of the leaked key administrates: %d", a.status)
	}
	if body := fmt.Sprint(done); strings.Contains(body, "sealed") || strings.Contains(body, "\"d\"") {
		t.Error("a private key")
	}
}

func TestAdminOpensDecisions(t *testing.T) {
	s := serve(t, options{})
	refused := s.post("/token", exchangeForm(s.agent(), "warehouse:read:sales/pii/x"), "").error(t)
	got := decode[wire.Decision](t, s.call(s.admin, "GET", "/admin/v1/decisions/"+refused.DecisionID, s.secops("writ:policy:read"), nil))
	if got.Record.DecisionID != refused.DecisionID || got.Record.Outcome != "deny" || !strings.Contains(got.Text, "pii") || len(got.Record.Trace) == 0 {
		t.Errorf("%+v", got)
	}
	if p := decode[wire.PolicyStatus](t, s.call(s.admin, "GET", "/admin/v1/policy", s.secops("writ:policy:read"), nil)); p.Version != s.Policy.Current().Version() {
		t.Errorf("%+v", p)
	}
}

func TestBreakGlass(t *testing.T) {
	fail := &failingAudit{}
	s := serve(t, options{world: brokertest.Options{Config: func(c *broker.Config) { fail.Auditor = c.Audit; c.Audit = fail }}})
	s.token(s.agent(), readEU)
	fail.down = true
	s.Advance(time.Hour) // nothing is fresh

	do := func(method, path string, body any) answer { return s.call(s.glass, method, path, "", body) }
	if a := do("POST", "/admin/v1/revocations", wire.RevokeRequest{Selector: "agent", Value: "k8s:analyst", Apply: true}); a.status != 200 {
		t.Errorf("revoke: %d %s", a.status, a.body)
	}
	if _, hit := s.Index.Quarantined("k8s:analyst"); !hit {
		t.Error("no quarantine")
	}
	if a := do("POST", "/admin/v1/keys/rotate", wire.RotateRequest{Apply: true}); a.status != 200 {
		t.Errorf("rotate: %d %s", a.status, a.body)
	}
	for _, path := range []string{"/admin/v1/revocations", "/admin/v1/revocations/" + ruleID, "/admin/v1/keys", "/healthz"} {
		if a := do("GET", path, nil); a.status != 200 && a.status != 404 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	// It takes access away; it gives nothing back and shows no policy.
	for _, c := range []struct{ method, path string }{
		{"POST", "/admin/v1/revocations/" + ruleID + "/lift"}, {"GET", "/admin/v1/policy"}, {"GET", "/admin/v1/audit"},
		{"GET", "/admin/v1/decisions/x"}, {"POST", "/token"}, {"POST", "/introspect"}, {"GET", "/metrics"},
	} {
		if a := do(c.method, c.path, map[string]any{}); a.status != 404 && a.status != 405 {
			t.Errorf("%s %s: %d", c.method, c.path, a.status)
		}
	}
	if log := s.Journal.BreakGlassLog(); len(log) != 2 || log[0].Peer != "break-glass:uid:7" || log[0].Detail != "writ:revoke:agent/k8s%3Aanalyst" || log[1].Detail != "writ:keys:rotate" {
		t.Errorf("the journal holds %+v", log)
	}
	a := s.send(s.glass, "POST", "/admin/v1/revocations", bytes.NewReader([]byte(`{"selector":"all"}`)), http.Header{
		"Content-Type": {"application/json"}, "X-Test-Peer": {"stranger"},
	})
	if a.status != 401 {
		t.Errorf("another's uid: %d %s", a.status, a.body)
	}
	a = s.send(s.glass, "GET", "/admin/v1/keys", nil, http.Header{"X-Test-Peer": {"stranger"}})
	if a.status != 401 {
		t.Errorf("another's uid: %d %s", a.status, a.body)
	}
}

// The journal's disk is gone too: what can still be taken away is, and the log says who did it.
func TestBreakGlassWithoutAJournal(t *testing.T) {
	s := serve(t, options{config: func(c *httpapi.Config) { c.Feed = deafFeed{c.Feed} }})
	a := s.call(s.glass, "POST", "/admin/v1/revocations", "", wire.RevokeRequest{Selector: "agent", Value: "k8s:analyst", Apply: true})
	if a.status != 200 {
		t.Errorf("revoke: %d %s", a.status, a.body)
	}
	if a = s.call(s.glass, "POST", "/admin/v1/keys/rotate", "", wire.RotateRequest{Apply: true}); a.status != 200 {
		t.Errorf("rotate: %d %s", a.status, a.body)
	}
	for _, want := range []string{"break glass not in the journal", "break-glass:uid:7", "writ:revoke:agent/k8s%3Aanalyst", "writ:keys:rotate"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, s.log)
		}
	}
}

// deafFeed cannot write a record.
type deafFeed struct{ httpapi.Feed }

func (deafFeed) RecordBreakGlass(journal.BreakGlass) error { return journal.ErrUnavailable }

type failingAudit struct {
	broker.Auditor
	down bool
}

func (f *failingAudit) Append(ctx context.Context, e audit.Event) (audit.Ref, error) {
	if f.down {
		return audit.Ref{}, audit.ErrUnavailable
	}
	return f.Auditor.Append(ctx, e)
}

func TestHealth(t *testing.T) {
	s := serve(t, options{config: func(c *httpapi.Config) {
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1\n")) })
	}})
	for _, srv := range []*httptest.Server{s.public, s.admin, s.glass} {
		for _, path := range []string{"/healthz", "/readyz"} {
			if a := s.send(srv, "GET", path, nil, nil); a.status != 200 || string(a.body) != `{"status":"ok"}` {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	}
	if a := s.send(s.admin, "GET", "/metrics", nil, nil); string(a.body) != "up 1\n" {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.mu.Lock()
	s.faults = map[string]string{"audit": "the audit log cannot be written"}
	s.mu.Unlock()
	if a := s.send(s.public, "GET", "/readyz", nil, nil); a.status != 503 || decode[wire.Health](t, a).Checks["audit"] == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.send(s.public, "GET", "/healthz", nil, nil); a.status != 200 {
		t.Errorf("%d", a.status)
	}
}

// A fault of ours ends one answer and nothing else, and says nothing of itself.
func TestPanics(t *testing.T) {
	s := serve(t, options{config: func(c *httpapi.Config) {
		c.Policy = func() wire.PolicyStatus { panic("secret") }
		c.Audit = broken{}
	}})
	a := s.call(s.admin, "GET", "/admin/v1/policy", s.secops("writ:policy:read"), nil)
	if a.status != 500 || strings.Contains(string(a.body), "secret") || a.error(t).Code != "server_error" {
		t.Errorf("%d %s", a.status, a.body)
	}
	a = s.call(s.admin, "GET", "/admin/v1/audit", s.secops("writ:audit:read"), nil)
	if a.status != 500 || strings.Contains(string(a.body), "secret") || a.error(t).Code != "server_error" || a.error(t).Description == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if !strings.Contains(s.log.String(), "secret") {
		t.Error("the log does not say what happened")
	}
}

type broken struct{}

func (broken) Decision(context.Context, string) (audit.Record, error) {
	return audit.Record{}, errors.New("secret")
}

func (broken) Query(context.Context, audit.Filter) ([]audit.Record, error) {
	return nil, errors.New("secret")
}

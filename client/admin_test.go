package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
)

func admin(t *testing.T, s *httptest.Server) *client.Admin {
	t.Helper()
	transport := client.NewTransport(nil)
	t.Cleanup(transport.CloseIdleConnections)
	a, err := client.NewAdmin(client.AdminConfig{URL: s.URL, Transport: transport,
		Token: func(context.Context) (string, error) { return "ops", nil }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAdminCalls(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tc := range []struct {
		name string
		call func(context.Context, *client.Admin) error
		want string // method, path and query
		body string
	}{
		{"revoke", func(ctx context.Context, a *client.Admin) error {
			_, err := a.Revoke(ctx, wire.RevokeRequest{Selector: "agent", Value: "k8s:x", Apply: true, WaitSeconds: 5})
			return err
		}, "POST /admin/v1/revocations", `{"selector":"agent","value":"k8s:x","apply":true,"wait_seconds":5}`},
		{"lift", func(ctx context.Context, a *client.Admin) error {
			_, err := a.Lift(ctx, "r1", wire.LiftRequest{Apply: true})
			return err
		}, "POST /admin/v1/revocations/r1/lift", `{"apply":true}`},
		{"rules", func(ctx context.Context, a *client.Admin) error {
			_, err := a.Rules(ctx, client.RuleQuery{Selector: "agent", Limit: 10})
			return err
		}, "GET /admin/v1/revocations?limit=10&selector=agent", ""},
		{"rule", func(ctx context.Context, a *client.Admin) error { _, err := a.Rule(ctx, "r 1"); return err },
			"GET /admin/v1/revocations/r%201", ""},
		{"verifiers", func(ctx context.Context, a *client.Admin) error { _, err := a.Verifiers(ctx); return err }, "GET /admin/v1/verifiers", ""},
		{"keys", func(ctx context.Context, a *client.Admin) error { _, err := a.Keys(ctx); return err }, "GET /admin/v1/keys", ""},
		{"rotate", func(ctx context.Context, a *client.Admin) error {
			_, err := a.Rotate(ctx, wire.RotateRequest{RevokeKID: "k1", Apply: true})
			return err
		}, "POST /admin/v1/keys/rotate", `{"revoke_kid":"k1","apply":true}`},
		{"policy", func(ctx context.Context, a *client.Admin) error { _, err := a.Policy(ctx); return err }, "GET /admin/v1/policy", ""},
		{"decision", func(ctx context.Context, a *client.Admin) error { _, err := a.Decision(ctx, "d1"); return err }, "GET /admin/v1/decisions/d1", ""},
		{"audit", func(ctx context.Context, a *client.Admin) error {
			_, err := a.Audit(ctx, client.AuditQuery{Agent: "k8s:x", Since: since, Limit: 3})
			return err
		}, "GET /admin/v1/audit?agent=k8s%3Ax&limit=3&since=2026-01-02T03%3A04%3A05Z", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, s := serve(t, answer{status: 200, body: "{}"})
			if err := tc.call(t.Context(), admin(t, s)); err != nil {
				t.Fatal(err)
			}
			r := b.requests()[0]
			if got := r.Method + " " + r.URL.RequestURI(); got != tc.want {
				t.Errorf("asked %s", got)
			}
			if string(r.body) != tc.body {
				t.Errorf("body %s", r.body)
			}
			if r.Header.Get("Authorization") != "Bearer ops" {
				t.Errorf("Authorization %q", r.Header.Get("Authorization"))
			}
		})
	}
}

func TestBreakGlassSocketTakesNoToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "writ.sock")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{script: []answer{{status: 202, body: wire.RevokeResponse{Applied: true, Durability: wire.DurabilityLocal}}}}
	server := &http.Server{Handler: b, ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	a, err := client.NewAdmin(client.AdminConfig{Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Revoke(t.Context(), wire.RevokeRequest{Selector: "all", Apply: true})
	if err != nil || got.Durability != wire.DurabilityLocal {
		t.Fatalf("%+v, %v", got, err)
	}
	if h := b.requests()[0].Header.Get("Authorization"); h != "" {
		t.Errorf("sent a token: %q", h)
	}
}

// A rotation that was sent twice rotates twice: after a broken connection
// nobody knows whether it was done, so it is not sent again.
func TestChangesAreNotRepeatedBlindly(t *testing.T) {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		connection, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = connection.Close()
		}
	}))
	defer s.Close()
	a := admin(t, s)
	if _, err := a.Rotate(t.Context(), wire.RotateRequest{Apply: true}); err == nil || n.Load() != 1 {
		t.Errorf("rotate: error %v after %d requests", err, n.Load())
	}
	n.Store(0)
	if _, err := a.Rotate(t.Context(), wire.RotateRequest{}); err == nil || n.Load() < 2 {
		t.Errorf("dry run: error %v after %d requests", err, n.Load())
	}
}

func TestAdminConfigThatIsRefused(t *testing.T) {
	tok := func(context.Context) (string, error) { return "x", nil }
	for name, cfg := range map[string]client.AdminConfig{
		"neither":       {},
		"both":          {URL: "https://a", Socket: "/s", Token: tok},
		"plain http":    {URL: "http://admin.example", Token: tok},
		"without token": {URL: "https://admin.example"},
	} {
		if _, err := client.NewAdmin(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestIDsThatAreOtherPaths(t *testing.T) {
	b, s := serve(t, answer{status: 200, body: "{}"})
	a := admin(t, s)
	for _, id := range []string{"", ".", "..", "../keys", "a/b", "a?x=1", "a#b", `a\b`} {
		if _, err := a.Decision(t.Context(), id); err == nil {
			t.Errorf("id %q accepted", id)
		}
	}
	if len(b.requests()) != 0 {
		t.Error("a request was sent")
	}
}

func TestNoAdminTokenNoCall(t *testing.T) {
	b, s := serve(t, answer{status: 200, body: "{}"})
	want := errors.New("identity provider is down")
	a, err := client.NewAdmin(client.AdminConfig{URL: s.URL, Token: func(context.Context) (string, error) { return "", want }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Keys(t.Context()); !errors.Is(err, want) || len(b.requests()) != 0 {
		t.Errorf("got %v", err)
	}
}

package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/audit/crashfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func signer(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func public(b byte) ed25519.PublicKey { return signer(b).Public().(ed25519.PublicKey) }

// event is a typical one, every field set.
func event() audit.Event {
	return audit.Event{
		Time:          time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC),
		Kind:          audit.KindExchange,
		Outcome:       audit.Allow,
		Error:         "none",
		DecisionID:    "0195600a-2c4f-7c3e-8a1b-0d9e6b5c4a32",
		TokenID:       "0195600a-2c50-7d11-9a2c-1e8f7a6b5c43",
		Subject:       "k8s:sales:reporter",
		Source:        "cluster-a",
		Actors:        []string{"k8s:sales:reporter", "k8s:sales:planner"},
		ClientID:      "k8s:sales:reporter",
		Scopes:        []string{"warehouse:read:sales/eu/*", "mail:send:team/sales"},
		Refused:       []string{"warehouse:write:sales/eu/*"},
		Audience:      []string{"https://warehouse.example", "https://mail.example"},
		Task:          "ticket-4711",
		PolicyVersion: "9f86d081884c7d65",
		Tags:          map[string]string{"classification": "internal", "region": "eu"},
		Attributes:    map[string]any{"env": "prod", "tier": int64(2), "teams": []any{"sales", "ops"}, "on_call": true, "nested": map[string]any{"a": nil, "b": 1.5}},
		Trace:         json.RawMessage(`[{"kind":"grant","rule":"readers","file":"roles.yaml","line":7}]`),
		RemoteIP:      "10.1.2.3",
		Detail:        map[string]string{"note": "line\nbreak \"quoted\" \\ \x01 é"},
		Expires:       time.Date(2026, 3, 4, 5, 21, 7, 0, time.UTC),
	}
}

func open(t testing.TB, c audit.Config) *audit.Log {
	t.Helper()
	if c.Signer == nil {
		c.Signer = signer(1)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	l, err := audit.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func appendN(t testing.TB, l *audit.Log, decisions ...string) {
	t.Helper()
	for _, id := range decisions {
		e := event()
		e.DecisionID = id
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func verify(t testing.TB, dir fs.FS, anchors ...audit.Checkpoint) audit.Report {
	t.Helper()
	r, err := audit.Verify(dir, public(1), anchors)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantWhole(t testing.TB, r audit.Report) {
	t.Helper()
	if !r.OK() {
		t.Fatalf("faults: %+v", r.Faults)
	}
}

func query(t testing.TB, dir fs.FS, f audit.Filter) []audit.Record {
	t.Helper()
	var out []audit.Record
	for r, err := range audit.Query(dir, f) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// decisions lists the ids of the exchanges, and the kinds of the log's own
// records.
func decisions(records []audit.Record) string {
	var out []string
	for _, r := range records {
		if r.DecisionID != "" {
			out = append(out, r.DecisionID)
		} else {
			out = append(out, string(r.Kind))
		}
	}
	return strings.Join(out, " ")
}

func names(f *crashfs.FS) []string {
	out := f.Names()
	slices.Sort(out)
	return out
}

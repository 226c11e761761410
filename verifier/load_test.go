package verifier_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// bulk encodes the broker's list as it is now, signed by signer.
func (b *broker) bulk(signer token.Signer) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	out, err := revocation.NewBulk(b.index.Snapshots(20_000), token.Rev{}, time.Now(), func(payload []byte) (string, error) {
		return token.Sign(b.t.Context(), revocation.TypeBulk, payload, signer)
	})
	must(b.t, err)
	return bytes.Join(append([][]byte{out.Head}, out.Parts...), nil)
}

func serving(data []byte) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { _, _ = w.Write(data) }
}

// TestLoadsTheListFirst: the list comes as one download, and the feed goes on behind it.
func TestLoadsTheListFirst(t *testing.T) {
	b := newBroker(t)
	b.revoke(revocation.SelectTask, "before")
	at := b.index.Position()
	list := b.bulk(b.records)
	b.set(func() { b.download = serving(list) })
	b.revoke(revocation.SelectTask, "after") // while the download was on its way
	v := b.run()
	for _, task := range []string{"before", "after"} {
		if _, err := v.Verify(t.Context(), b.mint(func(c *token.Claims) { c.Task, c.Rev = task, token.Rev{} })); err == nil {
			t.Errorf("%s: not revoked", task)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.loads != 1 || b.opened[0].Get("Last-Event-ID") != at.String() {
		t.Errorf("%d downloads, then the feed after %q; want one, and %v", b.loads, b.opened[0].Get("Last-Event-ID"), at)
	}
}

// TestABadDownloadIsNotTheList: whatever is wrong with it, the feed brings the list.
func TestABadDownloadIsNotTheList(t *testing.T) {
	for name, serve := range map[string]func(*broker) []byte{
		"signed by a key for tokens": func(b *broker) []byte { return b.bulk(b.signer) },
		"cut off":                    func(b *broker) []byte { l := b.bulk(b.records); return l[:len(l)-3] },
		"changed":                    func(b *broker) []byte { l := b.bulk(b.records); l[len(l)-3] ^= 1; return l },
		"another thing":              func(*broker) []byte { return []byte(strings.Repeat("snapshot", 100)) },
		"nothing":                    func(*broker) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			b.revoke(revocation.SelectTask, "gone")
			list := serve(b)
			b.set(func() { b.download = serving(list) })
			v := b.run()
			if _, err := v.Verify(t.Context(), b.mint(func(c *token.Claims) { c.Task, c.Rev = "gone", token.Rev{} })); err == nil {
				t.Error("not revoked")
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if id := b.opened[0].Get("Last-Event-ID"); b.loads != 1 || id != "" {
				t.Errorf("%d downloads, then the feed after %q", b.loads, id)
			}
		})
	}
}

// BenchmarkLoad is the time from a verifier's start to its first good answer, with 1,000,000
// token rules on the list.
func BenchmarkLoad(b *testing.B) {
	const rules = 1_000_000
	k := newBroker(b)
	now := time.Now()
	at := k.index.Position()
	for i := range rules {
		at.Seq++
		id := uuid.Must(uuid.NewV7()).String()
		must(b, k.index.Apply(revocation.Event{Type: revocation.EventRule, Position: at, Rule: &revocation.Rule{
			ID: id, Selector: revocation.SelectToken, Value: fmt.Sprintf("0190%04x-0000-7000-8000-%012x", i>>16, i),
			CreatedAt: now, ExpiresAt: now.Add(time.Hour), Entries: []token.Rev{at},
		}}))
	}
	k.seq = at.Seq
	k.publish(revocation.Event{Type: revocation.EventRule, Rule: newRule(revocation.SelectTask, "last")})
	began := time.Now()
	list := k.bulk(k.records)
	encoding := time.Since(began)
	k.set(func() { k.download = serving(list) })
	for b.Loop() {
		v := k.idle()
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- v.Run(ctx) }()
		must(b, v.Wait(b.Context()))
		cancel()
		must(b, <-done)
	}
	b.ReportMetric(encoding.Seconds(), "encode-s")
	b.ReportMetric(float64(len(list))/rules, "bytes/rule")
}

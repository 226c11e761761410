package journal_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/store"
)

// absent is a log that never answers: what boots without it boots from the journal.
type absent struct{}

func (absent) Append(context.Context, store.Position, ...store.Entry) (store.Position, error) {
	return store.Position{}, store.ErrUnavailable
}

func (absent) Read(context.Context, store.Position, int) ([]store.Record, error) {
	return nil, store.ErrUnavailable
}
func (absent) Tail(context.Context) (store.Tail, error) { return store.Tail{}, store.ErrUnavailable }
func (absent) Open(context.Context, store.Tail, []store.Entry) (store.Position, error) {
	return store.Position{}, store.ErrUnavailable
}

// BenchmarkBoot is a start from a journal with 1,000,000 token rules, and what they take in
// memory.
func BenchmarkBoot(b *testing.B) {
	const rules, batch = 1_000_000, 10_000
	dir, now := b.TempDir(), time.Now()
	open := func() (*journal.Journal, *revocation.Index) {
		x := revocation.NewIndex(revocation.Options{})
		j, err := journal.Open(b.Context(), journal.Config{
			Dir: dir, Log: absent{}, Index: x, Now: time.Now, Logger: slog.New(slog.DiscardHandler), LogTimeout: time.Millisecond,
		})
		if err != nil {
			b.Fatal(err)
		}
		return j, x
	}
	j, _ := open()
	for at := 0; at < rules; at += batch {
		list := make([]revocation.Rule, 0, batch)
		for i := at; i < at+batch; i++ {
			list = append(list, revocation.Rule{
				ID: fmt.Sprintf("0191%04x-0000-7000-8000-%012x", i>>16, i), Selector: revocation.SelectToken,
				Value:     fmt.Sprintf("0190%04x-0000-7000-8000-%012x", i>>16, i),
				CreatedAt: now, ExpiresAt: now.Add(time.Hour), Reason: "leaked", By: "user:sec",
			})
		}
		if _, err := j.Append(b.Context(), list, nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	var before, after runtime.MemStats
	j = nil
	runtime.GC()
	runtime.ReadMemStats(&before)
	var perRule float64
	for b.Loop() {
		j, x := open()
		b.StopTimer()
		if x.Len() != rules {
			b.Fatalf("%d rules", x.Len())
		}
		if err := j.Close(); err != nil {
			b.Fatal(err)
		}
		pending := j.Pending()
		j = nil
		runtime.GC()
		runtime.ReadMemStats(&after)
		perRule = float64(after.HeapAlloc-before.HeapAlloc) / rules
		_ = pending
		runtime.KeepAlive(x)
		b.StartTimer()
	}
	b.ReportMetric(perRule, "bytes/rule")
}

package bolt_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
)

func benchLog(b *testing.B, records int) (*bolt.Log, store.Position) {
	b.Helper()
	db := open(b, bolt.Config{Path: filepath.Join(b.TempDir(), "writ.db"), Sealer: sealer(b, 1), Now: time.Now})
	b.Cleanup(func() { _ = db.Close() })
	l := db.Log("revocations")
	tail, err := l.Tail(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	restore := make([]store.Entry, records)
	for i := range restore {
		restore[i] = store.Entry{Kind: 1, Payload: make([]byte, 150), Expires: time.Unix(int64(i), 0)}
	}
	at, err := l.Open(b.Context(), tail, restore)
	if err != nil {
		b.Fatal(err)
	}
	return l, at
}

func BenchmarkAppend(b *testing.B) {
	l, at := benchLog(b, 0)
	e := store.Entry{Kind: 1, Payload: make([]byte, 150)}
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if at, err = l.Append(b.Context(), at, e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead1000(b *testing.B) {
	l, _ := benchLog(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Read(b.Context(), store.Position{}, 1000); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTail(b *testing.B) {
	l, _ := benchLog(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Tail(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTrim10000(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		l, _ := benchLog(b, 10_000)
		b.StartTimer()
		if n, err := l.Trim(b.Context(), time.Unix(1e6, 0), time.Hour); err != nil || n != 10_000 {
			b.Fatalf("trimmed %d, %v", n, err)
		}
	}
}

func BenchmarkTallyAdd32(b *testing.B) {
	db := open(b, bolt.Config{Path: filepath.Join(b.TempDir(), "writ.db"), Sealer: sealer(b, 1), Now: time.Now})
	b.Cleanup(func() { _ = db.Close() })
	deltas := map[string]int64{}
	for i := range 32 {
		deltas[string(rune('a'+i))] = 1
	}
	expires := time.Now().Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if err := db.Tally().Add(b.Context(), "m", expires, deltas); err != nil {
			b.Fatal(err)
		}
	}
}

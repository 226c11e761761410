package redis_test

import (
	"testing"
	"time"

	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/redis"
)

// benchLog is a log that was opened with so many records of the size of a rule.
func benchLog(b *testing.B, records int) (*bed, *redis.Log, store.Position) {
	b.Helper()
	servers := alone(b, "--appendfsync", "everysec")
	servers.proxies = nil
	servers.config.SetDial(nil)
	servers.config.Timeout = 30 * time.Second
	l := servers.open(b).Log(logName)
	restore := make([]store.Entry, records)
	for i := range restore {
		restore[i] = store.Entry{Kind: 1, Payload: make([]byte, 100), Expires: time.Unix(int64(i), 0)}
	}
	at, err := l.Open(b.Context(), tail(b, l), restore)
	must(b, err)
	return servers, l, at
}

func BenchmarkAppend(b *testing.B) {
	_, l, at := benchLog(b, 0)
	e := store.Entry{Kind: 1, Payload: make([]byte, 100)}
	b.ReportAllocs()
	for b.Loop() {
		var err error
		at, err = l.Append(b.Context(), at, e)
		must(b, err)
	}
}

func BenchmarkTail(b *testing.B) {
	_, l, _ := benchLog(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		tail(b, l)
	}
}

func BenchmarkRead512(b *testing.B) {
	_, l, _ := benchLog(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		_, err := l.Read(b.Context(), store.Position{}, 512)
		must(b, err)
	}
}

// A replica that starts reads the whole log, as the journal does: 512 at a time.
func BenchmarkReadMillion(b *testing.B) {
	servers, _, _ := benchLog(b, 1_000_000)
	for b.Loop() {
		l, at, n := servers.open(b).Log(logName), store.Position{}, 0
		for {
			got, err := l.Read(b.Context(), at, 512)
			must(b, err)
			if len(got) == 0 {
				break
			}
			n += len(got)
			at = got[len(got)-1].Position
		}
		if n != 1_000_001 {
			b.Fatalf("read %d records", n)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/million")
}

func BenchmarkOpenAndTrim100000(b *testing.B) {
	for b.Loop() {
		_, l, at := benchLog(b, 100_000)
		began := time.Now()
		if n, err := l.Trim(b.Context(), time.Unix(50_000, 0), time.Hour); err != nil || n != 50_001 {
			b.Fatalf("trimmed %d, %v", n, err)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "trim-ms")
		add(b, l, at, "a")
	}
}

func BenchmarkCellGet(b *testing.B) {
	servers, _, _ := benchLog(b, 0)
	cells := servers.open(b).Cells()
	_, err := cells.Swap(b.Context(), "ring", 0, make([]byte, 4096))
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_, err := cells.Get(b.Context(), "ring")
		must(b, err)
	}
}

func BenchmarkTallyAdd32(b *testing.B) {
	servers, _, _ := benchLog(b, 0)
	tally := servers.open(b).Tally()
	deltas := map[string]int64{}
	for i := range 32 {
		deltas[string(rune('a'+i))] = 1
	}
	expires := time.Now().Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		must(b, tally.Add(b.Context(), "m", expires, deltas))
	}
}

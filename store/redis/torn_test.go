package redis_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/redis"
)

// A Redis whose machine loses its power while it writes a transaction carries out a part of it, at
// its second start after that, between what was written before and since (see redistest.Tear).
// Nothing that was written since may be lost to it, nor the log be of no use.
func TestTransactionThatWasTorn(t *testing.T) {
	t.Parallel()
	spent := func(texts ...string) []store.Entry {
		out := entries(texts...)
		for i := range out {
			out[i].Expires = time.Now().Add(-time.Minute)
		}
		return out
	}
	none := func(*testing.T, *redis.Log, store.Position) {}
	for _, c := range []tearing{
		{"an append", none, func(t *testing.T, l *redis.Log, at store.Position) {
			add(t, l, at, "b", "c", "d", "e", "f", "g", "h")
		}},
		{"the opening of a lineage", none, func(t *testing.T, l *redis.Log, _ store.Position) {
			_, err := l.Open(t.Context(), tail(t, l), entries("a", "b", "c", "d", "e", "f", "g", "h"))
			must(t, err)
		}},
		{"a trim", func(t *testing.T, l *redis.Log, at store.Position) {
			_, err := l.Append(t.Context(), at, spent("b", "c", "d")...)
			must(t, err)
			wantTrim(t, l, 2)
		}, func(t *testing.T, l *redis.Log, _ store.Position) {
			for _, then := range [][]store.Entry{spent("e"), append(spent("f"), entries("g")...)} {
				at, err := l.Open(t.Context(), tail(t, l), nil)
				must(t, err)
				_, err = l.Append(t.Context(), at, then...)
				must(t, err)
			}
			wantTrim(t, l, 4) // d, e and the marker before it, f
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			commands := 0
			for c.tear(t, commands) {
				commands++
			}
			if commands < 7 {
				t.Errorf("it was torn %d times", commands)
			}
		})
	}
}

// tearing is a transaction that is torn, and what is in the log before.
type tearing struct {
	name         string
	before, last func(*testing.T, *redis.Log, store.Position)
}

// wantTrim trims as if every token had expired with the lineage that it is of.
func wantTrim(t *testing.T, l *redis.Log, want int) {
	t.Helper()
	n, err := l.Trim(t.Context(), time.Now(), 0)
	must(t, err)
	if n != want {
		t.Fatalf("%d records went, want %d", n, want)
	}
}

// tear starts Redis twice after it could write only so many commands of the last transaction.
// It reports false where that has no more.
func (c *tearing) tear(t *testing.T, commands int) bool {
	t.Helper()
	b := alone(t)
	l, at := opened(t, b.open(t))
	at = add(t, l, at, "a")
	c.before(t, l, at)
	known := tail(t, l).Position
	c.last(t, l, at)
	torn := b.primary(t).Tear(t, 3, func(of int) int {
		if commands > of {
			return -1
		}
		return commands
	})
	if !torn {
		return false
	}
	at, err := l.Open(t.Context(), tail(t, l), entries("A"))
	must(t, err)
	add(t, l, at, "B")
	want := whatLasts(t, l)

	b.another(t)
	for who, l := range map[string]*redis.Log{"who stayed": l, "who came": b.open(t).Log(logName)} {
		what := fmt.Sprintf("after %d commands, %s", commands, who)
		if got := whatLasts(t, l); got != want {
			t.Errorf("%s: log holds %s, want %s", what, got, want)
		}
		all, err := l.Read(t.Context(), store.Position{}, 100)
		must(t, err)
		for i, r := range all {
			rest, err := l.Read(t.Context(), r.Position, 100)
			if err != nil || len(rest) != len(all)-i-1 {
				t.Errorf("%s: after %v come %d records: %v", what, r.Position, len(rest), err)
			}
		}
		for p := known; p.Seq > 0; p.Seq-- {
			if _, err := l.Read(t.Context(), p, 100); err != nil {
				t.Errorf("%s: after %v: %v", what, p, err)
			}
		}
	}
	at, err = l.Open(t.Context(), tail(t, l), entries("C"))
	must(t, err)
	add(t, l, at, "D")
	want = whatLasts(t, l)
	_, err = l.Trim(t.Context(), time.Now(), 0)
	must(t, err)
	all, err := l.Read(t.Context(), store.Position{}, 100)
	must(t, err)
	if got := whatLasts(t, l); got != want || tail(t, l).Records != len(all) {
		t.Errorf("after %d commands, and a trim: log holds %s in %d records, want %s in %d",
			commands, got, tail(t, l).Records, want, len(all))
	}
	return true
}

// whatLasts is what a log holds but for what has expired, with its positions.
func whatLasts(t *testing.T, l *redis.Log) string {
	t.Helper()
	all, err := l.Read(t.Context(), store.Position{}, 100)
	must(t, err)
	out := ""
	for _, r := range all {
		if !r.Marker && r.Expires.IsZero() {
			out += fmt.Sprintf("%s at %v, ", r.Payload, r.Position)
		}
	}
	return out
}

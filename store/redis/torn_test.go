package redis_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/redis"
)

// A Redis whose machine loses its power while it writes a transaction carries out a part of it
// at a later start, before what was written since (see redistest.Tear). Whenever that comes, what
// has been written since is there, and the log goes on.
func TestTransactionThatWasTorn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		least int // commands of the transaction
		last  func(*testing.T, *bed, *redis.Log, store.Position)
	}{
		{"an append", 7, func(t *testing.T, _ *bed, l *redis.Log, at store.Position) {
			add(t, l, at, "b", "c", "d", "e", "f", "g", "h")
		}},
		{"the opening of a lineage", 7, func(t *testing.T, b *bed, l *redis.Log, _ store.Position) {
			b.another(t) // so that it makes room first
			_, err := l.Open(t.Context(), tail(t, l), entries("a", "b", "c", "d", "e", "f"))
			must(t, err)
		}},
		{"making room", 2, func(t *testing.T, b *bed, l *redis.Log, _ store.Position) {
			b.another(t)
			now := tail(t, l)
			b.proxy(t).FailNext("$5\r\nclear\r\n", false)
			_, err := l.Open(t.Context(), now, nil)
			wantErr(t, err, store.ErrUnavailable)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for i, between := range betweenStarts {
				keep, every := 0, 1+min(i, 1)
				for tear(t, c.least, keep, c.last, between) {
					keep += every
				}
				if keep <= c.least {
					t.Errorf("%d commands were kept at most", keep-every)
				}
			}
		})
	}
}

// betweenStarts is what is written between a start that leaves out the part of a transaction and one
// that carries it out.
var betweenStarts = []func(*testing.T, *bed, *redis.DB){
	func(t *testing.T, _ *bed, db *redis.DB) { reopened(t, db.Log(logName)) },
	func(t *testing.T, _ *bed, db *redis.DB) { swapped(t, db) },
	func(t *testing.T, b *bed, db *redis.DB) { // an open that does not get far, before and after
		swapped(t, db)
		now := tail(t, db.Log(logName))
		b.proxy(t).FailNext("$5\r\nraise\r\n", false)
		_, err := db.Log(logName).Open(t.Context(), now, nil)
		wantErr(t, err, store.ErrUnavailable)
		b.another(t)
		reopened(t, db.Log(logName))
	},
	func(t *testing.T, b *bed, db *redis.DB) { // torn again
		swapped(t, db)
		reopened(t, db.Log(logName))
		if !b.primary(t).Tear(t, 6, func(of int) int { return of - 2 }) {
			t.Fatal("nothing to tear")
		}
		reopened(t, db.Log(logName))
	},
}

// swapped writes a transaction that has nothing to do with a log.
func swapped(t *testing.T, db *redis.DB) {
	t.Helper()
	_, err := db.Cells().Swap(t.Context(), "ring", 0, []byte("one"))
	must(t, err)
}

func reopened(t *testing.T, l *redis.Log) {
	t.Helper()
	at, err := l.Open(t.Context(), tail(t, l), entries("A", "B", "C", "D"))
	must(t, err)
	add(t, l, at, "E")
}

// tear reports false where the last transaction has less commands.
func tear(t *testing.T, least, keep int, last func(*testing.T, *bed, *redis.Log, store.Position), between func(*testing.T, *bed, *redis.DB)) bool {
	t.Helper()
	b := alone(t)
	db := b.open(t)
	l, at := opened(t, db)
	at = add(t, l, at, "a")
	last(t, b, l, at)
	torn := b.primary(t).Tear(t, least, func(of int) int {
		if keep > of {
			return -1
		}
		return keep
	})
	if !torn {
		return false
	}
	between(t, b, db)
	before := content(t, l)
	b.another(t)
	after := content(t, b.open(t).Log(logName))
	if !startsWith(after, before) {
		t.Errorf("with %d commands the log held %v, and holds %v", keep, before, after)
	}
	if got := content(t, l); !slices.Equal(got, after) {
		t.Errorf("with %d commands who stayed reads %v, who came %v", keep, got, after)
	}
	reopened(t, l)
	return true
}

// content is what a log holds, with its positions, and that each of them can be read from.
func content(t *testing.T, l *redis.Log) []string {
	t.Helper()
	all, err := l.Read(t.Context(), store.Position{}, 10_000)
	if err != nil {
		t.Fatalf("after %d records: %v", len(all), err)
	}
	var out []string
	for i, r := range all {
		out = append(out, fmt.Sprintf("%v %q", r.Position, r.Payload))
		if len(all) < 100 || i%53 == 0 {
			rest, err := l.Read(t.Context(), r.Position, 10_000)
			if err != nil || len(rest) != len(all)-i-1 {
				t.Fatalf("after %v come %d records of %d: %v", r.Position, len(rest), len(all)-i-1, err)
			}
		}
	}
	return out
}

// lasts is what a log holds that a part of a trim does not take away when it comes.
func lasts(t *testing.T, l *redis.Log) []string {
	t.Helper()
	all, err := l.Read(t.Context(), store.Position{}, 10_000)
	must(t, err)
	var out []string
	for _, r := range all {
		if !r.Marker && r.Expires.IsZero() {
			out = append(out, fmt.Sprintf("%v %q", r.Position, r.Payload))
		}
	}
	return out
}

func startsWith(all, first []string) bool {
	return len(all) >= len(first) && slices.Equal(all[:len(first)], first)
}

// TestTornAtRandom breaks Redis in the middle of transactions, again and again, while the log
// is opened, written and trimmed. It can be read after every start, and once a lineage was opened
// the next one shows what was there, but for what has expired.
func TestTornAtRandom(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	b := alone(t)
	db := b.open(t)
	l := db.Log(logName)
	hanging, torn := false, 0 // whether a part of a transaction may come yet
	for range 80 {
		switch rng.IntN(10) {
		case 0, 1:
			content(t, l)
			before := lasts(t, l)
			b.another(t)
			content(t, l)
			if after := lasts(t, l); !hanging && !slices.Equal(after, before) {
				t.Fatalf("the log held %v, and holds %v", before, after)
			}
			hanging = false
		case 2, 3:
			if b.primary(t).Tear(t, 2, func(of int) int { return rng.IntN(of + 1) }) {
				torn++
			}
			hanging = true
		case 4:
			before := content(t, l)
			if _, err := l.Trim(t.Context(), time.Now(), 0); err != nil {
				t.Fatal(err)
			}
			for _, kept := range content(t, l) {
				if !slices.Contains(before, kept) {
					t.Fatalf("trimming brought %s", kept)
				}
			}
		case 5:
			v, err := db.Cells().Get(t.Context(), "ring")
			if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrRollback) {
				t.Fatal(err)
			}
			_, err = db.Cells().Swap(t.Context(), "ring", v.Version, []byte("one"))
			must(t, err)
		default:
			now := tail(t, l)
			some := entries("a", "b", "c", "d", "e")[:1+rng.IntN(5)]
			for i := range some {
				if rng.IntN(2) == 0 {
					some[i].Expires = time.Now().Add(-time.Minute)
				}
			}
			var err error
			if now.Open {
				_, err = l.Append(t.Context(), now.Position, some...)
			} else {
				_, err = l.Open(t.Context(), now, some)
				hanging = false
			}
			must(t, err)
		}
	}
	t.Logf("torn %d times; %d records in the end", torn, len(content(t, l)))
	if torn < 5 {
		t.Error("that is too little to show anything")
	}
}

// TestTrimThatWasTorn has a trim carried out in part, after a lineage was opened that it does not
// know of. The log reads as before from everywhere, and can be trimmed.
func TestTrimThatWasTorn(t *testing.T) {
	t.Parallel()
	const commands = 5 // it counts, puts notes, removes records, notes and a hint
	for keep := range commands + 1 {
		for _, runs := range []int{3, 600} {
			t.Run(fmt.Sprintf("%d commands, %d runs", keep, runs), func(t *testing.T) {
				t.Parallel()
				b := alone(t)
				l, at := opened(t, b.open(t))
				soon := time.Now().Add(3 * time.Second)
				var some []store.Entry
				for i := range runs {
					some = append(append(some, spent(fmt.Sprint("spent ", i))...), entries(fmt.Sprint("lasts ", i))...)
					some[len(some)-1].Expires = soon
				}
				at, err := l.Append(t.Context(), at, slices.Concat(some, entries("live"), spent("gone"), entries("more"))...)
				must(t, err)
				wantTrim(t, l, runs+1)
				for range 2 { // the marker of the first of them goes
					_, err = l.Open(t.Context(), tail(t, l), nil)
					must(t, err)
				}
				time.Sleep(time.Until(soon) + 1100*time.Millisecond) // by the seconds of Redis's clock
				wantTrim(t, l, runs+1)
				torn := b.primary(t).Tear(t, commands, func(of int) int {
					if of != commands {
						t.Errorf("a trim has %d commands", of)
					}
					return keep
				})
				if !torn {
					t.Fatal("no trim was there to tear")
				}
				reopened(t, l)
				b.another(t)

				want := []string{"live", "more", "A", "B", "C", "D", "E"}
				wantLive(t, b, want)
				for p, every := at, uint64(1+runs/20); p.Seq > every; p.Seq -= every {
					if _, err := b.open(t).Log(logName).Read(t.Context(), p, 512); err != nil {
						t.Fatalf("after %v: %v", p, err)
					}
				}
				reopened(t, l)
				_, err = l.Trim(t.Context(), time.Now(), 0)
				must(t, err)
				wantLive(t, b, append(want, want[2:]...))
			})
		}
	}
}

func spent(texts ...string) []store.Entry {
	out := entries(texts...)
	for i := range out {
		out[i].Expires = time.Now().Add(-time.Minute)
	}
	return out
}

// Notes of a log that is no more, or in a place that is not theirs, are in nobody's way: what
// links is read, and another note that fits is found.
func TestNotesThatFitNothing(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, at := opened(t, b.open(t))
	stream, _, notes := redis.Keys(logName)
	_, err := l.Append(t.Context(), at, slices.Concat(entries("a"), spent("b"), entries("c"), spent("d", "e"), entries("f"))...)
	must(t, err)
	wantTrim(t, l, 3)
	c := b.primary(t).Client()
	members, err := c.ZRange(t.Context(), notes, 0, -1).Result()
	must(t, err)
	b.another(t) // so that there is room
	reopened(t, l)
	want := []string{"a", "c", "f", "A", "B", "C", "D", "E"}
	wantLive(t, b, want)
	for first := uint64(redis.Room + 1); first < 2*redis.Room+20; first++ {
		for last := first; last < first+3; last++ {
			place := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, first), last)
			for _, m := range members {
				must(t, c.ZAdd(t.Context(), notes, goredis.Z{Score: float64(first), Member: string(place) + m[16:]}).Err())
			}
		}
		if first == redis.Room+10 {
			first = 2*redis.Room - 10
		}
	}
	wantLive(t, b, want)
	b.primary(t).Do(t, "DEL", stream)
	for range 2 {
		l = b.open(t).Log(logName)
		reopened(t, l)
		b.another(t)
	}
	wantLive(t, b, slices.Concat(want[3:], want[3:]))
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

// wantLive holds what has no end, as a reader gets it who reads page by page.
func wantLive(t *testing.T, b *bed, want []string) {
	t.Helper()
	l := b.open(t).Log(logName)
	var got []string
	for at := (store.Position{}); ; {
		page, err := l.Read(t.Context(), at, 7)
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			if !r.Marker && r.Expires.IsZero() {
				got = append(got, string(r.Payload))
			}
			at = r.Position
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("log holds %q, want %q", got, want)
	}
}

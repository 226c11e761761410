package redis_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/internal/redistest"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/redis"
)

func TestAnotherKeyReadsNothing(t *testing.T) {
	t.Parallel()
	b := alone(t)
	db := b.open(t)
	_, at := opened(t, db)
	_, err := db.Cells().Swap(t.Context(), "ring", 0, []byte("one"))
	must(t, err)
	must(t, db.Tally().Add(t.Context(), "b", time.Now().Add(time.Hour), map[string]int64{"n": 1}))
	b.config.Sealer = sealer(t, 2)
	other := b.open(t)
	_, err = other.Log(logName).Tail(t.Context())
	wantErr(t, err, store.ErrForged)
	_, err = other.Log(logName).Append(t.Context(), at, entries("x")...)
	wantErr(t, err, store.ErrForged)
	_, err = other.Cells().Get(t.Context(), "ring")
	wantErr(t, err, store.ErrForged)
	_, err = other.Tally().Sum(t.Context(), "b")
	wantErr(t, err, store.ErrForged)
	wantErr(t, other.Tally().Add(t.Context(), "b", time.Now().Add(2*time.Hour), nil), store.ErrForged)
}

// id is that of the entry at an index.
func id(index uint64) string { return strconv.FormatUint(index, 10) + "-0" }

func TestWhatIsNoWorkOfOursIsRefused(t *testing.T) {
	t.Parallel()
	stream, _, _ := redis.Keys(logName)
	for name, attack := range map[string]func(*bed){
		"another type":         func(b *bed) { b.primary(t).Do(t, "DEL", stream); b.primary(t).Do(t, "SET", stream, "x") },
		"no such field":        func(b *bed) { b.primary(t).Do(t, "XADD", stream, "9999-0", "x", "y") },
		"more fields":          func(b *bed) { b.primary(t).Do(t, "XADD", stream, "9999-0", "r", "y", "r", "z") },
		"an id that is not so": func(b *bed) { b.primary(t).Do(t, "XADD", stream, "9999-9", "r", "y") },
		"nothing in it":        func(b *bed) { b.primary(t).Do(t, "XADD", stream, "9999-0", "r", "") },
		"a greatest id":        func(b *bed) { b.primary(t).Do(t, "XADD", stream, "18446744073709551615-0", "r", "y") },
	} {
		t.Run(name, func(t *testing.T) {
			b := alone(t)
			l, at := opened(t, b.open(t))
			add(t, l, at, "a")
			attack(b)
			for _, log := range []*redis.Log{l, b.open(t).Log(logName)} {
				_, err := log.Tail(t.Context())
				wantErr(t, err, store.ErrForged)
				if got, err := log.Read(t.Context(), store.Position{}, 0); !errors.Is(err, store.ErrForged) {
					t.Errorf("read %v, %v", got, err)
				}
				_, err = log.Append(t.Context(), at, entries("x")...)
				wantErr(t, err, store.ErrForged)
			}
		})
	}
}

// A replica whose clock is hours ahead takes no live rule out of the log that all of them share.
func TestAClockThatIsAheadTrimsNothingLive(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, at := opened(t, b.open(t))
	now := time.Now()
	_, err := l.Append(t.Context(), at,
		store.Entry{Kind: 1, Payload: []byte("spent"), Expires: now.Add(-time.Minute)},
		store.Entry{Kind: 1, Payload: []byte("live"), Expires: now.Add(time.Hour)},
		store.Entry{Kind: 1, Payload: []byte("last")})
	must(t, err)
	for range 2 { // the second by what the first has found
		if _, err := l.Trim(t.Context(), now.Add(5*time.Hour), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	all, err := l.Read(t.Context(), store.Position{}, 0)
	must(t, err)
	var left []string
	for i := range all {
		if !all[i].Marker {
			left = append(left, string(all[i].Payload))
		}
	}
	if !slices.Equal(left, []string{"live", "last"}) {
		t.Errorf("left are %q", left)
	}
}

// Indexes are hints. One who moves a note to where a reader stands must not lead it
// past a live record.
func TestNoteThatIsMovedHidesNothing(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, at := opened(t, b.open(t))
	soon := time.Now().Add(-time.Second)
	gone := func(text string) store.Entry {
		return store.Entry{Kind: 1, Payload: []byte(text), Expires: soon}
	}
	live := func(text string) store.Entry { return store.Entry{Kind: 1, Payload: []byte(text)} }
	_, err := l.Append(t.Context(), at, live("a"), gone("b"), live("c"), gone("d"), live("e"))
	must(t, err)
	if n, err := l.Trim(t.Context(), time.Now(), time.Hour); err != nil || n != 2 {
		t.Fatalf("trimmed %d, %v", n, err)
	}
	all, err := l.Read(t.Context(), store.Position{}, 0)
	must(t, err)
	c := b.primary(t).Client()
	stream, _, notes := redis.Keys(logName)
	members, err := c.ZRange(t.Context(), notes, 0, -1).Result()
	must(t, err)
	// The note of "d", said to stand for all from "a" on, which is taken away.
	moved := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, redis.Room+2), redis.Room+5)
	moved = append(moved, members[1][16:]...)
	must(t, c.Del(t.Context(), notes).Err())
	must(t, c.ZAdd(t.Context(), notes, goredis.Z{Score: redis.Room + 2, Member: moved}).Err())
	must(t, c.XDel(t.Context(), stream, id(redis.Room+2)).Err())
	for _, log := range []*redis.Log{l, b.open(t).Log(logName)} {
		got, err := log.Read(t.Context(), all[1].Position, 0)
		if !errors.Is(err, store.ErrUnknownPosition) || len(got) > 0 {
			t.Errorf("after %q came %d records, %v", all[1].Payload, len(got), err)
		}
		if got, err := log.Read(t.Context(), store.Position{}, 0); !errors.Is(err, store.ErrGap) || len(got) != 1 {
			t.Errorf("from the start came %d records, %v", len(got), err)
		}
	}
}

// A lineage that was never completed stays so, whatever marker it is said to have.
func TestMarkerOfAnotherLineageCompletesNothing(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, _ := opened(t, b.open(t))
	b.proxy(t).FailNext(id(redis.Room+2001), false) // the id that the second part goes on from
	_, err := l.Open(t.Context(), tail(t, l), lasting(2500))
	wantErr(t, err, store.ErrUnavailable)
	now := tail(t, l)
	_, lineages, _ := redis.Keys(logName)
	field := binary.BigEndian.AppendUint64(nil, uint64(now.Lineage))
	must(t, b.primary(t).Client().HSet(t.Context(), lineages, field, "1 1").Err())
	if now = tail(t, l); now.Open || now.Seq != 2000 {
		t.Fatalf("the tail is %+v", now)
	}
	_, err = l.Append(t.Context(), now.Position, entries("x")...)
	wantErr(t, err, store.ErrDiscontinuity)
}

// lasting makes so many entries that live for ever.
func lasting(n int) []store.Entry {
	out := make([]store.Entry, n)
	for i := range out {
		out[i] = store.Entry{Kind: 1, Payload: binary.BigEndian.AppendUint64(nil, uint64(i))}
	}
	return out
}

// One replica has planned a trim of two records when another trims a part of the log
// that holds the first of them.
func TestTrimThatWasPlannedBeforeAnother(t *testing.T) {
	t.Parallel()
	b := alone(t)
	held := b.open(t)
	l, _ := opened(t, held)
	now := time.Now().Add(-3 * time.Hour)
	records := lasting(4100)
	for i := range records[:4099] {
		records[i].Expires = now.Add(time.Hour)
	}
	records[100].Expires, records[3000].Expires = now, now
	at := tail(t, l).Position
	for part := range slices.Chunk(records, 2000) {
		_, err := l.Append(t.Context(), tail(t, l).Position, part...)
		must(t, err)
	}
	reached, release := b.proxy(t).Hold("writ:write")
	planned := make(chan error, 1)
	go func() {
		n, err := l.Trim(t.Context(), now.Add(time.Minute), 24*time.Hour)
		if n != 0 {
			err = fmt.Errorf("trimmed %d records by a plan that did not hold", n)
		}
		planned <- err
	}()
	<-reached
	other := newBed(t, b.config, nil)
	proxy := redistest.NewProxy(t, b.primary(t).Addr)
	other.config.Addrs = []string{proxy.Addr}
	other.config.SetDial(nil)
	proxy.FailNext(id(redis.Room+4001), false) // its second batch ends with this
	n, err := other.open(t).Log(logName).Trim(t.Context(), now.Add(2*time.Hour), 24*time.Hour)
	if wantErr(t, err, store.ErrUnavailable); n != 2000 {
		t.Fatalf("the other trimmed %d", n)
	}
	release()
	must(t, <-planned)
	at.Seq += 500
	if got, err := b.open(t).Log(logName).Read(t.Context(), at, 1); err != nil || len(got) != 1 || got[0].Seq != 2002 {
		t.Fatalf("after a record that was trimmed came %v, %v", got, err)
	}
}

func TestReplicasTrimAndReadAndAppendAtOnce(t *testing.T) {
	t.Parallel()
	b := alone(t)
	first := b.open(t)
	opened(t, first)
	now := time.Now().Add(-24 * time.Hour)
	var work sync.WaitGroup
	done := make(chan struct{})
	const appends = 150
	work.Go(func() {
		defer close(done)
		l := first.Log(logName)
		for i := range appends {
			batch := make([]store.Entry, 40)
			for k := range batch {
				batch[k] = store.Entry{Kind: 1, Payload: []byte(strconv.Itoa(i))}
				if k%20 > 0 {
					batch[k].Expires = now.Add(time.Duration(i-1) * time.Second)
				}
			}
			if _, err := l.Append(t.Context(), tail(t, l).Position, batch...); err != nil {
				t.Errorf("append: %v", err)
			}
		}
	})
	trimmed := make([]int, 2)
	for i := range trimmed {
		l := b.open(t).Log(logName)
		work.Go(func() {
			for step := 0; ; step++ {
				n, err := l.Trim(t.Context(), now.Add(time.Duration(step)*time.Second), time.Hour)
				if trimmed[i] += n; err != nil {
					t.Errorf("trim: %v", err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	reader := b.open(t).Log(logName)
	var live int
	work.Go(func() {
		at, ended := store.Position{}, false
		for {
			got, err := reader.Read(t.Context(), at, 0)
			if err != nil {
				t.Errorf("read after %v: %v", at, err)
				return
			}
			for _, r := range got {
				if at = r.Position; r.Expires.IsZero() && !r.Marker {
					live++
				}
			}
			if len(got) == 0 && ended {
				return
			}
			select {
			case <-done:
				ended = true
			default:
			}
		}
	})
	work.Wait()
	if live != 2*appends {
		t.Errorf("the reader missed %d of %d live records", 2*appends-live, 2*appends)
	}
	all, err := reader.Read(t.Context(), store.Position{}, 1<<20)
	must(t, err)
	if got, want := len(all)+trimmed[0]+trimmed[1], 1+40*appends; got != want {
		t.Errorf("%d records stand, %v were trimmed, of %d", len(all), trimmed, want)
	}
	if tail(t, reader).Records != len(all) {
		t.Errorf("the tail counts %d records, there are %d", tail(t, reader).Records, len(all))
	}
}

func TestCellIsHealed(t *testing.T) {
	t.Parallel()
	b := alone(t)
	db := b.open(t)
	key := redis.CellKey("ring")
	node := b.primary(t)
	_, err := db.Cells().Swap(t.Context(), "ring", 0, []byte("one"))
	must(t, err)
	old := node.Do(t, "GET", key)
	_, err = db.Cells().Swap(t.Context(), "ring", 1, []byte("two"))
	must(t, err)
	version := uint64(2)
	for _, value := range []any{old, "forged", bytes.Repeat([]byte("x"), 100), ""} {
		node.Do(t, "SET", key, value)
		// Nobody overwrites it unawares.
		if _, err := db.Cells().Swap(t.Context(), "ring", version, []byte("x")); !store.IsIntegrity(err) {
			t.Errorf("%q was overwritten: %v", value, err)
		}
		v, err := db.Cells().Get(t.Context(), "ring")
		if !store.IsIntegrity(err) || v.Value != nil {
			t.Errorf("%q was read as %q, %v", value, v.Value, err)
		}
		heal(t, db, "ring", v.Version, version)
		version++
	}
	// A process that has seen nothing finds a forged value.
	node.Do(t, "SET", key, "forged")
	fresh := b.open(t)
	_, err = fresh.Cells().Swap(t.Context(), "ring", 0, []byte("x"))
	wantErr(t, err, store.ErrForged)
	v, err := fresh.Cells().Get(t.Context(), "ring")
	wantErr(t, err, store.ErrForged)
	heal(t, fresh, "ring", v.Version, 0)
	v, err = db.Cells().Get(t.Context(), "ring") // which is old to who has seen more
	wantErr(t, err, store.ErrRollback)
	heal(t, db, "ring", v.Version, version)
}

func TestCellsThatChangeUnderWatchersAreNeverTakenForOld(t *testing.T) {
	t.Parallel()
	b := alone(t)
	db := b.open(t)
	var work sync.WaitGroup
	const swaps = 200
	for range 3 {
		work.Go(func() {
			for version := uint64(0); version < swaps; {
				v, err := db.Cells().Watch(t.Context(), "ring", version)
				if err != nil || v.Version <= version {
					t.Errorf("after %d: version %d, %v", version, v.Version, err)
					return
				}
				if version = v.Version; string(v.Value) != fmt.Sprint(version) {
					t.Errorf("version %d is %q", version, v.Value)
				}
			}
		})
	}
	for version := range uint64(swaps) {
		_, err := db.Cells().Swap(t.Context(), "ring", version, fmt.Append(nil, version+1))
		must(t, err)
	}
	work.Wait()
}

func TestCountsAreAuthentic(t *testing.T) {
	t.Parallel()
	b := alone(t)
	tally := b.open(t).Tally()
	add := func(bucket string, n int64) {
		t.Helper()
		must(t, tally.Add(t.Context(), bucket, time.Now().Add(time.Hour), map[string]int64{"n": n, "m": 7}))
	}
	add("a", 1)
	add("b", 2)
	c, key := b.primary(t).Client(), "{writ}:tally:a"
	counts, err := c.HGetAll(t.Context(), key).Result()
	must(t, err)
	other, err := c.HGetAll(t.Context(), "{writ}:tally:b").Result()
	must(t, err)
	for field, value := range map[string]string{"n": counts["\x01m"], "m": other["\x01m"], "new": counts["\x01n"]} {
		must(t, c.HSet(t.Context(), key, "\x01"+field, value).Err())
		if got, err := tally.Sum(t.Context(), "a"); !errors.Is(err, store.ErrForged) {
			t.Errorf("%s forged: %v, %v", field, got, err)
		}
		must(t, c.HDel(t.Context(), key, "\x01new").Err())
		for field, value := range counts {
			must(t, c.HSet(t.Context(), key, field, value).Err())
		}
	}
	got, err := tally.Sum(t.Context(), "a")
	must(t, err)
	if got["n"] != 1 || got["m"] != 7 {
		t.Errorf("counted %v", got)
	}
	if life, err := c.TTL(t.Context(), key).Result(); err != nil || life < time.Hour || life > 2*time.Hour {
		t.Errorf("redis keeps the bucket for %v, %v", life, err)
	}
}

func FuzzDecodeItems(f *testing.F) {
	f.Add([]byte("*1\r\n*2\r\n$3\r\n7-0\r\n*2\r\n$1\r\nr\r\n$2\r\nab\r\n"))
	f.Add([]byte("*1\r\n*2\r\n$3\r\n7-1\r\n*4\r\n$1\r\nr\r\n$0\r\n\r\n$1\r\nr\r\n$0\r\n\r\n"))
	f.Add([]byte("*0\r\n"))
	f.Add([]byte("-WRONGTYPE x\r\n"))
	f.Add([]byte("*999999999\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		indexes, data, err := redis.DecodeItems(raw)
		if err != nil {
			return
		}
		// What is understood, and holds only entries of ours, is written the same way.
		again := fmt.Appendf(nil, "*%d\r\n", len(indexes))
		for i, index := range indexes {
			if data[i] == nil {
				return
			}
			id := fmt.Sprintf("%d-0", index)
			again = fmt.Appendf(again, "*2\r\n$%d\r\n%s\r\n*2\r\n$1\r\nr\r\n$%d\r\n%s\r\n", len(id), id, len(data[i]), data[i])
		}
		if len(again) > len(raw) {
			t.Errorf("%q was read as more than it is: %q", raw, again)
		}
	})
}

package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/store"
)

func swap(t *testing.T, c store.Cell, name string, old uint64, value string) {
	t.Helper()
	got, err := c.Swap(t.Context(), name, old, []byte(value))
	must(t, err)
	if got != old+1 {
		t.Fatalf("swap of version %d made version %d", old, got)
	}
}

func wantCell(t *testing.T, c store.Cell, name, value string, version uint64) {
	t.Helper()
	got, err := c.Get(t.Context(), name)
	must(t, err)
	if string(got.Value) != value || got.Version != version {
		t.Fatalf("cell %q is %q at %d, want %q at %d", name, got.Value, got.Version, value, version)
	}
}

func cellSwap(t *testing.T, f *fixture) {
	c := f.Replica(t).Cells
	_, err := c.Get(t.Context(), "ring")
	wantErr(t, err, store.ErrNotFound)
	_, err = c.Swap(t.Context(), "ring", 1, []byte("x"))
	wantErr(t, err, store.ErrConflict)
	swap(t, c, "ring", 0, "one")
	_, err = c.Swap(t.Context(), "ring", 0, []byte("x"))
	wantErr(t, err, store.ErrConflict)
	swap(t, c, "ring", 1, "")
	wantCell(t, f.Replica(t).Cells, "ring", "", 2)
	swap(t, c, "other", 0, "O")
	swap(t, c, "ring", 2, "three")
	f.Restart(t)
	c = f.Replica(t).Cells
	wantCell(t, c, "ring", "three", 3)
	wantCell(t, c, "other", "O", 1)
	_, err = c.Swap(t.Context(), "ring", 3, make([]byte, store.MaxValue+1))
	wantErr(t, err, store.ErrTooLarge)
}

func cellWatch(t *testing.T, f *fixture) {
	r := f.Replica(t)
	got := make(chan string, 8)
	go func() {
		version := uint64(0)
		for version < 2 {
			v, err := r.Cells.Watch(t.Context(), "ring", version)
			if err != nil || v.Version <= version {
				got <- fmt.Sprintf("watch: %v, version %d after %d", err, v.Version, version)
				return
			}
			version = v.Version
		}
		got <- "done"
	}()
	c := f.Replica(t).Cells
	swap(t, c, "other", 0, "x")
	swap(t, c, "ring", 0, "one")
	swap(t, c, "ring", 1, "two")
	select {
	case text := <-got:
		if text != "done" {
			t.Fatal(text)
		}
	case <-time.After(patience):
		t.Fatal("not woken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Watch(ctx, "ring", 2)
	wantErr(t, err, context.Canceled)
}

func cellRace(t *testing.T, f *fixture) {
	const writers = 8
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range writers {
		c := f.Replica(t).Cells
		wg.Go(func() {
			_, err := c.Swap(t.Context(), "ring", 0, []byte(fmt.Sprint(i)))
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, store.ErrConflict) {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d writers won", won.Load())
	}
}

func cellPersisted(t *testing.T, f *fixture) {
	c := f.Replica(t).Cells
	f.FailWrite(t, false)
	_, err := c.Swap(t.Context(), "ring", 0, []byte("lost"))
	wantErr(t, err, store.ErrUnavailable)
	_, err = c.Get(t.Context(), "ring")
	wantErr(t, err, store.ErrNotFound)
	f.FailWrite(t, true)
	_, err = c.Swap(t.Context(), "ring", 0, []byte("kept"))
	wantErr(t, err, store.ErrUnavailable)
	wantCell(t, c, "ring", "kept", 1)
	_, err = c.Swap(t.Context(), "ring", 0, []byte("again"))
	wantErr(t, err, store.ErrConflict)
}

func cellForgery(t *testing.T, f *fixture) {
	c := f.Replica(t).Cells
	swap(t, c, "ring", 0, "one")
	swap(t, c, "other", 0, "two")
	var first, other []byte
	keep := func(dst *[]byte) func([]byte) []byte {
		return func(raw []byte) []byte { *dst = append([]byte(nil), raw...); return raw }
	}
	f.EditCell(t, "ring", keep(&first))
	f.EditCell(t, "other", keep(&other))
	for i := range first {
		f.EditCell(t, "ring", func([]byte) []byte {
			raw := append([]byte(nil), first...)
			raw[i] ^= 1
			return raw
		})
		if v, err := c.Get(t.Context(), "ring"); !store.IsIntegrity(err) {
			t.Errorf("byte %d changed: read %q, error %v", i, v.Value, err)
		}
	}
	f.EditCell(t, "ring", func([]byte) []byte { return other })
	_, err := c.Get(t.Context(), "ring")
	wantErr(t, err, store.ErrForged)
	f.EditCell(t, "ring", func([]byte) []byte { return first })
	swap(t, c, "ring", 1, "newer")
	f.EditCell(t, "ring", func([]byte) []byte { return first })
	_, err = c.Get(t.Context(), "ring")
	wantErr(t, err, store.ErrRollback)
	_, err = c.Swap(t.Context(), "ring", 1, []byte("x"))
	wantErr(t, err, store.ErrRollback)
	f.EditCell(t, "ring", func([]byte) []byte { return nil })
	_, err = c.Get(t.Context(), "ring")
	wantErr(t, err, store.ErrRollback)
}

func tally(t *testing.T, f *fixture) {
	a, b := f.Replica(t).Tally, f.Replica(t).Tally
	soon, later := f.now().Add(time.Minute), f.now().Add(time.Hour)
	must(t, a.Add(t.Context(), "m1", soon, map[string]int64{"x": 2, "y": 1, "": 4}))
	must(t, b.Add(t.Context(), "m1", soon, map[string]int64{"x": 3, "y": -1}))
	must(t, b.Add(t.Context(), "m2", later, map[string]int64{"x": 10}))
	want := func(c store.Tally, want map[string]int64, buckets ...string) {
		t.Helper()
		got, err := c.Sum(t.Context(), buckets...)
		must(t, err)
		for name, n := range got {
			if n == 0 {
				delete(got, name) // whether a count that came to nothing is told is the adapter's
			}
		}
		if !maps.Equal(got, want) {
			t.Fatalf("sum of %v is %v, want %v", buckets, got, want)
		}
	}
	want(a, map[string]int64{"x": 5, "": 4}, "m1")
	want(b, map[string]int64{"x": 15, "": 4}, "m1", "m2", "unknown")
	f.advance(time.Minute)
	want(a, map[string]int64{"x": 10}, "m1", "m2")
	must(t, a.Add(t.Context(), "m2", f.now().Add(2*time.Hour), map[string]int64{"x": 1}))
	must(t, a.Add(t.Context(), "m2", f.now().Add(time.Second), map[string]int64{"x": 1})) // shortens nothing
	f.advance(90 * time.Minute)
	want(b, map[string]int64{"x": 12}, "m2")
	must(t, a.Add(t.Context(), "m1", f.now().Add(time.Minute), map[string]int64{"x": 7}))
	want(b, map[string]int64{"x": 7}, "m1") // a bucket that comes back starts anew
	var wg sync.WaitGroup
	for range 4 {
		c := f.Replica(t).Tally
		wg.Go(func() {
			for range 5 {
				if err := c.Add(t.Context(), "m3", f.now().Add(time.Minute), map[string]int64{"n": 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want(a, map[string]int64{"n": 20}, "m3")
}

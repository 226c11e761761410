package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/store"
)

func emptyLog(t *testing.T, f *fixture) {
	l := f.log(t)
	got := tail(t, l)
	if !got.IsZero() || got.Records != 0 || got.Open || got.Instance == "" {
		t.Fatalf("tail of an empty log: %+v", got)
	}
	wantLog(t, l, "")
	_, err := l.Append(t.Context(), store.Position{}, entries("a")...)
	wantErr(t, err, store.ErrDiscontinuity)
	_, err = l.Read(t.Context(), store.Position{Lineage: 7, Seq: 1}, 1)
	wantErr(t, err, store.ErrUnknownPosition)
}

func order(t *testing.T, f *fixture) {
	l, at := f.opened(t)
	if at.Lineage == 0 || at.Seq != 1 {
		t.Fatalf("first marker at %v", at)
	}
	expires := f.now().Add(time.Hour).Add(time.Nanosecond)
	last, err := l.Append(t.Context(), at,
		store.Entry{Kind: 3, Payload: []byte("a"), Expires: expires}, store.Entry{Kind: 255})
	must(t, err)
	if want := (store.Position{Lineage: at.Lineage, Seq: 3}); last != want {
		t.Fatalf("appended up to %v, want %v", last, want)
	}
	got, err := f.log(t).Read(t.Context(), store.Position{}, 0)
	must(t, err)
	if len(got) != 3 || !got[0].Marker || got[0].Seq != 1 {
		t.Fatalf("read %+v", got)
	}
	m, err := store.DecodeMarker(got[0].Payload)
	must(t, err)
	if m.Instance != tail(t, l).Instance || !m.Opened.Equal(f.now()) {
		t.Fatalf("marker says %+v", m)
	}
	a, b := got[1], got[2]
	if a.Kind != 3 || string(a.Payload) != "a" || a.Seq != 2 || a.Marker || a.Expires.Before(expires) || a.Expires.After(expires.Add(time.Second)) {
		t.Fatalf("first entry came back as %+v", a)
	}
	if b.Kind != 255 || len(b.Payload) != 0 || b.Seq != 3 || !b.Expires.IsZero() {
		t.Fatalf("second entry came back as %+v", b)
	}
	if end := tail(t, l); end.Position != last || end.Records != 3 || !end.Open {
		t.Fatalf("tail is %+v", end)
	}
}

func resume(t *testing.T, f *fixture) {
	l, at := f.opened(t)
	at = add(t, l, at, "a", "b")
	open(t, l, entries("c")...)
	at2 := add(t, l, tail(t, l).Position, "d", "e")
	all, err := readAll(t, l, store.Position{})
	must(t, err)
	if want := "| a b c | d e "; texts(all) != want {
		t.Fatalf("log holds %q, want %q", texts(all), want)
	}
	for i, r := range all {
		rest, err := readAll(t, f.log(t), r.Position)
		must(t, err)
		if texts(rest) != texts(all[i+1:]) {
			t.Errorf("after %v came %q, want %q", r.Position, texts(rest), texts(all[i+1:]))
		}
	}
	for _, p := range []store.Position{
		{Lineage: at.Lineage, Seq: 0}, {Lineage: at.Lineage, Seq: at.Seq + 1}, {Lineage: at.Lineage, Seq: 1 << 63},
		{Lineage: at2.Lineage, Seq: at2.Seq + 1}, {Lineage: at.Lineage ^ 1, Seq: 1}, {Seq: 1},
	} {
		if _, err := l.Read(t.Context(), p, 1); !errors.Is(err, store.ErrUnknownPosition) {
			t.Errorf("reading after %v: %v, want ErrUnknownPosition", p, err)
		}
	}
}

func stalePosition(t *testing.T, f *fixture) {
	l, first := f.opened(t)
	last := add(t, l, first, "a")
	for _, at := range []store.Position{{}, first, {Lineage: last.Lineage, Seq: last.Seq + 1}, {Lineage: last.Lineage ^ 1, Seq: last.Seq}} {
		_, err := l.Append(t.Context(), at, entries("x")...)
		var conflict *store.ConflictError
		if !errors.As(err, &conflict) || conflict.Tail.Position != last || !errors.Is(err, store.ErrConflict) {
			t.Errorf("appending at %v: %v, want a conflict with %v", at, err, last)
		}
	}
	wantLog(t, l, "| a ")
}

func refusedEntries(t *testing.T, f *fixture) {
	l, at := f.opened(t)
	for name, bad := range map[string][]store.Entry{
		"none":       nil,
		"kind 0":     {{Payload: []byte("x")}},
		"too large":  {{Kind: 1, Payload: make([]byte, store.MaxPayload+1)}},
		"second bad": {{Kind: 1}, {Kind: 0}},
	} {
		if _, err := l.Append(t.Context(), at, bad...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	_, err := l.Open(t.Context(), tail(t, l), []store.Entry{{}})
	if err == nil {
		t.Error("restored an entry of kind 0")
	}
	add(t, l, at, string(make([]byte, store.MaxPayload)))
}

func newInstance(t *testing.T, f *fixture) {
	l, at := f.opened(t)
	at = add(t, l, at, "a")
	before := tail(t, l)
	f.Restart(t)
	l = f.log(t)
	now := tail(t, l)
	if now.Instance == before.Instance || now.Position != at || now.Open {
		t.Fatalf("after a restart the tail is %+v, before it was %+v", now, before)
	}
	_, err := l.Append(t.Context(), at, entries("x")...)
	wantErr(t, err, store.ErrDiscontinuity)
	second := open(t, l)
	if second.Lineage == at.Lineage {
		t.Fatal("the lineage was kept")
	}
	add(t, l, second, "b")
	wantLog(t, l, "| a | b ")
}

func restored(t *testing.T, f *fixture) {
	l, at := f.opened(t)
	add(t, l, at, "a")
	marker := open(t, l, entries("b", "c")...)
	if marker.Seq != 3 {
		t.Fatalf("marker after two restored entries is %v", marker)
	}
	all, err := readAll(t, l, store.Position{})
	must(t, err)
	if want := "| a b c | "; texts(all) != want {
		t.Fatalf("log holds %q, want %q", texts(all), want)
	}
	for i, r := range all[2:] {
		if r.Lineage != marker.Lineage || r.Seq != uint64(i)+1 {
			t.Errorf("restored record %d is at %v", i, r.Position)
		}
	}
}

func twoOpen(t *testing.T, f *fixture) {
	first := f.log(t)
	open(t, first)
	seen := tail(t, first)
	const replicas = 8
	results := make(chan error, replicas)
	logs := make([]store.LiveLog, replicas)
	for i := range logs {
		logs[i] = f.log(t)
	}
	for i, l := range logs {
		go func() {
			_, err := l.Open(t.Context(), seen, entries(fmt.Sprint(i)))
			results <- err
		}()
	}
	won := 0
	for range replicas {
		if err := <-results; err == nil {
			won++
		} else {
			wantErr(t, err, store.ErrConflict)
		}
	}
	if won != 1 {
		t.Fatalf("%d of %d won", won, replicas)
	}
	if got := tail(t, first); got.Seq != 2 || got.Lineage == seen.Lineage || !got.Open {
		t.Fatalf("tail is %+v", got)
	}
}

func openComparesInstance(t *testing.T, f *fixture) {
	l, _ := f.opened(t)
	seen := tail(t, l)
	f.Restart(t)
	_, err := f.log(t).Open(t.Context(), seen, nil)
	wantErr(t, err, store.ErrConflict)
	open(t, f.log(t))
}

func concurrentWriters(t *testing.T, f *fixture) {
	l, _ := f.opened(t)
	const writers, each = 4, 10
	var wg sync.WaitGroup
	for w := range writers {
		own := f.log(t)
		wg.Go(func() {
			for i := range each {
				for {
					now, err := own.Tail(t.Context())
					if err == nil {
						_, err = own.Append(t.Context(), now.Position, entries(fmt.Sprintf("%d.%d", w, i))...)
					}
					if err == nil {
						break
					}
					if !errors.Is(err, store.ErrConflict) {
						t.Errorf("writer %d: %v", w, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	all, err := readAll(t, l, store.Position{})
	must(t, err)
	next := map[string]int{}
	for i, r := range all {
		if r.Seq != uint64(i)+1 {
			t.Fatalf("record %d has seq %d", i, r.Seq)
		}
		if r.Marker {
			continue
		}
		var w, n int
		_, err := fmt.Sscanf(string(r.Payload), "%d.%d", &w, &n)
		must(t, err)
		if next[fmt.Sprint(w)] != n {
			t.Fatalf("writer %d's entry %d came out of turn", w, n)
		}
		next[fmt.Sprint(w)]++
	}
	if len(all) != writers*each+1 {
		t.Fatalf("%d records, want %d", len(all), writers*each+1)
	}
}

func twoLogs(t *testing.T, f *fixture) {
	r := f.Replica(t)
	a, b := r.Log("a"), r.Log("b")
	add(t, a, open(t, a), "a")
	wantLog(t, b, "")
	add(t, b, open(t, b), "b")
	wantLog(t, a, "| a ")
	wantLog(t, b, "| b ")
}

func waitWakes(t *testing.T, f *fixture) {
	l, at := f.opened(t)
	must(t, l.Wait(t.Context(), store.Position{})) // it already is another
	woken := make(chan error, 1)
	reader := f.log(t)
	go func() {
		for {
			err := reader.Wait(t.Context(), at)
			if now, tailErr := reader.Tail(t.Context()); err != nil || tailErr != nil || now.Position != at {
				woken <- errors.Join(err, tailErr)
				return
			}
		}
	}()
	add(t, l, at, "a")
	select {
	case err := <-woken:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("not woken")
	}
}

func waitEnds(t *testing.T, f *fixture) {
	l, at := f.opened(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := l.Wait(ctx, at); err != nil {
				ended <- err
				return
			}
		}
		ended <- ctx.Err()
	}()
	cancel()
	select {
	case err := <-ended:
		wantErr(t, err, context.Canceled)
	case <-time.After(patience):
		t.Fatal("did not end")
	}
	_, err := l.Append(ctx, at, entries("x")...)
	wantErr(t, err, context.Canceled)
	_, err = l.Tail(ctx)
	wantErr(t, err, context.Canceled)
}

func failedWrite(t *testing.T, f *fixture) {
	l, at := f.opened(t)
	f.FailWrite(t, false)
	_, err := l.Append(t.Context(), at, entries("a", "b")...)
	wantErr(t, err, store.ErrUnavailable)
	wantLog(t, l, "| ")
	add(t, l, at, "c")
	f.FailWrite(t, false)
	_, err = l.Open(t.Context(), tail(t, l), entries("x"))
	wantErr(t, err, store.ErrUnavailable)
	wantLog(t, l, "| c ")
	f.Restart(t)
	wantLog(t, f.log(t), "| c ")
}

func persistedWrite(t *testing.T, f *fixture) {
	l, at := f.opened(t)
	f.FailWrite(t, true)
	_, err := l.Append(t.Context(), at, entries("a", "b")...)
	wantErr(t, err, store.ErrUnavailable)
	must(t, l.Wait(t.Context(), at))
	_, err = l.Append(t.Context(), at, entries("a", "b")...)
	wantErr(t, err, store.ErrConflict) // or it would be there twice
	got, err := readAll(t, l, at)
	must(t, err)
	if texts(got) != "a b " {
		t.Fatalf("after the failed write the log holds %q", texts(got))
	}
	add(t, l, got[1].Position, "c")
	wantLog(t, f.log(t), "| a b c ")
}

func persistedOpen(t *testing.T, f *fixture) {
	l := f.log(t)
	f.FailWrite(t, true)
	_, err := l.Open(t.Context(), tail(t, l), entries("a"))
	wantErr(t, err, store.ErrUnavailable)
	now := tail(t, l)
	if now.Seq != 2 || !now.Open {
		t.Fatalf("tail is %+v", now)
	}
	_, err = l.Open(t.Context(), store.Tail{Instance: now.Instance}, entries("a"))
	wantErr(t, err, store.ErrConflict)
	add(t, l, now.Position, "b")
	wantLog(t, l, "a | b ")
}

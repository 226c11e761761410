package storetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/store"
)

// lasting makes entries that live so many minutes; 0 is for ever.
func (f *fixture) lasting(minutes int, texts ...string) []store.Entry {
	out := entries(texts...)
	for i := range out {
		if minutes > 0 {
			out[i].Expires = f.now().Add(time.Duration(minutes) * time.Minute)
		}
	}
	return out
}

func (f *fixture) put(t *testing.T, l store.Log, minutes int, texts ...string) store.Position {
	t.Helper()
	at, err := l.Append(t.Context(), tail(t, l).Position, f.lasting(minutes, texts...)...)
	must(t, err)
	return at
}

func (f *fixture) trim(t *testing.T, l store.Trimmer, want int) {
	t.Helper()
	got, err := l.Trim(t.Context(), f.now(), time.Hour)
	must(t, err)
	if got != want {
		t.Fatalf("trimmed %d records, want %d", got, want)
	}
}

func trimming(t *testing.T, f *fixture) {
	l, _ := f.opened(t)
	f.put(t, l, 10, "a", "b")
	f.put(t, l, 0, "Q")
	f.put(t, l, 10, "c")
	f.put(t, l, 30, "d")
	f.trim(t, l, 0)
	f.advance(10 * time.Minute)
	f.trim(t, l, 3)
	f.trim(t, l, 0)
	wantLog(t, l, "| Q d ")
	f.advance(time.Hour)
	f.trim(t, l, 0) // the last record stays, expired or not
	wantLog(t, l, "| Q d ")
	f.put(t, l, 0, "R")
	f.trim(t, l, 1)
	wantLog(t, l, "| Q R ")
	if got := tail(t, l); got.Records != 3 || !got.Open {
		t.Fatalf("tail is %+v", got)
	}
	f.Restart(t)
	l = f.log(t)
	open(t, l)
	f.put(t, l, 0, "S")
	wantLog(t, l, "| Q R | S ")
}

func resumeInTrimmed(t *testing.T, f *fixture) {
	l, _ := f.opened(t)
	f.put(t, l, 10, "a", "b", "c")
	f.put(t, l, 0, "Q")
	f.put(t, l, 20, "d", "e")
	f.put(t, l, 0, "R")
	all, err := readAll(t, l, store.Position{})
	must(t, err)
	for _, minutes := range []int{10, 10} {
		f.advance(time.Duration(minutes) * time.Minute)
		_, err = l.Trim(t.Context(), f.now(), time.Hour)
		must(t, err)
		for i, r := range all {
			var want strings.Builder
			for _, later := range all[i+1:] {
				if later.Expires.IsZero() || later.Expires.After(f.now()) {
					want.WriteString(string(later.Payload) + " ")
				}
			}
			got, err := readAll(t, f.log(t), r.Position)
			must(t, err)
			if texts(got) != want.String() {
				t.Errorf("after %v came %q, want %q", r.Position, texts(got), want.String())
			}
		}
	}
}

func trimMarkers(t *testing.T, f *fixture) {
	l, first := f.opened(t)
	f.put(t, l, 10, "a")
	f.advance(2 * time.Hour)
	second := open(t, l)
	f.trim(t, l, 1) // "a"; a token of the first lineage may be as young as the second's marker
	wantLog(t, l, "| | ")
	f.put(t, l, 0, "Q")
	f.advance(time.Hour)
	f.trim(t, l, 1)
	wantLog(t, l, "| Q ")
	_, err := l.Read(t.Context(), first, 0)
	wantErr(t, err, store.ErrUnknownPosition)
	open(t, l)
	f.advance(2 * time.Hour)
	f.trim(t, l, 0) // Q needs its lineage's marker
	wantLog(t, l, "| Q | ")
	got, err := readAll(t, l, second)
	must(t, err)
	if texts(got) != "Q | " {
		t.Fatalf("after the second marker came %q", texts(got))
	}
}

func trimForgery(t *testing.T, f *fixture) {
	l, _ := f.opened(t)
	f.put(t, l, 0, "a")
	f.put(t, l, 10, "b")
	f.put(t, l, 0, "c")
	f.put(t, l, 10, "d")
	f.put(t, l, 0, "e")
	f.advance(10 * time.Minute)
	f.trim(t, l, 2)
	clean := f.snapshot(t, logName)
	notes, records := places(clean.Notes), places(clean.Records)
	for _, c := range []struct {
		name string
		edit func(*RawLog)
	}{
		{"a note removed", func(raw *RawLog) { delete(raw.Notes, notes[0]) }},
		{"all notes removed", func(raw *RawLog) { clear(raw.Notes) }},
		{"a note in another's place", func(raw *RawLog) { raw.Notes[notes[0]] = raw.Notes[notes[1]] }},
		{"notes swapped", func(raw *RawLog) {
			raw.Notes[notes[0]], raw.Notes[notes[1]] = raw.Notes[notes[1]], raw.Notes[notes[0]]
		}},
		{"a live record removed under a copied note", func(raw *RawLog) {
			delete(raw.Records, records[1])
			raw.Notes[records[1]] = raw.Notes[notes[0]]
		}},
		{"a live record removed beside a trimmed one", func(raw *RawLog) { delete(raw.Records, records[2]) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := f.edited(t, func(raw *RawLog) {
				*raw = cloneRaw(clean)
				c.edit(raw)
			})
			wantErr(t, err, store.ErrGap, store.ErrForged, store.ErrOrder)
		})
	}
	for i := range clean.Notes[notes[0]] {
		f.EditLog(t, logName, func(raw *RawLog) {
			*raw = cloneRaw(clean)
			raw.Notes[notes[0]][i] ^= 1
		})
		got, err := readAll(t, f.log(t), store.Position{})
		if err == nil && texts(got) != "| a c e " {
			t.Errorf("byte %d of a note changed: read %q", i, texts(got))
		}
	}
}

// history drives a log with random appends, lineages, restarts and trims, and
// compares it with a plain list.
func history(t *testing.T, f *fixture) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	l, _ := f.opened(t)
	model, err := readAll(t, l, store.Position{})
	must(t, err)
	for step := range 120 {
		switch rnd.IntN(6) {
		case 0:
			f.advance(time.Duration(rnd.IntN(60)) * time.Minute)
			_, err := l.Trim(t.Context(), f.now(), time.Hour)
			must(t, err)
			got, err := readAll(t, l, store.Position{})
			must(t, err)
			f.checkTrimmed(t, model, got)
			model = got
			continue
		case 1:
			if rnd.IntN(2) == 0 {
				f.Restart(t)
				l = f.log(t)
			}
			_, err := l.Open(t.Context(), tail(t, l), f.lasting(rnd.IntN(50), "restored"))
			must(t, err)
		default:
			f.put(t, l, rnd.IntN(50), fmt.Sprint(step), "and more")
		}
		after := store.Position{}
		if len(model) > 0 {
			after = model[len(model)-1].Position
		}
		got, err := readAll(t, l, after)
		must(t, err)
		model = append(model, got...)
	}
	got, err := readAll(t, l, store.Position{})
	must(t, err)
	if texts(got) != texts(model) {
		t.Fatalf("log holds %q, want %q", texts(got), texts(model))
	}
	if n := tail(t, l).Records; n != len(model) {
		t.Fatalf("tail counts %d records, there are %d", n, len(model))
	}
}

// checkTrimmed holds that exactly the expired records went, but for the last,
// and that every marker before a live record stayed.
func (f *fixture) checkTrimmed(t *testing.T, before, after []store.Record) {
	t.Helper()
	left := map[store.Position]bool{}
	markers := map[store.Lineage]bool{}
	for _, r := range after {
		left[r.Position] = true
		markers[r.Lineage] = markers[r.Lineage] || r.Marker
	}
	for i, r := range before {
		live := r.Expires.IsZero() || r.Expires.After(f.now())
		if !r.Marker && left[r.Position] != (live || i == len(before)-1) {
			t.Fatalf("record %v, expires %v, left %v at %v", r.Position, r.Expires, left[r.Position], f.now())
		}
		if left[r.Position] && live && !markers[r.Lineage] {
			t.Fatalf("record %v lost its lineage's marker", r.Position)
		}
	}
}

// Package storetest is the conformance suite of package store: what every
// adapter must show, with its writes failing and its bytes changed behind its
// back.
//
// An adapter's own test calls Run with a Factory. The suite sleeps for nothing
// and reads no clock but the one it gives to the factory.
package storetest

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/store"
)

// Store is what one replica holds.
type Store struct {
	Log   func(name string) store.LiveLog
	Cells store.Cell
	Tally store.Tally
}

// RawLog is what an adapter stores of a log: records and trim notes by their
// place. Places ascend, and a place after the greatest is free.
type RawLog struct {
	Records, Notes map[uint64][]byte
}

// Backend is one set of data, empty at first, and the means to disturb it.
type Backend struct {
	// Replica gives another replica's handles on the data.
	Replica func(t *testing.T) Store
	// Restart makes another instance serve the same data and forget what it has
	// seen. Handles from before are dead.
	Restart func(t *testing.T)
	// FailWrite makes the next write return ErrUnavailable: not made, or, if
	// persisted, made all the same.
	FailWrite func(t *testing.T, persisted bool)
	// EditLog changes stored bytes of a log behind the store's back.
	EditLog func(t *testing.T, log string, edit func(*RawLog))
	// EditCell changes the stored bytes of a cell likewise; nil removes it.
	EditCell func(t *testing.T, cell string, edit func([]byte) []byte)
}

// Factory makes a backend whose clock is now; it cleans up through t.
type Factory func(t *testing.T, now func() time.Time) *Backend

// Run runs the whole suite.
func Run(t *testing.T, factory Factory) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*testing.T, *fixture)
	}{
		{"log starts empty and closed", emptyLog},
		{"log keeps order", order},
		{"log resumes after any position", resume},
		{"log refuses a stale position", stalePosition},
		{"log refuses what no log holds", refusedEntries},
		{"a new instance must open a lineage", newInstance},
		{"restored entries come before the marker", restored},
		{"of two that open one wins", twoOpen},
		{"open compares the instance too", openComparesInstance},
		{"concurrent writers lose nothing", concurrentWriters},
		{"logs of two names are apart", twoLogs},
		{"wait wakes at an append", waitWakes},
		{"wait ends with its context", waitEnds},
		{"a write that fails leaves nothing", failedWrite},
		{"a write that failed but persisted is found", persistedWrite},
		{"an open that failed but persisted is found", persistedOpen},
		{"every changed byte is found", changedByte},
		{"moved and missing records are found", moved},
		{"an old log that comes back is found", oldLog},
		{"a cut tail is found by who has seen it", cutTail},
		{"expired records go and live ones stay", trimming},
		{"readers go on inside a trimmed run", resumeInTrimmed},
		{"markers stay while a token can need them", trimMarkers},
		{"a trim note excuses nothing else", trimForgery},
		{"a long history agrees with a model", history},
		{"cell swaps by version", cellSwap},
		{"cell watch sees the next version", cellWatch},
		{"one of many cell writers wins", cellRace},
		{"a cell write that failed but persisted is found", cellPersisted},
		{"cell values cannot be changed, moved or put back", cellForgery},
		{"tally adds and expires", tally},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{clock: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
			f.Backend = factory(t, f.now)
			c.run(t, f)
		})
	}
}

type fixture struct {
	*Backend

	mu    sync.Mutex
	clock time.Time // guarded by mu
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clock
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock = f.clock.Add(d)
}

const logName = "revocations"

// patience is how long the suite waits for what must come: far longer than any machine takes.
const patience = time.Minute

func (f *fixture) log(t *testing.T) store.LiveLog { return f.Replica(t).Log(logName) }

// opened is a log with one lineage and the position of its marker.
func (f *fixture) opened(t *testing.T) (store.LiveLog, store.Position) {
	t.Helper()
	l := f.log(t)
	return l, open(t, l)
}

func open(t *testing.T, l store.Log, restore ...store.Entry) store.Position {
	t.Helper()
	at, err := l.Open(t.Context(), tail(t, l), restore)
	must(t, err)
	return at
}

func tail(t *testing.T, l store.Log) store.Tail {
	t.Helper()
	got, err := l.Tail(t.Context())
	must(t, err)
	return got
}

func add(t *testing.T, l store.Log, at store.Position, texts ...string) store.Position {
	t.Helper()
	at, err := l.Append(t.Context(), at, entries(texts...)...)
	must(t, err)
	return at
}

func entries(texts ...string) []store.Entry {
	out := make([]store.Entry, 0, len(texts))
	for _, text := range texts {
		out = append(out, store.Entry{Kind: 1, Payload: []byte(text)})
	}
	return out
}

// readAll reads from a position to the end in steps of two.
func readAll(t *testing.T, l store.Log, after store.Position) ([]store.Record, error) {
	t.Helper()
	var out []store.Record
	for {
		got, err := l.Read(t.Context(), after, 2)
		out = append(out, got...)
		if err != nil || len(got) == 0 {
			return out, err
		}
		after = got[len(got)-1].Position
	}
}

// texts renders records: payloads, and "|" for a marker.
func texts(records []store.Record) string {
	var out strings.Builder
	for _, r := range records {
		if r.Marker {
			out.WriteString("| ")
		} else {
			out.WriteString(string(r.Payload) + " ")
		}
	}
	return out.String()
}

func wantLog(t *testing.T, l store.Log, want string) {
	t.Helper()
	got, err := readAll(t, l, store.Position{})
	must(t, err)
	if texts(got) != want {
		t.Fatalf("log holds %q, want %q", texts(got), want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

func wantErr(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if errors.Is(err, target) {
			return
		}
	}
	t.Fatalf("got error %v, want one of %v", err, targets)
}

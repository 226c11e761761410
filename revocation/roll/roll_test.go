package roll_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/revocation/roll"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
)

const (
	absence = 15 * time.Second
	one     = uint64(1) // lineages
	two     = uint64(2)
)

// crew is replicas on one store, with a clock each.
type crew struct {
	t    *testing.T
	cell *tampered
	log  *bytes.Buffer
}

// tampered is a store that forgets, repeats itself, or breaks off.
type tampered struct {
	store.Cell
	replay  *store.Versioned // what Get gives instead
	forged  bool
	away    bool
	persist bool // a Swap that fails has written all the same
}

func (c *tampered) Get(ctx context.Context, name string) (store.Versioned, error) {
	switch {
	case c.away:
		return store.Versioned{}, store.ErrUnavailable
	case c.forged:
		v, _ := c.Cell.Get(ctx, name)
		return store.Versioned{Version: v.Version}, store.ErrForged
	case c.replay != nil:
		v, err := c.Cell.Get(ctx, name)
		return store.Versioned{Version: v.Version, Value: c.replay.Value}, err
	}
	return c.Cell.Get(ctx, name)
}

func (c *tampered) Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error) {
	if c.away {
		return 0, store.ErrUnavailable
	}
	v, err := c.Cell.Swap(ctx, name, old, value)
	if c.persist && err == nil {
		return 0, store.ErrUnavailable
	}
	return v, err
}

func newCrew(t *testing.T) *crew {
	t.Helper()
	sealer, err := store.NewSealer(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(t.Context(), bolt.Config{Path: filepath.Join(t.TempDir(), "store.db"), Sealer: sealer, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &crew{t: t, cell: &tampered{Cell: db.Cells()}, log: &bytes.Buffer{}}
}

// hand is one replica of a crew.
type hand struct {
	*roll.Roll
	t   *testing.T
	now time.Time
}

type kept []byte

func (k *kept) Load() ([]byte, error) { return *k, nil }

func (k *kept) Save(value []byte) error { *k = slices.Clone(value); return nil }

// join adds a replica whose clock says whatever it likes.
func (c *crew) join(name string, clock time.Time, file *kept) *hand {
	c.t.Helper()
	h := &hand{t: c.t, now: clock}
	cfg := roll.Config{
		Replica: name, Cell: c.cell, Absence: absence, Now: func() time.Time { return h.now },
		Logger: slog.New(slog.NewTextHandler(c.log, nil)),
	}
	if file != nil {
		cfg.Kept = file
	}
	var err error
	if h.Roll, err = roll.New(cfg); err != nil {
		c.t.Fatal(err)
	}
	return h
}

// round reads, and vouches for a lineage a second later.
func (h *hand) round(lineage uint64) time.Time {
	h.t.Helper()
	h.read()
	h.now = h.now.Add(time.Second)
	return h.vouch(lineage)
}

func (h *hand) read() {
	h.t.Helper()
	if err := h.Read(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hand) vouch(lineage uint64) time.Time {
	h.t.Helper()
	at, err := h.Vouch(h.t.Context(), lineage)
	if err != nil {
		h.t.Fatal(err)
	}
	return at
}

var (
	start = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	// apart is how far two clocks differ: nothing may compare them.
	apart = -37 * time.Hour
)

func TestAloneUpToTheLastRead(t *testing.T) {
	a := newCrew(t).join("a", start, nil)
	if at := a.round(one); !at.Equal(start) {
		t.Errorf("up to %v, it was read at %v", at, start)
	}
}

func TestNoFurtherThanTheOtherHasVouched(t *testing.T) {
	c := newCrew(t)
	a, b := c.join("a", start, nil), c.join("b", start.Add(apart), nil)
	a.round(one)
	wrote := a.now
	b.round(one) // it has read a's first mark
	if at := a.round(one); !at.Equal(wrote) {
		t.Errorf("up to %v; the other had read a mark of %v", at, wrote)
	}
	// What b vouches for says nothing of what came after it had read.
	for range 3 {
		if at := a.round(one); !at.Equal(wrote) {
			t.Errorf("up to %v, without news from the other", at)
		}
	}
	if got := a.Awaited(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("awaited: %v", got)
	}
}

// TestAMarkThatWasReadLateSaysLess: the other reads, then a writes, then the other
// vouches: that is not for what a knew when it wrote.
func TestAMarkThatWasReadLateSaysLess(t *testing.T) {
	c := newCrew(t)
	a, b := c.join("a", start, nil), c.join("b", start.Add(apart), nil)
	a.round(one)
	first := a.now
	b.read()
	a.now = a.now.Add(time.Minute / 10)
	a.round(one)
	b.vouch(one)
	if at := a.round(one); !at.Equal(first) {
		t.Errorf("up to %v, the other had read no mark later than %v", at, first)
	}
}

func TestAnotherLineageSaysNothing(t *testing.T) {
	c := newCrew(t)
	a, b := c.join("a", start, nil), c.join("b", start.Add(apart), nil)
	a.round(one)
	b.round(one)
	if at := a.round(one); at.IsZero() {
		t.Fatal("the other has vouched")
	}
	if at := a.round(two); !at.IsZero() {
		t.Errorf("up to %v, in a lineage that the other has not vouched for", at)
	}
	b.round(two)
	if at := a.round(two); at.IsZero() {
		t.Error("the other has vouched for the new lineage")
	}
}

func TestSilenceHoldsUpForAbsence(t *testing.T) {
	c := newCrew(t)
	a, b := c.join("a", start, nil), c.join("b", start.Add(apart), nil)
	a.round(one)
	b.round(one)
	held := a.round(one)
	for a.now.Sub(held) <= absence-2*time.Second {
		if at := a.round(one); !at.Equal(held) {
			t.Fatalf("%v after the other was heard: up to %v", a.now.Sub(held), at)
		}
	}
	for range 3 {
		a.round(one)
	}
	if at := a.round(one); !at.After(held) {
		t.Errorf("held up for longer than %v", absence)
	}
	if !strings.Contains(c.log.String(), "replica=b") {
		t.Errorf("nobody is told: %s", c.log)
	}
	// It is back, and counts again.
	b.round(one)
	a.round(one)
	b.round(one)
	held = a.round(one)
	if at := a.round(one); !at.Equal(held) {
		t.Error("one that is back does not count")
	}
}

// TestOneThatSleptGivesNobodyUp: the silence was its own.
func TestOneThatSleptGivesNobodyUp(t *testing.T) {
	c := newCrew(t)
	a, b := c.join("a", start, nil), c.join("b", start.Add(apart), nil)
	a.round(one)
	b.round(one)
	held := a.round(one)
	a.now = a.now.Add(2 * absence)
	if at := a.round(one); !at.Equal(held) {
		t.Errorf("up to %v, right after a sleep", at)
	}
	c.cell.away = true
	for range 30 {
		a.now = a.now.Add(time.Second)
		if err := a.Read(t.Context()); err == nil {
			t.Fatal("the store is away")
		}
	}
	c.cell.away = false
	if at := a.round(one); !at.Equal(held) {
		t.Errorf("up to %v, right after an outage", at)
	}
}

func TestWhoLeavesIsNotWaitedFor(t *testing.T) {
	c := newCrew(t)
	a, b := c.join("a", start, nil), c.join("b", start.Add(apart), nil)
	a.round(one)
	b.round(one)
	if err := b.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	read := a.now
	if at := a.round(one); !at.Equal(read) {
		t.Errorf("up to %v, the only other has left by %v", at, read)
	}
	if got := a.Awaited(); len(got) > 0 {
		t.Errorf("awaited: %v", got)
	}
}

// TestARestartKnowsWhomToWaitFor: with the store wiped, from its own file alone.
func TestARestartKnowsWhomToWaitFor(t *testing.T) {
	c := newCrew(t)
	var file kept
	a, b := c.join("a", start, &file), c.join("b", start.Add(apart), nil)
	a.round(one)
	b.round(one)
	a.round(one)

	wiped := newCrew(t)
	again := wiped.join("a", a.now, &file)
	if at := again.round(two); !at.IsZero() {
		t.Errorf("up to %v, on an empty store, without the other", at)
	}
	back := wiped.join("b", b.now, nil)
	back.round(two)
	if at := again.round(two); at.IsZero() {
		t.Error("the other is back")
	}

	damaged := kept("{")
	if _, err := roll.New(roll.Config{
		Replica: "a", Cell: c.cell, Kept: &damaged, Absence: absence, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}); err == nil {
		t.Error("a damaged file is nobody to wait for")
	}
}

// TestAttackerWithTheStore: who can write to the store can hold confirmations up, and
// is told of; they never come of what is forged or played back.
func TestAttackerWithTheStore(t *testing.T) {
	c := newCrew(t)
	a, b := c.join("a", start, nil), c.join("b", start.Add(apart), nil)
	a.round(one)
	b.round(one)
	old, err := c.cell.Get(t.Context(), "roll")
	if err != nil {
		t.Fatal(err)
	}
	held := a.round(one)
	b.round(one)

	c.cell.replay = &old
	for range 3 {
		if at := a.round(one); !at.Equal(held) {
			t.Errorf("up to %v by a mark that was played back", at)
		}
	}
	c.cell.replay, c.cell.forged = nil, true
	if at := a.round(one); at.After(held) {
		t.Errorf("up to %v by what is forged", at)
	}
	if !strings.Contains(c.log.String(), "level=ERROR") {
		t.Errorf("no alarm: %s", c.log)
	}
	c.cell.forged = false
	a.round(one)
	b.round(one)
	if at := a.round(one); !at.After(held) {
		t.Error("it does not heal")
	}
}

// TestAWriteThatFailedButPersisted: the mark is dated before it was written, whatever the
// answer was.
func TestAWriteThatFailedButPersisted(t *testing.T) {
	c := newCrew(t)
	a, b := c.join("a", start, nil), c.join("b", start.Add(apart), nil)
	a.round(one)
	b.round(one)
	a.read()
	before := a.now
	c.cell.persist = true
	if _, err := a.Vouch(t.Context(), one); err == nil {
		t.Fatal("the write failed")
	}
	c.cell.persist = false
	b.round(one)
	a.now = a.now.Add(time.Minute / 10)
	if at := a.round(one); !at.Equal(before) {
		t.Errorf("up to %v, the mark that was seen is of %v", at, before)
	}
}

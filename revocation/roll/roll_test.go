package roll_test

import (
	"bytes"
	"context"
	"fmt"
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

const absence = 15 * time.Second

// Positions of two lineages.
var one, two = store.Position{Lineage: 1, Seq: 7}, store.Position{Lineage: 2, Seq: 9}

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

// round reads, and vouches a second later.
func (h *hand) round(at store.Position) time.Time {
	h.t.Helper()
	h.read()
	h.now = h.now.Add(time.Second)
	return h.vouch(at)
}

func (h *hand) read() {
	h.t.Helper()
	if err := h.Read(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hand) vouch(at store.Position) time.Time {
	h.t.Helper()
	since, err := h.Vouch(h.t.Context(), at)
	if err != nil {
		h.t.Fatal(err)
	}
	return since
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
	if err := b.Leave(t.Context(), one); err != nil {
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

// readOnly is a store that can be read and takes no writes, as a full one does.
type readOnly struct {
	store.Cell
	on bool
}

func (c *readOnly) Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error) {
	if c.on {
		return 0, store.ErrUnavailable
	}
	return c.Cell.Swap(ctx, name, old, value)
}

// TestAStoreThatTakesNoWritesIsNotSilence: nobody could say anything.
func TestAStoreThatTakesNoWritesIsNotSilence(t *testing.T) {
	for name, both := range map[string]bool{"of nobody": true, "of one": false} {
		t.Run(name, func(t *testing.T) {
			c := newCrew(t)
			cell := c.cell.Cell
			full := &readOnly{Cell: cell}
			c.cell.Cell = full
			a := c.join("a", start, nil)
			if !both {
				c.cell = &tampered{Cell: cell}
			}
			b := c.join("b", start.Add(apart), nil)
			for range 3 {
				a.round(one)
				b.round(one)
			}
			full.on = true
			held, least := a.now, time.Time{}
			for range 2 * absence / time.Second {
				b.read()
				_, _ = b.Vouch(t.Context(), one)
				b.now = b.now.Add(time.Second)
				a.read()
				a.now = a.now.Add(time.Second)
				least, _ = a.Vouch(t.Context(), one)
			}
			if least.Sub(held) > 3*time.Second || len(a.Absent()) > 0 {
				t.Errorf("up to %v after writes ended, absent %v", least.Sub(held), a.Absent())
			}
		})
	}
}

// TestALongRoundGivesNobodyUp: between Read and Vouch a large list was put back, or the
// process did not run.
func TestALongRoundGivesNobodyUp(t *testing.T) {
	c := newCrew(t)
	a, b := c.join("a", start, nil), c.join("b", start.Add(apart), nil)
	for range 3 {
		a.round(one)
		b.round(one)
	}
	a.read()
	for range 20 {
		b.round(one)
	}
	a.now = a.now.Add(2 * absence)
	if at := a.vouch(two); !at.IsZero() {
		t.Errorf("up to %v, in a lineage that b has not vouched for", at)
	}
	if v, _ := c.cell.Get(t.Context(), "roll"); !strings.Contains(string(v.Value), `"b":{"turn"`) {
		t.Errorf("b's mark was taken out: %s", v.Value)
	}
}

// TestForgeryIsNotSilence: however long it goes on.
func TestForgeryIsNotSilence(t *testing.T) {
	c := newCrew(t)
	a, b := c.join("a", start, nil), c.join("b", start.Add(apart), nil)
	a.round(one)
	b.round(one)
	held := a.round(one)
	c.cell.forged = true
	for range 2 * absence / time.Second {
		b.read()
		a.read()
		a.now = a.now.Add(time.Second)
		if at, _ := a.Vouch(t.Context(), one); at.After(held) {
			t.Fatalf("a cell that is forged each time lets it confirm %v further", at.Sub(held))
		}
	}
	if n := strings.Count(c.log.String(), "level=ERROR"); n != 2 { // one a replica
		t.Errorf("%d alarms: %s", n, c.log)
	}
}

// TestATailThatIsWithheld: the other vouches for more of the log than is shown here.
func TestATailThatIsWithheld(t *testing.T) {
	c := newCrew(t)
	a, b := c.join("a", start, nil), c.join("b", start.Add(apart), nil)
	a.round(one)
	b.round(store.Position{Lineage: one.Lineage, Seq: one.Seq + 1})
	if at := a.round(one); !at.IsZero() {
		t.Errorf("up to %v, though the other has seen a later record", at)
	}
	if at := a.round(store.Position{Lineage: one.Lineage, Seq: one.Seq + 2}); at.IsZero() {
		t.Error("it has read further than the other")
	}
}

// TestManyThatCameAndWent: names are not kept for ever, and there is never one too many to be
// waited for.
func TestManyThatCameAndWent(t *testing.T) {
	c := newCrew(t)
	a := c.join("a", start, nil)
	a.round(one)
	for i := range 150 {
		pod := c.join(fmt.Sprintf("pod-%03d", i), start, nil)
		pod.round(one)
		a.round(one)
		if err := pod.Leave(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		a.round(one)
	}
	for range 40 {
		a.round(one)
	}
	b := c.join("b", start.Add(apart), nil)
	b.round(one)
	a.round(one)
	held := a.round(one)
	if at := a.round(one); at.After(held) {
		t.Errorf("one that came after many is not waited for; log: %s", c.log)
	}
	if v, _ := c.cell.Get(t.Context(), "roll"); len(v.Value) > 4096 {
		t.Errorf("the cell has %d bytes", len(v.Value))
	}
}

func TestTooManyConfirmNothing(t *testing.T) {
	c := newCrew(t)
	a := c.join("a", start, nil)
	for i := range 128 {
		c.join(fmt.Sprintf("pod-%03d", i), start, nil).round(one)
	}
	if at := a.round(one); !at.IsZero() || !strings.Contains(c.log.String(), "too many replicas") {
		t.Errorf("up to %v; log: %s", at, c.log)
	}
}

// TestAnOldMarkThatSaysLeft: the store comes back from a backup of a rolling restart. The
// replica's own file says that the other was there later.
func TestAnOldMarkThatSaysLeft(t *testing.T) {
	c := newCrew(t)
	var file kept
	a, b := c.join("a", start, &file), c.join("b", start.Add(apart), nil)
	a.round(one)
	b.round(one)
	a.round(one)
	if err := b.Leave(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	backup, err := c.cell.Get(t.Context(), "roll")
	if err != nil {
		t.Fatal(err)
	}
	a.round(one)
	c.join("b", b.now, nil).round(one)
	a.round(one)

	restored := newCrew(t)
	if _, err := restored.cell.Swap(t.Context(), "roll", 0, backup.Value); err != nil {
		t.Fatal(err)
	}
	a = restored.join("a", a.now, &file)
	if at := a.round(two); !at.IsZero() {
		t.Errorf("up to %v by an old mark", at)
	}
}

// TestWhoLeftWhileAnotherWasDown: that one comes back to the same log, and does not wait.
func TestWhoLeftWhileAnotherWasDown(t *testing.T) {
	c := newCrew(t)
	var file kept
	a, b, d := c.join("a", start, &file), c.join("b", start, nil), c.join("d", start, nil)
	for range 3 {
		a.round(one)
		b.round(one)
		d.round(one)
	}
	if err := b.Leave(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		d.round(one)
	}
	a = c.join("a", a.now.Add(time.Minute), &file)
	for range 3 {
		a.round(one)
		d.round(one)
	}
	if got := a.Awaited(); slices.Contains(got, "b") {
		t.Errorf("awaited: %v", got)
	}
	if strings.Contains(string(file), "b") {
		t.Errorf("kept: %s", file)
	}
}

// TestNobodyIsReadyUnmet: the others wait only for whom they have heard of.
func TestNobodyIsReadyUnmet(t *testing.T) {
	c := newCrew(t)
	a := c.join("a", start, nil)
	full := &readOnly{Cell: c.cell.Cell, on: true}
	c.cell.Cell = full
	for range 3 {
		a.read()
		a.now = a.now.Add(time.Second)
		if at, err := a.Vouch(t.Context(), one); !at.IsZero() || err == nil {
			t.Errorf("up to %v, with a mark that nobody can read, %v", at, err)
		}
	}
	full.on = false
	if at := a.round(one); at.IsZero() {
		t.Error("its mark is there")
	}
}

func TestTwoOfOneName(t *testing.T) {
	c := newCrew(t)
	x, y := c.join("b", start, nil), c.join("b", start, nil)
	for range 3 {
		x.round(one)
		y.round(one)
	}
	if !strings.Contains(c.log.String(), "another process has this replica's name") {
		t.Errorf("nobody is told: %s", c.log)
	}
}

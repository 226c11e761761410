package keys_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
)

var errAway = errors.New("anchor is away")

// anchor is a keys.Anchor that can be away, hang, and lie about its writes.
type anchor struct {
	mu      sync.Mutex
	version uint64
	away    bool  // every call fails
	hangs   bool  // every call waits for its context's end
	lying   error // Raise fails after it has written
}

func (a *anchor) call(ctx context.Context) error {
	a.mu.Lock()
	away, hangs := a.away, a.hangs
	a.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if away {
		return errAway
	}
	return nil
}

func (a *anchor) Version(ctx context.Context, ring string) (uint64, error) {
	if err := a.call(ctx); err != nil || ring != ringName {
		return 0, err
	}
	return a.at(), nil
}

func (a *anchor) Raise(ctx context.Context, _ string, version uint64) error {
	if err := a.call(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version = max(a.version, version)
	return a.lying
}

func (a *anchor) at() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.version
}

func (a *anchor) edit(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// disk is an embedded store that can be put back to what it was.
type disk struct {
	path string
	db   *bolt.DB
}

func openDisk(t *testing.T, path string) *disk {
	t.Helper()
	sealer, err := store.NewSealer(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(t.Context(), bolt.Config{Path: path, Sealer: sealer, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{path: path, db: db}
	t.Cleanup(d.close)
	return d
}

func (d *disk) close() {
	if d.db != nil {
		_ = d.db.Close()
		d.db = nil
	}
}

// copied is another store with the same content.
func (d *disk) copied(t *testing.T) *disk {
	t.Helper()
	d.close()
	data, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	*d = *openDisk(t, d.path)
	return openDisk(t, path)
}

// anchored is a replica on a disk, and a log of its alarms.
func anchored(t *testing.T, f *fleet, c *clock, cells keys.Cell, a *anchor, b keys.Backup) (*keys.Rotator, *bytes.Buffer, error) {
	t.Helper()
	var log bytes.Buffer
	cfg := f.config(c)
	cfg.Cell, cfg.Anchor, cfg.Backup = cells, a, b
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r, err := keys.New(t.Context(), cfg)
	return r, &log, err
}

func mustAnchored(t *testing.T, f *fleet, c *clock, cells keys.Cell, a *anchor, b keys.Backup) *keys.Rotator {
	t.Helper()
	r, _, err := anchored(t, f, c, cells, a, b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func rotate(t *testing.T, r *keys.Rotator, c *clock) {
	t.Helper()
	c.add(time.Hour)
	before := r.Ring().Version()
	if err := r.Refresh(t.Context()); err != nil || r.Ring().Version() == before {
		t.Fatalf("Refresh = %v, version %d", err, r.Ring().Version())
	}
}

func TestANewReplicaRefusesAStoreThatWentBack(t *testing.T) {
	f, c, a := newFleet(t), &clock{now: epoch}, &anchor{}
	d := openDisk(t, filepath.Join(t.TempDir(), "store"))
	r := mustAnchored(t, f, c, d.db.Cells(), a, nil)
	if a.at() != r.Ring().Version() {
		t.Fatalf("version %d is in force and %d anchored", r.Ring().Version(), a.at())
	}
	old := d.copied(t)
	backup := &memory{}
	r = mustAnchored(t, f, c, d.db.Cells(), a, backup)
	rotate(t, r, c)
	if a.at() != r.Ring().Version() {
		t.Fatalf("version %d is in force and %d anchored", r.Ring().Version(), a.at())
	}
	made := f.custody.made.Load()

	_, log, err := anchored(t, f, c, old.db.Cells(), a, nil)
	if !errors.Is(err, store.ErrRollback) || !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "older than the one that was anchored") {
		t.Errorf("an old store: New = %v, log %q", err, log)
	}
	empty := openDisk(t, filepath.Join(t.TempDir(), "empty"))
	if _, _, err := anchored(t, f, c, empty.db.Cells(), a, nil); !errors.Is(err, store.ErrRollback) {
		t.Errorf("an empty store: New = %v", err)
	}
	if _, err := empty.db.Cells().Get(t.Context(), ringName); !errors.Is(err, store.ErrNotFound) || f.custody.made.Load() != made {
		t.Errorf("a ring was begun under an anchored one: %v, %d keys", err, f.custody.made.Load()-made)
	}
	// Whoever has the newest ring mends both.
	for name, stale := range map[string]*disk{"old": old, "empty": empty} {
		a := &anchor{version: a.at()}
		mended := mustAnchored(t, f, c, stale.db.Cells(), a, &memory{value: backup.value})
		if got, want := mended.Ring().Active().KeyID(), r.Ring().Active().KeyID(); got != want {
			t.Errorf("%s: key %s is active, want %s", name, got, want)
		}
		if _, _, err := anchored(t, f, c, stale.db.Cells(), a, nil); err != nil {
			t.Errorf("%s: after that, a new replica: %v", name, err)
		}
	}
}

// A backup can be as old as the store.
func TestAnOldBackupIsNotPutBack(t *testing.T) {
	f, c, a := newFleet(t), &clock{now: epoch}, &anchor{}
	d := openDisk(t, filepath.Join(t.TempDir(), "store"))
	backup := &memory{}
	mustAnchored(t, f, c, d.db.Cells(), a, backup)
	old := &memory{value: backup.value}
	before := d.copied(t)
	r := mustAnchored(t, f, c, d.db.Cells(), a, backup)
	rotate(t, r, c)
	empty := openDisk(t, filepath.Join(t.TempDir(), "empty"))
	away := newCell()
	away.broken = store.ErrUnavailable
	for name, cells := range map[string]keys.Cell{"empty": empty.db.Cells(), "as old": before.db.Cells(), "away": away} {
		if _, _, err := anchored(t, f, c, cells, a, &memory{value: old.value}); !errors.Is(err, store.ErrRollback) {
			t.Errorf("the store is %s: New = %v, want ErrRollback", name, err)
		}
	}
	if _, _, err := anchored(t, f, c, d.db.Cells(), a, old); err != nil {
		t.Errorf("an old backup and the right store: %v", err)
	}
}

// Between the write into the store and the anchor's raise anything can end.
func TestTheAnchorNeverGetsAheadOfTheStore(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(*anchor)
		cell  func(*cell)
	}{
		"the anchor is away":                           {func(a *anchor) { a.away = true }, nil},
		"the raise fails, and is made all the same":    {func(a *anchor) { a.lying = errAway }, nil},
		"the write fails, and is made all the same":    {nil, func(c *cell) { c.lying = store.ErrUnavailable }},
		"the write fails":                              {nil, func(c *cell) { c.broken = store.ErrUnavailable }},
		"the write persisted, and the anchor was away": {func(a *anchor) { a.away = true }, func(c *cell) { c.lying = store.ErrUnavailable }},
	} {
		t.Run(name, func(t *testing.T) {
			f, clock, a := newFleet(t), &clock{now: epoch}, &anchor{}
			r := mustAnchored(t, f, clock, f.cell, a, nil)
			if c.fault != nil {
				a.edit(func() { c.fault(a) })
			}
			if c.cell != nil {
				f.cell.edit(func() { c.cell(f.cell) })
			}
			clock.add(time.Hour)
			err := r.Refresh(t.Context())
			if (c.cell != nil) != errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Refresh = %v", err)
			}
			f.cell.edit(func() { f.cell.broken = nil })
			if stored, _ := f.cell.Get(t.Context(), ringName); a.at() > stored.Version {
				t.Fatalf("version %d is anchored, and %d stored: everybody would refuse it", a.at(), stored.Version)
			}
			// The process ends here; another one has neither memory nor backup.
			a.edit(func() { a.away, a.lying = false, nil })
			other := mustAnchored(t, f, clock, f.cell, a, nil)
			if a.at() != other.Ring().Version() {
				t.Errorf("version %d is in force and %d anchored", other.Ring().Version(), a.at())
			}
			if err := r.Refresh(t.Context()); err != nil {
				t.Errorf("the first one, had it lived: %v", err)
			}
		})
	}
}

func TestAnAnchorAwayStopsNothingThatRuns(t *testing.T) {
	f, c, a := newFleet(t), &clock{now: epoch}, &anchor{}
	r := mustAnchored(t, f, c, f.cell, a, nil)
	a.edit(func() { a.away = true })
	rotate(t, r, c)
	if _, err := r.Ring().Active().Sign(t.Context(), []byte("x")); err != nil {
		t.Errorf("Sign = %v", err)
	}
	if a.at() != 1 {
		t.Fatalf("%d is anchored", a.at())
	}
	if _, _, err := anchored(t, f, c, f.cell, a, nil); !errors.Is(err, errAway) {
		t.Errorf("a replica that knows nothing starts without the anchor: %v", err)
	}
	backup := &memory{}
	a.edit(func() { a.away = false })
	mustAnchored(t, f, c, f.cell, a, backup)
	a.edit(func() { a.away = true })
	mustAnchored(t, f, c, f.cell, a, backup)
	// What was anchored when it was last seen goes on counting.
	f.cell.edit(func() { f.cell.current = 0 })
	if err := r.Refresh(t.Context()); err != nil || r.Ring().Version() < 3 {
		t.Errorf("Refresh = %v, version %d", err, r.Ring().Version())
	}
	a.edit(func() { a.away = false })
	if err := r.Refresh(t.Context()); err != nil || a.at() != r.Ring().Version() {
		t.Errorf("Refresh = %v, version %d is in force and %d anchored", err, r.Ring().Version(), a.at())
	}
}

// The one replica that missed the newest state cannot know better by itself.
func TestARunningReplicaHearsOfTheAnchor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFleet(t), &anchor{}
		fleet := start(t, f, 1, func(_ int, cfg *keys.Config) { cfg.Anchor = a })
		signer := fleet[0].Ring().Active()
		a.edit(func() { a.version = 9 })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if _, err := signer.Sign(t.Context(), []byte("x")); !errors.Is(err, keys.ErrStale) {
			t.Errorf("it signs in a ring that is older than the anchored one: %v", err)
		}
	})
}

func TestAnEmergencyDoesNotWaitForTheAnchor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFleet(t), &anchor{}
		fleet := start(t, f, 2, func(_ int, cfg *keys.Config) { cfg.Anchor = a })
		a.edit(func() { a.hangs = true })
		time.Sleep(time.Minute)
		leaked := fleet[0].Ring().Active().KeyID()
		before := time.Now()
		if _, err := fleet[0].RotateNow(t.Context(), leaked); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(before); took != 0 {
			t.Errorf("it took %v", took)
		}
		a.edit(func() { a.hangs = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, r := range fleet {
			if _, ok := r.Ring().Public().Key(leaked); ok {
				t.Errorf("replica %d publishes the leaked key", i)
			}
		}
		if a.at() != fleet[0].Ring().Version() {
			t.Errorf("version %d is in force and %d anchored", fleet[0].Ring().Version(), a.at())
		}
	})
}

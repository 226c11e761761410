package bolt_test

import (
	"bytes"
	"errors"
	"maps"
	"path/filepath"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
	"github.com/writbroker/writ/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sealer(t testing.TB, b byte) *store.Sealer {
	t.Helper()
	s, err := store.NewSealer(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t testing.TB, c bolt.Config) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) *storetest.Backend {
		c := bolt.Config{Path: filepath.Join(t.TempDir(), "writ.db"), Sealer: sealer(t, 1), Now: now}
		db := open(t, c)
		closeDB := func() {
			if err := db.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		}
		t.Cleanup(func() { closeDB() })
		return &storetest.Backend{
			Replica: func(*testing.T) storetest.Store {
				return storetest.Store{
					Log:   func(name string) store.LiveLog { return db.Log(name) },
					Cells: db.Cells(),
					Tally: db.Tally(),
				}
			},
			Restart: func(t *testing.T) {
				closeDB()
				db = open(t, c)
			},
			FailWrite: func(_ *testing.T, persisted bool) { failNext(db, persisted) },
			EditLog: func(t *testing.T, log string, edit func(*storetest.RawLog)) {
				err := db.EditLog(log, func(records, notes map[uint64][]byte) {
					raw := storetest.RawLog{Records: records, Notes: notes}
					edit(&raw)
					replace(records, raw.Records)
					replace(notes, raw.Notes)
				})
				if err != nil {
					t.Fatal(err)
				}
			},
			EditCell: func(t *testing.T, cell string, edit func([]byte) []byte) {
				if err := db.EditCell(cell, edit); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

func replace(dst, src map[uint64][]byte) {
	if len(src) == 0 {
		clear(dst)
		return
	}
	for k := range dst {
		if _, kept := src[k]; !kept {
			delete(dst, k)
		}
	}
	maps.Copy(dst, src)
}

var errDisk = errors.New("disk on fire")

func failNext(db *bolt.DB, persisted bool) {
	var real func(func(*bbolt.Tx) error) error
	real = db.SetUpdate(func(fn func(*bbolt.Tx) error) error {
		db.SetUpdate(real)
		return commit(real, fn, persisted)
	})
}

func commit(update func(func(*bbolt.Tx) error) error, fn func(*bbolt.Tx) error, persisted bool) error {
	if persisted {
		if err := update(fn); err != nil {
			return err
		}
		return errDisk
	}
	refused := false
	err := update(func(tx *bbolt.Tx) error {
		if err := fn(tx); err != nil {
			refused = true
			return err
		}
		return errDisk
	})
	if refused {
		return err
	}
	return errDisk
}

// A read that began before a write ended shows what was there before it: that is no rollback.
func TestAWriteBesideAReadIsNoRollback(t *testing.T) {
	db := open(t, bolt.Config{Path: filepath.Join(t.TempDir(), "writ.db"), Sealer: sealer(t, 1), Now: time.Now})
	defer db.Close()
	log, cells := db.Log("revocations"), db.Cells()
	at, err := log.Open(t.Context(), store.Tail{Instance: tail(t, log).Instance}, nil)
	must(t, err)
	version := uint64(0)
	write := func() {
		at, err = log.Append(t.Context(), at, store.Entry{Kind: 1, Payload: []byte("rule")})
		must(t, err)
		version, err = cells.Swap(t.Context(), "ring", version, []byte("keys"))
		must(t, err)
	}
	write()
	before := at
	db.BesideRead(write)
	if got := tail(t, log).Position; got != before {
		t.Errorf("the log's tail is %v, want %v", got, before)
	}
	before = at
	db.BesideRead(write)
	records, err := log.Read(t.Context(), store.Position{}, 0)
	must(t, err)
	if got := records[len(records)-1].Position; got != before {
		t.Errorf("the last record is %v, want %v", got, before)
	}
	db.BesideRead(write)
	_, err = log.Trim(t.Context(), time.Now(), time.Minute)
	must(t, err)
	versionBefore := version
	db.BesideRead(write)
	v, err := cells.Get(t.Context(), "ring")
	must(t, err)
	if v.Version != versionBefore {
		t.Errorf("the cell is at version %d, want %d", v.Version, versionBefore)
	}
	// What was written is known all the same, and its loss is a rollback.
	must(t, db.EditCell("ring", func([]byte) []byte { return nil }))
	if _, err := cells.Get(t.Context(), "ring"); !errors.Is(err, store.ErrRollback) {
		t.Errorf("a cell that is gone: got %v", err)
	}
	must(t, db.EditLog("revocations", func(records, _ map[uint64][]byte) { delete(records, uint64(len(records))) }))
	if _, err := log.Tail(t.Context()); !errors.Is(err, store.ErrRollback) {
		t.Errorf("a record that is gone: got %v", err)
	}
}

func tail(t *testing.T, l *bolt.Log) store.Tail {
	t.Helper()
	now, err := l.Tail(t.Context())
	must(t, err)
	return now
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "writ.db")
	full := bolt.Config{Path: path, Sealer: sealer(t, 1), Now: time.Now, LockTimeout: 10 * time.Millisecond}
	for name, c := range map[string]bolt.Config{
		"no path":   {Sealer: full.Sealer, Now: time.Now},
		"no sealer": {Path: path, Now: time.Now},
		"no clock":  {Path: path, Sealer: full.Sealer},
	} {
		if _, err := bolt.Open(t.Context(), c); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	db := open(t, full)
	if _, err := bolt.Open(t.Context(), full); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("second open of a file: %v, want ErrUnavailable", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Log("x").Tail(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("after Close: %v, want ErrUnavailable", err)
	}
}

func TestAnotherKeyReadsNothing(t *testing.T) {
	c := bolt.Config{Path: filepath.Join(t.TempDir(), "writ.db"), Sealer: sealer(t, 1), Now: time.Now}
	db := open(t, c)
	tail, err := db.Log("x").Tail(t.Context())
	if err == nil {
		_, err = db.Log("x").Open(t.Context(), tail, nil)
	}
	if err == nil {
		err = db.Tally().Add(t.Context(), "b", time.Now().Add(time.Hour), map[string]int64{"n": 1})
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	c.Sealer = sealer(t, 2)
	db = open(t, c)
	defer func() { _ = db.Close() }()
	if _, err := db.Log("x").Tail(t.Context()); !errors.Is(err, store.ErrForged) {
		t.Errorf("tail under another key: %v, want ErrForged", err)
	}
	if _, err := db.Tally().Sum(t.Context(), "b"); !errors.Is(err, store.ErrForged) {
		t.Errorf("sum under another key: %v, want ErrForged", err)
	}
}

func TestCloseWakesWaiters(t *testing.T) {
	db := open(t, bolt.Config{Path: filepath.Join(t.TempDir(), "writ.db"), Sealer: sealer(t, 1), Now: time.Now})
	woken := make(chan error, 2)
	go func() { woken <- db.Log("x").Wait(t.Context(), store.Position{}) }()
	go func() {
		_, err := db.Cells().Watch(t.Context(), "c", 0)
		woken <- err
	}()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-woken; !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("woken with %v, want ErrUnavailable", err)
		}
	}
}

// Package bolt is the embedded store: the three primitives of package store in
// one bbolt file, for a single process.
//
// It owns the file's layout. Every commit is synced (fdatasync) before a call
// returns. The instance that serves the file is named anew at each Open, so each
// start of the process begins a new lineage of every log. What is read is
// verified as if the file were a stranger's: see package store. Only cmd/writ
// and tests import it.
package bolt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/writbroker/writ/store"
)

// Config says which file to open. Nothing of it is changed.
type Config struct {
	Path   string           // the file; created 0600 where missing
	Sealer *store.Sealer    // required
	Now    func() time.Time // required: marks when lineages open and which buckets have expired
	// LockTimeout bounds the wait for another process that has the file open;
	// 0 means one second.
	LockTimeout time.Duration
}

// DB is one open file. Its methods, and those of what it hands out, may be called
// concurrently.
type DB struct {
	file     *bbolt.DB
	sealer   *store.Sealer
	now      func() time.Time
	instance string
	update   func(func(*bbolt.Tx) error) error // file.Update; a seam for tests of failing writes
	view     func(func(*bbolt.Tx) error) error // file.View; a seam for tests of writes beside it

	cells *Cells
	tally *Tally

	mu     sync.Mutex
	logs   map[string]*Log // guarded by mu
	closed chan struct{}
	once   sync.Once
}

var (
	_ store.LiveLog = (*Log)(nil)
	_ store.Cell    = (*Cells)(nil)
	_ store.Tally   = (*Tally)(nil)
)

// Open opens or creates the file and names a new serving instance. It fails with
// store.ErrUnavailable if another process has the file open.
func Open(ctx context.Context, c Config) (*DB, error) {
	if c.Sealer == nil || c.Now == nil || c.Path == "" {
		return nil, errors.New("opening bolt store: path, sealer and clock are required")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	wait := c.LockTimeout
	if wait <= 0 {
		wait = time.Second
	}
	var name [16]byte
	if _, err := rand.Read(name[:]); err != nil {
		return nil, fmt.Errorf("naming the instance: %w", err)
	}
	file, err := bbolt.Open(c.Path, 0o600, &bbolt.Options{Timeout: wait, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("opening bolt store %s: %w: %w", c.Path, store.ErrUnavailable, err)
	}
	db := &DB{
		file: file, sealer: c.Sealer, now: c.Now, instance: hex.EncodeToString(name[:]),
		update: file.Update, view: file.View, logs: map[string]*Log{}, closed: make(chan struct{}),
	}
	db.cells = &Cells{db: db, seen: map[string]uint64{}, changed: make(chan struct{})}
	db.tally = &Tally{db: db}
	return db, nil
}

// Log returns the log of that name. Handles of one name share everything.
func (db *DB) Log(name string) *Log {
	db.mu.Lock()
	defer db.mu.Unlock()
	l := db.logs[name]
	if l == nil {
		l = &Log{db: db, name: name, bucket: []byte("log:" + name), changed: make(chan struct{})}
		db.logs[name] = l
	}
	return l
}

// Cells returns the file's cells.
func (db *DB) Cells() *Cells { return db.cells }

// Tally returns the file's counts.
func (db *DB) Tally() *Tally { return db.tally }

// Close wakes every waiter with store.ErrUnavailable and closes the file.
func (db *DB) Close() error {
	db.once.Do(func() { close(db.closed) })
	return db.file.Close()
}

// write runs fn in a transaction and commits it. What fn returns is passed on;
// what goes wrong in committing is ErrUnavailable, and may have been committed.
func (db *DB) write(ctx context.Context, what string, fn func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var refused error
	err := db.update(func(tx *bbolt.Tx) error {
		refused = fn(tx)
		return refused
	})
	return db.explain(what, refused, err)
}

func (db *DB) read(ctx context.Context, what string, fn func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var refused error
	err := db.view(func(tx *bbolt.Tx) error {
		refused = fn(tx)
		return refused
	})
	return db.explain(what, refused, err)
}

func (db *DB) explain(what string, refused, err error) error {
	switch {
	case err == nil:
		return nil
	case refused != nil:
		return fmt.Errorf("%s: %w", what, refused)
	default:
		return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
	}
}

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// number reads a stored number; what is too short counts as 0, which names
// nothing.
func number(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

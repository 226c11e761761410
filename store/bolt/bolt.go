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
	"errors"
	"time"

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
type DB struct{}

// Log is a named log in the file.
type Log struct{}

// Cells are the cells of the file.
type Cells struct{}

// Tally are the counts of the file.
type Tally struct{}

var (
	_ store.LiveLog = (*Log)(nil)
	_ store.Cell    = (*Cells)(nil)
	_ store.Tally   = (*Tally)(nil)

	errSoon = errors.New("bolt: being written")
)

// Open opens or creates the file and names a new serving instance.
func Open(ctx context.Context, c Config) (*DB, error) { return nil, errSoon }

// Log returns the log of that name. Handles of one name share everything.
func (db *DB) Log(name string) *Log { return &Log{} }

// Cells returns the file's cells.
func (db *DB) Cells() *Cells { return &Cells{} }

// Tally returns the file's counts.
func (db *DB) Tally() *Tally { return &Tally{} }

// Close wakes every waiter with store.ErrUnavailable and closes the file.
func (db *DB) Close() error { return nil }

// Append is store.Log's.
func (l *Log) Append(ctx context.Context, at store.Position, entries ...store.Entry) (store.Position, error) {
	return store.Position{}, errSoon
}

// Read is store.Log's.
func (l *Log) Read(ctx context.Context, after store.Position, limit int) ([]store.Record, error) {
	return nil, errSoon
}

// Tail is store.Log's.
func (l *Log) Tail(ctx context.Context) (store.Tail, error) { return store.Tail{}, errSoon }

// Open is store.Log's.
func (l *Log) Open(ctx context.Context, seen store.Tail, restore []store.Entry) (store.Position, error) {
	return store.Position{}, errSoon
}

// Wait is store.Waiter's.
func (l *Log) Wait(ctx context.Context, after store.Position) error { return errSoon }

// Trim is store.Trimmer's.
func (l *Log) Trim(ctx context.Context, now time.Time, life time.Duration) (int, error) {
	return 0, errSoon
}

// Get is store.Cell's.
func (c *Cells) Get(ctx context.Context, name string) (store.Versioned, error) {
	return store.Versioned{}, errSoon
}

// Swap is store.Cell's.
func (c *Cells) Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error) {
	return 0, errSoon
}

// Watch is store.Cell's.
func (c *Cells) Watch(ctx context.Context, name string, after uint64) (store.Versioned, error) {
	return store.Versioned{}, errSoon
}

// Add is store.Tally's.
func (t *Tally) Add(ctx context.Context, bucket string, expires time.Time, deltas map[string]int64) error {
	return errSoon
}

// Sum is store.Tally's.
func (t *Tally) Sum(ctx context.Context, buckets ...string) (map[string]int64, error) {
	return nil, errSoon
}

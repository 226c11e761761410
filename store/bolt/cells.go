package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	bbolt "go.etcd.io/bbolt"

	"github.com/writbroker/writ/store"
)

// Cells are the cells of the file: in bucket "cells" a name maps to the version
// and the value sealed for that name and version.
type Cells struct {
	db *DB

	mu      sync.Mutex
	seen    map[string]uint64 // guarded by mu: greatest version seen of each cell
	changed chan struct{}     // guarded by mu: closed at each change, then replaced
}

var cellsBucket = []byte("cells")

// version is the greatest that was seen of a cell.
func (c *Cells) version(name string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[name]
}

// get verifies a cell in a transaction that must hold the version that was seen.
// Version 0 is a cell that does not exist.
func (c *Cells) get(tx *bbolt.Tx, name string, seen uint64) (store.Versioned, error) {
	var v store.Versioned
	if b := tx.Bucket(cellsBucket); b != nil {
		if data := b.Get([]byte(name)); data != nil {
			v.Version = number(data)
			if len(data) < 8 || v.Version == 0 {
				return store.Versioned{}, store.ErrForged
			}
			value, err := c.db.sealer.Open(data[8:], "cell", name, strconv.FormatUint(v.Version, 10))
			if err != nil {
				return store.Versioned{}, err
			}
			v.Value = bytes.Clone(value)
		}
	}
	if v.Version < seen {
		return store.Versioned{}, store.ErrRollback
	}
	c.saw(name, v.Version)
	return v, nil
}

func (c *Cells) saw(name string, version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if version > c.seen[name] {
		c.seen[name] = version
	}
}

// Get is store.Cell's.
func (c *Cells) Get(ctx context.Context, name string) (v store.Versioned, err error) {
	// What others write and see while the transaction goes on is not in it.
	seen := c.version(name)
	err = c.db.read(ctx, "reading cell "+strconv.Quote(name), func(tx *bbolt.Tx) error {
		v, err = c.get(tx, name, seen)
		if err == nil && v.Version == 0 {
			err = store.ErrNotFound
		}
		return err
	})
	return v, err
}

// Swap is store.Cell's.
func (c *Cells) Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error) {
	if name == "" {
		return 0, errors.New("writing a cell without a name")
	}
	if len(value) > store.MaxValue {
		return 0, fmt.Errorf("writing cell %q: %w: %d bytes", name, store.ErrTooLarge, len(value))
	}
	version := old + 1
	err := c.db.write(ctx, "writing cell "+strconv.Quote(name), func(tx *bbolt.Tx) error {
		now, err := c.get(tx, name, c.version(name))
		if err != nil {
			return err
		}
		if now.Version != old {
			return fmt.Errorf("at version %d, not %d: %w", now.Version, old, store.ErrConflict)
		}
		b, err := tx.CreateBucketIfNotExists(cellsBucket)
		if err != nil {
			return err
		}
		sealed := c.db.sealer.Seal(value, "cell", name, strconv.FormatUint(version, 10))
		return b.Put([]byte(name), append(key(version), sealed...))
	})
	defer c.wake()
	if err != nil {
		return 0, err
	}
	c.saw(name, version)
	return version, nil
}

func (c *Cells) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Watch is store.Cell's.
func (c *Cells) Watch(ctx context.Context, name string, after uint64) (store.Versioned, error) {
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		v, err := c.Get(ctx, name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return store.Versioned{}, err
		}
		if v.Version > after {
			return v, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return store.Versioned{}, ctx.Err()
		case <-c.db.closed:
			return store.Versioned{}, fmt.Errorf("watching cell %q: %w", name, store.ErrUnavailable)
		}
	}
}

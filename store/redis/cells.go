package redis

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/writbroker/writ/store"
)

// headSize is the version and the MAC, which begin a stored cell: what
// compare-and-swap compares.
const headSize = 8 + len(store.MAC{})

// Cells are the shared cells: a string each, of the version and the value sealed for
// that name and version.
//
// Where a cell does not verify, or is older than this process has seen, or is gone,
// Get fails and returns the greatest version that was seen, without a value. A Swap
// from that version puts another value in its place: so who knows the right value
// can heal the cell. Nobody overwrites such a cell unawares.
type Cells struct {
	db   *DB
	news *beacon

	mu    sync.Mutex
	known map[string]cellState // guarded by mu
}

// cellState is what this process knows of a cell.
type cellState struct {
	version uint64 // the greatest that was seen
	head    string // of what was read last, whatever it was worth
	sound   bool   // head is that of version
}

func cellKey(name string) string { return tag + ":cell:" + name }

func (c *Cells) state(name string) cellState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[name]
}

// Get is store.Cell's.
func (c *Cells) Get(ctx context.Context, name string) (store.Versioned, error) {
	what := "reading cell " + strconv.Quote(name)
	before := c.state(name)
	out, err := c.db.read(ctx, what, getScript, []string{setKey, cellKey(name)}, "")
	if err != nil {
		return store.Versioned{}, err
	}
	v, err := c.judge(name, before, out)
	if err == nil && v.Version == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return v, fmt.Errorf("%s: %w", what, err)
	}
	return v, nil
}

// judge verifies what was read of a cell after the given state was known, and remembers
// it. Version 0 is a cell that does not exist.
func (c *Cells) judge(name string, before cellState, out any) (store.Versioned, error) {
	raw, exists := out.(string)
	v, err := c.unseal(name, raw, exists)
	if err == nil && v.Version < before.version {
		err = store.ErrRollback
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.known[name]
	if s == before || (err == nil && v.Version > s.version) {
		s.head, s.sound = strings.Clone(raw[:min(len(raw), headSize)]), err == nil
		s.version = max(s.version, v.Version)
		c.known[name] = s
	} // else this answer came late
	if err != nil {
		// Not a version that others have seen since: what they may have put right is
		// nothing that this answer lets anybody write over.
		return store.Versioned{Version: before.version}, err
	}
	return v, nil
}

func (c *Cells) unseal(name, raw string, exists bool) (store.Versioned, error) {
	if !exists {
		return store.Versioned{}, nil
	}
	if len(raw) < headSize {
		return store.Versioned{}, store.ErrForged
	}
	version := binary.BigEndian.Uint64([]byte(raw[:8]))
	value, err := c.db.cfg.Sealer.Open([]byte(raw[8:]), "cell", name, strconv.FormatUint(version, 10))
	if err != nil || version == 0 {
		return store.Versioned{}, store.ErrForged
	}
	return store.Versioned{Value: bytes.Clone(value), Version: version}, nil
}

// swapAttempts bounds how often a Swap begins again where the cell is at the right
// version, though not with the bytes that were read before: somebody repaired it.
const swapAttempts = 3

// Swap is store.Cell's. It takes one round trip where this process knows the cell.
func (c *Cells) Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error) {
	if name == "" {
		return 0, errors.New("writing a cell without a name")
	}
	what := "writing cell " + strconv.Quote(name)
	if len(value) > store.MaxValue {
		return 0, fmt.Errorf("%s: %w: %d bytes", what, store.ErrTooLarge, len(value))
	}
	raw := binary.BigEndian.AppendUint64(nil, old+1)
	raw = append(raw, c.db.cfg.Sealer.Seal(value, "cell", name, strconv.FormatUint(old+1, 10))...)
	for range swapAttempts {
		before, err := c.at(ctx, what, name, old)
		if err != nil {
			return 0, err
		}
		v, done, err := c.swap(ctx, what, name, before, raw)
		switch {
		case err != nil:
			return 0, err
		case done:
			return old + 1, nil
		case v.Version != old:
			return 0, fmt.Errorf("%s: at version %d, not %d: %w", what, v.Version, old, store.ErrConflict)
		}
	}
	return 0, fmt.Errorf("%s: it keeps changing: %w", what, store.ErrConflict)
}

// at is what this process knows of a cell at a version; it reads the cell where it knows
// another. What is written must go by this very state: by the time of the next look others
// may have seen a later version, whose head would then be taken for that of this one.
func (c *Cells) at(ctx context.Context, what, name string, version uint64) (cellState, error) {
	s := c.state(name)
	if s.version != version {
		// Either the cell has moved on, or it is not what the caller thinks.
		if _, err := c.Get(ctx, name); err != nil && !errors.Is(err, store.ErrNotFound) {
			return s, err
		}
		s = c.state(name)
	}
	if s.version != version {
		return s, fmt.Errorf("%s: at version %d, not %d: %w", what, s.version, version, store.ErrConflict)
	}
	return s, nil
}

// swap writes a cell if it is what it was before; otherwise it says what it is now.
func (c *Cells) swap(ctx context.Context, what, name string, before cellState, raw []byte) (v store.Versioned, done bool, err error) {
	out, err := c.db.write(ctx, what, swapScript, []string{setKey, cellKey(name), newsKey}, before.head, raw)
	if err != nil {
		return v, false, err
	}
	if !wrote(out) {
		if v, err = c.judge(name, before, out); err != nil {
			err = fmt.Errorf("%s: %w", what, err)
		}
		return v, false, err
	}
	version := binary.BigEndian.Uint64(raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	if version > c.known[name].version {
		c.known[name] = cellState{version: version, head: string(raw[:headSize]), sound: true}
	}
	return v, true, nil
}

// Watch is store.Cell's.
func (c *Cells) Watch(ctx context.Context, name string, after uint64) (store.Versioned, error) {
	for {
		v, err := c.watchOnce(ctx, name, after)
		switch {
		case err != nil && ctx.Err() != nil:
			return store.Versioned{}, ctx.Err()
		case err != nil || v.Version > after:
			return v, err
		}
	}
}

func (c *Cells) watchOnce(ctx context.Context, name string, after uint64) (store.Versioned, error) {
	changed, err := c.news.arm(ctx)
	if err != nil {
		return store.Versioned{}, err
	}
	v, err := c.newer(ctx, name, after)
	if err != nil || v.Version > after {
		return v, err
	}
	_, err = c.news.wait(ctx, changed)
	return store.Versioned{}, err
}

// newer reads a cell unless it still is what was read last.
func (c *Cells) newer(ctx context.Context, name string, after uint64) (store.Versioned, error) {
	s, head := c.state(name), ""
	if s.sound && s.version <= after {
		head = s.head
	}
	out, err := c.db.read(ctx, "watching cell "+strconv.Quote(name), getScript, []string{setKey, cellKey(name)}, head)
	if err != nil || out == int64(0) {
		return store.Versioned{}, err
	}
	v, err := c.judge(name, s, out)
	if err != nil {
		return v, fmt.Errorf("watching cell %q: %w", name, err)
	}
	return v, nil
}

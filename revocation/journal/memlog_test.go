package journal_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writbroker/writ/store"
)

// dataset is a log and the process that serves it. It keeps store.Log's contract
// through everything that can befall it: whatever loses or replaces records changes
// the instance.
type dataset struct {
	mu       sync.Mutex
	world    *world
	instance string
	records  []store.Record
	opener   map[store.Lineage]string // of complete lineages
	cells    map[string]store.Versioned
}

// world names instances and lineages, the same for the same seed.
type world struct {
	mu        sync.Mutex
	instances int
	lineages  uint64
	now       func() time.Time
}

func (w *world) instance() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.instances++
	return fmt.Sprintf("instance-%d", w.instances)
}

func (w *world) lineage() store.Lineage {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lineages++
	return store.Lineage(w.lineages * 0x9e3779b97f4a7c15)
}

func newDataset(w *world) *dataset {
	return &dataset{world: w, instance: w.instance(), opener: map[store.Lineage]string{}, cells: map[string]store.Versioned{}}
}

// fork gives what another process would serve after a replication up to n records.
func (d *dataset) fork(n int) *dataset {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := newDataset(d.world)
	out.records = slices.Clone(d.records[:min(n, len(d.records))])
	if n >= len(d.records) { // one that lost records may have lost what came after them
		out.cells = maps.Clone(d.cells)
	}
	for _, r := range out.records {
		if r.Marker {
			out.opener[r.Lineage] = d.opener[r.Lineage]
		}
	}
	return out
}

func (d *dataset) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.records)
}

// restart is another process over the same data.
func (d *dataset) restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.instance = d.world.instance()
}

// wipe empties it, as another process would find it.
func (d *dataset) wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.instance, d.records, d.opener = d.world.instance(), nil, map[store.Lineage]string{}
	clear(d.cells)
}

func (d *dataset) tail() store.Tail {
	t := store.Tail{Instance: d.instance, Records: len(d.records)}
	if n := len(d.records); n > 0 {
		t.Position = d.records[n-1].Position
		t.Open = d.opener[t.Lineage] == d.instance
	}
	return t
}

func (d *dataset) put(lineage store.Lineage, seq uint64, marker bool, e store.Entry) {
	e.Payload = slices.Clone(e.Payload)
	d.records = append(d.records, store.Record{Position: store.Position{Lineage: lineage, Seq: seq}, Marker: marker, Entry: e})
}

// memLog is one replica's handle on whichever dataset it reaches.
type memLog struct {
	data *dataset
	down atomic.Bool
	// fault is asked before each call: an error is returned without the call being
	// made, or, if made, after it.
	fault func(call string) (err error, made bool)
	// cutOpen makes Open write only so many records, and fail.
	cutOpen int
}

var errDown = fmt.Errorf("test log: %w", store.ErrUnavailable)

func (l *memLog) do(call string, run func(d *dataset) error) error {
	if l.down.Load() {
		return errDown
	}
	var fault error
	if l.fault != nil {
		err, made := l.fault(call)
		if err != nil && !made {
			return err
		}
		fault = err
	}
	l.data.mu.Lock()
	defer l.data.mu.Unlock()
	if err := run(l.data); err != nil {
		return err
	}
	return fault
}

func (l *memLog) Tail(context.Context) (t store.Tail, err error) {
	err = l.do("tail", func(d *dataset) error { t = d.tail(); return nil })
	return t, err
}

func (l *memLog) Append(_ context.Context, at store.Position, entries ...store.Entry) (p store.Position, err error) {
	if len(entries) == 0 {
		return p, errors.New("appending nothing")
	}
	if err := store.CheckEntries(entries); err != nil {
		return p, err
	}
	err = l.do("append", func(d *dataset) error {
		t := d.tail()
		if t.Position != at {
			return &store.ConflictError{Want: at, Tail: t}
		}
		if !t.Open {
			return store.ErrDiscontinuity
		}
		for _, e := range entries {
			at.Seq++
			d.put(at.Lineage, at.Seq, false, e)
		}
		p = at
		return nil
	})
	return p, err
}

func (l *memLog) Read(_ context.Context, after store.Position, limit int) (out []store.Record, err error) {
	err = l.do("read", func(d *dataset) error {
		from := 0
		if !after.IsZero() {
			i := slices.IndexFunc(d.records, func(r store.Record) bool { return r.Position == after })
			if i < 0 {
				return store.ErrUnknownPosition
			}
			from = i + 1
		}
		out = slices.Clone(d.records[from:min(from+limit, len(d.records))])
		return nil
	})
	return out, err
}

func (l *memLog) Open(_ context.Context, seen store.Tail, restore []store.Entry) (p store.Position, err error) {
	if err := store.CheckEntries(restore); err != nil {
		return p, err
	}
	err = l.do("open", func(d *dataset) error {
		t := d.tail()
		if t.Position != seen.Position || t.Instance != seen.Instance {
			return &store.ConflictError{Want: seen.Position, Tail: t}
		}
		lineage := d.world.lineage()
		for i, e := range restore {
			if l.cutOpen > 0 && i == l.cutOpen {
				l.cutOpen = 0
				return errDown
			}
			d.put(lineage, uint64(i)+1, false, e)
		}
		m := store.Marker{Instance: d.instance, Opened: d.world.now()}
		d.put(lineage, uint64(len(restore))+1, true, store.Entry{Payload: store.EncodeMarker(m)})
		d.opener[lineage] = d.instance
		p = d.tail().Position
		return nil
	})
	return p, err
}

// memCell is the cells of whichever dataset a replica reaches. Like those of a shared store it
// knows the greatest version that this process has seen.
type memCell struct {
	log  *memLog
	seen map[string]uint64
}

func (c *memCell) Get(_ context.Context, name string) (v store.Versioned, err error) {
	err = c.log.do("get", func(d *dataset) error {
		v = d.cells[name]
		switch seen := c.seen[name]; {
		case v.Version < seen:
			v = store.Versioned{Version: seen}
			return store.ErrRollback
		case v.Version == 0:
			return store.ErrNotFound
		}
		c.seen[name] = v.Version
		return nil
	})
	return v, err
}

func (c *memCell) Swap(_ context.Context, name string, old uint64, value []byte) (version uint64, err error) {
	err = c.log.do("swap", func(d *dataset) error {
		if at := max(d.cells[name].Version, c.seen[name]); at != old {
			return store.ErrConflict
		}
		d.cells[name] = store.Versioned{Version: old + 1, Value: slices.Clone(value)}
		version, c.seen[name] = old+1, old+1
		return nil
	})
	return version, err
}

var _ store.Log = (*memLog)(nil)

package bolt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	bbolt "go.etcd.io/bbolt"

	"github.com/writbroker/writ/store"
)

// Log is a named log in the file. In its bucket, "records" maps an index that
// counts up from 1 to a stored record, "notes" the first index of each trimmed
// run to its last index and a trim note, and "lineages" a lineage to the index
// before its first record and that of its marker. Only records and notes are
// authenticated; the rest are hints, and what they lead to is verified.
type Log struct {
	db     *DB
	name   string
	bucket []byte

	trimming sync.Mutex // one Trim at a time

	mu      sync.Mutex
	seen    watermark     // guarded by mu: the last record this process has seen
	changed chan struct{} // guarded by mu: closed at each change, then replaced
}

type watermark struct {
	index uint64
	mac   store.MAC
}

var bucketNames = [3][]byte{[]byte("records"), []byte("notes"), []byte("lineages")}

// logTx is a log within one transaction.
type logTx struct {
	log                      *Log
	seen                     watermark     // what the transaction must hold
	records, notes, lineages *bbolt.Bucket // all nil for a log that was never written
}

// read runs fn on the log as it stands now.
func (l *Log) read(ctx context.Context, what string, fn func(*logTx) error) error {
	// What others write and see while the transaction goes on is not in it.
	seen := l.watermark()
	return l.db.read(ctx, what, func(tx *bbolt.Tx) error {
		v, err := l.in(tx, seen)
		if err != nil {
			return err
		}
		return fn(&v)
	})
}

// write runs fn on the log, and commits.
func (l *Log) write(ctx context.Context, what string, fn func(*logTx) error) error {
	return l.db.write(ctx, what, func(tx *bbolt.Tx) error {
		v, err := l.in(tx, l.watermark()) // nobody else writes, so all that was seen is in it
		if err != nil {
			return err
		}
		return fn(&v)
	})
}

func (l *Log) watermark() watermark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen
}

func (l *Log) in(tx *bbolt.Tx, seen watermark) (logTx, error) {
	v := logTx{log: l, seen: seen}
	root := tx.Bucket(l.bucket)
	if root == nil {
		if !tx.Writable() {
			return v, nil
		}
		var err error
		if root, err = tx.CreateBucket(l.bucket); err != nil {
			return v, err
		}
		for _, name := range bucketNames {
			if _, err := root.CreateBucket(name); err != nil {
				return v, err
			}
		}
	}
	v.records, v.notes, v.lineages = root.Bucket(bucketNames[0]), root.Bucket(bucketNames[1]), root.Bucket(bucketNames[2])
	if v.records == nil || v.notes == nil || v.lineages == nil {
		return v, store.ErrForged
	}
	return v, nil
}

// end is where a log ends in a transaction: the index of its last record and a
// chain that stands after it.
type end struct {
	index uint64
	chain *store.Chain
}

// end finds and verifies the last record, and that the file holds what this
// process had seen in it.
func (v *logTx) end() (end, error) {
	e := end{chain: store.NewChain(v.log.db.sealer, v.log.name)}
	if v.records != nil {
		if k, data := v.records.Cursor().Last(); k != nil {
			e.index = number(k)
			if _, err := e.chain.Resume(data); err != nil {
				return e, err
			}
		}
	}
	seen := v.seen
	lost := e.index < seen.index || (e.index == seen.index && seen.index > 0 && e.chain.MAC() != seen.mac)
	if !lost && e.index > seen.index && seen.index > 0 {
		data := v.records.Get(key(seen.index)) // nil if it was trimmed since
		lost = len(data) >= len(seen.mac) && store.MAC(data[len(data)-len(seen.mac):]) != seen.mac
	}
	if lost {
		return e, &store.IntegrityError{Log: v.log.name, After: e.chain.Position(), Err: store.ErrRollback}
	}
	return e, nil
}

func (l *Log) sawEnd(e end) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.index > l.seen.index {
		l.seen = watermark{index: e.index, mac: e.chain.MAC()}
	}
}

func (l *Log) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (v *logTx) tail(e end) (store.Tail, error) {
	t := store.Tail{Position: e.chain.Position(), Instance: v.log.db.instance}
	if e.index == 0 {
		return t, nil
	}
	t.Records = int(v.records.Sequence())
	m, err := v.marker(t.Lineage)
	if err != nil {
		return t, err
	}
	t.Open = m.Instance == t.Instance
	return t, nil
}

// marker returns a lineage's marker, or the zero marker if it has none.
func (v *logTx) marker(lineage store.Lineage) (store.Marker, error) {
	hint := v.lineages.Get(key(uint64(lineage)))
	if len(hint) < 16 {
		return store.Marker{}, nil
	}
	data := v.records.Get(hint[8:16])
	if data == nil {
		return store.Marker{}, nil
	}
	r, err := store.NewChain(v.log.db.sealer, v.log.name).Resume(data)
	if err != nil {
		return store.Marker{}, err
	}
	if !r.Marker || r.Lineage != lineage {
		return store.Marker{}, nil
	}
	return store.DecodeMarker(r.Payload)
}

// Tail is store.Log's.
func (l *Log) Tail(ctx context.Context) (t store.Tail, err error) {
	err = l.read(ctx, "reading the log's tail", func(v *logTx) error {
		e, err := v.end()
		if err != nil {
			return err
		}
		l.sawEnd(e)
		t, err = v.tail(e)
		return err
	})
	return t, err
}

// Append is store.Log's.
func (l *Log) Append(ctx context.Context, at store.Position, entries ...store.Entry) (store.Position, error) {
	if len(entries) == 0 {
		return store.Position{}, errors.New("appending nothing to a log")
	}
	if err := store.CheckEntries(entries); err != nil {
		return store.Position{}, fmt.Errorf("appending to log: %w", err)
	}
	return l.commit(ctx, "appending to log", func(v *logTx, e *end) error {
		t, err := v.tail(*e)
		switch {
		case err != nil:
			return err
		case t.Position != at:
			return &store.ConflictError{Want: at, Tail: t}
		case !t.Open:
			return store.ErrDiscontinuity
		}
		for _, entry := range entries {
			if err := v.put(e, e.chain.Extend(entry)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Open is store.Log's.
func (l *Log) Open(ctx context.Context, seen store.Tail, restore []store.Entry) (store.Position, error) {
	if err := store.CheckEntries(restore); err != nil {
		return store.Position{}, fmt.Errorf("opening lineage: %w", err)
	}
	return l.commit(ctx, "opening lineage", func(v *logTx, e *end) error {
		t, err := v.tail(*e)
		if err != nil {
			return err
		}
		if t.Position != seen.Position || t.Instance != seen.Instance {
			return &store.ConflictError{Want: seen.Position, Tail: t}
		}
		lineage, err := v.newLineage()
		if err != nil {
			return err
		}
		base := e.index
		m := store.Marker{Instance: l.db.instance, Opened: l.db.now()}
		for _, data := range e.chain.Begin(lineage, restore, m) {
			if err := v.put(e, data); err != nil {
				return err
			}
		}
		return v.lineages.Put(key(uint64(lineage)), append(key(base), key(e.index)...))
	})
}

func (v *logTx) newLineage() (store.Lineage, error) {
	for {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return 0, fmt.Errorf("naming a lineage: %w", err)
		}
		if n := binary.BigEndian.Uint64(b[:]); n != 0 && v.lineages.Get(b[:]) == nil {
			return store.Lineage(n), nil
		}
	}
}

func (v *logTx) put(e *end, data []byte) error {
	e.index++
	if err := v.records.SetSequence(v.records.Sequence() + 1); err != nil { // the sequence counts records
		return err
	}
	return v.records.Put(key(e.index), data)
}

// commit runs one change of the log's end. Waiters are woken even if it fails:
// it may have been made.
func (l *Log) commit(ctx context.Context, what string, change func(*logTx, *end) error) (store.Position, error) {
	var after end
	err := l.write(ctx, what, func(v *logTx) (err error) {
		if after, err = v.end(); err != nil {
			return err
		}
		return change(v, &after)
	})
	defer l.wake()
	if err != nil {
		return store.Position{}, err
	}
	l.sawEnd(after)
	return after.chain.Position(), nil
}

// Wait is store.Waiter's.
func (l *Log) Wait(ctx context.Context, after store.Position) error {
	l.mu.Lock()
	changed := l.changed
	l.mu.Unlock()
	t, err := l.Tail(ctx)
	if err != nil || t.Position != after {
		return err
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.db.closed:
		return fmt.Errorf("waiting on log: %w", store.ErrUnavailable)
	}
}

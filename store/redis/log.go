package redis

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/writbroker/writ/store"
)

// Log is a named log. Its records are the entries of one stream, under ids that count
// up, with room before a lineage. A hash maps each lineage to the index before its first
// record and that of its marker, counts the trims, and says for which process of Redis
// room was made; a sorted set holds trim notes by the first index that they stand for.
// Only records and notes are authenticated; the rest are hints, and what they lead to
// is verified.
type Log struct {
	db   *DB
	name string
	keys []string // data set, stream, lineages, notes
	news *beacon

	mu      sync.Mutex
	seen    watermark                // guarded by mu
	open    bool                     // guarded by mu: seen's lineage may be appended to by seen's instance
	tainted store.Lineage            // guarded by mu: it was seen to go back; it goes on no more
	bases   map[store.Lineage]uint64 // guarded by mu: the index before a lineage's first record, a hint

	trimming sync.Mutex // one Trim at a time
	quiet    quiet      // guarded by trimming
}

// maxBases bounds the hints that are kept; a reader needs the last one or two.
const maxBases = 64

func newLog(db *DB, name string) *Log {
	keys := []string{setKey, tag + ":log:" + name, tag + ":lineages:" + name, tag + ":notes:" + name}
	return &Log{db: db, name: name, keys: keys, news: newBeacon(db, keys[1]), bases: map[store.Lineage]uint64{}}
}

// Tail is store.Log's.
func (l *Log) Tail(ctx context.Context) (store.Tail, error) {
	_, t, err := l.status(ctx, "reading the log's tail")
	if err != nil {
		return store.Tail{}, err
	}
	return t, nil
}

// Append is store.Log's, for up to 2000 entries at once. It takes one round trip where
// this process has seen at as the tail, else two.
func (l *Log) Append(ctx context.Context, at store.Position, entries ...store.Entry) (store.Position, error) {
	const what = "appending to log"
	if len(entries) == 0 {
		return store.Position{}, errors.New("appending nothing to a log")
	}
	if err := store.CheckEntries(entries); err != nil {
		return store.Position{}, fmt.Errorf("%s: %w", what, err)
	}
	if n := len(entries); n > chunkRecords {
		return store.Position{}, fmt.Errorf("%s: %d entries at once, more than %d", what, n, chunkRecords)
	}
	e, instance, err := l.appendable(ctx, at)
	if err != nil {
		return store.Position{}, fmt.Errorf("%s: %w", what, err)
	}
	records := make([][]byte, 0, len(entries))
	after := e
	for _, entry := range entries {
		records = append(records, after.chain.Extend(entry))
	}
	t, done, err := l.add(ctx, what, &step{at: e, instance: instance, records: records})
	switch {
	case err != nil:
		return store.Position{}, err
	case done:
		after.index += uint64(len(records))
		after.top = after.id()
		l.wrote(after, instance, instance)
		return after.chain.Position(), nil
	case t.Position != at:
		err = &store.ConflictError{Want: at, Tail: t}
	default:
		err = store.ErrDiscontinuity
	}
	return store.Position{}, fmt.Errorf("%s: %w", what, err)
}

// appendable gives the end that has position at, and the instance that may go on
// from there.
func (l *Log) appendable(ctx context.Context, at store.Position) (end, string, error) {
	l.mu.Lock()
	e, instance := l.seen.end, l.seen.instance
	known := l.open && e.chain.Position() == at && at.Lineage != l.tainted
	l.mu.Unlock()
	if known {
		return e, instance, nil
	}
	e, t, err := l.status(ctx, "reading the log's tail")
	switch {
	case err != nil:
		return e, "", err
	case t.Position != at:
		return e, "", &store.ConflictError{Want: at, Tail: t}
	case !t.Open:
		return e, "", store.ErrDiscontinuity
	}
	return e, t.Instance, nil
}

// step is one script's worth of records.
type step struct {
	at       end
	instance string // that must serve
	records  [][]byte
	// For an open:
	lineage store.Lineage
	marker  uint64 // index of the marker, 0 until it is written
	base    uint64 // index before the lineage's first record
	set     string // name for a data set that has none
}

// add writes the records if the log ends where the step says and the instance is
// the right one. Otherwise it says where the log ends.
func (l *Log) add(ctx context.Context, what string, s *step) (t store.Tail, done bool, err error) {
	first, lineage, place := s.at.index+1, "", ""
	if s.lineage != 0 {
		lineage = lineageField(s.lineage)
		place = strconv.FormatUint(s.base, 10) + " " + strconv.FormatUint(s.marker, 10)
		first = max(first, parseTop(s.at.top)+1)
	}
	args, instance := l.args()
	args = append(args, s.instance, s.at.mac(), s.at.top, first, lineage, place, s.set)
	for _, r := range s.records {
		args = append(args, r)
	}
	out, err := l.db.write(ctx, what, appendScript, l.keys[:3], args...)
	if err != nil {
		return t, false, err
	}
	if wrote(out) {
		return t, true, nil
	}
	if _, t, err = l.observe(out, instance); err != nil {
		return t, false, fmt.Errorf("%s: %w", what, err)
	}
	return t, false, nil
}

// parseTop reads the greatest id that a stream ever had, whoever gave it.
func parseTop(top string) uint64 {
	head, _, _ := strings.Cut(top, "-")
	n, err := strconv.ParseUint(head, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (l *Log) wrote(e end, instance, known string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.saw(e, instance, known, true)
}

const (
	chunkRecords = 2000 // of one script
	chunkBytes   = 1 << 20

	// room is how many indexes are cleared before a lineage: one more than any script writes.
	room = chunkRecords + 1
)

// Open is store.Log's. What is restored is written in parts of up to 2000 records, so
// that no script holds up the server for long.
func (l *Log) Open(ctx context.Context, seen store.Tail, restore []store.Entry) (store.Position, error) {
	const what = "opening lineage"
	if err := store.CheckEntries(restore); err != nil {
		return store.Position{}, fmt.Errorf("%s: %w", what, err)
	}
	e, t, err := l.status(ctx, what)
	if err != nil {
		return store.Position{}, fmt.Errorf("%s: %w", what, err)
	}
	if t.Position != seen.Position || t.Instance != seen.Instance {
		return store.Position{}, fmt.Errorf("%s: %w", what, &store.ConflictError{Want: seen.Position, Tail: t})
	}
	if err := l.clear(ctx, &e, t.Instance); err != nil {
		return store.Position{}, fmt.Errorf("%s: %w", what, err)
	}
	s := step{at: e, instance: t.Instance, base: max(e.index, parseTop(e.top))}
	if s.lineage, err = newLineage(); err != nil {
		return store.Position{}, fmt.Errorf("%s: %w", what, err)
	}
	owner := t.Instance
	if strings.HasSuffix(owner, ":") {
		s.set = rand.Text()
		owner += s.set
	}
	chain := e.chain
	records := chain.Begin(s.lineage, restore, store.Marker{Instance: owner, Opened: l.db.cfg.Now()})
	if err := l.writeLineage(ctx, what, &s, owner, records); err != nil {
		return store.Position{}, err
	}
	after := end{index: s.base + uint64(len(records)), chain: chain}
	after.top = after.id()
	l.hint(s.lineage, s.base)
	l.wrote(after, owner, t.Instance)
	return chain.Position(), nil
}

// clear makes Redis's append-only file say what is here: see clear.lua.
func (l *Log) clear(ctx context.Context, e *end, instance string) error {
	for _, step := range []string{"close", "clear", "raise"} {
		args, known := l.args()
		args = append(args, instance, e.mac(), step, room)
		out, err := l.db.read(ctx, "making room", clearScript, l.keys[:3], args...)
		if err != nil {
			return err
		}
		if !wrote(out) {
			_, t, err := l.observe(out, known)
			if err != nil {
				return err
			}
			return &store.ConflictError{Want: e.chain.Position(), Tail: t}
		}
		if e.top, err = textOf(out); err != nil {
			return err
		}
	}
	return nil
}

// textOf reads the answer of a script that is one text.
func textOf(out any) (string, error) {
	if list, ok := out.([]any); ok && len(list) == 1 {
		if text, ok := list[0].(string); ok {
			return text, nil
		}
	}
	return "", fmt.Errorf("%w: answer of a script is not understood", store.ErrUnavailable)
}

// writeLineage writes the records of a new lineage, chunk by chunk. Each chunk is
// written only directly after the one before.
func (l *Log) writeLineage(ctx context.Context, what string, s *step, owner string, records [][]byte) error {
	want, last := s.at.chain.Position(), s.base+uint64(len(records))
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && n < chunkRecords && (n == 0 || size+len(records[n]) <= chunkBytes) {
			size += len(records[n])
			n++
		}
		s.records, records = records[:n], records[n:]
		if len(records) == 0 {
			s.marker = last
		}
		t, done, err := l.add(ctx, what, s)
		if err != nil {
			return err
		}
		if !done {
			return fmt.Errorf("%s: %w", what, &store.ConflictError{Want: want, Tail: t})
		}
		chain := s.at.chain
		r, err := chain.Resume(s.records[n-1])
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		index := max(s.at.index, s.base) + uint64(n)
		s.at = end{index: index, top: itemID(index), chain: chain}
		s.instance, s.set, want = owner, "", r.Position
	}
	return nil
}

func newLineage() (store.Lineage, error) {
	for {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return 0, fmt.Errorf("naming a lineage: %w", err)
		}
		if n := binary.BigEndian.Uint64(b[:]); n != 0 {
			return store.Lineage(n), nil
		}
	}
}

// hint remembers where a lineage lies.
func (l *Log) hint(lineage store.Lineage, base uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.bases) >= maxBases {
		clear(l.bases)
	}
	l.bases[lineage] = base
}

// forget drops the hints of lineages that are gone, marker and all.
func (l *Log) forget(fields []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for lineage := range l.bases {
		if slices.Contains(fields, any(lineageField(lineage))) {
			delete(l.bases, lineage)
		}
	}
}

package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/writbroker/writ/store"
)

// trimBatch bounds the records that one script removes, so that appends are not held
// up for long.
const trimBatch = 2000

// In a log longer than longLog a walk is due only when one record in longShare may
// go, or a marker.
const (
	longLog   = 4096
	longShare = 64
)

// quiet is what a walk over the whole log has shown: nothing before a position can
// be trimmed before a time.
type quiet struct {
	at    store.Position // zero: nothing is known
	until time.Time
	last  time.Time // expiry of the record at that position, which had to stay
}

// Trim is store.Trimmer's. Replicas may trim at once: one of them gets on, the others
// leave it to that one. It reads the whole log only when something can have expired;
// in a long log, when that is one record in 64. What has not expired by the server's
// clock stays: a caller whose clock is ahead takes nothing live from the others.
func (l *Log) Trim(ctx context.Context, now time.Time, life time.Duration) (int, error) {
	l.trimming.Lock()
	defer l.trimming.Unlock()
	server, err := l.db.clock(ctx)
	if err != nil {
		return 0, err
	}
	if server.Before(now) {
		now = server
	}
	if l.stillQuiet(ctx, now) {
		return 0, nil
	}
	l.quiet = quiet{}
	_, tail, err := l.status(ctx, "planning a trim")
	if err != nil {
		return 0, err
	}
	trims, err := l.trims(ctx)
	if err != nil {
		return 0, err
	}
	s, err := l.survey(ctx, now, life)
	if err != nil {
		return 0, err
	}
	if !s.due {
		l.quiet = s.next
		return 0, nil
	}
	t := trimmer{spent: s, log: l, instance: tail.Instance, trims: trims}
	return t.trim(ctx)
}

// stillQuiet looks only at what was appended since the last walk.
func (l *Log) stillQuiet(ctx context.Context, now time.Time) bool {
	q := &l.quiet
	for !q.at.IsZero() {
		records, err := l.Read(ctx, q.at, pageLimit)
		if err != nil {
			return false
		}
		for i := range records {
			q.reach(q.last)
			q.at, q.last = records[i].Position, records[i].Expires
		}
		if len(records) < pageLimit {
			return q.until.IsZero() || now.Before(q.until)
		}
	}
	return false
}

// reach notes that something can go at a time; the zero time is never.
func (q *quiet) reach(at time.Time) {
	if !at.IsZero() && (q.until.IsZero() || at.Before(q.until)) {
		q.until = at
	}
}

// trims counts how often the log was trimmed.
func (l *Log) trims(ctx context.Context) (string, error) {
	out, err := l.db.hash(ctx, "planning a trim", l.keys[2], "trims")
	if err != nil || out[0] == "" {
		return "0", err
	}
	return out[0], nil
}

// walk calls fn with every page's records, in order.
func (l *Log) walk(ctx context.Context, c *cursor, fn func(store.Record) error) error {
	count := firstPage
	for {
		p, err := l.following(ctx, c, count)
		if err != nil {
			return err
		}
		for i := range p.items {
			r, err := c.next(&p, &p.items[i])
			if err != nil {
				return fmt.Errorf("reading log: %w", err)
			}
			if err := fn(r); err != nil {
				return err
			}
		}
		if !p.full {
			return nil
		}
		count = p.fits
	}
}

// spent says what may go: which records by themselves, and which markers by what the
// rest of the log looks like. It speaks of the log up to where it ended then.
type spent struct {
	now     time.Time
	last    store.Position
	over    bool // the last was passed: what follows came since, and one of it is the last now
	markers map[store.Lineage]bool
	due     bool // something may
	next    quiet
}

func (s *spent) covers(r *store.Record) bool {
	if s.over || r.Position == s.last {
		return false // appends and readers hold on to it
	}
	if r.Marker {
		return s.markers[r.Lineage]
	}
	return !r.Expires.IsZero() && !r.Expires.After(s.now)
}

// survey walks the log and finds what may go.
func (l *Log) survey(ctx context.Context, now time.Time, life time.Duration) (*spent, error) {
	s := &spent{now: now, markers: map[store.Lineage]bool{}}
	var (
		inUse    = map[store.Lineage]bool{}
		previous store.Lineage
		expiries []int64      // of what stays
		before   store.Record // the last is judged only when another follows
	)
	judge := func(r *store.Record) {
		switch {
		case r.Marker || r.Lineage == 0:
		case s.covers(r):
			s.due = true
		default:
			inUse[r.Lineage] = true
			if !r.Expires.IsZero() {
				expiries = append(expiries, r.Expires.Unix())
			}
		}
	}
	c := l.cursor()
	err := l.walk(ctx, &c, func(r store.Record) error {
		s.last = r.Position
		judge(&before)
		before = r
		if !r.Marker {
			return nil
		}
		m, err := store.DecodeMarker(r.Payload)
		if err != nil {
			return fmt.Errorf("reading log: %w", err)
		}
		if until := m.Opened.Add(life); previous != 0 && !until.After(now) {
			s.markers[previous] = true
		} else if previous != 0 {
			s.next.reach(until)
		}
		previous = r.Lineage
		return nil
	})
	inUse[before.Lineage] = true
	for lineage := range s.markers {
		if inUse[lineage] {
			delete(s.markers, lineage)
		}
	}
	s.due = s.due || len(s.markers) > 0
	if n := len(expiries); n > 0 {
		slices.Sort(expiries)
		k := 0
		if n > longLog {
			k = n / longShare
		}
		s.next.reach(time.Unix(expiries[k], 0))
	}
	s.next.at, s.next.last = before.Position, before.Expires
	return s, err
}

// trimmer walks the log and removes what may go, batch by batch.
type trimmer struct {
	*spent
	log      *Log
	instance string // that must serve all along
	trims    string // how often the log was trimmed: what the next batch must find
	total    int

	before store.Position // the last one that was walked
	at     uint64         // its index
	mac    store.MAC      // its MAC
	run    note           // the run that is being gathered; first is 0 where there is none
	sum    store.TrimNote // what it stands for
	fresh  bool           // it holds records that still stand in the log

	batch batch
}

// batch is what one script removes.
type batch struct {
	runs, lineages, ids []any
	index               uint64 // of the last record that goes
	mac                 store.MAC
}

// trim walks the log once and removes on the way: what goes lies behind the cursor.
func (t *trimmer) trim(ctx context.Context) (int, error) {
	c := t.log.cursor()
	t.mac = c.chain.MAC()
	c.note = func(n note, sum store.TrimNote) {
		t.extend(n.first, n.last, sum.Last, sum.Count)
		t.before, t.at, t.mac = sum.Last, n.last, sum.LastMAC
	}
	err := t.log.walk(ctx, &c, func(r store.Record) error {
		if t.covers(&r) {
			t.take(c.index, &r, c.chain.MAC())
		} else {
			t.finish()
			t.run = note{}
		}
		t.over = t.over || r.Position == t.last
		t.before, t.at, t.mac = r.Position, c.index, c.chain.MAC()
		if len(t.batch.ids) < trimBatch {
			return nil
		}
		return t.send(ctx)
	})
	if err == nil {
		err = t.send(ctx)
	}
	if errors.Is(err, store.ErrConflict) {
		err = nil // another replica trims
	}
	return t.total, err
}

func (t *trimmer) take(index uint64, r *store.Record, mac store.MAC) {
	t.extend(t.at+1, index, r.Position, 1) // with the room before a lineage, if it is the first of one
	t.fresh = true
	t.batch.ids = append(t.batch.ids, itemID(index))
	t.batch.index, t.batch.mac = index, mac
	if r.Marker {
		t.batch.lineages = append(t.batch.lineages, lineageField(r.Lineage))
	}
}

func (t *trimmer) extend(first, last uint64, until store.Position, count uint64) {
	if t.run.first == 0 {
		t.run.first = first
		t.sum = store.TrimNote{After: t.before, AfterMAC: t.mac}
	}
	t.run.last, t.sum.Last = last, until
	t.sum.Count += count
}

// finish puts the note of a run into the batch. One that is only an earlier note
// stays as it is.
func (t *trimmer) finish() {
	if !t.fresh {
		return
	}
	t.fresh = false
	t.sum.LastMAC = t.mac
	t.run.data = t.log.db.cfg.Sealer.SealNote(t.log.name, t.sum)
	t.batch.runs = append(t.batch.runs, t.run.first, t.run.last, t.run.member())
}

// send removes a batch. A run that goes on is noted as far as it goes; the next batch
// replaces its note.
func (t *trimmer) send(ctx context.Context) error {
	t.finish()
	b := &t.batch
	if len(b.ids) == 0 {
		return nil
	}
	args := []any{t.instance, t.trims, itemID(b.index), string(b.mac[:]), len(b.runs)}
	args = append(append(args, b.runs...), len(b.lineages))
	args = append(append(args, b.lineages...), b.ids...)
	out, err := t.log.db.read(ctx, "trimming log", trimScript, t.log.keys, args...)
	if err != nil {
		return err
	}
	if !wrote(out) {
		return store.ErrConflict
	}
	count, err := strconv.ParseUint(t.trims, 10, 64)
	if err != nil {
		return fmt.Errorf("trimming log: counting: %w", store.ErrForged)
	}
	t.log.forget(b.lineages)
	t.trims = strconv.FormatUint(count+1, 10)
	t.total += len(b.ids)
	t.batch = batch{}
	return nil
}

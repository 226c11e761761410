package bolt

import (
	"context"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/writbroker/writ/store"
)

// trimBatch bounds the records of one transaction, so that appends are not held
// up for long.
const trimBatch = 10_000

// Trim is store.Trimmer's.
func (l *Log) Trim(ctx context.Context, now time.Time, life time.Duration) (int, error) {
	l.trimming.Lock()
	defer l.trimming.Unlock()
	total := 0
	for {
		var p trimPlan
		err := l.read(ctx, "planning a trim", func(v *logTx) (err error) {
			p, err = v.plan(now, life)
			return err
		})
		if err != nil || len(p.runs) == 0 {
			return total, err
		}
		// Only Trim removes, and appends come after all that is planned, so
		// the plan still holds.
		err = l.write(ctx, "trimming log", func(v *logTx) error { return v.apply(p) })
		if err != nil {
			return total, err
		}
		total += p.count
	}
}

// run is a sequence of records, and notes of earlier trims, that one note will
// stand for.
type run struct {
	first, last uint64
	records     int
	note        store.TrimNote
}

type trimPlan struct {
	runs     []run
	count    int // records of all runs
	lineages []store.Lineage
}

// spent says what may go: which records by themselves, and which markers by what
// the rest of the log looks like.
type spent struct {
	now     time.Time
	last    uint64
	markers map[store.Lineage]bool
}

func (s *spent) covers(index uint64, r store.Record) bool {
	if index == s.last {
		return false // appends and readers hold on to it
	}
	if r.Marker {
		return s.markers[r.Lineage]
	}
	return !r.Expires.IsZero() && !r.Expires.After(s.now)
}

// survey finds the markers that may go.
func (v *logTx) survey(now time.Time, life time.Duration) (*spent, error) {
	e, err := v.end()
	if err != nil {
		return nil, err
	}
	s := &spent{now: now, last: e.index, markers: map[store.Lineage]bool{}}
	var (
		inUse    = map[store.Lineage]bool{}
		previous store.Lineage
		broken   error
	)
	err = v.cursor().each(func(index uint64, r store.Record) bool {
		if !r.Marker {
			if !s.covers(index, r) {
				inUse[r.Lineage] = true
			}
			return true
		}
		var m store.Marker
		if m, broken = store.DecodeMarker(r.Payload); broken != nil {
			return false
		}
		if previous != 0 && !m.Opened.Add(life).After(now) {
			s.markers[previous] = true
		}
		previous = r.Lineage
		return true
	})
	if err == nil {
		err = broken
	}
	for lineage := range s.markers {
		if inUse[lineage] {
			delete(s.markers, lineage)
		}
	}
	return s, err
}

// planner gathers runs while a cursor walks the log.
type planner struct {
	*spent
	plan    trimPlan
	current run
	before  store.Position // the last one that was walked
	mac     store.MAC      // its MAC
}

func (v *logTx) plan(now time.Time, life time.Duration) (trimPlan, error) {
	s, err := v.survey(now, life)
	if err != nil {
		return trimPlan{}, err
	}
	c := v.cursor()
	p := &planner{spent: s, before: c.chain.Position(), mac: c.chain.MAC()}
	c.note = func(first, last uint64, n store.TrimNote) {
		p.extend(first, last, n.Last, n.Count)
		p.before, p.mac = n.Last, n.LastMAC
	}
	err = c.each(func(index uint64, r store.Record) bool {
		p.record(index, r)
		p.before, p.mac = c.chain.Position(), c.chain.MAC()
		return true
	})
	return p.plan, err
}

func (p *planner) record(index uint64, r store.Record) {
	if !p.covers(index, r) || p.plan.count+p.current.records >= trimBatch {
		p.finish()
		return
	}
	p.extend(index, index, r.Position, 1)
	p.current.records++
	if r.Marker {
		p.plan.lineages = append(p.plan.lineages, r.Lineage)
	}
}

func (p *planner) extend(first, last uint64, until store.Position, count uint64) {
	if p.current.first == 0 {
		p.current = run{first: first, note: store.TrimNote{After: p.before, AfterMAC: p.mac}}
	}
	p.current.last, p.current.note.Last = last, until
	p.current.note.Count += count
}

// finish ends a run. One that is only an earlier note stays as it is.
func (p *planner) finish() {
	if p.current.records > 0 {
		p.current.note.LastMAC = p.mac
		p.plan.runs = append(p.plan.runs, p.current)
		p.plan.count += p.current.records
	}
	p.current = run{}
}

func (v *logTx) apply(p trimPlan) error {
	for _, r := range p.runs {
		if err := deleteRange(v.records, r.first, r.last); err != nil {
			return err
		}
		if err := deleteRange(v.notes, r.first, r.last); err != nil {
			return err
		}
		note := append(key(r.last), v.log.db.sealer.SealNote(v.log.name, r.note)...)
		if err := v.notes.Put(key(r.first), note); err != nil {
			return err
		}
	}
	for _, lineage := range p.lineages {
		if err := v.lineages.Delete(key(uint64(lineage))); err != nil {
			return err
		}
	}
	left := v.records.Sequence()
	return v.records.SetSequence(left - min(left, uint64(p.count)))
}

// deleteRange visits only the keys that exist: a run may span millions that went
// long ago.
func deleteRange(b *bbolt.Bucket, first, last uint64) error {
	var found []uint64
	c := b.Cursor()
	for k, _ := c.Seek(key(first)); k != nil && number(k) <= last; k, _ = c.Next() {
		found = append(found, number(k))
	}
	for _, i := range found {
		if err := b.Delete(key(i)); err != nil {
			return err
		}
	}
	return nil
}

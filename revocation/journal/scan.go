package journal

import (
	"context"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

// scan collects what a log holds while it is read again from its start.
type scan struct{ held *revocation.Index }

// rewind starts to read the log from its start: what was the position here is not in
// it any more, so it went back, or it is another.
func (j *Journal) rewind(ctx context.Context, at token.Rev, cause error) {
	j.cfg.Logger.ErrorContext(ctx, "revocation log lost a position, reading it again", store.AlarmKey, alarm, "position", at.String(), "error", cause)
	// Not ready until all is whole: no one position could say what a minter had
	// applied of two logs.
	if before := j.confirmed.Swap(nil); before != nil {
		j.held = before
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.beginScan(at)
}

// beginScan is also how a replica begins that was killed during a scan: it knows more
// than the log held up to its position, so nobody may resume there, and what of that the log
// lacks has to be found. Called with mu held, if anybody else can know of the journal.
func (j *Journal) beginScan(at token.Rev) {
	j.scan = &scan{held: revocation.NewIndex(revocation.Options{})}
	if j.lost.IsZero() {
		j.lost = at
	}
	j.cur = cursor{}
	j.feed.forget(true)
}

// finishScan finds what the log that was read again does not hold: rules, or places
// at which they entered a log that is lost, lifts, and lineages.
func (j *Journal) finishScan(mustOpen bool) {
	if j.scan == nil {
		return
	}
	x, held := j.cfg.Index, j.scan.held
	inLog := map[uint64]bool{}
	for _, g := range held.Lineages() {
		inLog[g.ID] = true
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending.clear()
	for _, g := range x.Lineages() {
		if !inLog[g.ID] {
			j.pending.add(key{kind: revocation.KindLineage, lineage: g.ID})
		}
	}
	for _, l := range x.Lifts() {
		if _, ok := held.Lifted(l.RuleID); !ok {
			j.pending.add(key{kind: revocation.KindLift, id: l.RuleID})
		}
	}
	for r := range x.Rules() {
		if in, ok := held.Rule(r.ID); !ok || !within(r.Entries, in.Entries) {
			j.pending.add(key{kind: revocation.KindRule, id: r.ID})
		}
	}
	j.scan = nil
	j.feed.forget(false)
	j.keepPending(!mustOpen)
}

// within reports whether every place is among others, or later than one there.
func within(places, others []token.Rev) bool {
	for _, p := range places {
		if len(others) == 0 {
			return false
		}
		if merged := revocation.MergeEntries(others, p); &merged[0] != &others[0] {
			return false
		}
	}
	return true
}

// keepPending writes what is pending as local, so that a kill does not forget that
// it is missing; and the cursor, once its lineage goes on. The file may fail: then
// only memory knows.
func (j *Journal) keepPending(withCursor bool) {
	if j.file == nil && !j.copying {
		return
	}
	var payload []byte
	for _, e := range j.pending.events(j.cfg.Index, all, false) {
		var err error
		if payload, err = appendEvent(payload, &e, true); err != nil {
			j.fail(err)
			return
		}
		if len(payload) > frameTarget {
			_ = j.write(payload) // it has said so in the log
			payload = payload[:0]
		}
	}
	if withCursor {
		payload = appendCursor(payload, &j.cur)
	}
	if len(payload) > 0 {
		_ = j.write(payload) // as above
	}
}

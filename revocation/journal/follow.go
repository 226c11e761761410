package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

const (
	readBatch   = 512
	appendBatch = 256
	all         = 1<<31 - 1
	alarm       = "revocation_log"
	maxIdle     = 100 // rounds in which nothing left the pending list
	maxRewinds  = 5   // of one look at the log
)

var errRestless = errors.New("the revocation log changes faster than it can be followed")

// outcome is what became of a repair.
type outcome int

const (
	nothing  outcome = iota // there was nothing to do
	progress                // the log was changed
	changed                 // another has changed the log
)

// Sync follows the log once: it applies what is new, opens a lineage where
// continuity is in doubt, and appends what is missing, until the index and the log's
// tail agree. What it leaves undone the next call goes on with. Run calls it over and
// over; a starting replica calls it to be ready at once.
func (j *Journal) Sync(ctx context.Context) error { return j.sync(ctx, true) }

// sync is Sync; with others on the log it leaves it to Run to confirm, unless it is to.
func (j *Journal) sync(ctx context.Context, confirm bool) error {
	select {
	case j.gate <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting to follow the revocation log: %w", ctx.Err())
	}
	defer func() { <-j.gate }()
	err := j.follow(ctx, confirm || j.cfg.Roll == nil)
	if errors.Is(err, context.Canceled) {
		return err // the caller's doing, it says nothing about the log
	}
	was := j.away.Swap(err != nil)
	switch {
	case err != nil && store.IsIntegrity(err):
		j.cfg.Logger.ErrorContext(ctx, "revocation log is not authentic", store.AlarmKey, alarm, "error", err)
	case err != nil && !was:
		j.cfg.Logger.WarnContext(ctx, "revocation log is away", "error", err)
	case err == nil && was:
		j.cfg.Logger.InfoContext(ctx, "revocation log is back", "position", j.cfg.Index.Position().String())
	}
	return err
}

// follow is Sync with the gate held.
func (j *Journal) follow(ctx context.Context, confirm bool) error {
	if confirm && j.cfg.Roll != nil {
		if err := j.cfg.Roll.Read(ctx); err != nil {
			return err
		}
	}
	for idle, least := 0, all; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if idle++; idle > maxIdle {
			return errRestless
		}
		began := j.cfg.Now()
		var tail store.Tail
		err := j.call(ctx, 1, func(ctx context.Context) (err error) {
			tail, err = j.log.Tail(ctx)
			return err
		})
		if err != nil {
			return fmt.Errorf("reading the log's tail: %w", err)
		}
		met, err := j.readTo(ctx, rev(tail.Position))
		if err != nil {
			return err
		}
		if !met {
			continue // it is another log than a moment ago
		}
		mustOpen := !tail.Open || (!j.lost.IsZero() && rev(tail.Position).Lineage == j.lost.Lineage)
		j.finishScan(mustOpen)
		again, err := j.repair(ctx, tail, mustOpen)
		if err != nil {
			return err
		}
		if left := j.Pending(); again == progress && left < least {
			idle, least = 0, left
		}
		if again == nothing {
			j.lost = token.Rev{}
			if !confirm {
				return nil
			}
			return j.confirm(ctx, began)
		}
	}
}

// confirm notes that index and log agreed after a moment; with others who share the log,
// no more than all of them vouch for. What was confirmed once stays so: the log may lose it,
// this replica does not.
func (j *Journal) confirm(ctx context.Context, at time.Time) (err error) {
	if j.cfg.Roll != nil {
		bounded, cancel := context.WithTimeout(ctx, j.cfg.LogTimeout)
		defer cancel()
		var since time.Time
		if since, err = j.cfg.Roll.Vouch(bounded, position(j.position())); since.Before(at) {
			at = since
		}
	}
	if before := j.confirmed.Load(); before != nil {
		j.held = before
	}
	if j.held != nil && at.Before(*j.held) {
		at = *j.held
	}
	if !at.IsZero() {
		j.confirmed.Store(&at)
	}
	return err
}

// readTo applies the log up to its end. It reports whether it met the position of
// the tail on the way.
func (j *Journal) readTo(ctx context.Context, tail token.Rev) (met bool, err error) {
	defer j.keepBehind()
	for rewinds := 0; ; {
		at := j.position()
		met = met || at == tail
		var records []store.Record
		err := j.call(ctx, readBatch, func(ctx context.Context) (err error) {
			records, err = j.log.Read(ctx, position(at), readBatch)
			return err
		})
		if !at.IsZero() && (errors.Is(err, store.ErrUnknownPosition) || errors.Is(err, store.ErrRollback)) {
			if rewinds++; rewinds > maxRewinds {
				return false, fmt.Errorf("%w: %w", errRestless, err)
			}
			j.rewind(ctx, at, err)
			met = false
			continue
		}
		for i := range records {
			met = met || rev(records[i].Position) == tail
		}
		if takeErr := j.take(records); takeErr != nil {
			return false, takeErr
		}
		if err != nil {
			return false, fmt.Errorf("reading the revocation log: %w", err)
		}
		if len(records) == 0 {
			return met, nil
		}
	}
}

// take applies records of the log, in order.
func (j *Journal) take(records []store.Record) error {
	if len(records) == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	cur := j.cur.clone()
	events := make([]revocation.Event, 0, len(records))
	for i := range records {
		e, err := cur.event(&records[i])
		if err != nil {
			// What comes after must not be applied: a revocation would be missed.
			return fmt.Errorf("revocation log at %s: %w", records[i].Position, err)
		}
		events = append(events, e)
	}
	news := j.news(events)
	if err := j.cfg.Index.Apply(events...); err != nil {
		return fmt.Errorf("applying the revocation log: %w", err)
	}
	j.cur = cur
	for i := range events {
		j.settle(&events[i])
	}
	if j.scan != nil {
		if err := j.scan.held.Apply(events...); err != nil {
			return fmt.Errorf("applying the revocation log: %w", err)
		}
	}
	for _, e := range news {
		j.feed.publish(e)
	}
	j.keep(news, len(records) == readBatch)
	return nil
}

// settle takes what the log holds now off the pending list. A rule stays on it while
// the record lacks a place that is known here: a token of that place's lineage could
// not be proven good once this log is the only one.
func (j *Journal) settle(e *revocation.Event) {
	k := keyOf(e)
	if !j.pending.has(k) {
		return
	}
	if e.Rule != nil {
		r, ok := j.cfg.Index.Rule(e.Rule.ID)
		if ok && len(r.Entries) < revocation.MaxEntries && !within(r.Entries, e.Rule.Entries) {
			return
		}
	}
	j.pending.remove(k)
}

// news picks what the index does not know yet, and the last event with a position:
// readers must learn that.
func (j *Journal) news(events []revocation.Event) []*revocation.Event {
	out := make([]*revocation.Event, 0, len(events))
	last := len(events) - 1
	for last > 0 && events[last].Position.IsZero() {
		last--
	}
	for i := range events {
		if i == last || !j.known(&events[i]) {
			out = append(out, &events[i])
		}
	}
	return out
}

func (j *Journal) known(e *revocation.Event) bool {
	if j.scan == nil {
		return false
	}
	var want, have []token.Rev
	switch {
	case e.Rule != nil:
		if _, lifted := j.cfg.Index.Lifted(e.Rule.ID); lifted {
			return true
		}
		r, ok := j.cfg.Index.Rule(e.Rule.ID)
		if !ok {
			return false
		}
		want, have = e.Rule.Entries, r.Entries
	case e.Lift != nil:
		l, ok := j.cfg.Index.Lifted(e.Lift.RuleID)
		if !ok {
			return false
		}
		want, have = e.Lift.Entries, l.Entries
	default:
		return false
	}
	return within(want, have)
}

// keep writes what was read from the log to the file. The log has it, so a file that
// fails now costs nothing but what it would have been for.
//
// While a full batch says that more of the log is to come, frames are gathered: one that is
// behind by a million rules would sync two thousand of them. What is gathered is in the file before
// the tail counts as confirmed.
func (j *Journal) keep(news []*revocation.Event, more bool) {
	if j.file == nil && !j.copying {
		j.behind = nil
		return
	}
	payload := j.behind
	j.behind = nil
	for _, e := range news {
		var err error
		if payload, err = appendEvent(payload, e, false); err != nil {
			j.fail(err)
			return
		}
	}
	if j.scan == nil {
		// While scanning the file keeps the position that was lost: after a kill the
		// scan must begin again.
		payload = appendCursor(payload, &j.cur)
	}
	if more && len(payload) < frameTarget {
		j.behind = payload
		return
	}
	_ = j.write(payload) // it has said so in the log
}

// keepBehind writes what keep has gathered.
func (j *Journal) keepBehind() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.behind) > 0 {
		_ = j.write(j.behind) // it has said so in the log
		j.behind = nil
	}
}

// event decodes a record and moves the cursor over it.
func (c *cursor) event(r *store.Record) (revocation.Event, error) {
	at := rev(r.Position)
	base := c.read(at, r.Marker)
	if r.Marker {
		m, err := store.DecodeMarker(r.Payload)
		if err != nil {
			return revocation.Event{}, err
		}
		return revocation.Event{Type: revocation.EventLineage, Position: at, Lineage: &revocation.Lineage{
			ID: at.Lineage, Marker: at.Seq, Base: base, OpenedAt: m.Opened,
		}}, nil
	}
	e, err := revocation.DecodeRecord(r.Kind, r.Payload)
	if err != nil {
		return e, err
	}
	switch {
	case e.Rule != nil:
		e.Rule.Entries = revocation.MergeEntries(e.Rule.Entries, at)
	case e.Lift != nil:
		e.Lift.Entries = revocation.MergeEntries(e.Lift.Entries, at)
	}
	e.Position = c.stampable()
	return e, nil
}

// repair begins a new lineage where the present one cannot go on, and appends what is
// missing.
func (j *Journal) repair(ctx context.Context, tail store.Tail, mustOpen bool) (outcome, error) {
	limit := appendBatch
	if mustOpen {
		limit = all
	}
	j.mu.Lock()
	events := j.pending.events(j.cfg.Index, limit, true)
	at := j.cur.at
	j.mu.Unlock()
	if !mustOpen && len(events) == 0 {
		return nothing, nil
	}
	if mustOpen && at != rev(tail.Position) {
		return changed, nil
	}
	entries := make([]store.Entry, 0, len(events))
	for i := range events {
		e, err := entry(&events[i], j.cfg.TokenLife)
		if err != nil {
			return nothing, fmt.Errorf("encoding for the revocation log: %w", err)
		}
		entries = append(entries, e)
	}
	err := j.call(ctx, len(entries), func(ctx context.Context) (err error) {
		if mustOpen {
			_, err = j.log.Open(ctx, tail, entries)
		} else {
			_, err = j.log.Append(ctx, position(at), entries...)
		}
		return err
	})
	if mustOpen {
		j.cfg.Logger.InfoContext(ctx, "revocation log opens a lineage", "after", at.String(), "put_back", len(entries), "error", err)
	}
	switch {
	case err == nil:
		return progress, nil
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrDiscontinuity):
		return changed, nil
	}
	return nothing, fmt.Errorf("writing the revocation log: %w", err)
}

// call bounds one call to the log; more where there is much to carry.
func (j *Journal) call(ctx context.Context, records int, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, j.cfg.LogTimeout*time.Duration(1+records/1000))
	defer cancel()
	return do(ctx)
}

func (j *Journal) position() token.Rev {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.cur.at
}

func rev(p store.Position) token.Rev { return token.Rev{Lineage: uint64(p.Lineage), Seq: p.Seq} }

func position(r token.Rev) store.Position {
	return store.Position{Lineage: store.Lineage(r.Lineage), Seq: r.Seq}
}

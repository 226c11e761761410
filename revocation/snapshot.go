package revocation

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/writbroker/writ/token"
)

// Snapshot is a part of everything that an index knows. Parts may be merged in
// any order, and any number of times; only the last says a Position, which a
// reader has reached when it has merged all parts.
type Snapshot struct {
	ID       string    // the same for every part of one snapshot; the sender chooses it
	Part     int       // counts from 1
	Last     bool      // whether it is the last
	TakenAt  time.Time // informative
	Position token.Rev // zero but in the last part
	Since    token.Rev // not zero: only what changed after it
	Lineages []Lineage
	Rules    []Rule
	Lifts    []Lift
}

// Snapshots yields everything in parts of at most max rules and lifts; ID and
// TakenAt are left to the caller. Rules come without reason and by: they go to
// resource servers.
func (x *Index) Snapshots(most int) iter.Seq[Snapshot] {
	return func(yield func(Snapshot) bool) {
		// Before the walk: what is applied during it lies behind the position.
		position := x.Position()
		part := Snapshot{Part: 1, Lineages: x.Lineages()}
		full := func() bool { return len(part.Rules)+len(part.Lifts) >= max(most, 1) }
		next := func() bool {
			ok := yield(part)
			part = Snapshot{Part: part.Part + 1}
			return ok
		}
		for _, l := range x.Lifts() {
			if part.Lifts = append(part.Lifts, l.ForFeed()); full() && !next() {
				return
			}
		}
		for r := range x.Rules() {
			if part.Rules = append(part.Rules, r.ForFeed()); full() && !next() {
				return
			}
		}
		part.Last, part.Position = true, position
		yield(part)
	}
}

// Snapshot returns everything in one part, reasons included.
func (x *Index) Snapshot() Snapshot {
	s := Snapshot{Part: 1, Last: true, Position: x.Position(), Lineages: x.Lineages(), Lifts: x.Lifts()}
	s.Rules = slices.Collect(x.Rules())
	return s
}

// Merge adds what a snapshot knows; it never takes anything away but what the
// snapshot says was lifted, and what was lifted here stays so. The position moves
// to the snapshot's with its last part: merge the others first. Errors are as
// Apply's.
func (x *Index) Merge(s Snapshot) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !s.Since.IsZero() && !x.Covers(x.Position(), s.Since) {
		return fmt.Errorf("%w: a snapshot since %s is of no use at %s", ErrRecord, s.Since, x.Position())
	}
	defer x.changes.Add(1)
	var errs []error
	for i := range s.Lineages {
		errs = append(errs, x.applyLineage(&s.Lineages[i]))
	}
	for i := range s.Lifts {
		errs = append(errs, x.applyLift(&s.Lifts[i]))
	}
	for i := range s.Rules {
		errs = append(errs, x.applyRule(&s.Rules[i]))
	}
	err := errors.Join(errs...)
	if err == nil && s.Last {
		x.advance(s.Position)
	}
	return err
}

// ForFeed is the rule without what resource servers need not know.
func (r Rule) ForFeed() Rule {
	r.Reason, r.By = "", ""
	return r
}

// ForFeed is the lift without what resource servers need not know.
func (l Lift) ForFeed() Lift {
	l.Reason, l.By = "", ""
	return l
}

package roll

import (
	"context"
	"slices"
	"time"

	"github.com/writbroker/writ/store"
)

// status is what operators see.
type status struct {
	late, absent []string
	hurried      bool
}

// other is what is known of another replica.
type other struct {
	turn    uint64    // of its last mark
	heard   time.Time // when that was first seen
	kept    bool      // it is known of from this replica's file alone
	vouched time.Time // up to when it vouches for position; zero is not
	latest  time.Time // up to when it ever vouched
	at      store.Position
	left    bool
	absent  bool // it was said that it is
}

func (o *other) hasLeft() bool { return o.left && !o.kept }

// hear takes another's mark.
func (r *Roll) hear(name string, m mark, now time.Time) {
	o := r.others[name]
	if o == nil {
		o = &other{}
		r.others[name] = o
	}
	if m.Turn != o.turn {
		o.turn, o.heard = m.Turn, now
	}
	at := r.before(m.Saw[r.cfg.Replica])
	o.left, o.kept = m.Left, o.kept && at.IsZero()
	if o.at.Lineage != m.At.Lineage {
		o.vouched = time.Time{}
	}
	o.at = m.At
	if at.After(o.vouched) {
		o.vouched = at
	}
	if at.After(o.latest) {
		o.latest = at
	}
}

// before is a moment before a mark of this replica was written; zero where it is not
// remembered.
func (r *Roll) before(number uint64) time.Time {
	for _, t := range slices.Backward(r.turns) {
		if t.number == number {
			return t.at
		}
	}
	return time.Time{}
}

// since is up to when everybody has vouched for what lies before a position.
func (r *Roll) since(ctx context.Context, at store.Position) time.Time {
	least := r.readAt
	if full := len(r.others) >= maxReplicas; full {
		if !r.full {
			r.cfg.Logger.ErrorContext(ctx, "there are too many replicas to know what all of them hold; nothing is confirmed", "most", maxReplicas)
		}
		r.full, least = full, time.Time{}
	} else {
		r.full = false
	}
	for name, o := range r.others {
		// A mark from before this process says that a replica left only while the log is the same:
		// in one that came back old, it may have been there since.
		o.kept = o.kept && !(o.left && o.at.Lineage == at.Lineage)
		if o.hasLeft() {
			continue
		}
		gone := r.gone(o)
		if gone != o.absent {
			o.absent = gone
			r.sayAbsent(ctx, name, gone)
		}
		if gone {
			continue
		}
		vouched := o.vouched
		// One that is further than the log that was read here has seen more of it.
		if o.at.Lineage != at.Lineage || o.at.Seq > at.Seq {
			vouched = time.Time{}
		}
		if vouched.Before(least) {
			least = vouched
		}
	}
	return least
}

func (r *Roll) sayAbsent(ctx context.Context, name string, gone bool) {
	if gone {
		r.cfg.Logger.WarnContext(ctx, "a replica is silent; going on without what it alone may know",
			"replica", name, "absence", r.cfg.Absence)
		return
	}
	r.cfg.Logger.InfoContext(ctx, "a replica is back", "replica", name)
}

// gone reports whether another has been silent for too long, while it could have been
// heard: as of when the cell was last read and written, since what happened after that, here
// or there, is not known.
func (r *Roll) gone(o *other) bool {
	until := r.readAt
	if r.wrote.Before(until) {
		until = r.wrote
	}
	last := o.heard
	for _, t := range []time.Time{o.latest, r.steady} {
		if t.After(last) {
			last = t
		}
	}
	return until.Sub(last) > r.cfg.Absence
}

// tell makes the status.
func (r *Roll) tell(now time.Time) {
	s := &status{}
	for name, o := range r.others {
		switch {
		case o.hasLeft():
		case r.gone(o):
			s.absent = append(s.absent, name)
		case o.vouched.IsZero(), now.Sub(o.vouched) > lateness*r.cfg.Every:
			s.late = append(s.late, name)
			last := o.heard
			if r.steady.After(last) {
				last = r.steady
			}
			s.hurried = s.hurried || now.Sub(last) < hurryFor
		}
	}
	slices.Sort(s.late)
	slices.Sort(s.absent)
	r.status.Store(s)
}

// Awaited names those that hold up this replica's confirmations, as of the last Vouch. It
// never blocks, as neither do Absent and Hurried.
func (r *Roll) Awaited() []string {
	if s := r.status.Load(); s != nil {
		return slices.Clone(s.late)
	}
	return nil
}

// Absent names those without which this replica goes on.
func (r *Roll) Absent() []string {
	if s := r.status.Load(); s != nil {
		return slices.Clone(s.absent)
	}
	return nil
}

// Hurried reports whether somebody is late and may be there any moment.
func (r *Roll) Hurried() bool {
	s := r.status.Load()
	return s != nil && s.hurried
}

package keys

import (
	"slices"
	"time"
)

// Actions are what a state needs at a moment. The zero value is: nothing.
type Actions struct {
	Create   []Stage   // make a key into each of these stages: next, or active too in an empty ring
	Activate string    // kid of next that becomes active; the active one retires
	Drop     []string  // kids of retired keys whose last token is dead
	Due      time.Time // when something will be due if nothing changes; zero = not known yet
}

// IsZero reports whether there is nothing to do now.
func (a Actions) IsZero() bool { return len(a.Create) == 0 && a.Activate == "" && len(a.Drop) == 0 }

// Plan says what is due. It is pure, and idempotent: a state to which its actions
// were applied needs nothing more at the same moment.
func Plan(s State, sched Schedule, now time.Time) Actions {
	sched = sched.complete()
	var a Actions
	for _, k := range s.Keys {
		switch {
		case k.Stage != StageRetired:
		case now.Before(k.gone(sched)):
			a.Due = earlier(a.Due, k.gone(sched))
		default:
			a.Drop = append(a.Drop, k.ID)
		}
	}
	_, hasActive := s.Find(StageActive)
	next, hasNext := s.Find(StageNext)
	switch {
	case !hasActive && !hasNext:
		// Nothing was ever signed with this ring, so nobody can miss a key.
		a.Create = []Stage{StageActive, StageNext}
	case len(s.Keys)-len(a.Drop) >= MaxKeys:
		// Emergencies filled the ring. Dropping a key whose tokens live would be
		// worse than signing longer with this one.
	case !hasNext:
		a.Create = []Stage{StageNext}
	default:
		due := activationDue(s, sched)
		if now.Before(due) {
			a.Due = earlier(a.Due, due)
			break
		}
		// A next must always be out already when an emergency comes.
		a.Activate, a.Create = next.ID, []Stage{StageNext}
	}
	return a
}

// gone is when the last token of a retired key is dead. Who retired it may not have known yet
// that tokens live longer now.
func (k KeyInfo) gone(sched Schedule) time.Time {
	return later(k.DropAfter, k.Retired.Add(sched.RetireAfter))
}

// activationDue is when the next key of a state is to sign: once the active one has signed
// for its time, and not before verifiers can have it.
func activationDue(s State, sched Schedule) time.Time {
	active, _ := s.Find(StageActive)
	next, _ := s.Find(StageNext)
	return later(active.Activated.Add(sched.RotateEvery), next.Published.Add(sched.Prepublish))
}

// Apply returns the state after the actions, with created in place of
// a.Create; creating fewer is allowed, and leaves the rest for the next plan.
// It does not change s, nor its version.
func Apply(s State, a Actions, sched Schedule, now time.Time, created ...KeyInfo) State {
	keys := make([]KeyInfo, 0, len(s.Keys)+len(created))
	for _, k := range s.Keys {
		switch {
		case slices.Contains(a.Drop, k.ID):
			continue
		case a.Activate != "" && k.Stage == StageActive:
			k = retire(k, sched, now)
		case a.Activate != "" && k.ID == a.Activate:
			k.Stage, k.Activated = StageActive, now
		}
		keys = append(keys, k)
	}
	s.Keys = append(keys, created...)
	return s
}

func retire(k KeyInfo, sched Schedule, now time.Time) KeyInfo {
	k.Stage, k.Retired, k.DropAfter = StageRetired, now, now.Add(sched.complete().RetireAfter)
	return k
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// earlier treats the zero time as "never".
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

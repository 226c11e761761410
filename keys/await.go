package keys

import (
	"fmt"
	"strings"
	"time"
)

// Lacking is what is known of the verifiers that have not reported a key.
type Lacking struct {
	Behind []string // names of those that are connected and have not reported the key
	Silent []string // names of those that are connected and report no keys at all
}

// Awaited is a scheduled activation that is due and waits for verifiers.
type Awaited struct {
	ID         string    // of the key that would sign
	Due, Until time.Time // it waits between these
	// Verifiers that have not reported the key. Empty: this replica started a moment
	// ago, and does not know yet who is connected.
	Verifiers []string
}

const (
	// settling is how long a replica that has just started waits to know who is
	// connected: before, it would find that nobody lacks anything.
	settling = 30 * time.Second
	// awaitEvery is how soon a postponed activation is tried again.
	awaitEvery = time.Second
	// mostNamed bounds what one log line names.
	mostNamed = 10
)

// Awaited returns the scheduled activation that waits for verifiers, if one does.
func (r *Rotator) Awaited() (Awaited, bool) {
	if a := r.awaited.Load(); a != nil {
		return *a, true
	}
	return Awaited{}, false
}

// hold takes a scheduled activation out of a plan for as long as connected verifiers lack
// the key, up to the deadline: they would refuse its tokens. Emergencies do not come this
// way. The caller holds mu.
func (r *Rotator) hold(state State, a Actions) Actions {
	r.passed = passed{}
	if r.cfg.Lacking == nil || a.Activate == "" {
		r.awaited.Store(nil)
		return a
	}
	now, due := r.cfg.Now().Add(-r.late), activationDue(state, r.cfg.Schedule)
	wait := Awaited{ID: a.Activate, Due: due, Until: due.Add(r.cfg.Schedule.ActivateWithin)}
	unsettled := now.Before(r.began.Add(settling))
	lacking := r.cfg.Lacking(a.Activate)
	wait.Verifiers = lacking.Behind
	if (len(lacking.Behind) == 0 && !unsettled) || !now.Before(wait.Until) {
		r.awaited.Store(nil)
		r.passed = passed{id: a.Activate, lacking: lacking}
		return a
	}
	if before := r.awaited.Swap(&wait); before == nil || before.ID != wait.ID {
		r.log.Info("activation of a key waits for verifiers to report it", "kid", wait.ID, "until", wait.Until, "verifiers", someOf(wait.Verifiers))
	}
	a.Activate, a.Create = "", nil
	pause := max(min(awaitEvery, r.cfg.Schedule.ActivateWithin/8), time.Millisecond)
	a.Due = earlier(a.Due, now.Add(pause+upTo(pause/4)))
	return a
}

// passed is an activation that hold let through, and for whom it did not wait.
type passed struct {
	id      string
	lacking Lacking
}

// tellPassed warns of verifiers that the activation which a written state holds did not wait
// for. The caller holds mu.
func (r *Rotator) tellPassed(state State) {
	p := r.passed
	r.passed = passed{}
	active, _ := state.Find(StageActive)
	if active.ID != p.id || len(p.lacking.Behind)+len(p.lacking.Silent) == 0 {
		return
	}
	r.log.Warn("a key signs now that not every connected verifier has reported; those refuse its tokens until they fetch it",
		"kid", p.id, "behind", someOf(p.lacking.Behind), "reporting_no_keys", someOf(p.lacking.Silent))
}

// someOf is a list for a log line.
func someOf(names []string) string {
	if len(names) <= mostNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s, and %d more", strings.Join(names[:mostNamed], ", "), len(names)-mostNamed)
}

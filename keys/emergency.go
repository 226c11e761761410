package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Rotation is what an emergency rotation did.
type Rotation struct {
	Active  string // kid that signs now
	Retired string // kid that signed until now; "" if that did not change
	Revoked string // kid that is out of the ring; its tokens need a revocation rule besides
	Local   bool   // the store is away: this replica has done it, and the others will once it is back
}

// quickCustody bounds how long an emergency that is done waits for the key after the next.
const quickCustody = 250 * time.Millisecond

// intent is an emergency, told so that carrying it out twice is carrying it out once.
type intent struct {
	from   string // rotate away from this active key; "" = do not rotate
	revoke string // take this key out of the ring; "" = none
	calm   bool   // nothing leaked: no verifier may be left without the key that is to sign
}

// Rotate activates the published next key ahead of its time. Nothing leaked, so that key
// must have been published for the schedule's Prepublish: one that verifiers may lack is
// ErrTooSoon. Else it is RotateNow.
func (r *Rotator) Rotate(ctx context.Context) (Rotation, error) { return r.rotate(ctx, "", true) }

// RotateNow activates the published next key at once, on this replica before it
// returns, whether verifiers have it or not. If revoke is a kid, that key leaves the ring and
// what is published, too; if it is the next key, it is only replaced, for nothing else can
// take over. The caller writes the revocation rule for the kid: a verifier may hold
// the key for its JWKS max-age.
//
// Repeating a revocation that was done is ErrUnknownKey. If the store is away,
// the rotation is local, and goes into the store as soon as that is back: every
// replica activates the same next key, so they do not disagree. Custody is not
// needed: where it is slow to make the key after that, Run has it made later.
func (r *Rotator) RotateNow(ctx context.Context, revoke string) (Rotation, error) {
	return r.rotate(ctx, revoke, false)
}

func (r *Rotator) rotate(ctx context.Context, revoke string, calm bool) (Rotation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.ring.Load()
	in, err := intentFor(State{Keys: before.keys}, revoke)
	if err != nil {
		return Rotation{}, fmt.Errorf("rotating keys: %w", err)
	}
	in.calm = calm
	// Fails early, where it can still be told to somebody.
	if _, _, err := in.apply(r.effective(), r.cfg.Schedule, r.now()); err != nil {
		return Rotation{}, fmt.Errorf("rotating keys: %w", err)
	}
	r.pending = append(r.pending, in)
	result := Rotation{Revoked: revoke}
	if _, err := r.step(ctx); err != nil {
		r.log.Error("emergency rotation did not reach the store; doing it here alone", "error", err)
		result.Local = true
		if err := r.show(ctx, r.effective()); err != nil {
			r.pending = r.pending[:len(r.pending)-1]
			return Rotation{}, fmt.Errorf("rotating keys: %w", err)
		}
	}
	ring := r.ring.Load()
	if !result.Local {
		// The next one to come is made at once where custody is quick; else the loop makes it.
		bounded, cancel := context.WithTimeout(ctx, quickCustody)
		defer cancel()
		if _, err := r.step(bounded); err == nil {
			ring = r.ring.Load()
		}
	}
	if _, undone, err := in.apply(State{Keys: ring.keys}, r.cfg.Schedule, r.now()); undone || err != nil {
		return Rotation{}, fmt.Errorf("rotating keys: %w", errors.Join(ErrState, err))
	}
	result.Active = ring.active.KeyID()
	if old := before.active.KeyID(); result.Active != old {
		result.Retired = old
	}
	return result, nil
}

// effective is the known state with what is pending carried out.
func (r *Rotator) effective() State {
	state := r.known
	for _, in := range r.pending {
		if next, ok, err := in.apply(state, r.cfg.Schedule, r.now()); ok && err == nil {
			state = next
		}
	}
	return state
}

func intentFor(state State, revoke string) (intent, error) {
	active, _ := state.Find(StageActive)
	if revoke == "" {
		return intent{from: active.ID}, nil
	}
	i := slices.IndexFunc(state.Keys, func(k KeyInfo) bool { return k.ID == revoke })
	if i < 0 {
		return intent{}, fmt.Errorf("%w: %q", ErrUnknownKey, revoke)
	}
	if state.Keys[i].Stage == StageNext {
		return intent{revoke: revoke}, nil
	}
	return intent{from: active.ID, revoke: revoke}, nil
}

// apply carries an intent out on a state; false if there is nothing left to do.
func (in intent) apply(state State, sched Schedule, now time.Time) (State, bool, error) {
	changed := false
	if active, ok := state.Find(StageActive); ok && in.from != "" && active.ID == in.from {
		next, ok := state.Find(StageNext)
		if !ok {
			return State{}, false, ErrNoNextKey
		}
		// Keys of the first state were published together: nobody has the one without the other.
		if in.calm && next.Born > 1 && now.Before(next.Published.Add(sched.complete().Prepublish)) {
			return State{}, false, fmt.Errorf("%w: %s, which is complete at %s", ErrTooSoon, next.ID, next.Published.Add(sched.complete().Prepublish).Format(time.RFC3339))
		}
		// Room for the key that retires and for the next one to come.
		if in.revoke == "" && len(state.Keys) >= MaxKeys {
			return State{}, false, ErrTooManyKeys
		}
		state = Apply(state, Actions{Activate: next.ID}, sched, now)
		for i := range state.Keys {
			if state.Keys[i].ID == in.from {
				state.Keys[i].Reason = "emergency rotation"
			}
		}
		changed = true
	}
	if in.revoke != "" && state.Has(in.revoke) {
		if active, ok := state.Find(StageActive); ok && active.ID == in.revoke {
			// It became active since: there must be another to turn to.
			return intent{from: in.revoke, revoke: in.revoke}.apply(state, sched, now)
		}
		state, changed = state.without(in.revoke), true
	}
	return state, changed, nil
}

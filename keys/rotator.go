package keys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writbroker/writ/store"
)

var (
	// ErrStale is a signature refused because this replica has not confirmed the
	// shared state for longer than the schedule's MaxLag: the key may be retired.
	ErrStale = errors.New("key ring was not confirmed for too long")
	// ErrProof is a key whose private half did not open, or is not that of the
	// public key it stands with.
	ErrProof = errors.New("private key does not open")
	// ErrUnknownKey is a kid that is not in the ring.
	ErrUnknownKey = errors.New("no such key in the ring")
	// ErrNoNextKey is an emergency rotation without a published key to turn to.
	ErrNoNextKey = errors.New("no next key to activate")
	// ErrTooSoon is a planned rotation to a key that is not published for long enough.
	ErrTooSoon = errors.New("verifiers may lack the next key")
	// ErrTooManyKeys is an emergency rotation that the ring has no room for.
	ErrTooManyKeys = errors.New("key ring is full of retired keys whose tokens live")
)

// lateShare is the part of MaxLag that is one over: how often the state is looked at, and
// how late a write may come before its stamps are moved.
const lateShare = 4

// attempts bounds how often one step goes on after losing a compare-and-swap.
const attempts = 8

// Rotator keeps the ring of one replica equal to the shared state, and does what
// the plan asks. Ring may be called at any time by anyone, and never blocks.
type Rotator struct {
	cfg    Config
	log    *slog.Logger
	sealer *store.Sealer
	late   time.Duration // this replica's share of the jitter
	poll   time.Duration

	ring      atomic.Pointer[Ring]
	confirmed atomic.Pointer[time.Time] // when the ring was last known to be the shared one
	cell      atomic.Uint64             // version of the cell that was last read, for Watch
	awaited   atomic.Pointer[Awaited]   // nil: no activation waits
	began     time.Time                 // when New was called
	anchored  atomic.Uint64             // highest version seen in the anchor
	raise     chan struct{}             // of capacity 1: there may be something to anchor

	mu        sync.Mutex
	known     State              // the highest authentic state seen
	raw       []byte             // known, as it is stored
	opened    map[string]openKey // private halves by kid
	pending   []intent           // emergencies that the store has not taken yet
	leftovers []KeyInfo          // that custody is to be told of
	passed    passed             // the activation that is about to be written
	refused   uint64             // the anchored version under which something was last refused
	slips     []slip             // of writes that came late, to be made good
}

// New reads the shared state, or makes the first one, and returns a Rotator whose
// Ring is ready. If the store cannot be reached, it starts from the backup, if
// there is one: then keys are published, and nothing is signed until Run has
// confirmed the state. A state that is not authentic, or below the anchor, or an
// active key that does not open, is an error: never a reason to make another key. So is
// an anchor that cannot be read, unless the backup says what must not be undercut.
func New(ctx context.Context, cfg Config) (*Rotator, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	sealer, err := store.NewSealer(cfg.MACKey)
	if err != nil {
		return nil, fmt.Errorf("opening key ring: %w", err)
	}
	cfg.Schedule = cfg.Schedule.complete()
	r := &Rotator{
		cfg: cfg, log: cfg.Logger.With("ring", cfg.Ring), sealer: sealer,
		late: upTo(cfg.Schedule.Jitter), poll: cfg.Schedule.MaxLag / lateShare,
		opened: map[string]openKey{}, began: cfg.Now(), raise: make(chan struct{}, 1),
	}
	r.confirmed.Store(&time.Time{})
	if err := r.loadBackup(); err != nil {
		return nil, fmt.Errorf("opening key ring: %w", err)
	}
	if err := r.reanchor(ctx); err != nil {
		if r.known.Version == 0 {
			return nil, fmt.Errorf("opening key ring: %w", err)
		}
		r.log.Error("starting without the anchor of the key ring: only what is older than the backup is refused", "error", err)
	}
	if err := r.start(ctx); err != nil {
		return nil, fmt.Errorf("opening key ring: %w", err)
	}
	if err := r.reanchor(ctx); err != nil {
		r.log.Error("the key ring is not anchored yet", "error", err)
	}
	return r, nil
}

// start makes the first ring.
func (r *Rotator) start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.step(ctx)
	if err == nil || !errors.Is(err, store.ErrUnavailable) || r.known.Version == 0 {
		return err
	}
	if err := r.belowAnchor(r.known.Version, r.anchored.Load()); err != nil {
		return err
	}
	r.log.Error("starting from the backup of the key ring, since the store is away", "error", err)
	return r.show(ctx, r.known)
}

// Ring returns the current snapshot; never nil.
func (r *Rotator) Ring() *Ring { return r.ring.Load() }

// List returns the keys of the current ring, without what is sealed.
func (r *Rotator) List() []KeyInfo { return r.Ring().Keys() }

// Staleness says how long ago the ring was confirmed to be the shared one. Of the monotonic and
// the wall clock the one counts that says more: a machine that slept must not sign with the key
// that was active before.
func (r *Rotator) Staleness(now time.Time) time.Duration {
	at := *r.confirmed.Load()
	return max(now.Sub(at), now.Round(0).Sub(at.Round(0)), 0)
}

// Fresh reports whether the ring was confirmed within MaxLag: only then does its key sign, and
// only then should verifiers be sent here for the JWKS.
func (r *Rotator) Fresh() bool { return r.Staleness(r.cfg.Now()) <= r.cfg.Schedule.MaxLag }

// now is the time as it is written into the state: what is compared with other
// replicas' clocks must not carry a monotonic one.
func (r *Rotator) now() time.Time { return r.cfg.Now().Round(0).UTC() }

// Refresh reads the anchor and the shared state now and does what is due. An anchor
// that is away is no error: what was last known of it counts.
func (r *Rotator) Refresh(ctx context.Context) error {
	if err := r.reanchor(ctx); err != nil {
		r.log.Error("the key ring is held against the last known anchor", "error", err)
	}
	if err := r.refresh(ctx); err != nil {
		return err
	}
	if err := r.reanchor(ctx); err != nil {
		r.log.Error("the key ring is not anchored yet", "error", err)
	}
	return nil
}

func (r *Rotator) refresh(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.step(ctx)
	return err
}

// step brings store and ring together, and does what is due. It returns when
// something will be due next. The caller holds mu.
func (r *Rotator) step(ctx context.Context) (time.Time, error) {
	for range attempts {
		seen, err := r.read(ctx)
		if err != nil {
			return time.Time{}, err
		}
		want, due, err := r.want(ctx, seen)
		if err != nil {
			return time.Time{}, err
		}
		if !seen.behind && want.Version == seen.state.Version {
			return due, r.adopt(ctx, want, seen)
		}
		err = r.write(ctx, want, seen)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		// After an error too: what was written late may be there without an answer.
		by := r.cfg.Now().Sub(seen.at)
		if by > r.poll {
			r.slips = append(r.slips, slip{at: seen.at.Round(0), by: by})
		}
		switch {
		case err != nil:
			return time.Time{}, err
		case by <= r.poll:
			return due, nil
		}
	}
	return time.Time{}, fmt.Errorf("agreeing on the key ring: %w", store.ErrConflict)
}

// want applies what is pending and what is due. Its version differs from the
// seen one exactly if something must be written.
func (r *Rotator) want(ctx context.Context, seen seenState) (State, time.Time, error) {
	state, changed := seen.state, seen.behind
	version := max(seen.state.Version, r.known.Version) + 1 // if anything changes
	for _, in := range r.pending {
		if next, ok, err := in.apply(state, r.cfg.Schedule, r.now()); err != nil {
			r.log.Error("an emergency rotation cannot be carried out", "error", err)
		} else if ok {
			state, changed = next, true
		}
	}
	for _, s := range r.slips {
		r.log.Warn("the key ring was written late; what it changed counts from then", "late", s.by)
		state, changed = s.apply(state), true
	}
	actions := r.hold(state, Plan(state, r.cfg.Schedule, r.cfg.Now().Add(-r.late)))
	if len(r.pending)+len(r.slips) > 0 && len(state.Keys) > 0 {
		// An emergency does not wait for custody, and what makes a late write good must not be
		// late for it too. The step after it does the rest; the write itself wakes to it.
		actions.Activate, actions.Create = "", nil
	}
	if !actions.IsZero() {
		next, err := r.carryOut(ctx, state, actions, version)
		if err != nil {
			return State{}, time.Time{}, err
		}
		changed = changed || !sameKeys(state, next)
		state = next
	}
	if changed {
		state.Version = version
	}
	return state, actions.Due, nil
}

// carryOut applies a plan. Where custody cannot make a key, the rest is done all
// the same: a rotation needs only the key that is published already. Keys are born
// into version.
func (r *Rotator) carryOut(ctx context.Context, state State, actions Actions, version uint64) (State, error) {
	now := r.now()
	if actions.Activate != "" {
		if err := r.openable(ctx, state, actions.Activate); err != nil {
			r.log.Error("rotation is due, but the next key does not open here; the active key keeps signing", "kid", actions.Activate, "error", err)
			actions.Activate, actions.Create = "", nil
		}
	}
	// Less than what keeps the ring fresh, whatever the bounds of a custody are.
	ctx, cancel := context.WithTimeout(ctx, r.poll)
	defer cancel()
	var created []KeyInfo
	for _, stage := range actions.Create {
		key, err := r.create(ctx, stage, version, now)
		if err != nil && len(state.Keys) == 0 {
			return State{}, fmt.Errorf("making the first keys: %w", err)
		}
		if err != nil {
			r.log.Error("the next key cannot be made; the active key keeps signing", "error", err)
			break
		}
		created = append(created, key)
	}
	return Apply(state, actions, r.cfg.Schedule, now, created...), nil
}

func sameKeys(a, b State) bool {
	if len(a.Keys) != len(b.Keys) {
		return false
	}
	for i := range a.Keys {
		if a.Keys[i].ID != b.Keys[i].ID || a.Keys[i].Stage != b.Keys[i].Stage {
			return false
		}
	}
	return true
}

// write publishes a state by compare-and-swap, and adopts it. Its keys must open
// first: what was published cannot be taken back from verifiers.
func (r *Rotator) write(ctx context.Context, want State, seen seenState) error {
	if err := want.validate(); err != nil {
		return err
	}
	ring, err := r.build(ctx, want)
	if err != nil {
		return err
	}
	raw, err := r.seal(want)
	if err != nil {
		return err
	}
	version, err := r.cfg.Cell.Swap(ctx, r.cfg.Ring, seen.cell, raw)
	if err != nil {
		if errors.Is(err, store.ErrConflict) {
			r.leave(want, seen.state) // what was made for it; after other errors it may have been written
		}
		return fmt.Errorf("writing key ring: %w", err)
	}
	r.leave(seen.state, want)
	r.tellPassed(want)
	r.log.Info("key ring changed", "version", want.Version, "active", ring.active.KeyID(), "keys", len(want.Keys))
	r.accept(want, raw, version, seen.at)
	r.publish(ring)
	return nil
}

// adopt takes over a state that is in the store.
func (r *Rotator) adopt(ctx context.Context, state State, seen seenState) error {
	current := r.ring.Load()
	if current == nil || current.version != state.Version || !current.complete || len(r.pending) > 0 {
		ring, err := r.build(ctx, state)
		if err != nil {
			return err
		}
		defer r.publish(ring)
	}
	r.accept(state, seen.raw, seen.cell, seen.at)
	return nil
}

// accept remembers an authentic state as the highest one, confirmed at a time
// before it was read.
func (r *Rotator) accept(state State, raw []byte, cell uint64, at time.Time) {
	if r.cfg.Backup != nil && state.Version != r.known.Version {
		if err := r.cfg.Backup.Save(raw); err != nil {
			r.log.Error("key ring cannot be backed up; a restart would not notice a store that went back", "error", err)
		}
	}
	if state.Version > r.anchored.Load() {
		notify(r.raise)
	}
	r.known, r.raw, r.pending, r.slips = state, raw, nil, nil
	r.cell.Store(cell)
	r.confirmed.Store(&at)
	r.forget(state)
}

func (r *Rotator) publish(ring *Ring) {
	if before := r.ring.Swap(ring); r.cfg.OnChange != nil && !ring.equal(before) {
		r.cfg.OnChange(ring)
	}
}

// show publishes a state without confirming it.
func (r *Rotator) show(ctx context.Context, state State) error {
	ring, err := r.build(ctx, state)
	if err == nil {
		r.publish(ring)
	}
	return err
}

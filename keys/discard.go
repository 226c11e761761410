package keys

import (
	"context"
	"slices"
	"time"
)

// discarder is a custody in which a key costs something while it lasts, or could still be
// used: it is told of those that no ring needs any more. A key that is left over all the
// same, after a crash, does no harm.
type discarder interface {
	Discard(ctx context.Context, ring string, key KeyInfo) error
}

const (
	discardTimeout = 10 * time.Second
	maxLeftovers   = 4 * MaxKeys
)

// leave notes keys that a state had and the next one has not. The caller holds mu.
func (r *Rotator) leave(before, after State) {
	for _, k := range before.Keys {
		if !after.Has(k.ID) {
			r.leftovers = append(r.leftovers, k)
		}
	}
	r.leftovers = r.leftovers[max(0, len(r.leftovers)-maxLeftovers):]
}

// discard tells custodies of keys that are left over; what fails is tried again with the
// next that are. It must not be called with mu held.
func (r *Rotator) discard(ctx context.Context) {
	r.mu.Lock()
	over := r.leftovers
	r.leftovers = nil
	r.mu.Unlock()
	began := time.Now() //nolint:forbidigo // how long it takes, not what time it is
	for i, k := range over {
		if time.Since(began) > r.poll {
			r.mu.Lock() // the ring has to be confirmed meanwhile
			r.leftovers = append(r.leftovers, over[i:]...)
			r.mu.Unlock()
			return
		}
		custody, ok := r.custody(k.Custody).(discarder)
		if !ok {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, discardTimeout)
		err := custody.Discard(bounded, r.cfg.Ring, k)
		cancel()
		if err != nil && ctx.Err() == nil {
			r.log.Warn("a key that no ring needs is still in custody", "kid", k.ID, "custody", k.Custody, "error", err)
			r.mu.Lock()
			r.leftovers = append(r.leftovers, k)
			r.mu.Unlock()
		}
	}
}

// custody is the one that a key names; nil where it is not configured here.
func (r *Rotator) custody(name string) Custody {
	if r.cfg.Custody.Name() == name {
		return r.cfg.Custody
	}
	if i := slices.IndexFunc(r.cfg.Others, func(c Custody) bool { return c.Name() == name }); i >= 0 {
		return r.cfg.Others[i]
	}
	return nil
}

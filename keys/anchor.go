package keys

import (
	"context"
	"fmt"
	"time"

	"github.com/writbroker/writ/store"
)

// Anchor keeps, for each ring, the highest version of its state that was ever in
// force, where neither the store nor a replica can lower it. With it a replica that
// remembers nothing, such as a new one, notices a store that went back too.
//
// A version is written into the store first and anchored after. So whatever is
// anchored was in the store: a crash, or an anchor that is away, between the two
// leaves the anchor behind, and whoever reads the newer state raises it. In the other
// order the same crash would anchor a state that nobody has, and every replica would
// refuse the one that is in force, for good. The price is that until the anchor is
// raised only replicas that have seen the newest state, or have a backup of it, notice
// that it was taken back.
type Anchor interface {
	// Version returns the anchored version; 0 if there is none.
	Version(ctx context.Context, ring string) (uint64, error)
	// Raise makes it at least version.
	Raise(ctx context.Context, ring string, version uint64) error
}

// anchorTimeout bounds one access to the anchor.
const anchorTimeout = 10 * time.Second

// reanchor reads the anchor, and raises it to the version that is known here. It must
// not be called with mu held: an emergency does not wait for an anchor.
func (r *Rotator) reanchor(ctx context.Context) error {
	if r.cfg.Anchor == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, anchorTimeout)
	defer cancel()
	version, err := r.cfg.Anchor.Version(ctx, r.cfg.Ring)
	if err != nil {
		return fmt.Errorf("reading anchor of the key ring: %w", err)
	}
	r.learn(version)
	r.mu.Lock()
	known := r.known.Version
	r.mu.Unlock()
	if known <= version {
		return nil
	}
	if err := r.cfg.Anchor.Raise(ctx, r.cfg.Ring, known); err != nil {
		return fmt.Errorf("raising anchor of the key ring: %w", err)
	}
	r.learn(known)
	return nil
}

// learn remembers the highest version that was seen anchored: an anchor that is away,
// or went back, counts as what it was.
func (r *Rotator) learn(version uint64) {
	for {
		have := r.anchored.Load()
		if version <= have || r.anchored.CompareAndSwap(have, version) {
			return
		}
	}
}

// belowAnchor refuses a version below the one that was anchored before it was read. The
// caller holds mu.
func (r *Rotator) belowAnchor(version, anchored uint64) error {
	if version >= anchored {
		r.refused = 0
		return nil
	}
	if r.refused != anchored { // once, and not at each poll
		r.refused = anchored
		r.log.Error("the key ring is older than the one that was anchored; refusing it", store.AlarmKey, alarm, "version", version, "anchored", anchored)
	}
	return fmt.Errorf("%w: key ring has version %d, and %d was anchored; if the newer one is lost for good, lower the anchor by hand; if another deployment keeps its anchor in the same place, give this one its own", store.ErrRollback, version, anchored)
}

// keepAnchored keeps what is known of the anchor fresh, and the anchor up to date, until
// ctx ends. It wakes the loop where the anchor is ahead of the ring.
func (r *Rotator) keepAnchored(ctx context.Context, wake chan<- struct{}) {
	failing := false
	for {
		before := r.anchored.Load()
		err := r.reanchor(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			r.log.Error("the key ring is held against the last known anchor", "error", err)
		} else if err == nil && failing {
			r.log.Info("the anchor of the key ring is there again")
		}
		failing = err != nil
		if r.anchored.Load() != before {
			notify(wake)
		}
		if !pause(ctx, r.poll-upTo(r.poll/4), r.raise) {
			return
		}
	}
}

package keys

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/store"
)

// Run keeps the ring fresh and rotates when it is due, until ctx ends; then it
// returns nil. What fails meanwhile is logged and tried again: the ring stays as
// it is, and stops signing once it is stale.
func (r *Rotator) Run(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { r.watch(ctx, wake); return nil })
	group.Go(func() error { r.loop(ctx, wake); return nil })
	if r.cfg.Anchor != nil {
		group.Go(func() error { r.keepAnchored(ctx, wake); return nil })
	}
	return group.Wait()
}

func (r *Rotator) loop(ctx context.Context, wake <-chan struct{}) {
	failing := false
	for {
		r.mu.Lock()
		due, err := r.step(ctx)
		r.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		r.discard(ctx)
		if err != nil && !failing {
			r.log.Error("key ring cannot be refreshed", "error", err)
		} else if err == nil && failing {
			r.log.Info("key ring is fresh again")
		}
		failing = err != nil
		wait := r.untilNext(due)
		if failing {
			wait = min(wait, r.poll/8+upTo(r.poll/8)) // what is away is back at some moment, not at the next poll
		}
		if !pause(ctx, wait, wake) {
			return
		}
	}
}

// untilNext is the time to the next step: polls confirm the ring well within
// MaxLag even if some of them are lost.
func (r *Rotator) untilNext(due time.Time) time.Duration {
	wait := r.poll - upTo(r.poll/4)
	if !due.IsZero() {
		// Never a busy loop, whatever a clock does.
		wait = min(wait, max(due.Add(r.late).Sub(r.cfg.Now()), time.Millisecond))
	}
	return wait
}

// watch wakes the loop as soon as another replica changed the ring, or the store lost it:
// until it is put back, a replica that knows of no ring would begin one of its own.
func (r *Rotator) watch(ctx context.Context, wake chan<- struct{}) {
	after := r.cell.Load()
	for ctx.Err() == nil {
		value, err := r.cfg.Cell.Watch(ctx, r.cfg.Ring, after)
		if err != nil || value.Version <= after {
			if errors.Is(err, store.ErrRollback) || errors.Is(err, store.ErrForged) || errors.Is(err, store.ErrNotFound) {
				notify(wake)
			}
			// The loop polls all the same, so this loses speed only.
			after = r.cell.Load()
			if !pause(ctx, r.poll-upTo(r.poll/2), nil) {
				return
			}
			continue
		}
		after = value.Version
		notify(wake)
	}
}

func notify(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-wake:
	}
	return true
}

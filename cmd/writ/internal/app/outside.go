package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/writbroker/writ/audit"
)

// outside sends checkpoints of the audit log off this machine: the newest one, no oftener
// than the interval, and again if that failed. The last one before a pause leaves too, and
// the last one of all when the broker ends.
type outside struct {
	send   func(context.Context, audit.Checkpoint) error
	every  time.Duration
	logger *slog.Logger
	wake   chan struct{} // something waits

	mu      sync.Mutex
	newest  audit.Checkpoint
	waiting bool
}

func newOutside(send func(context.Context, audit.Checkpoint) error, every time.Duration, logger *slog.Logger) *outside {
	return &outside{send: send, every: every, logger: logger, wake: make(chan struct{}, 1)}
}

// put takes a checkpoint; one that was not sent yet is no longer needed.
func (o *outside) put(c audit.Checkpoint) {
	o.mu.Lock()
	o.newest, o.waiting = c, true
	o.mu.Unlock()
	o.signal()
}

func (o *outside) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run sends what waits until ctx ends.
func (o *outside) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-o.wake:
		}
		o.flush(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.every):
		}
	}
}

// flush sends what waits now. What could not be sent waits on.
func (o *outside) flush(ctx context.Context) {
	o.mu.Lock()
	c, waiting := o.newest, o.waiting
	o.waiting = false
	o.mu.Unlock()
	if !waiting {
		return
	}
	if err := o.send(ctx, c); err != nil {
		o.logger.ErrorContext(ctx, "audit checkpoint did not leave this machine", "seq", c.Seq, "error", err)
		o.mu.Lock()
		o.waiting = true
		o.mu.Unlock()
		o.signal()
	}
}

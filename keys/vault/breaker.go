package vault

import (
	"math/rand/v2"
	"sync"
	"time"
)

// breaker stops calls once enough in a row found Vault unavailable, and lets one
// through now and then to see whether it is back. It is safe for concurrent use.
type breaker struct {
	after int
	every time.Duration
	now   func() time.Time

	mu      sync.Mutex
	failed  int        // in a row
	last    *CallError // what the last one failed with
	probeAt time.Time  // when the next call may pass, once failed ≥ after
}

// enter says whether a call may be made. Whoever may calls leave.
func (b *breaker) enter(op, path string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed < b.after {
		return nil
	}
	if now := b.now(); !now.Before(b.probeAt) {
		// The others wait for this one's answer, or for as long again.
		b.probeAt = now.Add(b.wait())
		return nil
	}
	return &CallError{Kind: b.last.Kind, Op: op, Path: path, Detail: "not asked, since it was so the last times"}
}

// leave takes the end of a call into account, and says whether that opened or closed
// the breaker. A refusal shows that Vault is there; so does the end of a caller's
// context show nothing.
func (b *breaker) leave(err *CallError, inconclusive bool) (opened, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case inconclusive:
		if b.failed >= b.after {
			b.probeAt = b.now() // the probe came to nothing: another may go
		}
		return false, false
	case err == nil || !err.passing() || err.of(ErrLimited):
		closed = b.failed >= b.after
		b.failed, b.last = 0, nil
		return false, closed
	}
	b.failed++
	b.last = err
	b.probeAt = b.now().Add(b.wait())
	return b.failed == b.after, false
}

// wait is about every, and different in each process, so that a Vault that comes back
// is not asked by all at once.
func (b *breaker) wait() time.Duration { return b.every/2 + upTo(b.every) }

// upTo returns a random duration below limit.
func upTo(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return rand.N(limit) //nolint:gosec // it spreads load, and protects nothing
}

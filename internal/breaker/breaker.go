// Package breaker keeps callers from waiting for a service that is away: after some
// calls in a row that found it so, calls fail at once, but for one now and then that
// sees whether it is back.
//
// It makes no call and reads no clock of its own. Who talks to a service asks Enter
// before each call, and tells Leave how that one ended.
package breaker

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Outcome is what a call has shown of the service.
type Outcome int

// Refusals are answers: a service that refuses is there.
const (
	Answered     Outcome = iota // it is there, whatever it said
	Away                        // it did not answer, or could not
	Inconclusive                // the caller gave up first
)

// Change is what the end of a call did to a Breaker.
type Change int

// Each Opened is followed by one Closed before the next, so they can be logged as they come.
const (
	Unchanged Change = iota
	Opened           // calls fail at once from now on
	Closed           // calls are made again
)

// Call is one that Enter let through. The zero value is one of a closed breaker; others see
// whether the service is back.
type Call uint64

// Config is what a Breaker needs.
type Config struct {
	After int              // calls in a row that find the service away before it opens; at least 1
	Every time.Duration    // about how often a call may see whether it is back
	Now   func() time.Time // required
}

// Breaker is safe for concurrent use.
type Breaker struct {
	cfg Config

	mu      sync.Mutex
	failed  int       // in a row
	why     error     // what the last one failed with
	probeAt time.Time // when the next call may pass, once failed ≥ After
	probe   Call      // the newest that did
}

// New makes a closed breaker.
func New(cfg Config) *Breaker { return &Breaker{cfg: cfg} }

// Enter returns no error if a call may be made; whoever may calls Leave after it. Otherwise
// it returns what the last call was told to have failed with.
func (b *Breaker) Enter() (Call, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed < b.cfg.After {
		return 0, nil
	}
	if now := b.cfg.Now(); !now.Before(b.probeAt) {
		// The others wait for this one's answer, or for as long again.
		b.probeAt = now.Add(b.wait())
		b.probe++
		return b.probe, nil
	}
	return 0, b.why
}

// Leave takes the end of a call into account. why is kept for those that are refused,
// and must not be nil for Away.
func (b *Breaker) Leave(call Call, outcome Outcome, why error) Change {
	b.mu.Lock()
	defer b.mu.Unlock()
	open := b.failed >= b.cfg.After
	switch outcome {
	case Away:
		b.failed++
		b.why = why
		b.probeAt = b.cfg.Now().Add(b.wait())
		if !open && b.failed >= b.cfg.After {
			b.probe++ // one that is left from before is no probe of now
			return Opened
		}
	case Inconclusive:
		// The probe came to nothing: another may go. Not so for what was under way already.
		if open && call != 0 && call == b.probe {
			b.probeAt = b.cfg.Now()
		}
	default:
		b.failed, b.why = 0, nil
		if open {
			return Closed
		}
	}
	return Unchanged
}

// wait is about Every, and different in each process, so that a service that comes back
// is not asked by all at once.
func (b *Breaker) wait() time.Duration {
	if b.cfg.Every <= 0 {
		return 0
	}
	return b.cfg.Every/2 + rand.N(b.cfg.Every) //nolint:gosec // it spreads load, and protects nothing
}

package awssts

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/smithy-go"

	"github.com/writbroker/writ/mint"
)

const (
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = time.Second
	waitersEach  = 8 // for each call that may be in flight
)

// backoff is how long to wait before another attempt: anything up to a bound that doubles, so
// that replicas which failed together do not come back together.
func backoff(attempt int, _ error) (time.Duration, error) {
	bound := min(firstBackoff<<min(max(attempt, 0), 8), maxBackoff)
	return rand.N(bound) + 1, nil //nolint:gosec // jitter, not a secret
}

// gate bounds how many calls are in flight and how many wait, so that a slow STS costs no more
// than that.
type gate struct{ flight, line chan struct{} }

func newGate(atOnce int) *gate {
	return &gate{flight: make(chan struct{}, atOnce), line: make(chan struct{}, atOnce*(1+waitersEach))}
}

func (g *gate) enter(ctx context.Context) error {
	select {
	case g.line <- struct{}{}:
	default:
		return busy()
	}
	select {
	case g.flight <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-g.line
		return busy()
	}
}

func (g *gate) leave() {
	<-g.flight
	<-g.line
}

func busy() error {
	return later(ReasonBusy, "too many AWS sessions are being made at once; try again", time.Second, nil)
}

const (
	failuresToOpen = 5
	firstOpen      = 2 * time.Second
	maxOpen        = 30 * time.Second
)

// breaker stops calls to an STS that fails them all, but for one now and then that finds out
// whether it still does. The owner sets now.
type breaker struct {
	now func() time.Time

	mu       sync.Mutex
	failures int // in a row
	until    time.Time
	probing  bool
}

// allow lets a call through, or says when to try again. After it, done or release is called, with
// probe, which tells the one that finds out from those that were under way when the pause began.
func (b *breaker) allow() (probe bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < failuresToOpen {
		return false, nil
	}
	if wait := b.until.Sub(b.now()); wait > 0 || b.probing {
		return false, later(ReasonPaused, "STS did not answer the last calls; it is asked again soon", max(wait, time.Second), nil)
	}
	b.probing = true
	return true, nil
}

// release takes back an allow whose call was not made.
func (b *breaker) release(probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end(probe)
}

// end is guarded by mu.
func (b *breaker) end(probe bool) {
	if probe {
		b.probing = false
	}
}

// done notes how a call ended: what says that STS is not well, and that it is. What failed
// before it was asked says neither, and what was asked before the pause says again why there is one.
func (b *breaker) done(probe bool, err *mint.SessionError) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end(probe)
	if err == nil || answered(err) && !unwell(err.Reason) {
		b.failures = 0
		return
	}
	if !unwell(err.Reason) || b.failures >= failuresToOpen && !probe {
		return
	}
	b.failures++
	if over := b.failures - failuresToOpen; over >= 0 {
		open := min(firstOpen<<min(over, 8), maxOpen)
		b.until = b.now().Add(open + rand.N(open/4)) //nolint:gosec // jitter, not a secret
	}
}

func answered(err *mint.SessionError) bool {
	_, ok := errors.AsType[smithy.APIError](err.Cause)
	return ok
}

// unwell reports whether a failure says that STS as a whole does not serve.
func unwell(reason string) bool {
	return reason == ReasonDown || reason == ReasonSlow || reason == ReasonThrottled
}

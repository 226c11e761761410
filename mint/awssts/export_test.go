package awssts

import (
	"time"

	"github.com/writbroker/writ/mint"
)

// Breaker is what keeps calls from an STS that fails them all.
type Breaker struct{ breaker }

// NewBreaker makes a closed one.
func NewBreaker(now func() time.Time) *Breaker { return &Breaker{breaker{now: now}} }

// Allow lets a call through, and gives what ends it: by how it went, or by nothing for one that
// was not made.
func (b *Breaker) Allow() (done func(*mint.SessionError), release func(), err error) {
	probe, err := b.allow()
	return func(how *mint.SessionError) { b.done(probe, how) }, func() { b.release(probe) }, err
}

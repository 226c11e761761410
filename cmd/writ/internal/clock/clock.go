// Package clock notices that this machine's clock was set, or that the machine stood still.
//
// It owns one comparison, of the clock on the wall with one that nobody can set, and the loop
// that makes it. It changes nothing: margins of the broker allow for clocks that are off, and
// whoever runs it has to know when one was. cmd/writ/internal/app runs it.
package clock

import (
	"context"
	"time"
)

// Reading is what two clocks say at one moment.
type Reading struct {
	Wall    time.Time     // may be set; without a monotonic part
	Elapsed time.Duration // since some moment; nobody sets it, and where there is one, it goes on while the machine sleeps
}

// Change is what happened between two readings. The zero value is: nothing.
type Change struct {
	Step  time.Duration // the wall clock was set by this much, back where it is negative
	Pause time.Duration // the machine, or this process, stood still for this long: both clocks went on
}

// IsZero reports whether nothing happened.
func (c Change) IsZero() bool { return c == Change{} }

const (
	// leastStep is above what a clock that is only made to run faster or slower can gain
	// between two looks, and below what matters to a token.
	leastStep = time.Second
	// leastPause is above what a busy machine makes a timer late.
	leastPause = 10 * time.Second
)

// Compare says what happened between two readings that were to be apart by asked. It is pure.
func Compare(before, after Reading, asked time.Duration) Change {
	elapsed := after.Elapsed - before.Elapsed
	var c Change
	if step := after.Wall.Sub(before.Wall) - elapsed; step.Abs() >= leastStep {
		c.Step = step
	}
	if pause := elapsed - asked; pause >= leastPause {
		c.Pause = pause
	}
	return c
}

// Watch looks at the clocks regularly. Every field is required.
type Watch struct {
	Every   time.Duration
	Read    func() Reading // that of a System, but in tests
	Changed func(context.Context, Change)
}

// Run looks until ctx ends, and returns nil then. Changed is called on its goroutine.
func (w Watch) Run(ctx context.Context) error {
	timer := time.NewTimer(w.Every)
	defer timer.Stop()
	for before := w.Read(); ; timer.Reset(w.Every) {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		after := w.Read()
		if c := Compare(before, after, w.Every); !c.IsZero() {
			w.Changed(ctx, c)
		}
		before = after
	}
}

const (
	readings    = 5                     // tries, until
	closeEnough = 50 * time.Millisecond // the process was not held up between the two clocks for longer
)

// System reads the clocks of this machine; make one with NewSystem. On Linux a machine that
// was suspended shows as a Pause; elsewhere, where no clock counts the time asleep, as a Step.
// It may be used concurrently.
type System struct {
	origin time.Time
}

// NewSystem is ready to use.
func NewSystem() *System { return &System{origin: time.Now()} }

// Read reads both clocks as close together as it can.
func (s *System) Read() Reading {
	var r Reading
	for range readings {
		began := s.elapsed()
		r = Reading{Wall: time.Now().Round(0), Elapsed: s.elapsed()}
		if r.Elapsed-began < closeEnough {
			break
		}
	}
	return r
}

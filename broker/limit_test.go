package broker_test

import (
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/broker"
)

// A request takes its time before its proofs are checked, and that may last: one that was under
// way for long fills no bucket anew for those that came after it.
func TestALateRequestFillsNoBucket(t *testing.T) {
	l := broker.NewLimiter(1, 3)
	began := time.Unix(1_000_000, 0)
	now := began.Add(10 * time.Second)
	take := func(at time.Time, want bool) {
		t.Helper()
		if wait := l.Take("agent", at); (wait == 0) != want {
			t.Errorf("at %s: to wait %s, and to be let through %v", at.Sub(began), wait, want)
		}
	}
	take(now, true)
	take(now, true)
	take(began, true) // the third of the burst
	take(now, false)
	take(began, false)
	take(now, false)
	take(now.Add(time.Second), true)
	take(now.Add(time.Second), false)
	// After a clock that went back nobody waits until it is there again.
	take(began.Add(-time.Hour), false)
	take(began.Add(time.Second-time.Hour), true)
}

// Those that are refused at once cost those that come later nothing.
func TestRefusedTogether(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for range 200 {
		l := broker.NewLimiter(1, 1)
		if l.Take("agent", now) != 0 {
			t.Fatal("a full bucket refuses")
		}
		var all sync.WaitGroup
		start := make(chan struct{})
		for range 16 {
			all.Go(func() {
				<-start
				for range 20 {
					l.Take("agent", now)
				}
			})
		}
		close(start)
		all.Wait()
		if wait := l.Take("agent", now.Add(time.Second)); wait != 0 {
			t.Fatalf("a second later there is none for another %s", wait)
		}
	}
}

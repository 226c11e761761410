package breaker_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/breaker"
)

var errAway = errors.New("away")

type clock struct{ now time.Time }

func newBreaker(after int) (*breaker.Breaker, *clock) {
	c := &clock{now: time.Unix(1_000_000, 0)}
	return breaker.New(breaker.Config{After: after, Every: time.Second, Now: func() time.Time { return c.now }}), c
}

func TestItOpensAfterSoManyInARow(t *testing.T) {
	b, _ := newBreaker(3)
	for _, outcome := range []breaker.Outcome{breaker.Away, breaker.Away, breaker.Answered, breaker.Away, breaker.Inconclusive, breaker.Away} {
		if err := b.Enter(); err != nil {
			t.Fatal(err)
		}
		if change := b.Leave(outcome, errAway); change != breaker.Unchanged {
			t.Fatalf("change %d before three in a row", change)
		}
	}
	if change := b.Leave(breaker.Away, errAway); change != breaker.Opened {
		t.Errorf("the third in a row changed it to %d", change)
	}
	if err := b.Enter(); !errors.Is(err, errAway) {
		t.Errorf("Enter = %v, want what the last failed with", err)
	}
	// Calls that were under way when it opened do not open it again.
	if change := b.Leave(breaker.Away, errAway); change != breaker.Unchanged {
		t.Errorf("opened twice: %d", change)
	}
}

func TestOneProbesAndTheOthersWait(t *testing.T) {
	b, c := newBreaker(1)
	b.Leave(breaker.Away, errAway)
	c.now = c.now.Add(499 * time.Millisecond)
	if b.Enter() == nil {
		t.Error("a probe went before half the time")
	}
	c.now = c.now.Add(1001 * time.Millisecond)
	if err := b.Enter(); err != nil {
		t.Fatalf("no probe after the longest wait: %v", err)
	}
	if b.Enter() == nil {
		t.Error("two probes at once")
	}
	b.Leave(breaker.Inconclusive, nil)
	if err := b.Enter(); err != nil {
		t.Errorf("a probe that came to nothing holds up the next: %v", err)
	}
	b.Leave(breaker.Away, errAway)
	if b.Enter() == nil {
		t.Error("a failed probe let others through")
	}
	c.now = c.now.Add(1500 * time.Millisecond)
	if err := b.Enter(); err != nil {
		t.Fatal(err)
	}
	if change := b.Leave(breaker.Answered, nil); change != breaker.Closed {
		t.Errorf("an answered probe changed it to %d", change)
	}
	for range 3 {
		if err := b.Enter(); err != nil {
			t.Errorf("closed, and Enter = %v", err)
		}
	}
}

func TestConcurrently(t *testing.T) {
	b, _ := newBreaker(4)
	var opened atomic.Int32
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			for range 100 {
				if b.Enter() == nil && b.Leave(breaker.Away, errAway) == breaker.Opened {
					opened.Add(1)
				}
			}
		})
	}
	wait.Wait()
	if opened.Load() != 1 {
		t.Errorf("opened %d times", opened.Load())
	}
}

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
		if change := b.Leave(enter(t, b), outcome, errAway); change != breaker.Unchanged {
			t.Fatalf("change %d before three in a row", change)
		}
	}
	if change := b.Leave(0, breaker.Away, errAway); change != breaker.Opened {
		t.Errorf("the third in a row changed it to %d", change)
	}
	if _, err := b.Enter(); !errors.Is(err, errAway) {
		t.Errorf("Enter = %v, want what the last failed with", err)
	}
	// Calls that were under way when it opened do not open it again.
	if change := b.Leave(0, breaker.Away, errAway); change != breaker.Unchanged {
		t.Errorf("opened twice: %d", change)
	}
}

func TestOneProbesAndTheOthersWait(t *testing.T) {
	b, c := newBreaker(1)
	b.Leave(enter(t, b), breaker.Away, errAway)
	refused := func(why string) {
		t.Helper()
		if _, err := b.Enter(); err == nil {
			t.Error(why)
		}
	}
	c.now = c.now.Add(499 * time.Millisecond)
	refused("a probe went before half the time")
	c.now = c.now.Add(1001 * time.Millisecond)
	probe := enter(t, b)
	refused("two probes at once")
	b.Leave(probe, breaker.Inconclusive, nil)
	probe = enter(t, b) // one that came to nothing does not hold up the next
	b.Leave(probe, breaker.Away, errAway)
	refused("a failed probe let others through")
	c.now = c.now.Add(1500 * time.Millisecond)
	if change := b.Leave(enter(t, b), breaker.Answered, nil); change != breaker.Closed {
		t.Errorf("an answered probe changed it to %d", change)
	}
	for range 3 {
		enter(t, b)
	}
}

// What was under way when it opened, and was given up since, is no probe that came to nothing.
func TestACallThatWasUnderWayIsNoProbe(t *testing.T) {
	b, c := newBreaker(1)
	early, late := enter(t, b), enter(t, b)
	b.Leave(early, breaker.Away, errAway)
	b.Leave(late, breaker.Inconclusive, nil)
	if _, err := b.Enter(); err == nil {
		t.Error("a probe went at once")
	}
	c.now = c.now.Add(1500 * time.Millisecond)
	slow := enter(t, b)
	c.now = c.now.Add(1500 * time.Millisecond)
	enter(t, b)
	b.Leave(slow, breaker.Inconclusive, nil)
	if _, err := b.Enter(); err == nil {
		t.Error("a probe went beside another, since one before that was given up")
	}
}

func enter(t *testing.T, b *breaker.Breaker) breaker.Call {
	t.Helper()
	call, err := b.Enter()
	if err != nil {
		t.Fatal(err)
	}
	return call
}

func TestConcurrently(t *testing.T) {
	b, _ := newBreaker(4)
	var opened atomic.Int32
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			for range 100 {
				if call, err := b.Enter(); err == nil && b.Leave(call, breaker.Away, errAway) == breaker.Opened {
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

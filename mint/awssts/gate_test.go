package awssts_test

import (
	"errors"
	"testing"
	"time"

	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts"
)

// call is one that a breaker let through.
type call struct {
	done    func(*mint.SessionError)
	release func()
}

// breaker is one whose STS is down, with the calls that were under way when it opened.
type breaker struct {
	*awssts.Breaker

	tb  testing.TB
	now time.Time
}

func newBreaker(tb testing.TB) *breaker {
	b := &breaker{tb: tb, now: time.Unix(1_000_000, 0)}
	b.Breaker = awssts.NewBreaker(func() time.Time { return b.now })
	return b
}

func (b *breaker) calls(n int) []call {
	b.tb.Helper()
	out := make([]call, n)
	for i := range out {
		done, release, err := b.Allow()
		if err != nil {
			b.tb.Fatal(err)
		}
		out[i] = call{done, release}
	}
	return out
}

// paused is how long it lets nothing through.
func (b *breaker) paused() time.Duration {
	b.tb.Helper()
	_, _, err := b.Allow()
	named, ok := errors.AsType[*mint.SessionError](err)
	if !ok || named.Reason != awssts.ReasonPaused {
		b.tb.Fatalf("got %v", err)
	}
	return named.RetryAfter
}

func down() *mint.SessionError { return &mint.SessionError{Reason: awssts.ReasonDown} }

// Calls that were made together and fail together have found one thing out, once: the pause is the
// first, and not that after as many calls in vain.
func TestCallsThatFailTogetherPauseOnce(t *testing.T) {
	b := newBreaker(t)
	for _, c := range b.calls(64) {
		c.done(down())
	}
	if got := b.paused(); got > 3*time.Second {
		t.Errorf("the first pause is %s", got)
	}
	b.now = b.now.Add(3 * time.Second)
	b.calls(1)[0].done(down())
	if got := b.paused(); got < 3*time.Second || got > 5*time.Second {
		t.Errorf("the pause after a probe that failed is %s", got)
	}
}

// What ends without a word of STS, and is not the probe, lets no other call through beside it.
func TestOneProbeWhateverElseEnds(t *testing.T) {
	for name, end := range map[string]func(call){
		"a call that was not made":   func(c call) { c.release() },
		"a call that was given up":   func(c call) { c.done(&mint.SessionError{Reason: awssts.ReasonGone}) },
		"a call that was under way":  func(c call) { c.done(down()) },
		"a call that never was sent": func(c call) { c.done(&mint.SessionError{Reason: awssts.ReasonNoKey}) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBreaker(t)
			calls := b.calls(6)
			for _, c := range calls[1:] {
				c.done(down())
			}
			b.now = b.now.Add(3 * time.Second)
			probe := b.calls(1)[0]
			end(calls[0])
			b.now = b.now.Add(time.Minute)
			b.paused()
			probe.release() // the probe itself does
			b.calls(1)
		})
	}
}

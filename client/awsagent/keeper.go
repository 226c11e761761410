package awsagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/writbroker/writ/client"
)

// errStopped is what callers get who ask while the agent ends.
var errStopped = errors.New("awsagent: stopped")

const (
	// ahead is how long before the end a session is renewed: SDKs begin to ask at
	// 15 minutes, and a broker gives the same session again until 16 are left.
	ahead = 15*time.Minute + 40*time.Second
	// after is how much later than half of a session's life it is renewed: the broker
	// gives it again until then, by its own clock.
	after = 2 * time.Second
	// margin is how long before its end a session is handed out no more, so that it
	// does not end on its way.
	margin = 5 * time.Second
	// again is how long an answer stands for what may not change soon.
	again = 30 * time.Second
)

// keeper holds the current session. One goroutine, run, fetches; all others wait
// for what it finds.
type keeper struct {
	fetch   Fetch
	timeout time.Duration
	now     func() time.Time
	log     *slog.Logger
	kick    chan struct{} // wakes run: somebody found that a fetch is due

	mu       sync.Mutex
	lease    *lease
	failed   error         // of the last fetch, nil if it went well
	failures int           // in a row
	due      time.Time     // when to fetch next
	fetching bool          // a fetch is under way
	landed   chan struct{} // closed when the fetch that is under way, or else the next, has ended
	stopped  bool
}

// lease is a session with the times at which to act on it. Its times have no
// monotonic part: that stands still while a machine sleeps, and a session does not.
type lease struct {
	credentials *client.AWSCredentials
	renew       time.Time
	unfit       time.Time // from here on it is not handed out
}

func newKeeper(cfg Config) *keeper {
	now := func() time.Time { return cfg.Now().Round(0) }
	k := &keeper{
		fetch: cfg.Fetch, timeout: cfg.Timeout, now: now, log: cfg.Logger,
		kick: make(chan struct{}, 1), landed: make(chan struct{}), due: now(),
	}
	if cfg.Held != nil {
		if held, err := newLease(cfg.Held, k.due); err == nil {
			k.lease, k.due = held, held.renew
		}
	}
	return k
}

// newLease renews the session when half of its life is left, or ahead of its end
// if that is later, and not at one moment on all machines that started together.
func newLease(c *client.AWSCredentials, now time.Time) (*lease, error) {
	end := c.Expiry.Round(0)
	left := end.Sub(now)
	if left <= 0 {
		return nil, errors.New("awsagent: the broker's session has expired already; is this machine's clock right?")
	}
	early := min(left/2, ahead) - min(after, left/10)
	early -= rand.N(early/30 + 1) // #nosec G404 -- spreads load, guards nothing
	return &lease{credentials: c, renew: end.Add(-early), unfit: end.Add(-min(margin, left/10))}, nil
}

// get returns a session that is good for a while yet. It waits only where there
// is none, and then for one fetch; ctx ends the wait.
func (k *keeper) get(ctx context.Context) (*client.AWSCredentials, error) {
	for {
		found, landed, err := k.look()
		if landed == nil {
			return found, err
		}
		select {
		case <-landed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// look returns what is there, or the end of a fetch to wait for.
func (k *keeper) look() (*client.AWSCredentials, <-chan struct{}, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	due := !now.Before(k.due)
	if due && !k.fetching {
		select { // run's timer may be late: it stands still while a machine sleeps
		case k.kick <- struct{}{}:
		default:
		}
	}
	switch {
	case k.lease != nil && now.Before(k.lease.unfit):
		return k.lease.credentials, nil, nil
	case k.stopped:
		return nil, nil, errStopped
	case k.fetching || due:
		return nil, k.landed, nil
	}
	return nil, nil, &unavailable{wait: k.due.Sub(now), err: k.failed}
}

// unavailable says that there is no session, why, and when the broker is asked again.
type unavailable struct {
	wait time.Duration
	err  error
}

func (e *unavailable) Error() string {
	return fmt.Sprintf("no AWS credentials (the broker is asked again in %s): %v", e.wait.Round(time.Second), e.err)
}
func (e *unavailable) Unwrap() error { return e.err }

// run fetches when it is due, until ctx ends.
func (k *keeper) run(ctx context.Context) {
	defer k.stop()
	for {
		wait := k.begin()
		if wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-k.kick:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			timer.Stop()
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, k.timeout)
		made, err := k.fetch(bounded)
		cancel()
		if ctx.Err() != nil {
			return
		}
		k.land(ctx, made, err)
	}
}

// begin says how long to wait until the next fetch, or that one is under way now.
func (k *keeper) begin() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	wait := k.due.Sub(k.now())
	k.fetching = wait <= 0
	return wait
}

// land keeps what a fetch gave and tells those who wait. A session that is there
// stays if the fetch failed.
func (k *keeper) land(ctx context.Context, made *client.AWSCredentials, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	var fresh *lease
	if err == nil {
		fresh, err = newLease(made, now)
	}
	k.failed = err
	if err != nil {
		k.failures++
		pause := k.pause(err)
		k.due = now.Add(pause)
		k.log.WarnContext(ctx, "credentials not renewed", "failures", k.failures, "next", pause.Round(time.Millisecond), "error", err)
	} else {
		k.failures, k.lease, k.due = 0, fresh, fresh.renew
	}
	k.fetching = false
	close(k.landed)
	k.landed = make(chan struct{})
}

// pause is how long to leave the broker alone: growing, at least what it asked
// for, and longer where it said no.
func (k *keeper) pause(err error) time.Duration {
	wait := min(again, 500*time.Millisecond<<min(k.failures-1, 8))
	if refused, ok := errors.AsType[*client.ResponseError](err); ok {
		if !refused.Temporary() {
			wait = again
		}
		wait = max(wait, min(refused.RetryAfter, 5*time.Minute))
	}
	return wait + rand.N(wait/2+1) // #nosec G404 -- spreads load, guards nothing
}

// stop tells those who wait that nothing comes any more.
func (k *keeper) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped, k.fetching = true, false
	close(k.landed)
	k.landed = make(chan struct{})
}

package awsagent_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/client/awsagent"
)

// sessions makes numbered sessions of a given life, and gives one again, as a broker
// does, until half of its life or 16 minutes are left.
type sessions struct {
	life, delay time.Duration
	now         func() time.Time

	mu    sync.Mutex
	calls int
	fail  error
	last  *client.AWSCredentials
	made  int
}

func (s *sessions) set(err error) { s.mu.Lock(); s.fail = err; s.mu.Unlock() }

func (s *sessions) count() (calls, made int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, s.made
}

func (s *sessions) fetch(ctx context.Context) (*client.AWSCredentials, error) {
	began := s.now()
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail != nil {
		return nil, s.fail
	}
	if s.last == nil || s.last.Expiry.Sub(began) <= min(s.life/2, 16*time.Minute) {
		s.made++
		end := began.Add(s.life)
		s.last = &client.AWSCredentials{AccessKeyID: fmt.Sprintf("ASIA%d", s.made), SecretAccessKey: "s", SessionToken: "t", Expiration: end, Expiry: end}
	}
	return s.last, nil
}

// keep runs a keeper until the test ends.
func keep(t *testing.T, s *sessions, timeout time.Duration) awsagent.Keeper {
	t.Helper()
	if s.now == nil {
		s.now = time.Now
	}
	k := awsagent.NewKeeper(awsagent.Config{Fetch: s.fetch, Timeout: timeout, Now: s.now, Logger: discard})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { k.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return k
}

func TestOneFetchALifeHoweverManyAsk(t *testing.T) {
	for _, life := range []time.Duration{time.Hour, 12 * time.Hour, 15 * time.Minute, 5 * time.Minute, 20 * time.Second} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sessions{life: life, delay: time.Second}
				k := keep(t, s, time.Minute)
				began := time.Now()
				for time.Since(began) < 6*life {
					var wg sync.WaitGroup
					for range 20 {
						wg.Go(func() {
							got, err := k.Get(t.Context())
							if err != nil {
								t.Errorf("after %v: %v", time.Since(began), err)
								return
							}
							left := time.Until(got.Expiry)
							// By the time that SDKs ask anew, there is something new.
							if hour := life >= time.Hour; left <= 0 || hour && left < 15*time.Minute {
								t.Errorf("after %v: %s has %v left", time.Since(began), got.AccessKeyID, left)
							}
						})
					}
					wg.Wait()
					time.Sleep(life / 60)
				}
				calls, made := s.count()
				if calls != made {
					t.Errorf("%d calls for %d sessions", calls, made)
				}
				if most := 6*2 + 2; made > most || made < 6 {
					t.Errorf("%d sessions in 6 lives", made)
				}
			})
		})
	}
}

func TestServesUntilTheEndWhileTheBrokerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sessions{life: time.Hour}
		k := keep(t, s, time.Minute)
		first, err := k.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.set(errors.New("connection refused"))
		time.Sleep(time.Until(first.Expiry) - 10*time.Second)
		if got, err := k.Get(t.Context()); err != nil || got != first {
			t.Fatalf("ten seconds before the end: %v, %v", got, err)
		}
		time.Sleep(10 * time.Second)
		if got, err := k.Get(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Fatalf("after the end: %v, %v", got, err)
		}
		s.set(nil)
		time.Sleep(time.Minute) // the longest pause
		if got, err := k.Get(t.Context()); err != nil || got.AccessKeyID != "ASIA2" {
			t.Errorf("with the broker back: %v, %v", got, err)
		}
	})
}

func TestLeavesABrokerAloneThatRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		err  error
		most int
	}{
		"it is busy, and says how long":  {&client.ResponseError{Status: 503, RetryAfter: time.Minute}, 11},
		"policy says no":                 {&client.ResponseError{Status: 400}, 21},
		"it does not answer":             {errors.New("connection refused"), 30},
		"its session has expired before": {nil, 30},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sessions{life: time.Hour, fail: row.err}
				if row.err == nil {
					s.life = -time.Second
				}
				k := keep(t, s, time.Minute)
				for range 600 {
					if _, err := k.Get(t.Context()); err == nil {
						t.Fatal("credentials")
					}
					time.Sleep(time.Second)
				}
				if calls, _ := s.count(); calls > row.most || calls < 5 {
					t.Errorf("%d calls in 10 minutes", calls)
				}
			})
		})
	}
}

func TestWaitsForAFetchNoLongerThanItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sessions{life: time.Hour, delay: 24 * time.Hour}
		k := keep(t, s, 20*time.Second)
		began := time.Now()
		if _, err := k.Get(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 20*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		time.Sleep(time.Until(began.Add(22 * time.Second)))
		if _, err := k.Get(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// While a machine sleeps, timers and the monotonic clock stand still.
func TestNothingExpiredAfterAMachineSlept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slept atomic.Int64
		s := &sessions{life: time.Hour, delay: time.Second, now: func() time.Time { return time.Now().Round(0).Add(time.Duration(slept.Load())) }}
		k := keep(t, s, time.Minute)
		if _, err := k.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		slept.Store(int64(2 * time.Hour))
		awoke := time.Now()
		if got, err := k.Get(t.Context()); err != nil || got.AccessKeyID != "ASIA2" || time.Since(awoke) > s.delay {
			t.Errorf("got %v, %v after %v", got, err, time.Since(awoke))
		}
	})
}

func TestWhoWaitsHearsOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sessions{life: time.Hour, delay: time.Hour, now: time.Now}
		k := awsagent.NewKeeper(awsagent.Config{Fetch: s.fetch, Timeout: 2 * time.Hour, Now: time.Now, Logger: discard})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { k.Run(ctx); close(ended) }()
		waiter := make(chan error, 1)
		go func() { _, err := k.Get(t.Context()); waiter <- err }()
		synctest.Wait()
		cancel()
		<-ended
		if err := <-waiter; err == nil {
			t.Error("credentials")
		}
		if _, err := k.Get(t.Context()); err == nil {
			t.Error("credentials after the end")
		}
	})
}

func TestBeginsWithWhatIsHeld(t *testing.T) {
	for name, left := range map[string]time.Duration{"a session": time.Hour, "one that has expired": -time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sessions{life: time.Hour, now: time.Now}
				held := &client.AWSCredentials{AccessKeyID: "ASIAHELD", Expiry: time.Now().Add(left)}
				k := awsagent.NewKeeper(awsagent.Config{Fetch: s.fetch, Held: held, Timeout: time.Minute, Now: time.Now, Logger: discard})
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { k.Run(ctx); close(ended) }()
				got, err := k.Get(t.Context())
				if err != nil || (got == held) != (left > 0) {
					t.Errorf("got %v, %v", got, err)
				}
				if calls, _ := s.count(); (calls == 0) != (left > 0) {
					t.Errorf("%d calls", calls)
				}
				cancel()
				<-ended
			})
		})
	}
}

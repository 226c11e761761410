package redis_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/redistest"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/redis"
)

const (
	// bound is how long a call may take that is to succeed, and how long a test waits for
	// anything: far above what it takes, for the sake of a busy machine.
	bound = 30 * time.Second
	// most is how long a call may take that is to fail, far above Config.Timeout likewise.
	most = 5 * time.Second
)

// hasty opens the bed's store so that calls give up soon. They are to fail: even where the server
// answers, a busy machine may not let them succeed.
func (b *bed) hasty(t testing.TB) *redis.DB {
	t.Helper()
	own := *b
	own.config.Timeout, own.config.AllowAway = 300*time.Millisecond, true
	db := own.open(t)
	redistest.Until(t, "the log answers", func() bool {
		_, err := db.Log(logName).Tail(t.Context())
		return err == nil
	})
	return db
}

// everyCall runs each kind of call.
func everyCall(db *redis.DB, l *redis.Log, at store.Position) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"tail":   func(ctx context.Context) error { _, err := l.Tail(ctx); return err },
		"read":   func(ctx context.Context) error { _, err := l.Read(ctx, at, 0); return err },
		"append": func(ctx context.Context) error { _, err := l.Append(ctx, at, entries("x")...); return err },
		"open":   func(ctx context.Context) error { _, err := l.Open(ctx, store.Tail{}, nil); return err },
		"trim":   func(ctx context.Context) error { _, err := l.Trim(ctx, time.Now(), time.Hour); return err },
		"wait":   func(ctx context.Context) error { return l.Wait(ctx, at) },
		"get":    func(ctx context.Context) error { _, err := db.Cells().Get(ctx, "ring"); return err },
		"swap":   func(ctx context.Context) error { _, err := db.Cells().Swap(ctx, "ring", 0, nil); return err },
		"watch":  func(ctx context.Context) error { _, err := db.Cells().Watch(ctx, "ring", 0); return err },
		"add": func(ctx context.Context) error {
			return db.Tally().Add(ctx, "b", time.Now().Add(time.Hour), map[string]int64{"n": 1})
		},
		"sum": func(ctx context.Context) error { _, err := db.Tally().Sum(ctx, "b"); return err },
	}
}

func TestEveryCallIsBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ begin, end func(*testing.T, *bed) }{
		"stopped process": {
			func(t *testing.T, b *bed) { b.primary(t).Stop(t) },
			func(t *testing.T, b *bed) { b.primary(t).Continue(t) },
		},
		"half-open connection": {
			func(t *testing.T, b *bed) { b.proxy(t).Stall() },
			func(t *testing.T, b *bed) { b.proxy(t).Cut(); b.proxy(t).Heal() },
		},
		"refused connection": {
			func(t *testing.T, b *bed) { b.proxy(t).Refuse() },
			func(t *testing.T, b *bed) { b.proxy(t).Heal() },
		},
		"busy server": {
			func(t *testing.T, b *bed) { b.primary(t).Sleep(t, 10*time.Second) },
			func(*testing.T, *bed) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := alone(t)
			_, at := opened(t, b.open(t))
			db := b.hasty(t)
			l := db.Log(logName)
			c.begin(t, b)
			var all sync.WaitGroup
			for call, do := range everyCall(db, l, at) {
				all.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), most)
					defer cancel()
					err := do(ctx)
					if !errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
						t.Errorf("%s: %v, want ErrUnavailable before %v are over", call, err, most)
					}
				})
			}
			all.Wait()
			c.end(t, b)
			redistest.Until(t, "the log answers again", func() bool {
				_, err := l.Tail(t.Context())
				return err == nil
			})
		})
	}
}

func (b *bed) proxy(t testing.TB) *redistest.Proxy { return b.proxies[b.primary(t).Addr] }

func TestDeadlineIsKept(t *testing.T) {
	t.Parallel()
	b := alone(t)
	b.config.Timeout = 10 * bound
	db := b.open(t)
	l, at := opened(t, db)
	b.primary(t).Stop(t)
	for name, do := range everyCall(db, l, at) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		done := make(chan error, 1)
		go func() { done <- do(ctx) }()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		case <-time.After(bound):
			t.Fatalf("%s goes on for %v", name, bound)
		}
		cancel()
	}
}

func TestSlowAndDelayedAnswersArrive(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, at := opened(t, b.open(t))
	b.proxy(t).Delay(20 * time.Millisecond)
	at = add(t, l, at, "a")
	b.proxy(t).Slow(50_000)
	add(t, l, at, "b")
	wantLog(t, l, "| a b ")
}

func TestWaitersSurviveACutAndNoticeAWipe(t *testing.T) {
	t.Parallel()
	b := alone(t)
	db := b.open(t)
	l, at := opened(t, db)
	waits := func(after store.Position) chan error {
		woken := make(chan error, 1)
		go func() {
			for {
				err := l.Wait(t.Context(), after)
				if now, tailErr := l.Tail(t.Context()); err == nil && tailErr == nil && now.Position != after {
					woken <- nil
					return
				}
				if t.Context().Err() != nil {
					return
				}
			}
		}()
		return woken
	}
	first := waits(at)
	b.proxy(t).Cut()
	at = addAgain(t, l, at, "a")
	woken(t, first)
	second := waits(at)
	time.Sleep(100 * time.Millisecond) // so that it does wait
	b.primary(t).FlushAll(t)
	woken(t, second)
}

// addAgain appends over connections some of which are cut.
func addAgain(t *testing.T, l *redis.Log, at store.Position, text string) (last store.Position) {
	t.Helper()
	redistest.Until(t, "append", func() bool {
		var err error
		if last, err = l.Append(t.Context(), at, entries(text)...); errors.Is(err, store.ErrConflict) {
			last = tail(t, l).Position
			return true
		}
		return err == nil
	})
	return last
}

func woken(t *testing.T, c <-chan error) {
	t.Helper()
	select {
	case err := <-c:
		must(t, err)
	case <-time.After(bound):
		t.Fatal("not woken")
	}
}

func TestCloseWakesWaiters(t *testing.T) {
	t.Parallel()
	b := alone(t)
	db, err := redis.Open(t.Context(), b.config)
	must(t, err)
	l, at := opened(t, db)
	ended := make(chan error, 2)
	go func() { ended <- l.Wait(t.Context(), at) }()
	go func() { _, err := db.Cells().Watch(t.Context(), "c", 0); ended <- err }()
	must(t, db.Close())
	for range 2 {
		select {
		case err := <-ended:
			wantErr(t, err, store.ErrUnavailable)
		case <-time.After(bound):
			t.Fatal("not woken")
		}
	}
	_, err = l.Tail(t.Context())
	wantErr(t, err, store.ErrUnavailable)
	wantErr(t, l.Wait(t.Context(), at), store.ErrUnavailable)
}

func TestReplicasMustHaveItFirst(t *testing.T) {
	t.Parallel()
	b, second := alone(t), redistest.Start(t)
	second.Follow(t, b.primary(t))
	redistest.Until(t, "the replica keeps up", func() bool {
		b.primary(t).Do(t, "SET", "probe", "x") // with nothing written before, WAIT is content at once
		return b.primary(t).Do(t, "WAIT", 1, 100) == int64(1)
	})
	b.config.MinReplicas = 1
	db := b.open(t)
	l, at := opened(t, db)
	hasty := b.hasty(t)
	at = add(t, l, at, "a")
	_, err := db.Cells().Swap(t.Context(), "ring", 0, nil)
	must(t, err)
	second.Stop(t)
	_, err = hasty.Log(logName).Append(t.Context(), at, entries("b")...)
	wantErr(t, err, store.ErrUnavailable)
	_, err = hasty.Cells().Swap(t.Context(), "ring", 1, nil)
	wantErr(t, err, store.ErrUnavailable)
	redistest.Until(t, "it was written all the same, and says so", func() bool {
		_, err := hasty.Log(logName).Append(t.Context(), at, entries("b")...)
		if !errors.Is(err, store.ErrConflict) {
			wantErr(t, err, store.ErrUnavailable)
			return false
		}
		return true
	})
	wantLog(t, l, "| a b ")
	second.Continue(t)
	redistest.Until(t, "replica is back", func() bool {
		_, err := l.Append(t.Context(), tail(t, l).Position, entries("c")...)
		return err == nil
	})
}

func TestRestoreIsWrittenInParts(t *testing.T) {
	t.Parallel()
	b := alone(t)
	db, other := b.open(t), b.open(t).Log(logName)
	l := db.Log(logName)
	restore := make([]store.Entry, 5001)
	for i := range restore {
		restore[i] = store.Entry{Kind: 1, Payload: []byte{byte(i >> 8), byte(i)}}
	}
	// The second part is not made: what stands is a lineage without a marker.
	b.proxy(t).FailNext(id(redis.Room+2000), false) // the id that the second part goes on from
	_, err := l.Open(t.Context(), tail(t, l), restore)
	wantErr(t, err, store.ErrUnavailable)
	now := tail(t, other)
	if now.Open || now.Seq != 2000 || now.Records != 2000 {
		t.Fatalf("the tail of a lineage that was begun is %+v", now)
	}
	_, err = other.Append(t.Context(), now.Position, entries("x")...)
	wantErr(t, err, store.ErrDiscontinuity)
	at, err := other.Open(t.Context(), now, restore) // another overtakes it
	must(t, err)
	if at.Seq != 5002 {
		t.Fatalf("the marker is at %v", at)
	}
	got, err := l.Read(t.Context(), store.Position{}, 10_000)
	must(t, err)
	if len(got) != 7002 || !got[7001].Marker || got[7001].Position != at {
		t.Fatalf("read %d records, the last %+v", len(got), got[len(got)-1])
	}
	add(t, l, at, "z")
	rest, err := b.open(t).Log(logName).Read(t.Context(), got[6999].Position, 0)
	must(t, err)
	if len(rest) != 3 || string(rest[2].Payload) != "z" {
		t.Fatalf("resumed with %d records", len(rest))
	}
}

func TestStartWhileAway(t *testing.T) {
	t.Parallel()
	b := alone(t)
	b.proxy(t).Refuse()
	if _, err := redis.Open(t.Context(), b.config); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("opened without a server: %v", err)
	}
	b.config.AllowAway = true
	db := b.open(t)
	_, err := db.Log(logName).Tail(t.Context())
	wantErr(t, err, store.ErrUnavailable)
	b.proxy(t).Heal()
	redistest.Until(t, "the log answers", func() bool {
		_, err := db.Log(logName).Tail(t.Context())
		return err == nil
	})
}

func TestPasswordIsReadAgain(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, at := opened(t, b.open(t))
	b.primary(t).Do(t, "ACL", "SETUSER", "writ", "resetpass", ">another")
	b.proxy(t).Cut()
	redistest.Until(t, "the old password is refused", func() bool {
		_, err := l.Tail(t.Context())
		wantErr(t, err, store.ErrUnavailable)
		return isWrongPassword(err)
	})
	must(t, os.WriteFile(b.config.PasswordFile, []byte("another"), 0o600))
	redistest.Until(t, "the new password is used", func() bool {
		_, err := l.Tail(t.Context())
		return err == nil
	})
	add(t, l, at, "a")
}

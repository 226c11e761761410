package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/store"
)

const (
	// blockFor is how long one XREAD waits. When it ends, all waiters look for
	// themselves: a stream that was removed wakes nobody.
	blockFor = time.Second
	// retryPause is the least pause after a failed XREAD.
	retryPause = 100 * time.Millisecond
)

// beacon watches one stream, over a connection of its own, for all who wait in this
// process. It starts with the first of them and ends with the DB.
type beacon struct {
	db  *DB
	key string

	mu      sync.Mutex
	started bool
	changed chan struct{} // guarded by mu: closed at each turn, then replaced
	turn    turn          // guarded by mu: what closed the channel before
}

// turn is what a beacon has found out.
type turn struct {
	news bool // there is something new
	err  error
}

func newBeacon(db *DB, key string) *beacon {
	return &beacon{db: db, key: key, changed: make(chan struct{})}
}

// arm returns a channel that is closed at the next turn after now. What is added from
// now on will be noticed.
func (b *beacon) arm(ctx context.Context) (<-chan struct{}, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.started {
		from, err := b.top(ctx)
		if err != nil {
			return nil, err
		}
		if b.started = b.db.run(func() { b.run(from) }); !b.started {
			return nil, fmt.Errorf("watching %s: %w", b.key, store.ErrUnavailable)
		}
	}
	return b.changed, nil
}

// wait blocks until a channel that arm gave is closed.
func (b *beacon) wait(ctx context.Context, changed <-chan struct{}) (turn, error) {
	select {
	case <-changed:
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.turn, b.turn.err
	case <-ctx.Done():
		return turn{}, ctx.Err()
	case <-b.db.ctx.Done():
		return turn{}, fmt.Errorf("watching %s: %w", b.key, store.ErrUnavailable)
	}
}

func (b *beacon) publish(t turn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn = t
	close(b.changed)
	b.changed = make(chan struct{})
}

// top is the greatest id in the stream now.
func (b *beacon) top(ctx context.Context) (id string, err error) {
	err = b.db.call(ctx, "watching "+b.key, func(ctx context.Context, c *goredis.Client) error {
		last, err := c.XRevRangeN(ctx, b.key, "+", "-", 1).Result()
		id = "0-0"
		if len(last) > 0 {
			id = last[0].ID
		}
		return err
	})
	return id, err
}

func (b *beacon) run(from string) {
	ctx := b.db.ctx
	for ctx.Err() == nil {
		news, err := b.block(ctx, from)
		if err == nil {
			// Not the id that came: many may have come with it, and a stream that
			// was removed begins again.
			from, err = b.top(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		b.publish(turn{news: news, err: err})
		if err != nil {
			pause(ctx, retryPause+rand.N(retryPause)) //nolint:gosec // jitter
		}
	}
}

// block waits for an entry after an id.
func (b *beacon) block(ctx context.Context, from string) (news bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, blockFor+b.db.cfg.Timeout)
	defer cancel()
	err = b.db.once(bounded, func(ctx context.Context, c *goredis.Client) error {
		got, err := c.XRead(ctx, &goredis.XReadArgs{Streams: []string{b.key, from}, Count: 1, Block: blockFor}).Result()
		news = len(got) > 0
		return notNil(err)
	})
	if err != nil {
		err = fmt.Errorf("watching %s: %w", b.key, classify(err))
	}
	return news, err
}

// Wait is store.Waiter's. It looks for itself once a second, so that a log that was
// removed or went back is noticed too.
func (l *Log) Wait(ctx context.Context, after store.Position) error {
	for {
		other, err := l.waitOnce(ctx, after)
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil || other:
			return err
		}
	}
}

func (l *Log) waitOnce(ctx context.Context, after store.Position) (other bool, err error) {
	changed, err := l.news.arm(ctx)
	if err != nil {
		return false, err
	}
	t, err := l.Tail(ctx)
	if err != nil || t.Position != after {
		return true, err
	}
	turn, err := l.news.wait(ctx, changed)
	return turn.news, err
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/store"
)

const (
	// maxWaitingCounts bounds what waits for the store: about 150 bytes each.
	maxWaitingCounts = 100_000
	flushTimeout     = 3 * time.Second
	flushAtOnce      = 4
)

// counts gathers what is to be added to the shared counts, and writes it in batches: never
// on the path of a request. What the store did not confirm is written again, so that after
// a fault of the store a count may be too high by what was on its way.
type counts struct {
	tally store.Tally // nil: nothing is shared, nothing waits
	gate  chan struct{}

	mu      sync.Mutex
	waiting map[string]*batch // guarded by mu: by bucket
	size    int               // guarded by mu: of all together
}

type batch struct {
	expires time.Time
	deltas  map[string]int64
}

func newCounts(tally store.Tally) *counts {
	return &counts{tally: tally, gate: make(chan struct{}, 1), waiting: map[string]*batch{}}
}

// add notes n more under a name; false if too much waits.
func (c *counts) add(bucket string, expires time.Time, name string, n int64) bool {
	if c.tally == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addLocked(bucket, expires, name, n)
}

func (c *counts) addLocked(bucket string, expires time.Time, name string, n int64) bool {
	b := c.waiting[bucket]
	if b == nil {
		if c.size >= maxWaitingCounts {
			return false
		}
		b = &batch{deltas: map[string]int64{}}
		c.waiting[bucket] = b
	}
	if _, ok := b.deltas[name]; !ok {
		if c.size >= maxWaitingCounts {
			return false
		}
		c.size++
	}
	b.deltas[name] += n
	if expires.After(b.expires) {
		b.expires = expires
	}
	return true
}

// flush writes all that waits. What fails goes on waiting. When it returns nil, everything
// that was added before it is in the store.
func (c *counts) flush(ctx context.Context) error {
	if c.tally == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	select { // another's flush may have taken what is meant: wait for its end
	case c.gate <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("writing shared counts: %w", ctx.Err())
	}
	defer func() { <-c.gate }()
	c.mu.Lock()
	taken := c.waiting
	c.waiting, c.size = map[string]*batch{}, 0
	c.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(flushAtOnce)
	errs := make(chan error, len(taken))
	for bucket, b := range taken {
		g.Go(func() error {
			if err := c.tally.Add(ctx, bucket, b.expires, b.deltas); err != nil {
				errs <- err
				c.putBack(bucket, b)
			}
			return nil
		})
	}
	_ = g.Wait() // errs has them
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	if len(all) > 0 {
		return fmt.Errorf("writing shared counts: %w", errors.Join(all...))
	}
	return nil
}

func (c *counts) putBack(bucket string, b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, n := range b.deltas {
		c.addLocked(bucket, b.expires, name, n)
	}
}

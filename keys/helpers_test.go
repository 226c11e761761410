package keys_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/file"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

const ringName = "tokens"

var epoch = time.Unix(1_790_000_000, 0).UTC()

// schedule has a rotation each hour, and room for skewed clocks.
func schedule() keys.Schedule {
	return keys.Schedule{
		RotateEvery: time.Hour, JWKSMaxAge: 5 * time.Minute, MaxTTL: 30 * time.Minute,
		Skew: 20 * time.Second, MaxLag: 30 * time.Second,
	}
}

// clock is a replica's clock: set by the test, off by what the test says.
type clock struct {
	mu  sync.Mutex
	now time.Time
	off time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.Add(c.off)
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

func (c *clock) add(d time.Duration) { c.set(c.now.Add(d)) }

// cell is a store.Cell in memory that can be broken, robbed and rolled back.
type cell struct {
	mu      sync.Mutex
	values  []store.Versioned // every value that it ever had
	current int               // index into values, -1 = lost
	broken  error             // every call fails
	lying   error             // the next Swap fails after it has written
	swaps   int
	changed chan struct{}
}

func newCell() *cell { return &cell{current: -1, changed: make(chan struct{})} }

func (c *cell) Get(context.Context, string) (store.Versioned, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.get()
}

func (c *cell) get() (store.Versioned, error) {
	if c.broken != nil {
		return store.Versioned{}, c.broken
	}
	if c.current < 0 {
		return store.Versioned{}, store.ErrNotFound
	}
	return c.values[c.current], nil
}

func (c *cell) Swap(_ context.Context, _ string, old uint64, value []byte) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, err := c.get()
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	if now.Version != old {
		return 0, store.ErrConflict
	}
	c.values = append(c.values, store.Versioned{Value: append([]byte(nil), value...), Version: old + 1})
	c.current = len(c.values) - 1
	c.swaps++
	close(c.changed)
	c.changed = make(chan struct{})
	if err := c.lying; err != nil {
		c.lying = nil
		return 0, err
	}
	return old + 1, nil
}

func (c *cell) Watch(ctx context.Context, _ string, after uint64) (store.Versioned, error) {
	for {
		c.mu.Lock()
		value, err := c.get()
		changed := c.changed
		c.mu.Unlock()
		if errors.Is(err, store.ErrNotFound) && after > 0 {
			err = store.ErrRollback
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return store.Versioned{}, err
		}
		if value.Version > after {
			return value, nil
		}
		select {
		case <-ctx.Done():
			return store.Versioned{}, ctx.Err()
		case <-changed:
		}
	}
}

func (c *cell) edit(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// memory is a keys.Backup.
type memory struct{ value []byte }

func (m *memory) Load() ([]byte, error)   { return m.value, nil }
func (m *memory) Save(value []byte) error { m.value = append([]byte(nil), value...); return nil }

// vault is a custody that can be away, or hand out the wrong thing.
type vault struct {
	keys.Custody
	away  error
	spoil func(*keys.Material)
	open  func(keys.KeyInfo) (token.Signer, error)
	made  atomic.Int64
}

func (v *vault) Generate(ctx context.Context, ring, alg string, born uint64) (keys.Material, error) {
	if v.away != nil {
		return keys.Material{}, v.away
	}
	v.made.Add(1)
	m, err := v.Custody.Generate(ctx, ring, alg, born)
	if v.spoil != nil {
		v.spoil(&m)
	}
	return m, err
}

func (v *vault) Open(ctx context.Context, ring string, k keys.KeyInfo) (token.Signer, error) {
	if v.away != nil {
		return nil, v.away
	}
	if v.open != nil {
		return v.open(k)
	}
	return v.Custody.Open(ctx, ring, k)
}

type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newCustody(t tester, secret []byte) *vault {
	t.Helper()
	custody, err := file.New(secret)
	if err != nil {
		t.Fatal(err)
	}
	return &vault{Custody: custody}
}

func newSecret(t tester) []byte {
	t.Helper()
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		t.Fatal(err)
	}
	return secret
}

// fleet is what replicas share.
type fleet struct {
	cell    *cell
	secret  []byte
	custody *vault
	sched   keys.Schedule
}

func newFleet(t tester) *fleet {
	t.Helper()
	secret := newSecret(t)
	return &fleet{cell: newCell(), secret: secret, custody: newCustody(t, secret), sched: schedule()}
}

// config is a replica's; change it before keys.New.
func (f *fleet) config(c *clock) keys.Config {
	return keys.Config{
		Ring: ringName, Cell: f.cell, MACKey: f.secret, Custody: f.custody, Schedule: f.sched,
		Now: c.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

func (f *fleet) replica(t tester, ctx context.Context, c *clock) *keys.Rotator {
	t.Helper()
	r, err := keys.New(ctx, f.config(c))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func kids(r *keys.Ring) map[keys.Stage][]string {
	out := map[keys.Stage][]string{}
	for _, k := range r.Keys() {
		out[k.Stage] = append(out[k.Stage], k.ID)
	}
	return out
}

func one(t testing.TB, r *keys.Ring, stage keys.Stage) string {
	t.Helper()
	ids := kids(r)[stage]
	if len(ids) != 1 {
		t.Fatalf("%d keys are %s: %v", len(ids), stage, kids(r))
	}
	return ids[0]
}

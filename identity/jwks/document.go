package jwks

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/writbroker/writ/token"
)

const (
	// maxWaiters bounds who may wait for one fetch: a slow issuer must not collect requests.
	maxWaiters = 256
	firstRetry = time.Second
	lastRetry  = time.Minute
)

var (
	errBudget = errors.New("budget for unknown keys is spent")
	errBusy   = errors.New("too many wait for this fetch")
	errClosed = errors.New("closed")
	// errFetched is no failure: see demand.
	errFetched = errors.New("fetched meanwhile")
)

// document is one key document that is kept fresh: a JWKS or a bundle.
type document struct {
	source, kind string
	file         bool
	load         loader
	parse        func([]byte) (contents, error)
	now          func() time.Time
	logger       *slog.Logger
	refreshEvery time.Duration
	maxStale     time.Duration
	// budget and total are spent by unknown kids; the loop spends none.
	budget, total *rate.Limiter
	// spawn and deadline come from the Cache: where fetches run, and for how long.
	spawn         func(func()) bool
	deadline      func() (context.Context, context.CancelFunc)
	onAuthorities func(string, []*x509.Certificate) error

	// current is the last known good; readers never block.
	current atomic.Pointer[snapshot]

	mu     sync.Mutex
	flight *flight // in the air now, or nil
	err    error   // of the last attempt

	// telling is held while authorities are told, so that those of a fetch that lands in the moment in which
	// the old ones are withdrawn are not withdrawn with them.
	telling sync.Mutex
	told    bool // under telling: authorities are in force
}

// snapshot is immutable.
type snapshot struct {
	contents
	digest     [sha256.Size]byte
	generation uint64
	fetched    time.Time // when its fetch began
}

type flight struct {
	done    chan struct{}
	err     error // once done
	waiters int   // under the document's lock
}

// lookup returns the keys that kid names, or all if it is empty; nil if there are none.
func (s *snapshot) lookup(kid string) []token.Key {
	if s == nil || s.keys == nil {
		return nil
	}
	if kid != "" {
		return s.keys.Lookup(kid)
	}
	var all []token.Key
	for _, key := range s.keys.Keys() {
		if key.Use != token.UseX509SVID {
			all = append(all, key)
		}
	}
	return all
}

// fresh returns the last known good, or nil if there is none or it is too old.
func (d *document) fresh() *snapshot {
	s := d.current.Load()
	if s == nil || d.now().Sub(s.fetched) > d.maxStale {
		return nil
	}
	return s
}

// demand is a fetch that a caller needs. One that is in flight already serves for free; a new one costs a share of
// the source's budget first and only then of everybody's, so one source cannot spend the others'. Known is what the
// caller has looked in: where a fetch has ended since, there is something newer to look in, and none is needed.
func (d *document) demand(ctx context.Context, known *snapshot) error {
	err := d.refresh(ctx, func() error {
		if s := d.fresh(); s != nil && s != known {
			return errFetched
		}
		if now := d.now(); !d.budget.AllowN(now, 1) || !d.total.AllowN(now, 1) {
			return errBudget
		}
		return nil
	})
	if errors.Is(err, errFetched) {
		return nil
	}
	return err
}

// refresh joins the fetch in flight, or starts one if pay agrees, and waits for it. The fetch
// goes on if the caller leaves.
func (d *document) refresh(ctx context.Context, pay func() error) error {
	f, err := d.join(pay)
	if err != nil {
		return err
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *document) join(pay func() error) (*flight, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.flight; f != nil {
		if f.waiters++; f.waiters > maxWaiters {
			return nil, errBusy
		}
		return f, nil
	}
	if err := pay(); err != nil {
		return nil, err
	}
	f := &flight{done: make(chan struct{}), waiters: 1}
	started := d.spawn(func() {
		ctx, cancel := d.deadline()
		defer cancel()
		f.err = d.fetch(ctx)
		d.mu.Lock()
		d.flight = nil
		d.mu.Unlock()
		close(f.done)
	})
	if !started {
		return nil, errClosed
	}
	d.flight = f
	return f, nil
}

// fetch gets and adopts the document. Only one runs at a time: New's, then those of flights.
func (d *document) fetch(ctx context.Context) error {
	began := d.now()
	data, err := d.load(ctx)
	var parsed contents
	if err == nil {
		parsed, err = d.parse(data)
	}
	if err == nil {
		err = d.adopt(parsed, sha256.Sum256(data), began)
	}
	d.mu.Lock()
	d.err = err
	d.mu.Unlock()
	return err
}

// adopt makes new contents the last known good. The generation changes only if the text did: an
// identity.Cache forgets what it knew with each change.
func (d *document) adopt(parsed contents, digest [sha256.Size]byte, began time.Time) error {
	next := &snapshot{contents: parsed, digest: digest, generation: 1, fetched: began}
	old := d.current.Load()
	same := old != nil && old.digest == digest
	if old != nil {
		next.generation = old.generation
		if !same {
			next.generation++
		}
	}
	if err := d.tell(next, same); err != nil {
		return err
	}
	if !same {
		d.logger.Info("keys of identity source changed", "source", d.source, "kind", d.kind,
			"entries", next.entries(), "generation", next.generation)
	}
	return nil
}

// tell puts a snapshot in force. Authorities are told again after they were withdrawn, too: the same
// ones may come back.
func (d *document) tell(next *snapshot, same bool) error {
	d.telling.Lock()
	defer d.telling.Unlock()
	if d.onAuthorities != nil && (!same || !d.told) {
		if err := d.onAuthorities(d.source, next.authorities); err != nil {
			return err
		}
		d.told = true
	}
	d.current.Store(next)
	return nil
}

func (s *snapshot) entries() int {
	if s.keys != nil {
		return s.keys.Len()
	}
	return len(s.authorities)
}

// keepFresh fetches the document again and again, sooner after a failure, until ctx is done.
func (d *document) keepFresh(ctx context.Context) {
	wait := time.Duration(0)
	if d.fresh() != nil {
		wait = jitter(d.refreshEvery) // New has read the file just now
	}
	retry := firstRetry
	for d.sleep(ctx, wait) {
		err := d.renew(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			retry, wait = firstRetry, jitter(d.refreshEvery)
			continue
		}
		d.logger.Warn("keys of identity source cannot be fetched", "source", d.source, "kind", d.kind,
			"error", err, "usable", d.fresh() != nil)
		wait = min(jitter(retry), d.refreshEvery)
		retry = min(2*retry, lastRetry)
	}
}

// renew is refresh for the loop.
func (d *document) renew(ctx context.Context) error {
	f, err := d.join(func() error { return nil })
	if err != nil {
		return err
	}
	if !until(ctx, d, f.done) {
		return ctx.Err()
	}
	return f.err
}

// sleep waits. It reports false when ctx is done.
func (d *document) sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	return until(ctx, d, timer.C)
}

// until waits for over, and meanwhile withdraws authorities in the moment in which they become too old. It
// reports false when ctx is done.
func until[T any](ctx context.Context, d *document, over <-chan T) bool {
	for {
		stale, stop := d.goesStale()
		select {
		case <-ctx.Done():
			stop()
			return false
		case <-over:
			stop()
			return true
		case <-stale:
			d.withdraw()
		}
	}
}

// goesStale tells when authorities that are in force become too old: never, where there are none.
func (d *document) goesStale() (moment <-chan time.Time, stop func()) {
	d.telling.Lock()
	defer d.telling.Unlock()
	if !d.told {
		return nil, func() {}
	}
	// A nanosecond more: as old as MaxStale is still good.
	timer := time.NewTimer(d.current.Load().fetched.Add(d.maxStale + 1).Sub(d.now()))
	return timer.C, func() { timer.Stop() }
}

func (d *document) withdraw() {
	d.telling.Lock()
	defer d.telling.Unlock()
	if !d.told || d.fresh() != nil {
		return
	}
	d.told = false
	if err := d.onAuthorities(d.source, nil); err != nil {
		d.logger.Error("authorities that are too old cannot be withdrawn", "source", d.source, "error", err)
		return
	}
	d.logger.Error("authorities of identity source are too old and no longer accepted", "source", d.source)
}

func (d *document) status() Status {
	out := Status{Source: d.source, Kind: d.kind, Usable: d.fresh() != nil}
	if s := d.current.Load(); s != nil {
		out.Entries, out.Generation, out.Fetched = s.entries(), s.generation, s.fetched
	}
	d.mu.Lock()
	out.Err = d.err
	d.mu.Unlock()
	return out
}

// jitter spreads a duration by a fifth in both directions, so that replicas do not ask together.
func jitter(d time.Duration) time.Duration {
	spread := int64(d / 5)
	if spread <= 0 {
		return d
	}
	return d + time.Duration(rand.Int64N(2*spread+1)-spread) //nolint:gosec // a delay is no secret
}

package keys_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

var errCustodyAway = errors.New("custody is away")

// awayCustody is a custody that is away at times.
type awayCustody struct {
	keys.Custody
	until atomic.Int64
}

func (c *awayCustody) away() bool { return time.Now().UnixNano() < c.until.Load() }

func (c *awayCustody) Generate(ctx context.Context, ring, alg string, born uint64) (keys.Material, error) {
	if c.away() {
		return keys.Material{}, errCustodyAway
	}
	return c.Custody.Generate(ctx, ring, alg, born)
}

func (c *awayCustody) Open(ctx context.Context, ring string, k keys.KeyInfo) (token.Signer, error) {
	if c.away() {
		return nil, errCustodyAway
	}
	return c.Custody.Open(ctx, ring, k)
}

// dayReplica is a place where one process after the other runs. Its backup stays.
type dayReplica struct {
	day    *day
	n      int
	backup *memory

	off     time.Duration // how wrong the clock of this process is
	link    *link         // of this process
	cancel  context.CancelFunc
	done    chan error
	rotator atomic.Pointer[keys.Rotator] // nil until it has started
	again   time.Time                    // when a dead one is started; zero while it runs
}

func (r *dayReplica) clock() time.Time { return time.Now().Add(r.off) }

// start begins a process: another one than before, so its clock is wrong in another way.
func (r *dayReplica) start() {
	d := r.day
	r.off = d.between(-d.sched.Skew, d.sched.Skew)
	l := &link{day: d, rng: rand.New(rand.NewPCG(d.rng.Uint64(), 1))}
	ctx, cancel := context.WithCancel(d.t.Context())
	r.link, r.cancel, r.done, r.again = l, cancel, make(chan error, 1), time.Time{}
	l.cancel = cancel
	off, done := r.off, r.done
	cfg := keys.Config{
		Ring: ringName, Cell: l, MACKey: d.fleet.secret, Custody: d.custody, Schedule: d.sched,
		Backup: &mortal{memory: r.backup, link: l}, Now: func() time.Time { return time.Now().Add(off) },
		Logger: slog.New(slog.DiscardHandler),
	}
	go func() {
		rotator, err := keys.New(ctx, cfg)
		if err == nil {
			r.rotator.Store(rotator)
			err = rotator.Run(ctx)
		}
		done <- err
	}()
}

// kill ends the process where it is: nothing that it does from now on has an effect.
func (r *dayReplica) kill() { r.link.die() }

func (r *dayReplica) wait() {
	if r.again.IsZero() {
		if err := <-r.done; !allowed(err) {
			r.day.t.Errorf("replica %d ended: %v", r.n, err)
		}
	}
}

func (r *dayReplica) reap() {
	if !r.again.IsZero() {
		if !time.Now().Before(r.again) {
			r.start()
		}
		return
	}
	select {
	case err := <-r.done:
		if !allowed(err) {
			r.day.judge.violation("replica %d did not start: %v", r.n, err)
		}
		r.link.die()
		r.rotator.Store(nil)
		r.again = time.Now().Add(r.day.between(time.Second, 5*time.Minute))
	default:
	}
}

// stop is SIGSTOP until a moment, cut a network that carries nothing.
func (r *dayReplica) stop(until time.Time) { r.link.stopped.Store(until.UnixNano()) }
func (r *dayReplica) cut(until time.Time)  { r.link.away.Store(until.UnixNano()) }

// runs reports whether the process could answer somebody now.
func (r *dayReplica) runs() bool {
	return r.rotator.Load() != nil && !r.link.dead.Load() && !r.link.isStopped()
}

// boots reports whether it has begun to start, and may know an old ring.
func (r *dayReplica) boots() bool { return r.again.IsZero() && r.rotator.Load() == nil }

func (r *dayReplica) reaches() bool { return r.runs() && !r.link.isAway() }

// ready is what a load balancer goes by: who has not confirmed the ring is sent no requests.
func (r *dayReplica) ready() bool {
	return r.runs() && r.rotator.Load().Fresh()
}

// mortal is a backup that a dead process cannot write to.
type mortal struct {
	*memory
	link *link
}

func (m *mortal) Save(value []byte) error {
	if m.link.dead.Load() {
		return context.Canceled
	}
	return m.memory.Save(value)
}

// link is one process's way to the store. Each call takes a while on the way there, and back,
// and the process can be stopped, killed or cut off anywhere.
type link struct {
	day    *day
	cancel context.CancelFunc

	dead, quick   atomic.Bool
	stopped, away atomic.Int64 // until when
	calls         atomic.Int64 // that are under way, but for Watch
	epoch         atomic.Int64 // of the store when it was read last

	mu  sync.Mutex
	rng *rand.Rand // guarded by mu
}

func (l *link) busy() bool      { return l.calls.Load() > 0 }
func (l *link) isStopped() bool { return time.Now().UnixNano() < l.stopped.Load() }
func (l *link) isAway() bool    { return time.Now().UnixNano() < l.away.Load() }

func (l *link) die() {
	l.dead.Store(true)
	l.cancel()
}

func (l *link) roll(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rng.IntN(n)
}

// travel is one way. The process that is stopped meanwhile goes on when it may.
func (l *link) travel() error {
	if !l.quick.Load() {
		time.Sleep(time.Duration(l.roll(int(20 * time.Millisecond))))
	}
	for l.isStopped() {
		time.Sleep(time.Until(time.Unix(0, l.stopped.Load())))
	}
	switch {
	case l.dead.Load():
		return context.Canceled
	case l.isAway():
		return store.ErrUnavailable
	}
	return nil
}

func (l *link) Get(ctx context.Context, name string) (store.Versioned, error) {
	l.calls.Add(1)
	defer l.calls.Add(-1)
	if err := l.travel(); err != nil {
		return store.Versioned{}, err
	}
	epoch := l.day.epoch.Load()
	v, err := l.day.fleet.cell.Get(ctx, name)
	if err := l.travel(); err != nil {
		return store.Versioned{}, err
	}
	l.epoch.Store(epoch)
	return v, err
}

// fault is what may happen to a write.
type fault int

const (
	none        fault = iota
	failsBefore       // nothing was written
	failsAfter        // it was written all the same
	conflicts         // somebody else was quicker, it is said
	diesBefore
	diesAfter
	sleepsBefore
	sleepsAfter
)

func (l *link) fault() fault {
	n := l.roll(100)
	switch {
	case n < 10:
		return failsBefore
	case n < 20:
		return failsAfter
	case n < 28:
		return conflicts
	case l.quick.Load() || l.day.calm.Load():
		return none
	case n < 31:
		return diesBefore
	case n < 34:
		return diesAfter
	case n < 36:
		return sleepsBefore
	case n < 38:
		return sleepsAfter
	}
	return none
}

func (l *link) Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error) {
	l.calls.Add(1)
	defer l.calls.Add(-1)
	f := l.fault()
	l.day.judge.saw(f)
	if err := l.suffer(f, diesBefore, sleepsBefore); err != nil {
		return 0, err
	}
	if err := l.travel(); err != nil {
		return 0, err
	}
	switch f {
	case failsBefore:
		return 0, store.ErrUnavailable
	case conflicts:
		return 0, store.ErrConflict
	default:
	}
	if l.epoch.Load() != l.day.epoch.Load() {
		return 0, store.ErrConflict // stores compare what was read, not its version alone
	}
	version, err := l.day.judge.write(func() (uint64, error) { return l.day.fleet.cell.Swap(ctx, name, old, value) }, value)
	if err != nil {
		return 0, err
	}
	if err := l.suffer(f, diesAfter, sleepsAfter); err != nil {
		return 0, err
	}
	if err := l.travel(); err != nil {
		return 0, err
	}
	if f == failsAfter {
		return 0, store.ErrUnavailable
	}
	return version, nil
}

func (l *link) suffer(f, dies, sleeps fault) error {
	switch f {
	case dies:
		l.die()
		return context.Canceled
	case sleeps:
		l.stopped.Store(time.Now().Add(5*time.Second + time.Duration(l.roll(int(80*time.Second)))).UnixNano())
	default:
	}
	return nil
}

func (l *link) Watch(ctx context.Context, name string, after uint64) (store.Versioned, error) {
	if err := l.travel(); err != nil {
		return store.Versioned{}, err
	}
	v, err := l.day.fleet.cell.Watch(ctx, name, after)
	if err := l.travel(); err != nil {
		return store.Versioned{}, err
	}
	return v, err
}

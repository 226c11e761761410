package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
)

// Config of a Fleet. Nothing of it is changed.
type Config struct {
	Replica string // names this replica: stable, and nobody else's
	Cell    store.Cell
	Acks    *revocation.Acks
	Now     func() time.Time
	Logger  *slog.Logger

	Every     time.Duration // between two messages at least; 0 = 25 ms
	KeepAlive time.Duration // between two messages at most; 0 = 5 s
	Expire    time.Duration // silence after which a replica is gone; 0 = four times KeepAlive
}

// Names of cells.
const (
	cellReplicas = "replicas"
	cellRoster   = "verifiers/"
	cellProgress = "progress/"
)

const (
	gather       = 2 * time.Millisecond // what comes together is told together
	retry        = 500 * time.Millisecond
	callTimeout  = 5 * time.Second
	renewEvery   = time.Hour
	forgetAfter  = 48 * time.Hour // a replica that did not renew its place in the list
	maxReplicas  = 256
	maxConflicts = 16
)

// Fleet tells the other replicas of this one's verifiers, and its Acks of theirs.
type Fleet struct {
	cfg Config

	mu       sync.Mutex
	watchers map[string]*watcher      // guarded by mu: a replica that is followed
	ending   map[string]chan struct{} // guarded by mu: one that is no more; closed when its watcher has ended

	// The teller's own.
	versions map[string]uint64
	roster   uint64 // that the others can read
}

// watcher follows one replica.
type watcher struct {
	stop context.CancelFunc
	done chan struct{} // closed when it has ended
}

// New checks the configuration.
func New(c Config) (*Fleet, error) {
	if c.Replica == "" || c.Cell == nil || c.Acks == nil || c.Now == nil || c.Logger == nil {
		return nil, errors.New("fleet: Replica, Cell, Acks, Now and Logger are required")
	}
	c.Every = cmp.Or(c.Every, 25*time.Millisecond)
	c.KeepAlive = cmp.Or(c.KeepAlive, 5*time.Second)
	c.Expire = cmp.Or(c.Expire, 4*c.KeepAlive)
	if c.Every < 0 || c.KeepAlive < 0 || c.Expire < 0 {
		return nil, errors.New("fleet: a duration is negative")
	}
	return &Fleet{cfg: c, watchers: map[string]*watcher{}, ending: map[string]chan struct{}{}, versions: map[string]uint64{}}, nil
}

// Run tells and follows until ctx ends, and returns nil then. A store that is away stops
// neither; it is tried again.
func (f *Fleet) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { f.tell(ctx); return nil })
	g.Go(func() error { f.followAll(ctx, g); return nil })
	err := g.Wait()
	f.goodbye(context.WithoutCancel(ctx))
	return err
}

// tell writes what is new, and signs of life.
func (f *Fleet) tell(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-f.cfg.Acks.News():
			if !sleep(ctx, gather) {
				return
			}
		}
		next := f.cfg.KeepAlive
		err := f.say(ctx)
		f.cfg.Acks.Alone(err != nil)
		if err != nil {
			next = retry/2 + rand.N(retry) //nolint:gosec // jitter
			if ctx.Err() == nil {
				f.cfg.Logger.DebugContext(ctx, "other replicas not told of verifiers", "error", err)
			}
		}
		if !sleep(ctx, f.cfg.Every) {
			return
		}
		timer.Reset(next)
	}
}

// say writes this replica's cells.
func (f *Fleet) say(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	who, how := f.cfg.Acks.Export(f.roster)
	if who != nil {
		data, err := encodeRoster(who)
		if err != nil {
			return fmt.Errorf("encoding verifiers: %w", err)
		}
		if err := f.put(ctx, cellRoster+f.cfg.Replica, data); err != nil {
			return err
		}
		f.roster = who.Version
	}
	how.Reached = how.Reached[:min(len(how.Reached), maxVerifiers)]
	return f.put(ctx, cellProgress+f.cfg.Replica, appendProgress(nil, &how))
}

// put writes a cell that is this replica's alone. Whatever stands there, a store that went
// back included, what this replica knows of itself is newer.
func (f *Fleet) put(ctx context.Context, name string, data []byte) error {
	for range maxConflicts {
		version, err := f.cfg.Cell.Swap(ctx, name, f.versions[name], data)
		if err == nil {
			f.versions[name] = version
			return nil
		}
		if !errors.Is(err, store.ErrConflict) && !store.IsIntegrity(err) {
			return fmt.Errorf("telling of verifiers: %w", err)
		}
		v, err := f.cfg.Cell.Get(ctx, name)
		f.alarm(ctx, err)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !store.IsIntegrity(err) {
			return fmt.Errorf("telling of verifiers: %w", err)
		}
		f.versions[name] = v.Version
	}
	return fmt.Errorf("telling of verifiers: %w: is another replica called %s too?", store.ErrConflict, f.cfg.Replica)
}

// goodbye tells the others that nobody is connected here any more.
func (f *Fleet) goodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, retry)
	defer cancel()
	empty := revocation.Roster{Version: f.roster + 1}
	if data, err := encodeRoster(&empty); err == nil && f.put(ctx, cellRoster+f.cfg.Replica, data) == nil {
		p := revocation.Progress{Roster: empty.Version}
		_ = f.put(ctx, cellProgress+f.cfg.Replica, appendProgress(nil, &p)) // it expires, too
	}
}

// followAll keeps a watcher for every replica in the list, and this one's place there.
func (f *Fleet) followAll(ctx context.Context, g *errgroup.Group) {
	var seen uint64
	for ctx.Err() == nil {
		list, version, err := f.list(ctx)
		if err == nil {
			f.watch(ctx, g, list)
			seen = version
			bounded, cancel := context.WithTimeout(ctx, renewEvery/4+rand.N(renewEvery/4)) //nolint:gosec // jitter
			_, err = f.cfg.Cell.Watch(bounded, cellReplicas, seen)
			cancel()
			if err == nil || quiet(err) {
				continue
			}
		}
		if ctx.Err() == nil {
			f.cfg.Logger.DebugContext(ctx, "list of replicas not read", "error", err)
		}
		sleep(ctx, retry/2+rand.N(retry)) //nolint:gosec // jitter
	}
}

// list reads the list of replicas; it enters this one, and takes out those that are gone.
func (f *Fleet) list(ctx context.Context) ([]string, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for range maxConflicts {
		v, err := f.cfg.Cell.Get(ctx, cellReplicas)
		f.alarm(ctx, err)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !store.IsIntegrity(err) {
			return nil, 0, err
		}
		replicas := map[string]int64{}
		if err == nil && json.Unmarshal(v.Value, &replicas) != nil {
			replicas = map[string]int64{}
		}
		now := f.cfg.Now()
		if at, ok := replicas[f.cfg.Replica]; ok && now.Sub(time.Unix(at, 0)).Abs() < renewEvery {
			return slices.Sorted(maps.Keys(replicas)), v.Version, nil
		}
		maps.DeleteFunc(replicas, func(_ string, at int64) bool { return now.Sub(time.Unix(at, 0)) > forgetAfter })
		replicas[f.cfg.Replica] = now.Unix()
		data, err := json.Marshal(replicas)
		if err != nil {
			return nil, 0, fmt.Errorf("encoding list of replicas: %w", err)
		}
		if _, err := f.cfg.Cell.Swap(ctx, cellReplicas, v.Version, data); err != nil && !errors.Is(err, store.ErrConflict) {
			return nil, 0, fmt.Errorf("entering list of replicas: %w", err)
		}
	}
	return nil, 0, fmt.Errorf("entering list of replicas: %w", store.ErrConflict)
}

// watch begins to follow those that are new in the list, and ends with those that left it. One
// that comes back is followed when the watcher that it had has ended: a call to the store may
// outlast its cancelling, and what came of it would be taken for the replica's latest.
func (f *Fleet) watch(ctx context.Context, g *errgroup.Group, list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.ending, func(_ string, done chan struct{}) bool { return closed(done) })
	for replica, w := range f.watchers {
		if !slices.Contains(list, replica) {
			w.stop()
			delete(f.watchers, replica)
			f.ending[replica] = w.done
		}
	}
	for _, replica := range list {
		if replica == f.cfg.Replica || f.watchers[replica] != nil || len(f.watchers) >= maxReplicas {
			continue
		}
		inner, stop := context.WithCancel(ctx)
		w := &watcher{stop: stop, done: make(chan struct{})}
		f.watchers[replica] = w
		before := f.ending[replica]
		g.Go(func() error {
			defer close(w.done)
			defer stop()
			if before != nil {
				<-before
			}
			f.follow(inner, replica)
			f.cfg.Acks.Drop(replica)
			return nil
		})
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// follow reads what one replica tells. One that is silent for Expire is gone, if the store
// answers.
func (f *Fleet) follow(ctx context.Context, replica string) {
	var seen uint64
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, f.cfg.Expire)
		v, err := f.cfg.Cell.Watch(bounded, cellProgress+replica, seen)
		silent := bounded.Err() != nil && quiet(err)
		cancel()
		switch {
		case err == nil:
			seen = v.Version
			err = f.heard(ctx, replica, v.Value)
		case silent:
			f.cfg.Acks.Drop(replica)
			continue
		case store.IsIntegrity(err):
			f.alarm(ctx, err)
			seen = 0
		}
		if err != nil && ctx.Err() == nil {
			f.cfg.Logger.DebugContext(ctx, "verifiers of another replica not read", "replica", replica, "error", err)
			sleep(ctx, retry/2+rand.N(retry)) //nolint:gosec // jitter
		}
	}
}

// heard takes a message of another replica, and its roster if that has changed.
func (f *Fleet) heard(ctx context.Context, replica string, data []byte) error {
	p, err := decodeProgress(data)
	if err != nil {
		return err
	}
	if f.cfg.Acks.RosterOf(replica) != p.Roster {
		bounded, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		v, err := f.cfg.Cell.Get(bounded, cellRoster+replica)
		if err != nil {
			return fmt.Errorf("reading verifiers of %s: %w", replica, err)
		}
		r, err := decodeRoster(v.Value)
		if err != nil {
			return err
		}
		f.cfg.Acks.SetRoster(replica, r)
	}
	f.cfg.Acks.Merge(replica, p) // false: a newer message, which follows the roster, is on its way
	return nil
}

// alarm says that what replicas tell each other of their verifiers is not what one of them wrote.
func (f *Fleet) alarm(ctx context.Context, err error) {
	if err != nil && store.IsIntegrity(err) {
		f.cfg.Logger.ErrorContext(ctx, "what replicas tell of their verifiers is not authentic, or went back", store.AlarmKey, "verifier_list", "error", err)
	}
}

// quiet reports whether the wait ended with nothing new, from a store that answers.
func quiet(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, store.ErrUnavailable)
}

// sleep waits; false if ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

package roll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/writbroker/writ/store"
)

// Cell is the part of store.Cell that a roll needs; see there for the contract.
type Cell interface {
	Get(ctx context.Context, name string) (store.Versioned, error)
	Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error)
}

// Kept is one value that outlives the process and the store: whom to wait for. Load gives
// nil where nothing was saved.
type Kept interface {
	Load() ([]byte, error)
	Save(value []byte) error
}

// Config of a Roll. Nothing of it is changed.
type Config struct {
	Replica string // names this replica: stable, and nobody else's
	Cell    Cell
	Kept    Kept // optional; without it a replica that starts on an empty store waits for nobody
	// Absence is how long a silent replica is waited for. Required.
	Absence time.Duration
	// Every is how often the cell is read and written at most; 0 = at each call.
	Every  time.Duration
	Now    func() time.Time
	Logger *slog.Logger
}

const (
	cellName    = "roll"
	maxReplicas = 256
	maxTurns    = 256 // that are remembered
	maxAttempts = 16
	lateness    = 6 // times Every, after which a replica is waited for
	hurry       = 8 // times as often is looked, while somebody is waited for
)

// Roll is one replica's view of the others. Its methods may be called concurrently.
type Roll struct {
	cfg Config

	mu      sync.Mutex
	others  map[string]*other // guarded by mu
	version uint64            // of the cell that was read last; guarded by mu, as all below
	marks   map[string]mark   // in it
	readAt  time.Time         // before it was read
	steady  time.Time         // since then reads have come without a long break
	wrote   time.Time
	turn    uint64 // of the last mark of this replica: another for each, of whatever process
	turns   []turn // the latest, oldest first
	saved   string
}

// other is what is known of another replica.
type other struct {
	met     time.Time // when it was first heard of
	vouched time.Time // up to when it vouches for lineage; zero is not
	latest  time.Time // up to when it ever vouched
	lineage uint64
	left    bool
	absent  bool // it was said that it is
}

// turn is a mark that this replica has tried to write, and a moment before it did.
type turn struct {
	number uint64
	at     time.Time
}

// New makes a roll, with everybody on it who was when this replica last ran.
func New(c Config) (*Roll, error) {
	if c.Replica == "" || c.Cell == nil || c.Now == nil || c.Logger == nil {
		return nil, errors.New("roll: Replica, Cell, Now and Logger are required")
	}
	if c.Absence <= 0 || c.Every < 0 {
		return nil, errors.New("roll: Absence is not positive, or Every is negative")
	}
	r := &Roll{cfg: c, others: map[string]*other{}, turn: rand.Uint64()} //nolint:gosec // a number that no other process has had
	if c.Kept == nil {
		return r, nil
	}
	data, err := c.Kept.Load()
	if err != nil {
		return nil, fmt.Errorf("reading the roll of replicas: %w", err)
	}
	names, err := decodeNames(data)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if name != c.Replica {
			r.others[name] = &other{met: c.Now()}
		}
	}
	r.saved = string(data)
	return r, nil
}

// Read takes what the others vouch for. It comes before the log is followed, so that what
// they had put into the log by then is found there. A cell that is not authentic, or went
// back, is an alarm, and counts as nothing new; other errors are the store's.
func (r *Roll) Read(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Now()
	if !r.readAt.IsZero() && now.Sub(r.readAt) < r.pace(now) {
		return nil
	}
	version, marks, err := r.get(ctx)
	if err != nil {
		return err
	}
	if r.readAt.IsZero() || now.Sub(r.readAt) > max(r.cfg.Absence/4, 4*r.cfg.Every) {
		r.steady = now // whoever was silent meanwhile may have had nobody to speak to
	}
	r.version, r.marks, r.readAt = version, marks, now
	for name, m := range marks {
		if name != r.cfg.Replica {
			r.hear(name, m, now)
		}
	}
	return nil
}

// get reads the cell. What is not authentic is alarmed of, and read as nothing.
func (r *Roll) get(ctx context.Context) (uint64, map[string]mark, error) {
	v, err := r.cfg.Cell.Get(ctx, cellName)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return v.Version, nil, nil
	case err != nil && store.IsIntegrity(err):
		r.cfg.Logger.ErrorContext(ctx, "roll of replicas is not authentic, or went back", "error", err)
		return v.Version, nil, nil
	case err != nil:
		return 0, nil, fmt.Errorf("reading the roll of replicas: %w", err)
	}
	marks, err := decodeMarks(v.Value)
	if err != nil {
		r.cfg.Logger.ErrorContext(ctx, "roll of replicas cannot be read", "error", err)
		return v.Version, nil, nil
	}
	return v.Version, marks, nil
}

// hear takes another's mark.
func (r *Roll) hear(name string, m mark, now time.Time) {
	o := r.others[name]
	if o == nil {
		if len(r.others) >= maxReplicas {
			return // it is heard of when others have left
		}
		o = &other{met: now}
		r.others[name] = o
	}
	o.left = m.Left
	if o.lineage != m.Lineage {
		o.lineage, o.vouched = m.Lineage, time.Time{}
	}
	at := r.before(m.Saw[r.cfg.Replica])
	if at.After(o.vouched) {
		o.vouched = at
	}
	if at.After(o.latest) {
		o.latest = at
	}
}

// before is a moment before a mark of this replica was written; zero where it is not
// remembered.
func (r *Roll) before(number uint64) time.Time {
	for _, t := range slices.Backward(r.turns) {
		if t.number == number {
			return t.at
		}
	}
	return time.Time{}
}

// Vouch says that all that is known here is in the log, whose last lineage is given, and was so
// after the last Read. It returns up to when all others have vouched for theirs; zero is that
// not all have. The time is good whatever the error, which is the store's.
func (r *Roll) Vouch(ctx context.Context, lineage uint64) (time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Now()
	since := r.since(ctx, lineage, now)
	if !r.wrote.IsZero() && now.Sub(r.wrote) < r.pace(now) {
		return since, nil
	}
	r.keep(ctx)
	return since, r.write(ctx, mark{Saw: r.saw(), Lineage: lineage})
}

// since is up to when everybody has vouched.
func (r *Roll) since(ctx context.Context, lineage uint64, now time.Time) time.Time {
	least := r.readAt
	for name, o := range r.others {
		if o.left {
			continue
		}
		if r.gone(o, now) {
			if !o.absent {
				o.absent = true
				r.cfg.Logger.WarnContext(ctx, "a replica is silent; going on without what it alone may know",
					"replica", name, "absence", r.cfg.Absence)
			}
			continue
		}
		if o.absent {
			o.absent = false
			r.cfg.Logger.InfoContext(ctx, "a replica is back", "replica", name)
		}
		vouched := o.vouched
		if o.lineage != lineage {
			vouched = time.Time{}
		}
		if vouched.Before(least) {
			least = vouched
		}
	}
	return least
}

// gone reports whether another has been silent for too long, while it could have been
// heard.
func (r *Roll) gone(o *other, now time.Time) bool {
	last := o.latest
	for _, t := range []time.Time{o.met, r.steady} {
		if t.After(last) {
			last = t
		}
	}
	return now.Sub(last) > r.cfg.Absence
}

// pace is how often the cell is looked at: more often while somebody is waited for.
func (r *Roll) pace(now time.Time) time.Duration {
	if len(r.awaited(now)) > 0 {
		return r.cfg.Every / hurry
	}
	return r.cfg.Every
}

// Awaited names those that hold up this replica's confirmations.
func (r *Roll) Awaited() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.awaited(r.cfg.Now())
}

func (r *Roll) awaited(now time.Time) []string {
	var names []string
	for name, o := range r.others {
		if !o.left && !r.gone(o, now) && (o.vouched.IsZero() || now.Sub(o.vouched) > lateness*r.cfg.Every) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Leave says that this replica stops, and that all that it knows is in the log; nobody
// waits for it any more. It must not be called otherwise.
func (r *Roll) Leave(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := r.marks[r.cfg.Replica]
	return r.write(ctx, mark{Saw: r.saw(), Lineage: own.Lineage, Left: true})
}

// saw is the last mark of each other replica that was read before the log was followed.
func (r *Roll) saw() map[string]uint64 {
	out := make(map[string]uint64, len(r.marks))
	for name, m := range r.marks {
		if name != r.cfg.Replica && !m.Left {
			out[name] = m.Turn
		}
	}
	return out
}

// write puts this replica's mark into the cell, and takes out those that are gone.
func (r *Roll) write(ctx context.Context, own mark) error {
	now := r.cfg.Now()
	r.turn++
	own.Turn = r.turn
	r.turns = append(r.turns, turn{own.Turn, now}) // whatever comes of it, nobody sees it earlier
	r.turns = r.turns[max(0, len(r.turns)-maxTurns):]
	version, marks := r.version, r.marks
	for range maxAttempts {
		next := maps.Clone(marks)
		if next == nil {
			next = map[string]mark{}
		}
		maps.DeleteFunc(next, func(name string, _ mark) bool { o := r.others[name]; return o != nil && r.gone(o, now) })
		next[r.cfg.Replica] = own
		data, err := encodeMarks(next)
		if err != nil {
			return err
		}
		_, err = r.cfg.Cell.Swap(ctx, cellName, version, data)
		switch {
		case err == nil:
			r.wrote = now
			return nil
		case !errors.Is(err, store.ErrConflict) && !store.IsIntegrity(err):
			return fmt.Errorf("writing the roll of replicas: %w", err)
		}
		// What was read now came after the log was followed: it is written back, not heard.
		if version, marks, err = r.get(ctx); err != nil {
			return err
		}
	}
	return nil // the others are quicker; the next call tries again
}

// keep saves whom to wait for, where that has changed.
func (r *Roll) keep(ctx context.Context) {
	if r.cfg.Kept == nil {
		return
	}
	var names []string
	for name, o := range r.others {
		if !o.left && !o.absent {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	data, err := encodeNames(names)
	if err == nil && string(data) != r.saved {
		if err = r.cfg.Kept.Save(data); err == nil {
			r.saved = string(data)
		}
	}
	if err != nil {
		r.cfg.Logger.ErrorContext(ctx, "roll of replicas cannot be kept; a restart on an empty store would not wait for them", "error", err)
	}
}

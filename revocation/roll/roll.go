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
	"sync/atomic"
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
	maxReplicas = 128 // each mark names all others: the cell grows with the square
	maxLeft     = 32  // of those that have left stay in the cell, for who was down meanwhile
	maxTurns    = 256 // that are remembered
	attempts    = 3
	lastWords   = 16 // attempts of one that leaves
	lateness    = 6  // times Every, after which a replica is waited for
	hurry       = 8  // times as often is looked, while somebody is late
	hurryFor    = 5 * time.Second
)

var errBusy = errors.New("roll of replicas: the others are quicker")

// Roll is one replica's view of the others. Its methods may be called concurrently.
type Roll struct {
	cfg    Config
	status atomic.Pointer[status] // as of the last Vouch

	mu      sync.Mutex
	others  map[string]*other // guarded by mu, as is all below
	version uint64            // of the cell that was read last
	marks   map[string]mark   // in it
	readAt  time.Time         // before it was read
	tried   time.Time         // when a write was last begun
	wrote   time.Time         // when one was begun that succeeded
	steady  time.Time         // since then the cell could be read and written without a long break
	turn    uint64            // of the last mark of this replica: another for each, of whatever process
	turns   []turn            // the latest, oldest first
	saved   string
	alarmed bool // it was said that the cell is not authentic
	twin    bool // it was said that another has this replica's name
	full    bool // it was said that there are too many
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
			r.others[name] = &other{heard: c.Now(), kept: true}
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
	if !r.readAt.IsZero() && now.Sub(r.readAt) < r.pace() {
		return nil
	}
	version, marks, err := r.get(ctx)
	if err != nil {
		return err
	}
	r.unbroken(r.readAt, now)
	r.version, r.marks, r.readAt = version, marks, now
	r.lookForTwin(ctx)
	for name, m := range marks {
		if name != r.cfg.Replica {
			r.hear(name, m, now)
		}
	}
	maps.DeleteFunc(r.others, func(name string, o *other) bool {
		_, there := marks[name]
		return !there && (o.hasLeft() || o.absent)
	})
	return nil
}

// unbroken notes an access to the cell, and when the one before it was. After a long break
// nobody is silent yet: the break may have been this replica's.
func (r *Roll) unbroken(before, now time.Time) {
	if now.Sub(before) > max(r.cfg.Absence/4, 4*r.cfg.Every) {
		r.steady = now
	}
}

// lookForTwin says so when the mark under this replica's name is not one of its own: one of
// the two would vouch for what only the other knows.
func (r *Roll) lookForTwin(ctx context.Context) {
	own, there := r.marks[r.cfg.Replica]
	foreign := there && !r.wrote.IsZero() && !slices.ContainsFunc(r.turns, func(t turn) bool { return t.number == own.Turn })
	if foreign && !r.twin {
		r.cfg.Logger.ErrorContext(ctx, "another process has this replica's name, or the store went back", store.AlarmKey, "replica_roll", "replica", r.cfg.Replica)
	}
	r.twin = foreign
}

// Vouch says that all that is known here is in the log, which was followed up to a position
// after the last Read. It returns up to when all others have vouched for theirs; zero is that
// not all have, or that this replica's mark is not in the cell yet: whoever is ready has been met.
// The time is good whatever the error, which is the store's.
func (r *Roll) Vouch(ctx context.Context, at store.Position) (since time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Now()
	since = r.since(ctx, at)
	r.tell(now)
	if r.tried.IsZero() || now.Sub(r.tried) >= r.pace() {
		r.keep(ctx)
		err = r.write(ctx, mark{Saw: r.saw(), At: at}, attempts)
		if errors.Is(err, errBusy) {
			err = nil // the next call tries again
		}
	}
	if r.wrote.IsZero() {
		since = time.Time{}
	}
	return since, err
}

// pace is how often the cell is looked at, about: replicas that were woken by the same
// change shall not meet at it again. It is more often while somebody is late.
func (r *Roll) pace() time.Duration {
	every := r.cfg.Every
	if s := r.status.Load(); s != nil && s.hurried {
		every /= hurry
	}
	if every <= 0 {
		return 0
	}
	return every*3/4 + rand.N(every/2+1) //nolint:gosec // jitter
}

// Leave says that this replica stops, and that all that it knows is in the log up to a
// position; nobody waits for it any more. It must not be called otherwise.
func (r *Roll) Leave(ctx context.Context, at store.Position) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.write(ctx, mark{Saw: r.saw(), At: at, Left: true}, lastWords)
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

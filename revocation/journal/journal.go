package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

// Durability of an accepted revocation.
type Durability string

// The durabilities.
const (
	DurableLog   Durability = "log"   // in the shared log
	DurableLocal Durability = "local" // in this replica's journal; it enters the log when that returns
)

// ErrUnavailable: the revocation could be made durable neither in the log nor in a
// journal file. It may take effect all the same; repeating it is safe.
var ErrUnavailable = errors.New("revocation cannot be made durable")

// Config of a Journal. Nothing of it is changed.
type Config struct {
	Dir          string // of the journal file; empty = none, then nothing is accepted while the log is away
	Log          store.Log
	Index        *revocation.Index // the journal is its only writer
	Now          func() time.Time
	Logger       *slog.Logger
	MaxStaleness time.Duration // 0 = 30 s
	Skew         time.Duration // clock skew between replicas; rules fall away this long after they expire. 0 = 1 min
	Poll         time.Duration // how often the tail is read where the log cannot wake us. 0 = 25 ms
	Confirm      time.Duration // how often the tail is confirmed at least. 0 = 1 s
	LogTimeout   time.Duration // of one call to the log, and of Append's wait for it. 0 = 2 s
	TokenLife    time.Duration // longest life of a token, skew included. 0 = 25 h
	Buffer       int           // events that a subscriber may lag, and that one may have missed and resume. 0 = 4096
	FS           FS            // nil = the operating system's
	Replica      string        // names this replica in heartbeats; may be empty
	Roll         Roll          // nil where no other replica shares the log
}

// Roll is what the other replicas have put into the log (package roll).
type Roll interface {
	// Read takes what they vouch for. It is called before the log is followed.
	Read(ctx context.Context) error
	// Vouch says that all that is known here was in the log, which was followed up to a position
	// after the last Read. It returns up to when all others have said so, zero if not all
	// have; the time is good whatever the error.
	Vouch(ctx context.Context, at store.Position) (time.Time, error)
	// Leave says that this replica stops with everything in the log.
	Leave(ctx context.Context, at store.Position) error
	// Hurried reports whether somebody is late, and worth to be looked for often.
	Hurried() bool
}

// Result says what became of an accepted revocation.
type Result struct {
	Durability Durability
	Position   token.Rev // of the last of its entries in the log; zero while local
}

// Journal keeps one replica's revocations durable and in step with the log. Its
// methods may be called concurrently. See Open.
type Journal struct {
	cfg Config
	log store.Log

	gate chan struct{} // holds one value while the log is being followed
	scan *scan         // guarded by gate: set while the log is read again from its start
	lost token.Rev     // guarded by gate: the position that was no longer in the log
	held *time.Time    // guarded by gate: confirmed, as it was before the log was read again

	confirmed atomic.Pointer[time.Time] // when the index was last confirmed; nil is never
	away      atomic.Bool               // the last attempt to follow the log failed
	kick      chan struct{}

	queueMu sync.Mutex
	queue   []*intake // guarded by queueMu

	mu      sync.Mutex // guards what follows, and makes apply and publish one step
	cur     cursor
	pending pending
	file    *frames // nil where there is none, or it failed
	leaving bool    // what is accepted from now on must enter the log first
	tail    [][]byte
	behind  []byte // read from the log, and not in the file yet; empty but in readTo
	ahead   bool   // while recovering: the file holds more than the log did up to the cursor
	copying bool   // a replacement file is being written; tail collects what comes meanwhile
	live    int64  // bytes of the file after the last replacement
	glass   []BreakGlass
	feed    feed
	lock    io.Closer // nil unless the file system is the operating system's
}

// intake is one caller's events on their way into the file.
type intake struct {
	events []revocation.Event
	done   chan error
}

const (
	defaultStaleness  = 30 * time.Second
	defaultSkew       = time.Minute
	defaultPoll       = 25 * time.Millisecond
	defaultConfirm    = time.Second
	defaultLogTimeout = 2 * time.Second
	defaultTokenLife  = 25 * time.Hour
	defaultBuffer     = 4096
)

func (c Config) withDefaults() (Config, error) {
	if c.Log == nil || c.Index == nil || c.Now == nil || c.Logger == nil {
		return c, errors.New("journal: Log, Index, Now and Logger are required")
	}
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{
		{&c.MaxStaleness, defaultStaleness}, {&c.Skew, defaultSkew}, {&c.Poll, defaultPoll},
		{&c.Confirm, defaultConfirm}, {&c.LogTimeout, defaultLogTimeout}, {&c.TokenLife, defaultTokenLife},
	} {
		if *d.value == 0 {
			*d.value = d.or
		}
		if *d.value < 0 {
			return c, errors.New("journal: a duration is negative")
		}
	}
	if c.Buffer <= 0 {
		c.Buffer = defaultBuffer
	}
	if c.FS == nil {
		c.FS = osFS{}
	}
	return c, nil
}

// Open recovers the journal file into the index. It does not touch the log: Run
// does, and until it has, Ready is false. A damaged file is ErrCorrupt, and an
// index that is not empty is an error.
func Open(_ context.Context, c Config) (*Journal, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	if c.Index.Len() > 0 || !c.Index.Position().IsZero() {
		return nil, errors.New("journal: the index has another writer")
	}
	j := &Journal{cfg: c, log: c.Log, gate: make(chan struct{}, 1), kick: make(chan struct{}, 1)}
	j.pending.init()
	j.feed.init(c.Buffer)
	if c.Dir == "" {
		return j, nil
	}
	if err := j.recover(); err != nil {
		_ = j.unlock()
		return nil, err
	}
	return j, nil
}

// Close closes the file and every subscription. Call it when Run has returned.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.feed.closeAll()
	if j.file == nil {
		return nil
	}
	err := errors.Join(j.file.file.Close(), j.unlock())
	j.file = nil
	if err != nil {
		return fmt.Errorf("closing journal: %w", err)
	}
	return nil
}

// Append makes rules and lifts durable and effective: first in the journal file and
// on this replica, then in the log if that answers in time. All of them or none.
// Without a journal file they must enter the log first. The error is
// ErrUnavailable, or says which rule is not valid.
func (j *Journal) Append(ctx context.Context, rules []revocation.Rule, lifts []revocation.Lift) (Result, error) {
	events, err := j.events(rules, lifts)
	if err != nil {
		return Result{}, err
	}
	if len(events) == 0 {
		return Result{}, fmt.Errorf("%w: nothing to append", revocation.ErrRule)
	}
	if err := j.record(events); err != nil {
		if errors.Is(err, revocation.ErrRecord) {
			return Result{}, err
		}
		return j.appendToLogOnly(ctx, events, err)
	}
	if j.away.Load() {
		j.wakeRun()
		return Result{Durability: DurableLocal}, nil
	}
	bounded, cancel := context.WithTimeout(ctx, j.cfg.LogTimeout)
	defer cancel()
	if err := j.sync(bounded, false); err != nil {
		j.wakeRun()
	}
	return j.result(events), nil
}

// events checks what is to be appended and brings it into the form that is kept.
func (j *Journal) events(rules []revocation.Rule, lifts []revocation.Lift) ([]revocation.Event, error) {
	events := make([]revocation.Event, 0, len(rules)+len(lifts))
	for i := range rules {
		r := rules[i]
		r.Entries = nil
		if err := r.Validate(); err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.ID, err)
		}
		if have, ok := j.cfg.Index.Rule(r.ID); ok && (have.Selector != r.Selector || have.Value != r.Value || have.Quarantine != r.Quarantine) {
			return nil, fmt.Errorf("%w: id %s is another rule's", revocation.ErrID, r.ID)
		}
		events = append(events, revocation.Event{Type: revocation.EventRule, Rule: &r})
	}
	for i := range lifts {
		l := lifts[i]
		l.Entries = nil
		if r, ok := j.cfg.Index.Rule(l.RuleID); ok {
			l.ExpiresAt = r.ExpiresAt
		}
		if err := l.Validate(); err != nil {
			return nil, fmt.Errorf("lift of %s: %w", l.RuleID, err)
		}
		events = append(events, revocation.Event{Type: revocation.EventLift, Lift: &l})
	}
	return events, nil
}

// record makes events durable in the file, then effective here. Callers that come
// together share one sync.
func (j *Journal) record(events []revocation.Event) error {
	own := &intake{events: events, done: make(chan error, 1)}
	j.queueMu.Lock()
	j.queue = append(j.queue, own)
	j.queueMu.Unlock()

	j.mu.Lock()
	j.queueMu.Lock()
	batch := j.queue
	j.queue = nil
	j.queueMu.Unlock()
	if len(batch) > 0 {
		var all []revocation.Event
		for _, in := range batch {
			all = append(all, in.events...)
		}
		err := j.recordLocal(all)
		for _, in := range batch {
			in.done <- err
		}
	}
	j.mu.Unlock()
	return <-own.done
}

// recordLocal is record with j.mu held.
func (j *Journal) recordLocal(events []revocation.Event) error {
	if j.file == nil {
		return errNoFile
	}
	if j.leaving {
		return errLeaving
	}
	var payload []byte
	for i := range events {
		var err error
		if payload, err = appendEvent(payload, &events[i], true); err != nil {
			return err
		}
	}
	if err := j.write(payload); err != nil {
		return err
	}
	if err := j.cfg.Index.Apply(events...); err != nil {
		return fmt.Errorf("applying a local revocation: %w", err)
	}
	for i := range events {
		j.pending.add(keyOf(&events[i]))
		j.feed.publish(&events[i])
	}
	return nil
}

// appendToLogOnly is the way without a journal file.
func (j *Journal) appendToLogOnly(ctx context.Context, events []revocation.Event, cause error) (Result, error) {
	held := make([]*hold, len(events))
	j.mu.Lock()
	for i := range events {
		held[i] = j.pending.hold(&events[i])
	}
	j.mu.Unlock()
	bounded, cancel := context.WithTimeout(ctx, j.cfg.LogTimeout)
	defer cancel()
	err := j.sync(bounded, false)
	j.mu.Lock()
	defer j.mu.Unlock()
	missing := false
	for _, h := range held {
		missing = j.pending.release(h) || missing
	}
	if !missing {
		return j.result(events), nil
	}
	return Result{}, fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(cause, err))
}

// result says where the events are now.
func (j *Journal) result(events []revocation.Event) Result {
	var at token.Rev
	for i := range events {
		var entries []token.Rev
		if e := &events[i]; e.Rule != nil {
			entries = j.entriesOfRule(e.Rule.ID)
		} else {
			lift, _ := j.cfg.Index.Lifted(e.Lift.RuleID)
			entries = lift.Entries
		}
		if len(entries) == 0 {
			return Result{Durability: DurableLocal}
		}
		for _, e := range entries {
			if at.IsZero() || !j.cfg.Index.Covers(at, e) {
				at = e
			}
		}
	}
	return Result{Durability: DurableLog, Position: at}
}

// entriesOfRule gives the places of a rule; of one that was lifted meanwhile, those
// of its lift.
func (j *Journal) entriesOfRule(id string) []token.Rev {
	if r, ok := j.cfg.Index.Rule(id); ok {
		return r.Entries
	}
	l, _ := j.cfg.Index.Lifted(id)
	return l.Entries
}

// Ready reports whether the index was confirmed against the log within MaxStaleness.
func (j *Journal) Ready() bool { return j.Staleness(j.cfg.Now()) <= j.cfg.MaxStaleness }

// Staleness is how long ago the index was last confirmed against the log's tail:
// everything in the log was applied, everything known here was in the log, and so was what
// any other replica knew that is not silent for too long. It is
// the greatest duration before the first time. Of the monotonic and the wall clock the one counts
// that says more: neither a clock that is set back nor a machine that slept makes old news fresh.
func (j *Journal) Staleness(now time.Time) time.Duration {
	at := j.confirmed.Load()
	if at == nil {
		return 1<<63 - 1
	}
	return staleness(*at, now)
}

func staleness(at, now time.Time) time.Duration {
	return max(now.Sub(at), now.Round(0).Sub(at.Round(0)), 0)
}

// Pending is the number of rules and lifts that are not in the log yet.
func (j *Journal) Pending() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.pending.len()
}

func (j *Journal) wakeRun() {
	select {
	case j.kick <- struct{}{}:
	default:
	}
}

// Package journal is the durable side of revocation: rules go through the shared
// log, and through this replica's own journal file.
package journal

import (
	"context"
	"errors"
	"log/slog"
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

// ErrUnavailable: the rule is neither in the log nor in a journal. Nothing was done.
var ErrUnavailable = errors.New("revocation cannot be made durable")

// Config of a Journal.
type Config struct {
	Dir          string // of the journal file; empty = none, then nothing is accepted while the log is away
	Log          store.Log
	Index        *revocation.Index
	Now          func() time.Time
	Logger       *slog.Logger
	MaxStaleness time.Duration // 0 = 30 s
	Skew         time.Duration // clock skew between replicas; rules fall away this long after they expire. 0 = 1 min
	Poll         time.Duration // how often the tail is read where the log cannot wake us. 0 = 25 ms
	Confirm      time.Duration // how often the tail is confirmed at least. 0 = 1 s
	LogTimeout   time.Duration // of one call to the log. 0 = 2 s
	TokenLife    time.Duration // longest life of a token, skew included. 0 = 25 h
	Buffer       int           // events that a subscriber may lag. 0 = 4096
	FS           FS            // nil = the operating system's
}

// Result says what became of an accepted revocation.
type Result struct {
	Durability Durability
	Position   token.Rev // of the last entry; zero while local
}

// Journal keeps one replica's revocations durable and in step with the log.
type Journal struct{}

// Open recovers the journal file into the index.
func Open(ctx context.Context, c Config) (*Journal, error) {
	return nil, errors.New("journal: being written")
}

// Run follows the log until ctx ends.
func (j *Journal) Run(ctx context.Context) error { return nil }

// Close closes the file, after Run has returned.
func (j *Journal) Close() error { return nil }

// Append makes rules and lifts durable and effective.
func (j *Journal) Append(ctx context.Context, rules []revocation.Rule, lifts []revocation.Lift) (Result, error) {
	return Result{}, ErrUnavailable
}

// Ready reports whether the index was confirmed against the log within MaxStaleness.
func (j *Journal) Ready() bool { return false }

// Staleness is how long ago the index was last confirmed against the log's tail.
func (j *Journal) Staleness(now time.Time) time.Duration { return 1<<63 - 1 }

// Pending is the number of rules and lifts that are not in the log yet.
func (j *Journal) Pending() int { return 0 }

// Heartbeat says how fresh this replica is.
func (j *Journal) Heartbeat() revocation.Heartbeat { return revocation.Heartbeat{} }

// Subscribe starts a stream of events for one reader of the feed.
func (j *Journal) Subscribe(after token.Rev) *Subscription { return &Subscription{} }

// Publish sends an event that is not a rule's (keys) to every subscriber.
func (j *Journal) Publish(e revocation.Event) error { return nil }

// Subscription is a reader of the feed.
type Subscription struct {
	// Snapshot says that the reader must first be given the whole index
	// (Index.Snapshots): its position is not known here.
	Snapshot bool
	// Backlog is what it missed, to be sent before what C brings.
	Backlog []Frame
	// C brings events; it is closed when the subscriber was too slow or Close
	// was called.
	C <-chan Frame
}

// Frame is an event and its encoding.
type Frame struct {
	Event revocation.Event
	SSE   []byte
}

// Close ends the subscription.
func (s *Subscription) Close() {}

// BreakGlass is a record of an action through the break-glass socket.
type BreakGlass struct {
	At     time.Time `json:"at"`
	Peer   string    `json:"peer"` // uid and, where known, pid
	Action string    `json:"action"`
	Detail string    `json:"detail"`
	Error  string    `json:"error,omitempty"`
}

// RecordBreakGlass makes a record durable in the journal file.
func (j *Journal) RecordBreakGlass(b BreakGlass) error { return ErrUnavailable }

// BreakGlassLog lists what the journal file holds, oldest first.
func (j *Journal) BreakGlassLog() []BreakGlass { return nil }

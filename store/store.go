// Package store says what replicas share, as three small primitives: Log (an
// ordered list of records), Cell (a versioned value) and Tally (counts that
// expire).
//
// It owns the vocabulary, the rules that every adapter keeps, and the
// authentication of what is stored: a store is not trusted. Whoever can write to
// it may destroy or withhold data, but cannot make a reader accept a record that
// no holder of the key wrote, or accept records in another place or order.
//
// It never interprets payloads and never holds secrets in the clear on a
// caller's behalf: a payload is authenticated, not encrypted.
//
// The adapters are store/bolt (embedded) and store/redis; storetest is the
// conformance suite that each of them passes. Callers are revocation/journal
// (Log), keys (Cell) and the broker (Tally).
package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What callers branch on. Adapters wrap these with what they were doing.
var (
	// ErrUnavailable: the store cannot be reached or cannot write now. A write
	// that failed with it may still have been made; read before repeating it.
	ErrUnavailable = errors.New("store unavailable")
	// ErrConflict: a compare-and-swap found something else than was expected.
	ErrConflict = errors.New("store conflict")
	// ErrNotFound: there is no cell of that name.
	ErrNotFound = errors.New("not found in store")
	// ErrUnknownPosition: the log does not hold the position that was asked
	// for. To a reader that has been there this means the log went back.
	ErrUnknownPosition = errors.New("position is not in the log")
	// ErrDiscontinuity: continuity of the log is in doubt. Nothing may be
	// appended until Open has begun a new lineage.
	ErrDiscontinuity = errors.New("log is not continuous")
	// ErrRollback: the store now holds less than this process has already seen
	// in it. It is an ErrDiscontinuity too.
	ErrRollback = fmt.Errorf("store went back: %w", ErrDiscontinuity)
	// ErrForged: a stored value was not written by a holder of the key, or was
	// altered, or belongs to another name or place.
	ErrForged = errors.New("stored value is not authentic")
	// ErrGap: an authentic record follows, but records before it are missing
	// and no trim note accounts for them.
	ErrGap = errors.New("records are missing from the log")
	// ErrOrder: an authentic record stands where it does not belong; it was
	// moved or replayed.
	ErrOrder = errors.New("record is out of order in the log")
	// ErrTooLarge: an entry or value is over its limit.
	ErrTooLarge = errors.New("value too large for the store")
)

const (
	// MaxPayload bounds the payload of one entry, in bytes.
	MaxPayload = 64 << 10
	// MaxValue bounds the value of one cell, in bytes.
	MaxValue = 4 << 20
	// ReadLimit is the number of records that Read returns at most when its
	// limit is 0 or below.
	ReadLimit = 1024
)

// Lineage names one unbroken run of a log: 64 random bits, never 0. All its
// sequence numbers are assigned by one serving instance.
type Lineage uint64

// Position is a place in a log. The zero value is the place before the first
// record.
type Position struct {
	Lineage Lineage
	Seq     uint64
}

// IsZero reports whether p is the place before the first record.
func (p Position) IsZero() bool { return p == Position{} }

// String is 16 hex digits, a dot, and the decimal sequence number.
func (p Position) String() string { return fmt.Sprintf("%016x.%d", uint64(p.Lineage), p.Seq) }

// Entry is what a caller puts into a log.
type Entry struct {
	Kind    byte      // the caller's own; 0 is reserved for markers
	Payload []byte    // at most MaxPayload bytes
	Expires time.Time // from then on it may be trimmed; zero = never. Kept to the second, rounded up
}

// Record is an entry in its place. A lineage begins with the entries that were
// put back when it was opened, then comes its marker; a lineage without a marker
// was never completed, and no position of it may be stamped on anything.
type Record struct {
	Position
	Marker bool
	Entry
}

// Tail is where a log ends now, and who serves it.
type Tail struct {
	Position
	// Instance names the process and data set that answers. It differs after
	// every event that could have lost or replaced acknowledged records: a
	// restart, a failover, a resynchronisation. (Redis: run_id and replication
	// id together; a demoted master keeps its run_id when it takes over another's
	// data.)
	Instance string
	// Records is how many records the log holds.
	Records int
	// Open says that the tail's lineage is complete (it has its marker) and was
	// opened by this very instance: only then does Append accept.
	Open bool
}

// ConflictError is the ErrConflict of a log: the tail was not the expected one.
type ConflictError struct {
	Want Position
	Tail Tail
}

// Error says both positions.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("log tail is %s, not %s", e.Tail.Position, e.Want)
}

// Is makes errors.Is(err, ErrConflict) hold.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Log is one unbroken, authenticated order of records that all replicas share.
// Its methods may be called concurrently.
//
// What every method guarantees: a record that is returned was written by a
// holder of the key, for this log and this position, and directly after the
// record before it; between two returned records nothing is missing but what a
// holder of the key trimmed after it had expired. Otherwise the call fails with
// ErrForged, ErrGap, ErrOrder or ErrRollback and returns the records before the
// fault.
type Log interface {
	// Append adds the entries directly after at: all or none, and durable when
	// it returns. It fails with a *ConflictError if the tail is not exactly at,
	// and with ErrDiscontinuity if the instance that serves the log is not the
	// one that opened at's lineage or that lineage has no marker. It returns the
	// position of the last entry. An adapter may bound how many it takes at once (Redis:
	// 2000). After ErrUnavailable the entries may be in the
	// log all the same: Read from at before trying again.
	Append(ctx context.Context, at Position, entries ...Entry) (Position, error)

	// Read returns up to limit records after a position, in order; the zero
	// Position is the start. Payloads belong to the caller. It fails with
	// ErrUnknownPosition if the log neither holds that position nor shows that
	// it was trimmed. Positions may jump where expired records were trimmed.
	Read(ctx context.Context, after Position, limit int) ([]Record, error)

	// Tail says where the log ends and who serves it. An empty log has the zero
	// Position.
	Tail(ctx context.Context) (Tail, error)

	// Open begins a new lineage: the restored entries become its records 1…k and
	// its marker is k+1, the returned position. It compares seen's position and
	// instance with the tail and fails with a *ConflictError if they differ, so of
	// two replicas that open at once one wins and the other reads again. A large
	// restore may be written in parts; then others see a lineage without a
	// marker, and may overtake it.
	Open(ctx context.Context, seen Tail, restore []Entry) (Position, error)
}

// Waiter is the part of a log that lets a reader learn of appends at once.
type Waiter interface {
	// Wait returns nil when the tail may have become another than after, at
	// once if it already is; ctx.Err() when ctx ends; another error when the
	// store cannot be watched. It may wake for nothing. (Redis: XREAD BLOCK.)
	Wait(ctx context.Context, after Position) error
}

// Trimmer is the part of a log that keeps it bounded.
type Trimmer interface {
	// Trim removes records that expired at or before now, leaving authenticated
	// notes in their place, and markers that no live token can need: those
	// whose lineage holds no other record, and whose successor was opened more
	// than life (the longest life of a token, skew included) before now. The
	// last record always stays. It returns how many records went. Callers pass
	// a time that lies behind every replica's clock.
	Trim(ctx context.Context, now time.Time, life time.Duration) (int, error)
}

// LiveLog is a whole log: every adapter's log is one.
type LiveLog interface {
	Log
	Waiter
	Trimmer
}

// Versioned is the value of a cell; versions count up from 1 without holes.
type Versioned struct {
	Value   []byte
	Version uint64
}

// Cell holds small named values that change by compare-and-swap. Its methods may
// be called concurrently. A value that does not verify is ErrForged; one older
// than this process has already seen is ErrRollback: from a store that
// is shared, the version comes with either that a Swap must name to write over it, so that
// whoever knows better can put it right.
type Cell interface {
	// Get returns the value, or ErrNotFound. The value belongs to the caller.
	Get(ctx context.Context, name string) (Versioned, error)
	// Swap writes value if the cell is at version old (0: does not exist), and
	// returns the new version, old+1; ErrConflict otherwise. Durable when it
	// returns. After ErrUnavailable the value may have been written.
	Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error)
	// Watch blocks until the cell's version is greater than after.
	Watch(ctx context.Context, name string, after uint64) (Versioned, error)
}

// Tally keeps counts in buckets that fall away as a whole. Counts serve previews
// and limits, never a decision about access: each count is authenticated, but
// a store can withhold one. Its methods may be called concurrently.
type Tally interface {
	// Add adds the deltas to a bucket's counts. The bucket lives until the
	// latest of the expiries it was given.
	Add(ctx context.Context, bucket string, expires time.Time, deltas map[string]int64) error
	// Sum adds up the counts of the buckets that have not expired; unknown ones
	// count nothing.
	Sum(ctx context.Context, buckets ...string) (map[string]int64, error)
}

// Package audit is the durable record of what was decided, issued, refused and
// revoked.
//
// It owns the files of one replica's log: JSON lines in segments, each line
// bound to the one before it by SHA-256, with checkpoints that the records key
// signs and that are anchored outside the files. A record is on disk when Append
// returns; if it cannot be, no credential may leave. Concurrent appends share one
// write and one fdatasync.
//
// It never records a token or a key, and never blocks a caller beyond Config.MaxWait.
// The broker appends; cmd/writ and the admin API query and verify.
package audit

import (
	"context"
	"crypto"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"time"
)

// What callers branch on.
var (
	// ErrUnavailable: the record is not known to be durable. Nothing that it
	// speaks of may be released.
	ErrUnavailable = errors.New("audit log unavailable")
	// ErrTooLarge: the event does not fit MaxRecord.
	ErrTooLarge = errors.New("audit event too large")
	// ErrInvalid: the event has no kind, one of the log's own, or a value that
	// JSON cannot say.
	ErrInvalid = errors.New("audit event invalid")
	// ErrDamaged: the files hold more damage than a crash can explain. The log
	// does not open, and nothing is changed.
	ErrDamaged = errors.New("audit log damaged")
	// ErrNotFound: no record of that decision.
	ErrNotFound = errors.New("no such audit record")
)

// MaxRecord bounds one line, in bytes.
const MaxRecord = 256 << 10

// Config says where the log lives and how it is bounded. Nothing of it is changed.
type Config struct {
	Dir    string           // the directory; created 0700; locked against a second process
	FS     FS               // instead of Dir; for tests
	Signer crypto.Signer    // required: the Ed25519 records key, signs checkpoints
	Now    func() time.Time // required
	Logger *slog.Logger     // nil discards
	// Anchor puts a checkpoint where whoever can write to Dir cannot: a store,
	// a log line, a webhook. It gets checkpoints in order, each after it is
	// durable, may miss some, and is bounded by MaxWait. May be nil.
	Anchor func(context.Context, Checkpoint) error

	SegmentBytes    int64         // a segment is closed when it is larger; 0 = 64 MiB
	MaxWait         time.Duration // longest time an Append waits; 0 = 5 s
	QueueBytes      int           // encoded events that may wait; more are refused at once; 0 = 8 MiB
	CheckpointEvery time.Duration // 0 = 1 s
}

// FS is the directory of a log. The zero offset of every write is the file's end.
type FS interface {
	fs.FS
	// Append opens a file for appending and creates it, 0600, if it is missing.
	Append(name string) (File, error)
	// SyncDir makes created files durable.
	SyncDir() error
	io.Closer
}

// File is a file of a log. Bytes are durable when Sync has returned nil.
type File interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

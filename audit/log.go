package audit

import "context"

// Log is an open log. Its methods may be called concurrently.
type Log struct{}

// Open opens or creates the log, cuts what a crash had torn off the last line,
// and records that. It starts the writer; Close ends it.
func Open(ctx context.Context, c Config) (*Log, error) { return nil, ErrUnavailable }

// Append records the event and returns when it is durable, or with
// ErrUnavailable after MaxWait or when ctx ends; it may then become durable all
// the same.
func (l *Log) Append(ctx context.Context, e Event) (Ref, error) { return Ref{}, ErrUnavailable }

// Unauthenticated counts a caller that did not authenticate, by kind and error
// code. Counts are recorded at most once a minute, with one sample of a remote
// address, and never cause a write or a sync of their own. It never blocks.
func (l *Log) Unauthenticated(kind Kind, code, remoteIP string) {}

// Healthy returns nil if the last write succeeded and none is overdue.
func (l *Log) Healthy() error { return nil }

// Run writes and anchors checkpoints until ctx ends.
func (l *Log) Run(ctx context.Context) error { return nil }

// Decision returns the newest record of that decision, or ErrNotFound.
func (l *Log) Decision(ctx context.Context, id string) (Record, error) { return Record{}, ErrNotFound }

// Close writes what waits, a last checkpoint, and closes the files. Appends that
// come later are ErrUnavailable.
func (l *Log) Close() error { return nil }

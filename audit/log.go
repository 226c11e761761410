package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultSegment = 64 << 20
	defaultWait    = 5 * time.Second
	defaultQueue   = 8 << 20
	defaultEvery   = time.Second

	// maxBatch bounds what one write holds, and so what a crash can tear.
	maxBatch   = 1 << 20
	usualBatch = 64 << 10
	// maxTorn is the most that recovery cuts: a batch, one record over it, the
	// heads of its lines, and the log's own records.
	maxTorn = 2*maxBatch + 2*MaxRecord
)

// Log is an open log. Its methods may be called concurrently.
type Log struct {
	cfg   Config
	files FS
	id    string

	encoders sync.Pool // *encoder
	timers   sync.Pool // *time.Timer

	mu     sync.Mutex
	queue  []*batch  // guarded by mu: what waits for the writer
	queued int       // guarded by mu: bytes of it
	spare  []buffers // guarded by mu: of batches that were written
	closed bool      // guarded by mu

	kick    chan struct{} // wakes the writer; never blocks the sender
	stop    chan struct{} // closed by Close
	stopped chan struct{} // closed by the writer

	failed  atomic.Pointer[error] // what keeps the writer from writing; nil if nothing
	opened  time.Time             // what busy counts from, by the monotonic clock
	busy    atomic.Int64          // when the write in progress began, ns since opened; 0 if there is none
	signed  chan Checkpoint       // the newest checkpoint that Run has not seen
	due     atomic.Bool           // Run asks for a checkpoint
	unknown strangers
	writer  *writer // owned by the writer's goroutine
	closing sync.Once
}

// buffers hold the encoded events of a batch until it is written.
type buffers struct {
	bodies []byte
	ends   []int // where each body ends
}

// batch is a group of events that one write and one sync make durable.
type batch struct {
	buffers               // the writer's, once it has taken the batch
	done    chan struct{} // closed once first and err are set
	first   uint64        // number of the first event
	err     error
}

// Open opens or creates the log, cuts what a crash had torn off the last line,
// and records that. It starts the writer; Close ends it.
func Open(ctx context.Context, c Config) (*Log, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("opening audit log: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := &Log{
		cfg: c.withDefaults(), files: c.FS,
		kick: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
		signed: make(chan Checkpoint, 1),
		opened: time.Now(), //nolint:forbidigo // what is measured by it is no time of day: Config.Now may step
	}
	l.encoders.New = func() any { return new(encoder) }
	if l.files == nil {
		var err error
		if l.files, err = OpenDir(c.Dir); err != nil {
			return nil, fmt.Errorf("opening audit log: %w", err)
		}
	}
	w, err := recoverLog(l)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening audit log: %w", err), l.files.Close())
	}
	l.writer, l.id = w, w.id
	go w.run()
	return l, nil
}

func (c *Config) validate() error {
	if c.Signer == nil || c.Now == nil || (c.Dir == "" && c.FS == nil) {
		return errors.New("directory, signer and clock are required")
	}
	if _, ok := c.Signer.Public().(ed25519.PublicKey); !ok {
		return errors.New("the signer is not Ed25519")
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.SegmentBytes <= 0 {
		c.SegmentBytes = defaultSegment
	}
	if c.MaxWait <= 0 {
		c.MaxWait = defaultWait
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = defaultQueue
	}
	if c.CheckpointEvery <= 0 {
		c.CheckpointEvery = defaultEvery
	}
	return c
}

// Append records the event and returns when it is durable, or with
// ErrUnavailable after MaxWait or when ctx ends; it may then become durable all
// the same.
func (l *Log) Append(ctx context.Context, e Event) (Ref, error) {
	if e.Kind == "" || slices.Contains(ownKinds[:], e.Kind) {
		return Ref{}, fmt.Errorf("%w: kind %q", ErrInvalid, e.Kind)
	}
	if err := ctx.Err(); err != nil {
		return Ref{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if e.Time.IsZero() {
		e.Time = l.cfg.Now()
	}
	enc := l.encoders.Get().(*encoder)
	defer l.encoders.Put(enc)
	if err := enc.event(&e); err != nil {
		return Ref{}, err
	}
	b, i, err := l.enqueue(enc.buf)
	if err != nil {
		return Ref{}, err
	}
	if err := l.await(ctx, b); err != nil {
		return Ref{}, err
	}
	return Ref{Log: l.id, Seq: b.first + uint64(i)}, nil
}

func (l *Log) enqueue(body []byte) (b *batch, i int, err error) {
	if err := l.Healthy(); err != nil {
		return nil, 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, 0, fmt.Errorf("%w: closed", ErrUnavailable)
	}
	if l.queued+len(body) > l.cfg.QueueBytes {
		return nil, 0, fmt.Errorf("%w: too much waits to be written", ErrUnavailable)
	}
	if n := len(l.queue); n > 0 && len(l.queue[n-1].bodies) < maxBatch {
		b = l.queue[n-1]
	} else {
		b = &batch{done: make(chan struct{})}
		if n := len(l.spare); n > 0 {
			b.buffers, l.spare = l.spare[n-1], l.spare[:n-1]
		} else {
			b.bodies = make([]byte, 0, usualBatch)
		}
		l.queue = append(l.queue, b)
	}
	b.bodies = append(b.bodies, body...)
	b.ends = append(b.ends, len(b.bodies))
	l.queued += len(body)
	select {
	case l.kick <- struct{}{}:
	default:
	}
	return b, len(b.ends) - 1, nil
}

func (l *Log) await(ctx context.Context, b *batch) error {
	timer, _ := l.timers.Get().(*time.Timer)
	if timer == nil {
		timer = time.NewTimer(l.cfg.MaxWait)
	} else {
		timer.Reset(l.cfg.MaxWait)
	}
	defer func() {
		timer.Stop()
		l.timers.Put(timer)
	}()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case <-timer.C:
		return fmt.Errorf("%w: not written within %s", ErrUnavailable, l.cfg.MaxWait)
	}
}

// Unauthenticated counts a caller that did not authenticate, by kind and error
// code. Counts are recorded at most once a minute, with one sample of a remote
// address, and never cause a write or a sync of their own. It never blocks.
func (l *Log) Unauthenticated(kind Kind, code, remoteIP string) {
	l.unknown.count(kind, code, remoteIP)
}

// Healthy returns nil if the last write succeeded and none is overdue.
func (l *Log) Healthy() error {
	if failed := l.failed.Load(); failed != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, *failed)
	}
	if began := l.busy.Load(); began != 0 && time.Since(l.opened)-time.Duration(began) > l.cfg.MaxWait {
		return fmt.Errorf("%w: a write has not ended for %s", ErrUnavailable, l.cfg.MaxWait)
	}
	return nil
}

// Run asks for a checkpoint whenever CheckpointEvery has passed with something new,
// and anchors what was signed, until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(l.cfg.CheckpointEvery)
	defer tick.Stop()
	var pending *Checkpoint // signed, not anchored
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			l.due.Store(true)
			select {
			case l.kick <- struct{}{}:
			default:
			}
		case c := <-l.signed:
			pending = &c
		}
		if pending != nil && l.anchor(ctx, *pending) {
			pending = nil
		}
	}
}

func (l *Log) anchor(ctx context.Context, c Checkpoint) bool {
	if l.cfg.Anchor == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.MaxWait)
	defer cancel()
	if err := l.cfg.Anchor(ctx, c); err != nil {
		l.cfg.Logger.Error("audit checkpoint not anchored", "seq", c.Seq, "error", err)
		return false
	}
	return true
}

// Decision returns the newest record of that decision, or ErrNotFound.
func (l *Log) Decision(ctx context.Context, id string) (Record, error) {
	return Decision(ctx, l.files, id)
}

// Files is the log's directory, to be queried and verified.
func (l *Log) Files() fs.FS { return l.files }

// ID names the log; its checkpoints carry it.
func (l *Log) ID() string { return l.id }

// Close writes what waits, a last checkpoint, anchors it, and closes the files.
// Appends that come later are ErrUnavailable. It waits for a write in progress, but
// no longer than MaxWait.
func (l *Log) Close() error {
	var err error
	l.closing.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		close(l.stop)
		timer := time.NewTimer(l.cfg.MaxWait)
		defer timer.Stop()
		select {
		case <-l.stopped:
			err = l.writer.closed
		case <-timer.C:
			err = fmt.Errorf("closing audit log: %w: a write does not end", ErrUnavailable)
		}
		select {
		case c := <-l.signed:
			l.anchor(context.Background(), c)
		default:
		}
	})
	return err
}

package audit

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

const (
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second

	// pace is how long the writer waits before a sync while many append at once. A sync costs
	// processor time whatever it holds, and each append waits for one in any case: fewer and
	// fuller batches let more of them through. Whoever appends alone never waits for it.
	pace = 300 * time.Microsecond
)

// writer owns the files. Its one goroutine takes what waits, writes it with one
// write, syncs it with one sync, and then wakes those who wait. Lines that were
// not synced are taken back before anything else is written, so the files never
// go on from a line that may be lost.
type writer struct {
	log  *Log
	id   string
	file File

	size    int64     // durable bytes of the segment
	head    chainHead // the last durable line
	covered uint64    // last line under a checkpoint, or one of the log's own after it
	stamped time.Time // of the last checkpoint

	shared bool // the last batch held records of more than one append

	buf    []byte
	closed error // result of the end; read after log.stopped
}

func (w *writer) run() {
	defer close(w.log.stopped)
	retry := time.NewTimer(retryMost)
	retry.Stop()
	wait := retryFirst
	for {
		select {
		case <-w.log.kick:
		case <-retry.C:
			if err := w.repair(); err != nil {
				wait = min(2*wait, retryMost)
				retry.Reset(wait)
				continue
			}
			wait = retryFirst
		case <-w.log.stop:
			w.finish()
			return
		}
		if err := w.drain(false); err != nil {
			w.log.cfg.Logger.Error("audit log cannot be written", "error", err)
			retry.Reset(wait)
		}
	}
}

// drain writes all that waits. After an error everything that waits is refused:
// each waiter would otherwise run into its bound.
func (w *writer) drain(last bool) error {
	for {
		if w.shared {
			time.Sleep(pace)
		}
		runtime.Gosched() // whoever was just woken may join this batch rather than wait for the next
		b := w.take()
		if b == nil {
			if w.log.failed.Load() != nil || !w.wantsCheckpoint(last) {
				return nil
			}
			b = &batch{done: make(chan struct{})} // a checkpoint alone
		}
		if failed := w.log.failed.Load(); failed != nil {
			b.finish(0, *failed)
			continue
		}
		if err := w.write(b, last); err != nil {
			w.log.failed.Store(&err)
			b.finish(0, err)
			for b := w.take(); b != nil; b = w.take() {
				b.finish(0, err)
			}
			return err
		}
	}
}

func (w *writer) take() *batch {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil
	}
	b := l.queue[0]
	l.queue = slices.Delete(l.queue, 0, 1)
	l.queued -= len(b.bodies)
	return b
}

// recycle keeps a written batch's buffers for a later one.
func (w *writer) recycle(b *batch) {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	if len(w.log.spare) < 2 { // one is written while the next is filled
		w.log.spare = append(w.log.spare, buffers{bodies: b.bodies[:0], ends: b.ends[:0]})
	}
	b.buffers = buffers{}
}

func (b *batch) finish(first uint64, err error) {
	b.first = first
	if err != nil {
		b.err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	close(b.done)
}

func (w *writer) wantsCheckpoint(last bool) bool {
	if last {
		return w.head.seq > w.covered || w.log.unknown.any()
	}
	return w.head.seq > w.covered && w.log.due.Load()
}

// write makes one batch durable, with the checkpoint that is due and the counts of
// strangers.
func (w *writer) write(b *batch, last bool) (err error) {
	now := w.log.cfg.Now()
	w.log.busy.Store(max(1, int64(time.Since(w.log.opened))))
	defer w.log.busy.Store(0)
	if err := w.rotate(); err != nil {
		return err
	}
	next := w.head
	w.buf = w.buf[:0]
	start := 0
	for _, end := range b.ends {
		w.buf = next.appendLine(w.buf, b.bodies[start:end])
		start = end
	}
	counts, counted, err := w.addStrangers(&next, now, last)
	defer func() {
		if counted && err != nil {
			w.log.unknown.putBack(counts)
		}
	}()
	if err != nil {
		return err
	}
	var signed *Checkpoint
	if now.Sub(w.stamped) >= w.log.cfg.CheckpointEvery || last || w.log.due.Load() {
		if signed, err = w.addCheckpoint(&next, now); err != nil {
			return err
		}
	}
	if err = w.flush(); err != nil {
		return err
	}
	first := w.head.seq + 1
	w.head = next
	if signed != nil {
		w.publish(*signed, now)
	}
	w.shared = len(b.ends) > 1
	w.recycle(b)
	b.finish(first, nil)
	return nil
}

func (w *writer) flush() error {
	if _, err := w.file.Write(w.buf); err != nil {
		return fmt.Errorf("writing audit segment: %w", err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("syncing audit segment: %w", err)
	}
	w.size += int64(len(w.buf))
	return nil
}

func (w *writer) addStrangers(next *chainHead, now time.Time, last bool) (Event, bool, error) {
	counts, counted := w.log.unknown.take(now, last)
	if !counted {
		return counts, false, nil
	}
	return counts, true, w.addOwn(next, counts)
}

// addOwn adds a record of the log's own to the buffer.
func (w *writer) addOwn(next *chainHead, e Event) error {
	var enc encoder
	if err := enc.event(&e); err != nil {
		return err
	}
	w.buf = next.appendLine(w.buf, enc.buf)
	return nil
}

func (w *writer) addCheckpoint(next *chainHead, now time.Time) (*Checkpoint, error) {
	c, err := signCheckpoint(w.log.cfg.Signer, Checkpoint{
		Log: w.id, Seq: next.seq, Hash: next.hash.String(), Time: now.UTC().Truncate(time.Microsecond),
	})
	if err != nil {
		return nil, err
	}
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	w.buf = next.appendLine(w.buf, body)
	return &c, nil
}

// publish hands a durable checkpoint to Run; a newer one replaces it.
func (w *writer) publish(c Checkpoint, now time.Time) {
	w.covered, w.stamped = w.head.seq, now
	w.log.due.Store(false)
	select {
	case <-w.log.signed:
	default:
	}
	w.log.signed <- c
}

// rotate begins a new segment when the current one is full or there is none. The
// segment's first record names the log, so that a segment says what it belongs to.
func (w *writer) rotate() error {
	if w.file != nil && w.size < w.log.cfg.SegmentBytes {
		return nil
	}
	name := segmentName(w.head.seq + 1)
	file, err := w.log.files.Append(name)
	if err != nil {
		return fmt.Errorf("beginning audit segment: %w", err)
	}
	if err := w.begin(file); err != nil {
		return errors.Join(err, file.Close())
	}
	return nil
}

func (w *writer) begin(file File) error {
	if err := file.Truncate(0); err != nil { // a try that failed may have left bytes
		return fmt.Errorf("beginning audit segment: %w", err)
	}
	if err := w.log.files.SyncDir(); err != nil {
		return fmt.Errorf("beginning audit segment: %w", err)
	}
	old, size := w.file, w.size
	w.file, w.size = file, 0
	err := w.writeOwn(Event{Kind: KindOpen, Detail: map[string]string{"log": w.id, "why": "segment"}})
	if err != nil {
		w.file, w.size = old, size
		return err
	}
	if old != nil {
		if err := old.Close(); err != nil { // all of it is durable already
			w.log.cfg.Logger.Warn("closing full audit segment", "error", err)
		}
	}
	return nil
}

// writeOwn makes a record of the log's own durable, alone.
func (w *writer) writeOwn(e Event) error {
	e.Time = w.log.cfg.Now()
	next := w.head
	w.buf = w.buf[:0]
	if err := w.addOwn(&next, e); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.head = next
	return nil
}

// repair takes back what is not known to be durable and tries to write again.
func (w *writer) repair() error {
	if w.file == nil {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	if err := w.file.Truncate(w.size); err != nil {
		return fmt.Errorf("taking back unsynced audit lines: %w", err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("taking back unsynced audit lines: %w", err)
	}
	failed := *w.log.failed.Load()
	if err := w.writeOwn(Event{Kind: KindRepair, Detail: map[string]string{"error": failed.Error()}}); err != nil {
		return err
	}
	w.log.failed.Store(nil)
	w.log.cfg.Logger.Info("audit log can be written again")
	return nil
}

// finish writes what waits and a last checkpoint.
func (w *writer) finish() {
	err := w.drain(true)
	if failed := w.log.failed.Load(); err == nil && failed != nil {
		err = *failed
	}
	if w.file != nil {
		err = errors.Join(err, w.file.Close())
	}
	w.closed = errors.Join(err, w.log.files.Close())
}

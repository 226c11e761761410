package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
)

var (
	errNoFile  = errors.New("there is no journal file, or it failed")
	errLeaving = errors.New("this replica stops, and nobody waits for what it alone knows")
)

const (
	frameTarget = 1 << 20 // size of the frames of a replacement
	minReplace  = 4 << 20 // a file below this is not worth replacing
	maxGlass    = 10_000  // break-glass records that a replacement keeps
	sweepEvery  = time.Minute
	maxBackoff  = 2 * time.Second
	minBackoff  = 50 * time.Millisecond
	awaiting    = 8 // times as often is the tail confirmed, while others are late
)

// recover reads the file into the index, or makes an empty one.
func (j *Journal) recover() error {
	if _, ok := j.cfg.FS.(osFS); ok {
		if err := os.MkdirAll(j.cfg.Dir, 0o700); err != nil {
			return fmt.Errorf("making the journal's directory: %w", err)
		}
		lock, err := lockDir(j.cfg.Dir)
		if err != nil {
			return err
		}
		j.lock = lock
	}
	j.cfg.Index.Sweep(j.cfg.Now().Add(-j.cfg.Skew)) // before, so that nothing expired comes in
	file, err := openFrames(j.cfg.FS, j.cfg.Dir, func(payload []byte) error {
		return eachRecord(payload, j.replay)
	})
	if err != nil {
		return err
	}
	if file == nil {
		return j.replace()
	}
	j.file, j.live = file, file.size
	if j.ahead {
		j.beginScan(j.cur.at)
	}
	if err := j.cfg.Index.Merge(revocation.Snapshot{Last: true, Position: j.cur.stampable()}); err != nil {
		return fmt.Errorf("recovering the position: %w", err)
	}
	j.cfg.Logger.Info("revocation journal recovered", "rules", j.cfg.Index.Len(), "pending", j.pending.len(),
		"position", j.cur.at.String())
	return nil
}

func (j *Journal) unlock() error {
	if j.lock == nil {
		return nil
	}
	err := j.lock.Close()
	j.lock = nil
	return err
}

// replay applies one record of the file.
func (j *Journal) replay(kind byte, body []byte) error {
	switch kind {
	case kindVersion:
		if len(body) != 1 || body[0] != fileVersion {
			return fmt.Errorf("%w: of another version", ErrCorrupt)
		}
		return nil
	case kindCursor:
		c, err := decodeCursor(body)
		j.cur, j.ahead = c, false
		return err
	case kindGlass:
		var b BreakGlass
		if err := json.Unmarshal(body, &b); err != nil {
			return fmt.Errorf("%w: break-glass record: %w", ErrCorrupt, err)
		}
		j.glass = append(j.glass, b)
		return nil
	}
	local := kind >= localKind
	if local {
		kind -= localKind
	}
	e, err := revocation.DecodeRecord(kind, body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err := j.cfg.Index.Apply(e); err != nil {
		return err
	}
	if local {
		j.pending.add(keyOf(&e))
	} else {
		j.settle(&e)
		j.ahead = true
	}
	return nil
}

// write appends a frame to the file. A file that fails is given up: what it holds is
// not known. Run makes a new one.
func (j *Journal) write(payload []byte) error {
	if j.copying {
		j.tail = append(j.tail, slices.Clone(payload))
	}
	if j.file == nil {
		return errNoFile
	}
	if err := j.file.append(payload); err != nil {
		j.fail(err)
		return err
	}
	return nil
}

func (j *Journal) fail(err error) {
	j.cfg.Logger.Error("revocation journal failed, going on without it", "error", err)
	if j.file != nil {
		_ = j.file.file.Close()
		j.file = nil
	}
}

// replace writes a new file with what is live and puts it in the place of the old one.
// Only its end holds up other writers.
func (j *Journal) replace() (err error) {
	j.mu.Lock()
	if j.feed.gap || j.copying {
		j.mu.Unlock()
		return nil // the cursor means nothing while the log is read again
	}
	j.copying, j.tail = true, nil
	local := j.pending.events(j.cfg.Index, all, false)
	cur, glass := j.cur.clone(), j.glass
	j.mu.Unlock()

	out, err := newReplacement(j.cfg.FS, j.cfg.Dir)
	if err == nil {
		if err = j.writeLive(out, local, cur, glass); err != nil {
			out.discard()
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	tail := j.tail
	j.copying, j.tail = false, nil
	if err != nil {
		return err
	}
	if len(j.behind) > 0 {
		// What was read beyond the cursor is in the copy: a file that did not say so would never
		// have it put back.
		tail = append(tail, j.behind)
	}
	for _, payload := range tail {
		if err := out.put(payload); err != nil {
			out.discard()
			return err
		}
	}
	if err := out.file.Sync(); err != nil {
		out.discard()
		return fmt.Errorf("syncing journal: %w", err)
	}
	file, err := out.install()
	if err != nil {
		// The old file may have lost its name: what is written to it may be lost.
		j.fail(err)
		_ = out.file.Close()
		return err
	}
	if j.file != nil {
		_ = j.file.file.Close()
	}
	j.file, j.live, j.behind = file, file.size, nil
	return nil
}

// writeLive writes the index, what of it is local, and where the log was read up to.
func (j *Journal) writeLive(out *replacement, local []revocation.Event, cur cursor, glass []BreakGlass) error {
	payload := appendRecord(nil, kindVersion, []byte{fileVersion})
	put := func(e *revocation.Event, local bool) (err error) {
		if payload, err = appendEvent(payload, e, local); err != nil || len(payload) < frameTarget {
			return err
		}
		err = out.put(payload)
		payload = payload[:0]
		return err
	}
	for _, g := range j.cfg.Index.Lineages() {
		if err := put(&revocation.Event{Type: revocation.EventLineage, Lineage: &g}, false); err != nil {
			return err
		}
	}
	for _, l := range j.cfg.Index.Lifts() {
		if err := put(&revocation.Event{Type: revocation.EventLift, Lift: &l}, false); err != nil {
			return err
		}
	}
	for r := range j.cfg.Index.Rules() {
		if err := put(&revocation.Event{Type: revocation.EventRule, Rule: &r}, false); err != nil {
			return err
		}
	}
	for i := range local {
		if err := put(&local[i], true); err != nil {
			return err
		}
	}
	for i := max(0, len(glass)-maxGlass); i < len(glass); i++ {
		var err error
		if payload, err = appendGlass(payload, &glass[i]); err != nil {
			return err
		}
	}
	if err := out.put(appendCursor(payload, &cur)); err != nil {
		return err
	}
	return out.file.Sync()
}

// Run follows the log until ctx ends, sweeps what has expired, and keeps the file
// small. It returns nil when ctx ended, and has then told the other replicas so.
func (j *Journal) Run(ctx context.Context) error {
	failures := 0
	swept := j.cfg.Now()
	for ctx.Err() == nil {
		err := j.Sync(ctx)
		if now := j.cfg.Now(); now.Sub(swept) >= sweepEvery {
			swept = now
			j.cfg.Index.Sweep(now.Add(-j.cfg.Skew))
		}
		j.maintain(ctx)
		if err == nil {
			failures = 0
			j.wait(ctx)
			continue
		}
		failures++
		backoff := min(minBackoff<<min(failures, 10), maxBackoff)
		j.sleep(ctx, backoff/2+rand.N(backoff/2)) //nolint:gosec // jitter
	}
	j.leave(context.WithoutCancel(ctx))
	return nil
}

// leave tells the other replicas not to wait for this one, if everything is in the log. A request
// that outlived its server may append still: to the log, or not at all.
func (j *Journal) leave(ctx context.Context) {
	if j.cfg.Roll == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, j.cfg.LogTimeout)
	defer cancel()
	j.setLeaving(true)
	err := j.Sync(ctx)
	if err == nil {
		err = j.cfg.Roll.Leave(ctx, position(j.position()))
	} else {
		j.setLeaving(false) // they do wait
	}
	if err != nil {
		j.cfg.Logger.WarnContext(ctx, "the other replicas will wait for this one", "error", err)
	}
}

func (j *Journal) setLeaving(leaving bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.leaving = leaving
}

// maintain replaces a file that has grown, or failed.
func (j *Journal) maintain(ctx context.Context) {
	if j.cfg.Dir == "" {
		return
	}
	j.mu.Lock()
	due := j.file == nil || j.file.size > max(minReplace, 3*j.live)
	j.mu.Unlock()
	if !due {
		return
	}
	if err := j.replace(); err != nil {
		j.cfg.Logger.ErrorContext(ctx, "revocation journal cannot be replaced", "error", err)
	}
}

// wait returns when the log may have news, when somebody has, or when the tail is to
// be confirmed again.
func (j *Journal) wait(ctx context.Context) {
	waiter, ok := j.log.(store.Waiter)
	if !ok {
		j.sleep(ctx, j.cfg.Poll)
		return
	}
	confirm := j.cfg.Confirm
	if j.cfg.Roll != nil && j.cfg.Roll.Hurried() {
		confirm /= awaiting
	}
	bounded, cancel := context.WithTimeout(ctx, confirm)
	failed := make(chan bool, 1)
	go func() {
		err := waiter.Wait(bounded, position(j.position()))
		failed <- err != nil && bounded.Err() == nil
	}()
	var broken bool
	select {
	case broken = <-failed:
		cancel()
	case <-j.kick:
		cancel()
		<-failed
	}
	if broken {
		j.sleep(ctx, j.cfg.Poll)
	}
}

func (j *Journal) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-j.kick:
	case <-t.C:
	}
}

// RecordBreakGlass makes a record durable in the journal file; without one it fails
// with ErrUnavailable, and the caller must leave its trace elsewhere.
func (j *Journal) RecordBreakGlass(b BreakGlass) error {
	payload, err := appendGlass(nil, &b)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.write(payload); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	j.glass = append(j.glass, b)
	return nil
}

// BreakGlassLog lists what the journal file holds, oldest first.
func (j *Journal) BreakGlassLog() []BreakGlass {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.glass)
}

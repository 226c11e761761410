package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/policy"
)

// watcher reloads the bundle when its files change, and keeps the last good version when
// they are broken.
type watcher struct {
	dir    string
	every  time.Duration
	opt    policy.Options
	holder *policy.Holder
	audit  *audit.Log
	now    func() time.Time
	logger *slog.Logger

	mu      sync.Mutex
	seen    [sha256.Size]byte // of the files that were last looked at
	loaded  time.Time
	checked time.Time
	fault   error // of the newest files, nil while they are in force
	unread  error // of the last look at them, nil if they could be read
}

func loadBundle(dir string, opt policy.Options) (*policy.Bundle, error) {
	b, err := policy.Load(os.DirFS(dir), opt)
	if err != nil {
		return nil, fmt.Errorf("loading policy bundle %s: %w", dir, err)
	}
	// What the catalog says of AWS has a meaning only there; a bundle without one is broken.
	if _, err := awssts.NewCatalog(b.Catalog(), opt.Environment); err != nil {
		return nil, fmt.Errorf("loading policy bundle %s: %w", dir, err)
	}
	return b, nil
}

// errUnsettled is a bundle that somebody goes on writing.
var errUnsettled = errors.New("its files keep changing while they are read")

// settled loads a bundle that nobody writes meanwhile, and gives the digest of its files: half a change
// may leave a deny out.
func settled(ctx context.Context, fsys fs.FS, load func() (*policy.Bundle, error)) (*policy.Bundle, [sha256.Size]byte, error) {
	const tries, rest = 50, 100 * time.Millisecond
	var sum [sha256.Size]byte
	for range tries {
		var err error
		if sum, err = digest(fsys); err != nil {
			return nil, sum, fmt.Errorf("reading policy bundle: %w", err)
		}
		b, err := load()
		if after, fault := digest(fsys); fault == nil && after == sum {
			return b, sum, err
		}
		select {
		case <-ctx.Done():
			return nil, sum, ctx.Err()
		case <-time.After(rest):
		}
	}
	return nil, sum, fmt.Errorf("reading policy bundle: %w", errUnsettled)
}

// run looks for changes until ctx ends.
func (w *watcher) run(ctx context.Context) error {
	for {
		//nolint:gosec // jitter, not a secret
		wait := w.every + time.Duration(rand.Int64N(int64(w.every)/10+1))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			w.check(ctx)
		}
	}
}

// check loads the bundle if its files are not those it looked at last.
func (w *watcher) check(ctx context.Context) {
	sum, err := digest(os.DirFS(w.dir))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checked = w.now()
	if err != nil {
		err = fmt.Errorf("reading policy bundle: %w", err)
		w.say(ctx, w.unread, err)
		w.unread = err
		return
	}
	w.unread = nil
	if sum == w.seen {
		return
	}
	b, err := loadBundle(w.dir, w.opt)
	if after, fault := digest(os.DirFS(w.dir)); fault != nil || after != sum {
		return // somebody is writing: half a change may leave a deny out, so look again
	}
	w.seen = sum
	if err != nil {
		w.fail(ctx, err)
		if err := w.record(ctx, audit.Failure, w.holder.Current().Version()); err != nil {
			w.logger.ErrorContext(ctx, "refused policy not in audit log", "error", err)
		}
		return
	}
	w.fault = nil
	if b.Version() == w.holder.Current().Version() {
		return
	}
	// The record comes first: no decision is made under a policy that the log does not know.
	if err := w.record(ctx, audit.Allow, b.Version()); err != nil {
		w.seen = [sha256.Size]byte{} // look again
		w.fail(ctx, err)
		return
	}
	w.holder.Replace(b)
	w.loaded = w.checked
	w.logger.InfoContext(ctx, "policy loaded", "version", b.Version())
}

func (w *watcher) fail(ctx context.Context, err error) {
	w.say(ctx, w.fault, err)
	w.fault = err
}

// say logs what was not said the last time.
func (w *watcher) say(ctx context.Context, last, err error) {
	if last == nil || last.Error() != err.Error() {
		w.logger.ErrorContext(ctx, "policy not loaded, the last good version stays", "error", err)
	}
}

func (w *watcher) record(ctx context.Context, outcome audit.Outcome, version string) error {
	_, err := w.audit.Append(ctx, audit.Event{Time: w.now(), Kind: audit.KindPolicy, Outcome: outcome, PolicyVersion: version})
	return err
}

// status is what the owner of the policy sees.
func (w *watcher) status() wire.PolicyStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, fault := w.holder.Current(), cmp.Or(w.unread, w.fault)
	out := wire.PolicyStatus{
		Version: b.Version(), Short: b.Short(), LoadedAt: w.loaded.UTC(), Current: fault == nil,
		Source: w.dir,
	}
	if !w.checked.IsZero() {
		out.CheckedAt = new(w.checked.UTC())
	}
	for _, t := range b.Catalog().Tools() {
		out.Tools = append(out.Tools, wire.PolicyTool{Name: t.Name, Audience: t.Audience, Actions: t.Actions})
	}
	out.Faults = policyFaults(fault)
	return out
}

func policyFaults(err error) []wire.PolicyFault {
	if err == nil {
		return nil
	}
	var bundle *policy.BundleError
	if !errors.As(err, &bundle) {
		return []wire.PolicyFault{{Message: err.Error()}}
	}
	var out []wire.PolicyFault
	for _, f := range bundle.Faults {
		out = append(out, wire.PolicyFault{File: f.File, Line: f.Line, Rule: f.Rule, Message: f.Message, Hint: f.Hint})
	}
	return out
}

// digest is over the names and contents of all files of a bundle.
func digest(fsys fs.FS) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	err = policy.Walk(fsys, func(path string) error {
		data, err := fs.ReadFile(fsys, path)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(h, "%d %s %d ", len(path), path, len(data))
		_, _ = h.Write(data)
		return nil
	})
	h.Sum(sum[:0])
	return sum, err
}

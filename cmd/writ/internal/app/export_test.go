package app

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/cmd/writ/internal/clock"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/revocation/journal"
)

// On makes the journal and the audit log write to these file layers.
func (o Options) On(j journal.FS, a audit.FS) Options {
	o.journalFS, o.auditFS = j, a
	return o
}

// OnClocks makes the broker look at these clocks, as often.
func (o Options) OnClocks(read func() clock.Reading, every time.Duration) Options {
	o.readClocks, o.clockEvery = read, every
	return o
}

// ReplicaID is replicaID.
func ReplicaID(dir string) (string, error) { return replicaID(dir) }

// Digest is digest.
func Digest(fsys fs.FS) ([sha256.Size]byte, error) { return digest(fsys) }

// Settled is settled.
func Settled(ctx context.Context, fsys fs.FS, load func() (*policy.Bundle, error)) (*policy.Bundle, [sha256.Size]byte, error) {
	return settled(ctx, fsys, load)
}

// Watcher is what reloads a bundle.
type Watcher struct{ *watcher }

// NewWatcher has loaded the bundle of a folder, without conditions of its own.
func NewWatcher(dir string, log *audit.Log) (Watcher, error) {
	b, err := loadBundle(dir, policy.Options{})
	if err != nil {
		return Watcher{}, err
	}
	seen, err := digest(os.DirFS(dir))
	return Watcher{&watcher{
		dir: dir, holder: policy.NewHolder(b), audit: log, now: time.Now, logger: slog.New(slog.DiscardHandler), seen: seen,
	}}, err
}

// Check is check.
func (w Watcher) Check(ctx context.Context) { w.check(ctx) }

// Status is status.
func (w Watcher) Status() wire.PolicyStatus { return w.status() }

// ServerTLS is the TLS of a listener.
func ServerTLS(files config.TLS, now func() time.Time, logger *slog.Logger) (*tls.Config, error) {
	return (&App{now: now, logger: logger}).serverTLS(files)
}

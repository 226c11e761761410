package app

import (
	"crypto/sha256"
	"crypto/tls"
	"io/fs"
	"log/slog"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/cmd/writ/internal/clock"
	"github.com/writbroker/writ/config"
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

// ServerTLS is the TLS of a listener.
func ServerTLS(files config.TLS, now func() time.Time, logger *slog.Logger) (*tls.Config, error) {
	return (&App{now: now, logger: logger}).serverTLS(files)
}

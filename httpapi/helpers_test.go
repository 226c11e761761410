package httpapi_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/httpapi"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
)

func trusting(t *testing.T, prefixes []string) func(*httpapi.Config) {
	t.Helper()
	var out []netip.Prefix
	for _, p := range prefixes {
		out = append(out, netip.MustParsePrefix(p))
	}
	return func(c *httpapi.Config) { c.TrustedProxies = out }
}

func taskRule(now time.Time, task string) revocation.Rule {
	return revocation.Rule{
		ID: uuid.Must(uuid.NewV7()).String(), Selector: revocation.SelectTask, Value: task,
		CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}
}

func tlsState(chain []*x509.Certificate) *tls.ConnectionState {
	return &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: chain}
}

// switched is a log that can be away.
type switched struct {
	store.LiveLog
	gone atomic.Bool
}

func (l *switched) Tail(ctx context.Context) (store.Tail, error) {
	if l.gone.Load() {
		return store.Tail{}, store.ErrUnavailable
	}
	return l.LiveLog.Tail(ctx)
}

func (l *switched) Append(ctx context.Context, at store.Position, e ...store.Entry) (store.Position, error) {
	if l.gone.Load() {
		return store.Position{}, store.ErrUnavailable
	}
	return l.LiveLog.Append(ctx, at, e...)
}

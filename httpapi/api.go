package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/token"
)

// Feed is the source of the revocation feed: revocation/journal.
type Feed interface {
	Subscribe(after token.Rev) *journal.Subscription
	Since(after token.Rev) (events []revocation.Event, reached token.Rev, ok bool)
	Heartbeat() revocation.Heartbeat
	RecordBreakGlass(b journal.BreakGlass) error
}

// KeyStatus says how the signing keys stand: keys.Rotator.
type KeyStatus interface {
	Ring() *keys.Ring
	Awaited() (keys.Awaited, bool)
	Fresh() bool
}

// AuditReader looks records up.
type AuditReader interface {
	Decision(ctx context.Context, id string) (audit.Record, error)
	Query(ctx context.Context, f audit.Filter) ([]audit.Record, error)
}

// Config is what the API serves. Every field but Metrics, TrustedProxies and Logger is
// required.
type Config struct {
	Issuer    string // without final slash
	Replica   string // names this replica among those that share the store; may be empty
	Broker    *broker.Broker
	Index     *revocation.Index
	Acks      *revocation.Acks
	Feed      Feed
	Keys      KeyStatus
	Records   token.Signer // the long-lived records key: signs snapshots
	RecordKey token.Key    // its public half
	Audit     AuditReader
	Policy    func() wire.PolicyStatus
	// Ready gives what is not well, by name; empty when the broker may be sent requests.
	Ready   func() map[string]string
	Metrics http.Handler

	JWKSMaxAge   time.Duration
	RotateEvery  time.Duration // how long one key signs
	Heartbeat    time.Duration
	MaxTTL       time.Duration
	MaxStaleness time.Duration

	// TrustedProxies are believed when they say X-Forwarded-For.
	TrustedProxies []netip.Prefix
	Now            func() time.Time
	Logger         *slog.Logger
	// Stop ends the feeds when it is closed: they would hold up a graceful shutdown.
	Stop <-chan struct{}
}

// API serves Writ over HTTP. Its methods may be called concurrently.
type API struct {
	cfg      Config
	metadata []byte
	events   snapshotCache // what the feed sends, and the JWS form
	bulk     snapshotCache
}

// New returns the API of a broker.
func New(cfg Config) (*API, error) {
	if cfg.Broker == nil || cfg.Index == nil || cfg.Acks == nil || cfg.Feed == nil || cfg.Keys == nil ||
		cfg.Records == nil || cfg.Audit == nil || cfg.Policy == nil || cfg.Ready == nil || cfg.Now == nil {
		return nil, errors.New("httpapi: a required part is missing from Config")
	}
	if cfg.Issuer == "" || cfg.JWKSMaxAge <= 0 || cfg.Heartbeat <= 0 || cfg.MaxTTL <= 0 || cfg.MaxStaleness <= 0 {
		return nil, errors.New("httpapi: issuer and durations must be set")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{cfg: cfg}
	doc, err := a.describe()
	if err != nil {
		return nil, err
	}
	a.metadata = doc
	a.events.encode, a.bulk.encode = a.encodeEvents, a.encodeBulk
	return a, nil
}

// Public serves agents and resource servers.
func (a *API) Public() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+wire.PathToken, a.token)
	mux.HandleFunc("POST "+wire.PathRevoke, a.revokeToken)
	mux.HandleFunc("POST "+wire.PathIntrospect, a.introspect)
	mux.HandleFunc("GET "+wire.PathMetadata, a.serveMetadata)
	mux.HandleFunc("GET "+wire.PathOpenIDMetadata, a.serveMetadata)
	mux.HandleFunc("GET "+wire.PathJWKS, a.jwks)
	mux.HandleFunc("GET "+wire.PathFeed, a.feed)
	mux.HandleFunc("POST "+wire.PathAck, a.ack)
	mux.HandleFunc("GET "+wire.PathSnapshot, a.serveSnapshot)
	mux.HandleFunc("POST "+wire.PathRefusals, a.refusals)
	mux.HandleFunc("GET "+wire.PathAWSCredentials, a.awsCredentials)
	a.health(mux)
	return a.guard(mux)
}

// Admin serves security ops. It belongs on a listener that agents cannot reach; each call
// is authorized by a token all the same.
func (a *API) Admin() http.Handler {
	mux := http.NewServeMux()
	a.adminRoutes(mux, a.byToken)
	a.health(mux)
	if a.cfg.Metrics != nil {
		mux.Handle("GET "+wire.PathMetrics, a.cfg.Metrics)
	}
	return a.guard(mux)
}

// guard is around every handler: a panic answers 500 and ends nothing else, and every
// answer says that it is data.
func (a *API) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares this sentinel by identity
					panic(p)
				}
				a.cfg.Logger.ErrorContext(r.Context(), "handler panicked", "path", r.URL.Path, "panic", p)
				writeJSON(w, http.StatusInternalServerError, wire.Error{Code: wire.ErrCodeServerError})
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// health serves liveness and readiness.
func (a *API) health(mux *http.ServeMux) {
	mux.HandleFunc("GET "+wire.PathHealth, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, wire.Health{Status: "ok"})
	})
	mux.HandleFunc("GET "+wire.PathReady, func(w http.ResponseWriter, _ *http.Request) {
		if faults := a.cfg.Ready(); len(faults) > 0 {
			writeJSON(w, http.StatusServiceUnavailable, wire.Health{Status: "unavailable", Checks: faults})
			return
		}
		writeJSON(w, http.StatusOK, wire.Health{Status: "ok"})
	})
}

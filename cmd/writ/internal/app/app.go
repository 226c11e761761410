package app

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/cmd/writ/internal/clock"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/httpapi"
	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/identity/jwks"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/mint/awssts/revoker"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/fleet"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/revocation/roll"
)

// Options are what a configuration file does not say.
type Options struct {
	Logger *slog.Logger
	Now    func() time.Time // nil = time.Now
	// Public, if set, is served instead of the configured public address: for callers that
	// must know the issuer's port before there is a configuration.
	Public net.Listener

	// For tests of crashes, which alone can set them: where the journal and the audit log
	// write, instead of the operating system's files.
	journalFS journal.FS
	auditFS   audit.FS
	// For tests of clocks: what they say, and how often they are looked at.
	readClocks func() clock.Reading
	clockEvery time.Duration
}

// App is a broker with everything that it needs, and its listeners.
type App struct {
	cfg    *config.Config
	logger *slog.Logger
	now    func() time.Time

	root     *keys.Root
	replica  string // see replicaID
	store    shared
	greatest time.Duration // see greatestTTL

	audit   *audit.Log
	outside *outside
	index   *revocation.Index
	acks    *revocation.Acks
	journal *journal.Journal
	fleet   *fleet.Fleet // nil where the store is not shared, as is roll
	roll    *roll.Roll
	rotator *keys.Rotator
	jwks    *jwks.Cache
	policy  *policy.Holder
	watcher *watcher
	ledger  *broker.Ledger
	broker  *broker.Broker
	api     *httpapi.API
	// sessions at AWS; nil where there are none.
	sessions     *awssts.Sessions
	revoker      *revoker.Revoker
	metrics      *metrics
	alarms       *prometheus.CounterVec
	custodyCalls *prometheus.CounterVec
	running      []func(context.Context) error // parts that are there only where they are configured

	public, admin, socket *server
	rings                 chan *keys.Ring // those that are yet to be recorded
	clocks                clock.Watch
	stop                  chan struct{} // closed when Run ends its feeds
	closers               []func() error
}

// Start opens everything and takes the listeners. On an error nothing stays open. The
// configuration must be valid.
func Start(ctx context.Context, cfg *config.Config, opt Options) (*App, error) {
	a := &App{cfg: cfg, logger: opt.Logger, now: opt.Now, stop: make(chan struct{}), rings: make(chan *keys.Ring, 16)}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	a.alarms, a.custodyCalls = newAlarms(), newCustodyCalls()
	a.logger = slog.New(&alarmCounter{Handler: a.logger.Handler(), total: a.alarms})
	if a.now == nil {
		a.now = time.Now
	}
	a.watchClocks(opt)
	for _, step := range []func(context.Context, Options) error{
		a.openData, a.openAudit, a.openKeys, a.openRevocation, a.openPolicy, a.openBroker, a.openAPI, a.openListeners,
	} {
		if err := step(ctx, opt); err != nil {
			return nil, errors.Join(err, a.close())
		}
	}
	return a, nil
}

func (a *App) onClose(f func() error) { a.closers = append(a.closers, f) }

// close closes what was opened, last first.
func (a *App) close() error {
	var errs []error
	for _, v := range slices.Backward(a.closers) {
		errs = append(errs, v())
	}
	a.closers = nil
	return errors.Join(errs...)
}

// Run serves until ctx ends or a part fails, and closes everything.
func (a *App) Run(ctx context.Context) error {
	inner, stopInner := context.WithCancel(context.WithoutCancel(ctx))
	defer stopInner()
	g, gctx := errgroup.WithContext(inner)
	parts := []func(context.Context) error{
		a.journal.Run, a.rotator.Run, a.jwks.Run, a.audit.Run, a.outside.run, a.watcher.run, a.ledger.Run, a.trim, a.recordKeys, a.clocks.Run,
	}
	if a.fleet != nil {
		parts = append(parts, a.fleet.Run)
	}
	parts = append(parts, a.running...)
	for _, run := range parts {
		g.Go(func() error { return ended(run(gctx)) })
	}
	serving, stopServing := context.WithCancel(gctx)
	defer stopServing()
	s, sctx := errgroup.WithContext(serving)
	for _, srv := range a.servers() {
		s.Go(func() error { return srv.serve(sctx, a.cfg.ShutdownGrace) })
	}
	// Requests end first, while all that they need still runs; then the parts.
	g.Go(func() error {
		select {
		case <-ctx.Done():
		case <-sctx.Done():
		}
		close(a.stop)
		stopServing()
		err := s.Wait()
		stopInner()
		return ended(err)
	})
	return errors.Join(g.Wait(), a.close())
}

// ended drops the error that says no more than that a part was told to stop.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (a *App) servers() []*server {
	var out []*server
	for _, s := range []*server{a.public, a.admin, a.socket} {
		if s != nil {
			out = append(out, s)
		}
	}
	return out
}

// PublicAddr and AdminAddr are the addresses that are listened on.
func (a *App) PublicAddr() net.Addr { return a.public.ln.Addr() }

// AdminAddr is that of the admin listener.
func (a *App) AdminAddr() net.Addr { return a.admin.ln.Addr() }

// RecordsKey is the public half of the key that signs audit checkpoints and snapshots.
func (a *App) RecordsKey() ed25519.PublicKey {
	pub, _ := a.root.RecordsKey().Public().(ed25519.PublicKey)
	return pub
}

// ready gives what is not well, by name.
func (a *App) ready() map[string]string {
	faults := map[string]string{}
	if !a.journal.Ready() {
		faults["revocation"] = "the revocation log is not confirmed within max_staleness"
		if a.roll != nil && len(a.roll.Awaited()) > 0 {
			faults["revocation"] += "; waiting for what these replicas may know: " + strings.Join(a.roll.Awaited(), ", ")
		}
	}
	if err := a.audit.Healthy(); err != nil {
		faults["audit"] = "the audit log cannot be written"
	}
	if !a.rotator.Fresh() {
		faults["keys"] = "the key ring is not confirmed, so its key does not sign"
	}
	return faults
}

// proofs joins the cache of verified tokens with the registry behind it.
type proofs struct {
	*identity.Registry
	cache *identity.Cache
}

// Authenticate verifies a token, or remembers that it was verified.
func (p *proofs) Authenticate(ctx context.Context, raw string, now time.Time) (*identity.Principal, error) {
	return p.cache.Authenticate(ctx, raw, now)
}

var _ interface {
	AuthenticateX509([]*x509.Certificate, time.Time) (*identity.Principal, error)
} = (*proofs)(nil)

func (a *App) openListeners(ctx context.Context, opt Options) error {
	ln := opt.Public
	if ln == nil {
		var err error
		if ln, err = a.listen(ctx, a.cfg.Public); err != nil {
			return err
		}
	}
	a.onClose(quietClose(ln))
	a.public = newServer("public listener", ln, a.observed(a.api.Public()), a.logger)

	admin, err := a.listen(ctx, a.cfg.Admin)
	if err != nil {
		return err
	}
	a.onClose(quietClose(admin))
	a.admin = newServer("admin listener", admin, a.observed(a.api.Admin()), a.logger)

	if a.cfg.BreakGlass.Socket == "" {
		return nil
	}
	sock, err := listenSocket(ctx, a.cfg.BreakGlass.Socket)
	if err != nil {
		return err
	}
	a.onClose(func() error { return os.Remove(a.cfg.BreakGlass.Socket) })
	a.onClose(quietClose(sock))
	a.socket = newServer("break-glass socket", sock, a.api.BreakGlass(peerOperator(a.cfg.BreakGlass.UIDs)), a.logger)
	a.socket.http.ConnContext = withPeer
	return nil
}

// quietClose closes a listener that its server may have closed already.
func quietClose(ln net.Listener) func() error {
	return func() error {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("closing listener: %w", err)
		}
		return nil
	}
}

// Package awsagent is an endpoint on loopback at which the AWS SDKs of one
// machine, or of one child process, get credentials: the protocol of containers
// in front of a broker that is elsewhere.
//
// It keeps one session fresh. It asks the broker once in a session's life,
// however many SDKs ask it and however early they do; it renews ahead of the end
// by itself; and while the broker is away it serves what it has until that
// expires. It must never answer who does not hold its own bearer token, listen
// on anything but loopback, or hand out what has expired. It knows nothing of
// AWS but the protocol; package cli runs it.
package awsagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/client"
)

// Path is where the credentials are.
const Path = "/aws/credentials"

// ErrNotLoopback is returned by New for an address that others could reach.
var ErrNotLoopback = errors.New("awsagent: the address is not one of loopback")

// Fetch gets the credentials of a session from the broker, with retries of its
// own or none. It is called by one goroutine at a time.
type Fetch func(ctx context.Context) (*client.AWSCredentials, error)

// Config of an Agent.
type Config struct {
	Fetch Fetch // required
	// Held is a session that is there already; nil: the first thing done is to fetch one.
	Held *client.AWSCredentials
	// Listen is an address of loopback with its port; empty: a free port of 127.0.0.1.
	Listen string
	// Token is what callers must show; see NewToken and TokenFile. Required.
	Token client.Secret
	// Timeout bounds one call of Fetch; 0 means 60 s.
	Timeout time.Duration
	// Now is the clock; nil means the system's. Logger hears of renewals that failed;
	// nil means none.
	Now    func() time.Time
	Logger *slog.Logger
}

// Agent serves one session's credentials. It is usable concurrently.
type Agent struct {
	keeper   *keeper
	token    client.Secret
	listener net.Listener
	server   *http.Server
}

// New checks cfg and begins to listen; nothing is answered before Run.
func New(ctx context.Context, cfg Config) (*Agent, error) {
	if cfg.Fetch == nil {
		return nil, errors.New("awsagent: there is nothing to fetch credentials with")
	}
	if len(cfg.Token) < minToken {
		return nil, fmt.Errorf("awsagent: the callers' token has less than %d characters", minToken)
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now //nolint:forbidigo // an SDK's default; whoever tests passes a clock
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	// By number, so that no resolver has a say in what is loopback.
	addr, err := netip.ParseAddrPort(cfg.Listen)
	if err != nil || !addr.Addr().IsLoopback() {
		return nil, fmt.Errorf("%w: %q; use 127.0.0.1:PORT or [::1]:PORT", ErrNotLoopback, cfg.Listen)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening for AWS SDKs: %w", err)
	}
	a := &Agent{keeper: newKeeper(cfg), token: cfg.Token, listener: listener}
	a.server = &http.Server{
		Handler: http.HandlerFunc(a.serve), ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		ReadTimeout: 5 * time.Second, WriteTimeout: cfg.Timeout + 10*time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
	}
	return a, nil
}

// URL is what AWS_CONTAINER_CREDENTIALS_FULL_URI is set to.
func (a *Agent) URL() string { return "http://" + a.listener.Addr().String() + Path }

// Run serves and renews until ctx ends, and returns when all of it has ended. An
// Agent runs once.
func (a *Agent) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error {
		a.keeper.run(running)
		return nil
	})
	group.Go(func() error {
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving AWS SDKs: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-running.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if a.server.Shutdown(grace) != nil { // a caller that does not read what it asked for
			return a.server.Close()
		}
		return nil
	})
	return group.Wait()
}

// Close ends an Agent that was never run.
func (a *Agent) Close() error { return a.listener.Close() }

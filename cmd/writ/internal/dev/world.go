// Package dev builds the world that a broker lives in, on one machine: an identity provider
// with keys of its own, the broker, a resource server that guards a small data API, and a
// witness that keeps checkpoints of the audit log. All of it talks HTTP over loopback and
// uses the same packages as production does; nothing in it is a stand-in.
//
// [Start] returns when everything serves, and [World.Close] when everything has ended. The
// commands dev and demo are its callers. What it signs proves nothing to anybody else: it
// must never be part of a broker that serves real agents.
package dev

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/cmd/writ/internal/app"
)

// anyPort is loopback, at a port that the kernel chooses.
const anyPort = "127.0.0.1:0"

// Config says where the world is. Its zero value is usable.
type Config struct {
	// Listen is the broker's public address, on loopback; empty chooses a free port.
	Listen string
	// DataDir holds everything that is written; created if it is missing. Empty: a temporary
	// one, which Close removes.
	DataDir string
	// More is further sections of the broker's configuration, as YAML.
	More string
	// Logger gets what the broker and the resource server log; nil discards.
	Logger *slog.Logger
	// Redis, if set, is the store; otherwise it is embedded.
	Redis *Redis
	// Now is the clock of all parts; nil means the system's.
	Now func() time.Time
}

// Redis is the server that a broker shares its state on.
type Redis struct {
	Address, Username, PasswordFile string
}

// World is what Start started. Its methods may be called concurrently, but for Close.
type World struct {
	dir     string
	socket  string
	more    string
	now     func() time.Time
	logger  *slog.Logger
	idp     *provider
	public  net.Listener
	admin   string
	records ed25519.PublicKey
	store   *warehouse
	witness *witness

	failed chan error
	ends   []func() error
}

// Start starts every part, in the order in which they need each other, and waits until each
// of them is ready. On an error nothing goes on running.
func Start(ctx context.Context, cfg Config) (*World, error) {
	w := &World{more: cfg.More, now: cfg.Now, logger: cfg.Logger, witness: &witness{}, failed: make(chan error, 1)}
	if w.now == nil {
		w.now = time.Now
	}
	if w.logger == nil {
		w.logger = slog.New(slog.DiscardHandler)
	}
	for _, part := range []func(context.Context, Config) error{
		w.openDir, w.openPublic, w.startProvider, w.startBroker, w.startKubelet, w.startWarehouse,
	} {
		if err := part(ctx, cfg); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	return w, nil
}

// Close ends all parts, the last one first, and returns when each has ended.
func (w *World) Close() error {
	var errs []error
	for _, end := range slices.Backward(w.ends) {
		errs = append(errs, end())
	}
	w.ends = nil
	return errors.Join(errs...)
}

// Failed gives the error of a part that ended by itself.
func (w *World) Failed() <-chan error { return w.failed }

// Issuer is the broker's issuer identifier and public URL.
func (w *World) Issuer() string { return "http://" + w.public.Addr().String() }

// Admin is the URL of the broker's admin listener.
func (w *World) Admin() string { return w.admin }

// Resource is the URL of the resource server.
func (w *World) Resource() string { return w.store.url }

// IdentityProvider is the URL under which both of its issuers are.
func (w *World) IdentityProvider() string { return w.idp.url }

// DataDir is the directory that everything is written to.
func (w *World) DataDir() string { return w.dir }

// BundleDir holds the policy in force; a change is loaded within two seconds.
func (w *World) BundleDir() string { return filepath.Join(w.dir, "bundle") }

// AuditDir holds the broker's audit log.
func (w *World) AuditDir() string { return filepath.Join(w.dir, "audit") }

// ConfigFile is the broker's configuration, as it was generated.
func (w *World) ConfigFile() string { return filepath.Join(w.dir, "writ.yaml") }

// Socket is the break-glass socket.
func (w *World) Socket() string { return w.socket }

// RecordsKey is the key that signs the audit log's checkpoints.
func (w *World) RecordsKey() ed25519.PublicKey { return w.records }

// Anchors are the checkpoints that the witness was sent, oldest first.
func (w *World) Anchors() []audit.Checkpoint { return w.witness.seen() }

// onClose registers the end of a part.
func (w *World) onClose(f func() error) { w.ends = append(w.ends, f) }

// run keeps a part running until Close. Parts outlive the context that they were started
// under, so that Close can end them in order.
func (w *World) run(ctx context.Context, name string, part func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() {
		err := part(ctx)
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("ended by itself")
			}
			err = fmt.Errorf("%s: %w", name, err)
			select {
			case w.failed <- err:
			default:
			}
		}
		ended <- err
	}()
	w.onClose(func() error {
		cancel()
		return <-ended
	})
}

// serve is a part that answers HTTP.
func serve(ln net.Listener, h http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		srv := &http.Server{
			Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
			WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		}
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve(ln) }()
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
		}
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		err := srv.Shutdown(grace)
		if errors.Is(err, context.DeadlineExceeded) {
			err = srv.Close()
		}
		<-ended
		return err
	}
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	return ln, nil
}

func (w *World) openDir(_ context.Context, cfg Config) error {
	if cfg.DataDir == "" {
		dir, err := os.MkdirTemp("", "writ-")
		if err != nil {
			return fmt.Errorf("making data directory: %w", err)
		}
		w.dir = dir
		w.onClose(func() error { return os.RemoveAll(dir) })
		return nil
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return fmt.Errorf("making data directory: %w", err)
	}
	w.dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making data directory: %w", err)
	}
	return nil
}

// openPublic takes the broker's port before there is a broker: its issuer has the port in it.
func (w *World) openPublic(ctx context.Context, cfg Config) error {
	address := cfg.Listen
	if address == "" {
		address = anyPort
	}
	ln, err := listen(ctx, address)
	if err != nil {
		return err
	}
	w.public = ln
	w.onClose(func() error {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("closing public listener: %w", err)
		}
		return nil
	})
	if a, ok := ln.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() { // nothing was accepted yet
		return fmt.Errorf("%s is not loopback: the development broker speaks plain HTTP, and its identity provider signs for anybody", address)
	}
	return nil
}

// startBroker runs the broker as `writ serve` would with the generated configuration.
func (w *World) startBroker(ctx context.Context, c Config) error {
	cfg, err := w.configure(c.Redis)
	if err != nil {
		return err
	}
	a, err := app.Start(ctx, cfg, app.Options{Logger: w.logger, Now: w.now, Public: w.public})
	if err != nil {
		return fmt.Errorf("starting broker: %w", err)
	}
	w.admin = "http://" + a.AdminAddr().String()
	w.records = a.RecordsKey()
	w.run(ctx, "broker", a.Run)
	return w.ready(ctx)
}

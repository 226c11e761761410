package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/writbroker/writ/config"
)

const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	// writeTimeout bounds an answer. The feed sets its own deadline before each write.
	writeTimeout   = 75 * time.Second // above the longest wait of an administrative call
	idleTimeout    = 120 * time.Second
	maxHeaderBytes = 32 << 10
)

// server is one listener and what it serves.
type server struct {
	name string
	ln   net.Listener
	http *http.Server
}

func newServer(name string, ln net.Listener, h http.Handler, logger *slog.Logger) *server {
	return &server{name: name, ln: ln, http: &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}}
}

// serve runs until ctx ends, then lets requests in flight finish within grace.
func (s *server) serve(ctx context.Context, grace time.Duration) error {
	fault := make(chan error, 1)
	go func() { fault <- s.http.Serve(s.ln) }()
	select {
	case err := <-fault:
		return fmt.Errorf("serving %s: %w", s.name, err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := s.http.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-fault
	return err
}

// listen takes a TCP address, under TLS where the configuration has a certificate.
func (a *App) listen(ctx context.Context, l config.Listener) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", l.Address, err)
	}
	if !l.TLS.Enabled() {
		return ln, nil
	}
	conf, err := a.serverTLS(l.TLS)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return tls.NewListener(ln, conf), nil
}

// serverTLS asks clients for a certificate without demanding one: X.509-SVIDs are verified
// by their identity source, against its own roots. client_ca_file makes TLS verify it too.
func (a *App) serverTLS(c config.TLS) (*tls.Config, error) {
	pair := &certificate{files: c, now: a.now, logger: a.logger}
	if err := pair.load(); err != nil {
		return nil, err
	}
	conf := &tls.Config{
		GetCertificate: pair.current, MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"},
	}
	if c.ClientCAFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(c.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("loading client CA: %w", err)
	}
	conf.ClientCAs = x509.NewCertPool()
	if !conf.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", c.ClientCAFile)
	}
	conf.ClientAuth = tls.VerifyClientCertIfGiven
	return conf, nil
}

// certificateAge is how long a listener's certificate is used before its files are read again.
const certificateAge = 10 * time.Second

// certificate is that of a listener. What cert-manager or SPIRE renews is in use soon after, without
// a restart; files that cannot be used leave the last good one in place.
type certificate struct {
	files  config.TLS
	now    func() time.Time
	logger *slog.Logger

	mu   sync.Mutex
	pair *tls.Certificate
	read time.Time // when it was tried last
}

func (c *certificate) load() error {
	c.read = c.now()
	pair, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	if err != nil {
		return fmt.Errorf("loading certificate: %w", err)
	}
	c.pair = &pair
	return nil
}

// current is tls.Config.GetCertificate.
func (c *certificate) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := c.now().Sub(c.read); age >= certificateAge || age < 0 {
		if err := c.load(); err != nil {
			c.logger.Error("certificate not renewed, the last good one stays", "file", c.files.CertFile, "error", err)
		}
	}
	return c.pair, nil
}

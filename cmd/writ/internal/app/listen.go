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
func listen(ctx context.Context, l config.Listener) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", l.Address, err)
	}
	if !l.TLS.Enabled() {
		return ln, nil
	}
	conf, err := serverTLS(l.TLS)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return tls.NewListener(ln, conf), nil
}

// serverTLS asks clients for a certificate without demanding one: X.509-SVIDs are verified
// by their identity source, against its own roots. client_ca_file makes TLS verify it too.
func serverTLS(c config.TLS) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("loading certificate: %w", err)
	}
	conf := &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
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

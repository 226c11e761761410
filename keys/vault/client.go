package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/writbroker/writ/internal/breaker"
)

// maxAnswer is far above what Vault answers here.
const maxAnswer = 4 << 20

// Client is this process's access to Vault. It is safe for concurrent use. Run keeps
// its login alive; without Run it logs in anew where a token has ended.
type Client struct {
	cfg     Config
	log     *slog.Logger
	http    *http.Client
	breaker *breaker.Breaker
	flights sync.WaitGroup // signatures under way

	login   chan struct{} // holds one value: whoever takes it may log in
	current atomic.Pointer[session]
	failed  failure  // guarded by login
	wrapped wrapping // guarded by login
}

// New checks the configuration and reads the CA file. It does not call Vault: the
// first call does, so that a broker starts as far as it can without it.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(cfg)
	if err != nil {
		return nil, fmt.Errorf("opening vault client: %w", err)
	}
	c := &Client{
		cfg: cfg, log: cfg.Logger.With("vault", cfg.Address),
		http: &http.Client{
			Transport: transport,
			// A redirect would take the token to whom the answer names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		breaker: breaker.New(breaker.Config{After: cfg.BreakAfter, Every: cfg.ProbeEvery, Now: cfg.Now}),
		login:   make(chan struct{}, 1),
	}
	c.login <- struct{}{}
	// What is wrong with the library's own settings shows now.
	if _, err := c.api("", 0); err != nil {
		return nil, fmt.Errorf("opening vault client: %w", err)
	}
	return c, nil
}

func newTransport(cfg Config) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", cfg.CAFile)
		}
	}
	if cfg.Login.CertFile != "" {
		// Read for each connection, so that a renewed certificate needs no restart.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cfg.Login.CertFile, cfg.Login.KeyFile)
			return &pair, err
		}
	}
	connections := max(cfg.Flights, defaultFlights) * 4
	return &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true, DisableCompression: true,
		DialContext:         (&net.Dialer{Timeout: cfg.Timeout}).DialContext,
		TLSHandshakeTimeout: cfg.Timeout, ResponseHeaderTimeout: cfg.Timeout, IdleConnTimeout: time.Minute,
		MaxIdleConns: connections, MaxIdleConnsPerHost: connections,
	}, nil
}

// api makes the library's client for a token. Nothing of it comes from the
// environment: another program's settings are not ours.
func (c *Client) api(token secret, timeout time.Duration) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address: c.cfg.Address, HttpClient: c.http, Timeout: timeout, MaxRetries: 0, DisableRedirects: true,
	})
	if err != nil {
		return nil, err
	}
	headers := http.Header{api.RequestHeaderName: {"true"}}
	if c.cfg.Namespace != "" {
		headers.Set(api.NamespaceHeaderName, c.cfg.Namespace)
	}
	client.SetHeaders(headers)
	client.SetToken(string(token))
	return client, nil
}

// Close waits for the signatures under way and gives the token back. Nothing may be
// called after it.
func (c *Client) Close(ctx context.Context) error {
	c.flights.Wait()
	defer c.http.CloseIdleConnections()
	s := c.current.Swap(nil)
	if s == nil || c.cfg.Login.Method == MethodToken {
		return nil // the token is not ours to end
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	return c.send(ctx, s.api, request{op: "logout", path: "auth/token/revoke-self", body: struct{}{}}, nil)
}

// String redacts.
func (c *Client) String() string { return "[vault client]" }

// GoString redacts.
func (c *Client) GoString() string { return c.String() }

// request is one call; with a body it writes.
type request struct {
	op, path string
	body     any
	refusal  error // what it means if Vault refuses it; nil = ErrRefused
}

// fault is what is wrong about a request, or about its answer.
func (r request) fault(kind error, detail string, cause error) *CallError {
	return &CallError{Kind: kind, Op: r.op, Path: r.path, Detail: detail, Cause: cause}
}

// answer is what Vault answers with; T is that of one path.
type answer[T any] struct {
	Data T `json:"data"`
}

// call makes a call with the broker's token. It logs in first if need be, and once
// more if the token turns out to be gone. out takes the answer, which then must pass
// the checks.
func (c *Client) call(ctx context.Context, r request, out any, checks ...func() error) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	err := c.authenticated(ctx, r, out)
	for _, check := range checks {
		if err == nil {
			err = check()
		}
	}
	c.cfg.Observe(r.op, err)
	return err
}

// refused is a refusal of ours, counted like Vault's.
func (c *Client) refused(err *CallError) error {
	c.cfg.Observe(err.Op, err)
	return err
}

func (c *Client) authenticated(ctx context.Context, r request, out any) error {
	s, err := c.session(ctx)
	if err != nil {
		return err
	}
	err = c.send(ctx, s.api, r, out)
	if !errors.Is(err, ErrDenied) {
		return err
	}
	// Vault says the same of a token that is gone and of one that may not.
	gone, lookupErr := c.gone(ctx, s)
	if lookupErr != nil {
		return lookupErr
	}
	if !gone {
		return err
	}
	if s, err = c.replace(ctx, s); err != nil {
		return err
	}
	return c.send(ctx, s.api, r, out)
}

// send makes a call, and repeats it once where Vault was not reached or did not
// answer: nothing that is asked of it here does harm twice.
func (c *Client) send(ctx context.Context, client *api.Client, r request, out any) error {
	err := c.once(ctx, client, r, out)
	if !errors.Is(err, ErrAway) || ctx.Err() != nil {
		return err
	}
	const least = 10 * time.Millisecond
	if !pause(ctx, least+upTo(2*least)) {
		return err
	}
	return c.once(ctx, client, r, out)
}

func (c *Client) once(ctx context.Context, client *api.Client, r request, out any) error {
	call, why := c.breaker.Enter()
	if why != nil {
		return r.fault(why, "not asked, since it was so the last times", nil)
	}
	failed := roundTrip(ctx, client, r, out)
	cancelled := failed != nil && errors.Is(ctx.Err(), context.Canceled)
	outcome := breaker.Answered // a refusal shows that Vault is there
	switch {
	case cancelled:
		outcome = breaker.Inconclusive
	case failed != nil && failed.passing() && !failed.of(ErrLimited):
		outcome, why = breaker.Away, failed.Kind
	}
	switch c.breaker.Leave(call, outcome, why) {
	case breaker.Opened:
		c.log.Error("vault is unavailable; it is tried from time to time only", "error", failed)
	case breaker.Closed:
		c.log.Info("vault is available again")
	case breaker.Unchanged:
	}
	switch {
	case cancelled:
		return fmt.Errorf("vault %s at %s: %w", r.op, r.path, context.Canceled)
	case failed != nil:
		return failed
	}
	return nil
}

func roundTrip(ctx context.Context, client *api.Client, r request, out any) *CallError {
	var answer *api.Response
	var err error
	if r.body == nil {
		answer, err = client.Logical().ReadRawWithContext(ctx, r.path)
	} else {
		var body []byte
		if body, err = json.Marshal(r.body); err == nil {
			answer, err = client.Logical().WriteRawWithContext(ctx, r.path, body)
		}
	}
	if answer != nil {
		defer answer.Body.Close()
	}
	if err == nil && answer.StatusCode >= http.StatusMultipleChoices {
		return r.fault(ErrStandby, "it redirects to "+answer.Header.Get("Location"), nil)
	}
	if err != nil {
		failed := classify(r, err)
		if failed.of(ErrNotFound) && answer != nil && out != nil {
			_ = decode(answer.Body, out) // what KV says of an entry whose value was deleted
		}
		return failed
	}
	if err := decode(answer.Body, out); err != nil {
		return r.fault(ErrAway, "its answer is not Vault's", err)
	}
	return nil
}

func decode(body io.Reader, out any) error {
	data, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil || len(data) == 0 {
		return err
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(bytes.NewReader(data)).Decode(out)
}

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// upTo returns a random duration below limit.
func upTo(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return rand.N(limit) //nolint:gosec // it spreads load, and protects nothing
}

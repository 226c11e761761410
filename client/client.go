// Package client is the Go SDK of those who call a Writ broker: agents that
// want tokens (Client, Source) and security operations (Admin).
//
// It owns the exchange as a caller sees it: the form, bounded retries, early
// renewal, one renewal at a time. It never verifies a token (package verifier
// does), never follows a redirect (it would carry credentials to a place that
// nobody configured), and never sends a token over plain HTTP except to
// loopback or a Unix socket.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
)

const (
	defaultAttempts = 4
	defaultMaxWait  = 30 * time.Second
	defaultTimeout  = 15 * time.Second
	maxBody         = 8 << 20
)

// ErrInsecureURL is returned by constructors for a URL over which a token
// would travel in clear text.
var ErrInsecureURL = errors.New("client: URL is neither https nor loopback")

// ResponseError is an answer of the broker that is not a success.
// Body.Code is empty where the body was not the broker's (a proxy's, say).
type ResponseError struct {
	Status     int
	RetryAfter time.Duration // 0 where the answer named none
	Body       wire.Error
}

// Error names the status, the code, the reason and the description.
func (e *ResponseError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "broker answered %d", e.Status)
	if e.Body.Code != "" {
		b.WriteString(" " + e.Body.Code)
	}
	if e.Body.Reason != "" {
		b.WriteString(" (" + e.Body.Reason + ")")
	}
	if e.Body.Description != "" {
		b.WriteString(": " + e.Body.Description)
	}
	if e.Body.DecisionID != "" {
		b.WriteString(" (decision " + e.Body.DecisionID + ")")
	}
	return b.String()
}

// Temporary reports whether the same call may succeed later.
func (e *ResponseError) Temporary() bool {
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Config says which broker and how patiently. The zero value of every field
// but Issuer is usable.
type Config struct {
	// Issuer is the broker's issuer identifier, an https URL (http for loopback).
	Issuer string
	// TokenEndpoint is where to exchange; empty means Issuer + "/token".
	TokenEndpoint string
	// Transport carries the requests; nil means one of our own, with the system's roots.
	Transport http.RoundTripper
	// Attempts bounds the tries of one call (429, 502, 503, 504, no connection); 0 means 4.
	Attempts int
	// MaxWait bounds one pause between them. A Retry-After beyond it ends the
	// call with a *ResponseError that carries it; 0 means 30 s.
	MaxWait time.Duration
	// Timeout bounds one attempt; 0 means 15 s.
	Timeout time.Duration
	// Now is the clock; nil means the system's.
	Now func() time.Time
	// Logger gets one debug line a retry; nil means none.
	Logger *slog.Logger
}

// Client calls a broker's public endpoints. It is usable concurrently.
type Client struct {
	issuer string
	token  string
	caller caller
}

// New checks cfg and makes a Client. It does not connect.
func New(cfg Config) (*Client, error) {
	issuer, err := secureURL(cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if issuer.RawQuery != "" || issuer.Fragment != "" {
		return nil, errors.New("client: an issuer has no query and no fragment (RFC 8414 section 2)")
	}
	endpoint := cfg.TokenEndpoint
	if endpoint == "" {
		endpoint = strings.TrimSuffix(cfg.Issuer, "/") + wire.PathToken
	}
	if _, err := secureURL(endpoint); err != nil {
		return nil, fmt.Errorf("token endpoint: %w", err)
	}
	return &Client{issuer: cfg.Issuer, token: endpoint, caller: newCaller(cfg)}, nil
}

// Issuer returns the broker's issuer identifier as configured.
func (c *Client) Issuer() string { return c.issuer }

// Metadata fetches the broker's description (RFC 8414 section 3) and checks
// that it speaks for the configured issuer, byte for byte.
func (c *Client) Metadata(ctx context.Context) (*wire.Metadata, error) {
	u, err := url.Parse(c.issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	u.Path = wire.PathMetadata + strings.TrimSuffix(u.Path, "/")
	var m wire.Metadata
	if err := c.caller.get(ctx, u.String(), "", &m); err != nil {
		return nil, fmt.Errorf("fetching metadata: %w", err)
	}
	if m.Issuer != c.issuer {
		return nil, fmt.Errorf("metadata is of issuer %q, not of %q", m.Issuer, c.issuer)
	}
	return &m, nil
}

// JWKS fetches the key set at u, which is usually Metadata's JWKSURI, as raw
// JSON, with how long the answer may be kept (0: the answer does not say).
func (c *Client) JWKS(ctx context.Context, u string) (data []byte, maxAge time.Duration, err error) {
	if _, err := secureURL(u); err != nil {
		return nil, 0, fmt.Errorf("jwks_uri: %w", err)
	}
	err = c.caller.do(ctx, call{method: http.MethodGet, url: u, repeatable: true, accept: wire.TypeJSON,
		read: func(r reply) error {
			data, maxAge = r.body, cacheAge(r.header)
			return nil
		}})
	if err != nil {
		return nil, 0, fmt.Errorf("fetching keys: %w", err)
	}
	return data, maxAge, nil
}

// Revoke revokes token (RFC 7009). auth is the caller's own token, or empty
// where the token to revoke is proof enough.
func (c *Client) Revoke(ctx context.Context, token, auth string) error {
	form := url.Values{wire.ParamToken: {token}}
	return c.caller.do(ctx, call{method: http.MethodPost, url: c.endpoint(wire.PathRevoke), form: form, auth: auth, repeatable: true})
}

// Introspect asks the broker about token (RFC 7662), with auth as the caller's
// own token. For a Go service package verifier is the better way: it asks
// nobody.
func (c *Client) Introspect(ctx context.Context, token, auth string) (*wire.Introspection, error) {
	form := url.Values{wire.ParamToken: {token}}
	var out wire.Introspection
	err := c.caller.do(ctx, call{method: http.MethodPost, url: c.endpoint(wire.PathIntrospect), form: form, auth: auth,
		repeatable: true, accept: wire.TypeJSON, read: into(&out)})
	if err != nil {
		return nil, err
	}
	return &out, nil
}

func (c *Client) endpoint(path string) string {
	return strings.TrimSuffix(c.issuer, "/") + path
}

// secureURL parses an absolute URL over which a secret may be sent.
func secureURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("client: %q is not an absolute URL without user information", text)
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return u, nil
	}
	return nil, fmt.Errorf("%w: %s://%s", ErrInsecureURL, u.Scheme, u.Host)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// cacheAge reads max-age from Cache-Control (RFC 9111 section 5.2.2.1).
func cacheAge(h http.Header) time.Duration {
	age, _ := seconds(h.Get("Age")) // that it has spent in caches on the way (RFC 9111 section 4.2)
	for part := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || !strings.EqualFold(name, "max-age") {
			continue
		}
		if d, ok := seconds(strings.Trim(value, `"`)); ok {
			return max(d-age, 0)
		}
	}
	return 0
}

// into reads a JSON body; members that this version does not know are ignored,
// so that a newer broker can be called.
func into(out any) func(reply) error {
	return func(r reply) error {
		if err := json.Unmarshal(r.body, out); err != nil {
			return fmt.Errorf("reading the broker's answer: %w", err)
		}
		return nil
	}
}

func readAll(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("answer is over %d bytes", maxBody)
	}
	return body, err
}

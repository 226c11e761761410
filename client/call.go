package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
)

// caller makes HTTP calls with bounded retries. Its fields are set once.
type caller struct {
	http     *http.Client
	attempts int
	maxWait  time.Duration
	timeout  time.Duration
	now      func() time.Time
	log      *slog.Logger
}

// call is one request that can be sent again: its body is kept as a value.
type call struct {
	method     string
	url        string
	form       url.Values
	json       any
	auth       string // bearer token
	accept     string
	timeout    time.Duration // of one attempt; 0 means the caller's
	repeatable bool          // sending it twice does no harm, so a broken connection is retried too
	read       func(reply) error
}

// reply is a success, read in full.
type reply struct {
	header http.Header
	body   []byte
	sent   time.Time // when the attempt that succeeded was begun
}

func newCaller(cfg Config) caller {
	c := caller{attempts: cfg.Attempts, maxWait: cfg.MaxWait, timeout: cfg.Timeout, now: cfg.Now, log: cfg.Logger}
	if c.attempts <= 0 {
		c.attempts = defaultAttempts
	}
	if c.maxWait <= 0 {
		c.maxWait = defaultMaxWait
	}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	if c.now == nil {
		c.now = time.Now //nolint:forbidigo // an SDK's default; whoever tests passes a clock
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	transport := cfg.Transport
	if transport == nil {
		transport = NewTransport(nil)
	}
	c.http = &http.Client{Transport: transport, CheckRedirect: refuseRedirect}
	return c
}

// NewTransport returns a transport for brokers: TLS 1.2 or later (roots of
// tlsConfig; nil means the system's), bounded dials and handshakes, no proxy
// of the environment beyond the standard variables.
func NewTransport(tlsConfig *tls.Config) *http.Transport {
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: 5 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConnsPerHost: 16,
		ForceAttemptHTTP2:   true,
	}
}

// refuseRedirect hands the 3xx answer itself to the caller, where it is an error.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (c *caller) get(ctx context.Context, u string, auth string, out any) error {
	return c.do(ctx, call{method: http.MethodGet, url: u, auth: auth, repeatable: true, accept: wire.TypeJSON, read: into(out)})
}

// do sends k until it succeeds, fails for good, or the attempts are used up.
// The error is the last one.
func (c *caller) do(ctx context.Context, k call) error {
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, k)
		if err == nil {
			return nil
		}
		wait, again := c.pause(err, attempt, k.repeatable)
		if !again || ctx.Err() != nil {
			return err
		}
		if deadline, ok := ctx.Deadline(); ok && c.now().Add(wait).After(deadline) {
			return err // waiting would end in the deadline, which says less
		}
		c.log.DebugContext(ctx, "broker call failed, will retry", "attempt", attempt, "wait", wait, "error", err)
		if !sleep(ctx, wait) {
			return err
		}
	}
}

// pause says how long to wait before the next attempt, if there is one.
func (c *caller) pause(err error, attempt int, repeatable bool) (time.Duration, bool) {
	if attempt >= c.attempts {
		return 0, false
	}
	wait := jitter(min(c.maxWait, 100*time.Millisecond<<min(attempt-1, 16)))
	var refused *ResponseError
	if !errors.As(err, &refused) {
		var unsent *sendError
		return wait, repeatable && errors.As(err, &unsent)
	}
	saidNo := refused.Status == http.StatusTooManyRequests || refused.Status == http.StatusServiceUnavailable
	if !saidNo && (!repeatable || !refused.Temporary()) {
		return 0, false
	}
	if refused.RetryAfter > c.maxWait {
		return 0, false
	}
	if refused.RetryAfter > 0 {
		// Never earlier than asked; a little later, so that callers refused together do not return together.
		wait = refused.RetryAfter + rand.N(refused.RetryAfter/4+time.Millisecond) // #nosec G404 -- spreads load, guards nothing
	}
	return wait, true
}

// sendError marks a failure without an answer.
type sendError struct{ err error }

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

func (c *caller) once(ctx context.Context, k call) error {
	timeout := c.timeout
	if k.timeout > 0 {
		timeout = k.timeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := k.request(ctx)
	if err != nil {
		return err
	}
	sent := c.now()
	resp, err := c.http.Do(req)
	if err != nil {
		return &sendError{stripURL(err)}
	}
	defer resp.Body.Close()
	defer drain(resp.Body)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.refusal(resp)
	}
	body, err := readAll(resp.Body)
	if err != nil {
		return &sendError{fmt.Errorf("reading the broker's answer: %w", err)}
	}
	if k.read == nil {
		return nil
	}
	return k.read(reply{header: resp.Header, body: body, sent: sent})
}

func (k call) request(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	contentType := ""
	switch {
	case k.form != nil:
		body, contentType = strings.NewReader(k.form.Encode()), wire.TypeForm
	case k.json != nil:
		data, err := json.Marshal(k.json)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		body, contentType = bytes.NewReader(data), wire.TypeJSON
	}
	req, err := http.NewRequestWithContext(ctx, k.method, k.url, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if k.accept != "" {
		req.Header.Set("Accept", k.accept)
	}
	if k.auth != "" {
		req.Header.Set("Authorization", wire.Bearer+" "+k.auth)
	}
	return req, nil
}

// refusal reads an answer that is no success. A body that is not the broker's
// leaves Code empty: its text is not passed on.
func (c *caller) refusal(resp *http.Response) error {
	e := &ResponseError{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header, c.now())}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && json.Unmarshal(body, &e.Body) != nil {
		e.Body = wire.Error{}
	}
	return e
}

// retryAfter reads RFC 9110 section 10.2.3, both forms.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if d, ok := seconds(text); ok {
		return d
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

func seconds(text string) (time.Duration, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	return time.Duration(n) * time.Second, err == nil // #nosec G115 -- 31 bits
}

// stripURL drops the URL that net/http puts in front: queries may carry ids,
// and the caller knows where it called.
func stripURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// drain reads what is left, so that the connection can be used again.
func drain(body io.Reader) {
	_, _ = io.CopyN(io.Discard, body, 64<<10)
}

// sleep waits d; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter returns a duration in [d/2, d].
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1) // #nosec G404 -- spreads load, guards nothing
}

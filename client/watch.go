package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

const (
	defaultIdle  = 45 * time.Second
	maxFeedEvent = 16 << 20 // one part of a snapshot

	// Beyond these a number of milliseconds means nothing here, and could
	// overflow a time.Duration.
	longAgoMS = int64(24 * time.Hour / time.Millisecond)
	maxAgeMS  = 400 * longAgoMS
)

// ErrFeedEnded is returned by Watch when the broker closed the stream.
var ErrFeedEnded = errors.New("client: the broker ended the revocation feed")

// Watch is one reading of the revocation feed.
type Watch struct {
	// URL is the feed's address, from Metadata's RevocationFeed.
	URL string
	// After is the position reached before; the feed goes on behind it. Zero
	// asks for a snapshot first.
	After token.Rev
	// Verifier and Name identify this reader; acknowledgements carry the same.
	Verifier, Name string
	// Idle is how long the stream may be silent, heartbeats included, before
	// it counts as dead; 0 means 45 s.
	Idle time.Duration
	// Handle takes each event, in order, on the calling goroutine. Its error
	// ends the reading and is returned.
	Handle func(FeedEvent) error
}

// FeedEvent is an event of the feed as it arrived here.
type FeedEvent struct {
	revocation.Event
	// Confirmed, for a heartbeat, is a moment by the local clock that is not
	// later than when the replica last confirmed the tail of the log; zero where
	// it never did. It is counted from when the feed was asked for, not from
	// when the heartbeat arrived: a network that holds the stream back makes it
	// older, never younger.
	Confirmed time.Time
}

// Watch reads the revocation feed once, until the stream ends, ctx ends, or
// Handle fails; auth is a token for `writ:feed:read`. It does not reconnect:
// the caller does, with After at what it reached. The error is never nil.
func (c *Client) Watch(ctx context.Context, w Watch, auth string) error {
	if _, err := secureURL(w.URL); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	return c.caller.watch(ctx, w, auth)
}

// Ack tells the broker at u what this reader has applied. It makes one attempt.
func (c *Client) Ack(ctx context.Context, u string, ack revocation.Ack, auth string) error {
	if _, err := secureURL(u); err != nil {
		return fmt.Errorf("ack: %w", err)
	}
	once := c.caller
	once.attempts = 1
	return once.do(ctx, call{method: http.MethodPost, url: u, json: ack, auth: auth})
}

// Refusals tells the broker at u, Metadata's RevocationRefusals, what this reader refused.
// It makes one attempt.
func (c *Client) Refusals(ctx context.Context, u string, report wire.RefusalReport, auth string) error {
	if _, err := secureURL(u); err != nil {
		return fmt.Errorf("refusals: %w", err)
	}
	once := c.caller
	once.attempts = 1
	return once.do(ctx, call{method: http.MethodPost, url: u, json: report, auth: auth})
}

func (c *caller) watch(ctx context.Context, w Watch, auth string) error {
	idle := w.Idle
	if idle <= 0 {
		idle = defaultIdle
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(idle, func() { cancel(fmt.Errorf("%w: silent for %v", ErrFeedEnded, idle)) })
	defer silence.Stop()

	req, err := w.request(ctx, auth)
	if err != nil {
		return err
	}
	sent := c.now()
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("opening the feed: %w", causeOf(ctx, stripURL(err)))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("opening the feed: %w", c.refusal(resp))
	}
	if mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); strings.TrimSpace(mediaType) != wire.TypeEventStream {
		return fmt.Errorf("opening the feed: the answer is %q, no event stream", mediaType)
	}
	events := revocation.NewDecoder(resp.Body, maxFeedEvent)
	for {
		event, err := events.Next()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFeedEnded, causeOf(ctx, err))
		}
		silence.Reset(idle)
		if err := w.Handle(c.arrived(event, sent)); err != nil {
			return err
		}
	}
}

func (w Watch) request(ctx context.Context, auth string) (*http.Request, error) {
	u, err := url.Parse(w.URL)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	for name, value := range map[string]string{wire.ParamVerifier: w.Verifier, wire.ParamVerifierName: w.Name} {
		if value != "" {
			q.Set(name, value)
		}
	}
	u.RawQuery = q.Encode()
	req, err := call{method: http.MethodGet, url: u.String(), auth: auth, accept: wire.TypeEventStream}.request(ctx)
	if err != nil {
		return nil, err
	}
	if !w.After.IsZero() {
		req.Header.Set(wire.HeaderLastEventID, w.After.String())
	}
	req.Header.Set("Cache-Control", "no-store")
	return req, nil
}

// arrived dates a heartbeat: the replica cannot have sent it before the request
// arrived, which was not before sent, and then only after the stream's age.
func (c *caller) arrived(e revocation.Event, sent time.Time) FeedEvent {
	out := FeedEvent{Event: e}
	if e.Type != revocation.EventHeartbeat || e.Heartbeat == nil || e.Heartbeat.ConfirmedAgoMS < 0 || e.Heartbeat.ConfirmedAgoMS > longAgoMS {
		return out
	}
	at := c.now()
	if age := e.Heartbeat.StreamAgeMS; age > 0 && age < maxAgeMS {
		if byAge := sent.Add(time.Duration(age) * time.Millisecond); byAge.Before(at) {
			at = byAge
		}
	}
	out.Confirmed = at.Add(-time.Duration(e.Heartbeat.ConfirmedAgoMS) * time.Millisecond)
	return out
}

// causeOf prefers the reason for which ctx was cancelled to what that broke.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxWorkloadToken bounds a workload token's file: the broker refuses more.
const maxWorkloadToken = 16 << 10

// ErrClosed is returned by a closed Source.
var ErrClosed = errors.New("client: token source is closed")

// Proof returns the caller's own credential, read anew at each call: platforms
// replace workload tokens while a process runs.
type Proof func(ctx context.Context) (string, error)

// File is a Proof that reads path each time. Surrounding white space is cut;
// an empty file or one over 16 KiB is an error.
func File(path string) Proof {
	return func(context.Context) (string, error) {
		f, err := os.Open(path) // #nosec G304 -- the operator's own configuration
		if err != nil {
			return "", fmt.Errorf("reading workload token: %w", err)
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxWorkloadToken+1))
		if err != nil {
			return "", fmt.Errorf("reading workload token: %w", err)
		}
		text := strings.TrimSpace(string(data))
		if text == "" || len(data) > maxWorkloadToken {
			return "", fmt.Errorf("workload token in %s is empty or over %d bytes", path, maxWorkloadToken)
		}
		return text, nil
	}
}

// Exchanger trades a request for a token; *Client is one.
type Exchanger interface {
	Exchange(ctx context.Context, r Request) (*Token, error)
}

// SourceConfig describes the one token that a Source keeps fresh.
type SourceConfig struct {
	// Client makes the exchanges.
	Client Exchanger
	// Request is the exchange to make; its SubjectToken and ActorToken are
	// filled from Subject and Actor where those are set.
	Request Request
	// Subject returns the subject token; Actor, if set, the actor token.
	Subject, Actor Proof
	// Timeout bounds one renewal with its retries; 0 means 60 s.
	Timeout time.Duration
	// Now is the clock; nil means the system's. Logger gets a warning for a
	// renewal that failed while the old token still lives; nil means none.
	Now    func() time.Time
	Logger *slog.Logger
}

// Source hands out one token and renews it before it expires: after 60 to 80 %
// of its life, in the background, so that callers wait only where there is no
// usable token. One renewal runs at a time, however many callers wait. After a
// failed renewal it leaves the broker alone for a while (Retry-After, or a
// growing pause), and callers without a usable token get that failure.
//
// A Source is usable concurrently. Close it to end its renewal.
type Source struct {
	cfg     SourceConfig
	now     func() time.Time
	log     *slog.Logger
	current atomic.Pointer[lease]
	flights sync.WaitGroup

	mu       sync.Mutex // guards what follows
	flight   *flight
	failures int
	failed   error
	holdOff  time.Time // no renewal before it
	closed   bool
}

// lease is a token with the times at which to act on it.
type lease struct {
	token *Token
	renew time.Time // from here on a renewal is due
	unfit time.Time // from here on the token is not handed out
}

// flight is one renewal; err is set before done is closed.
type flight struct {
	done   chan struct{}
	cancel context.CancelFunc
	token  *Token
	err    error
}

// NewSource checks cfg and makes a Source. The first call of Token does the
// first exchange.
func NewSource(cfg SourceConfig) (*Source, error) {
	if cfg.Client == nil {
		return nil, errors.New("client: SourceConfig.Client is missing")
	}
	if cfg.Subject == nil && cfg.Request.SubjectToken == "" {
		return nil, ErrNoSubject
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Minute
	}
	s := &Source{cfg: cfg, now: cfg.Now, log: cfg.Logger}
	if s.now == nil {
		s.now = time.Now //nolint:forbidigo // an SDK's default; whoever tests passes a clock
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Token returns a token that is good for a while yet. It waits for an exchange
// only where there is none; then ctx ends the wait, not the exchange, which
// others may be waiting for.
func (s *Source) Token(ctx context.Context) (*Token, error) {
	now := s.now()
	held := s.current.Load()
	if held != nil && now.Before(held.renew) {
		return held.token, nil
	}
	f, err := s.join(ctx, now)
	if held := s.current.Load(); held != nil && now.Before(held.unfit) && !errors.Is(err, ErrClosed) {
		return held.token, nil
	}
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Bearer returns the token's text, for an Authorization header.
func (s *Source) Bearer(ctx context.Context) (string, error) {
	t, err := s.Token(ctx)
	if err != nil {
		return "", err
	}
	return t.Secret.Reveal(), nil
}

// Discard drops t if it is the token held, so that the next call renews: for a
// caller whom a resource server told that t is no longer valid.
func (s *Source) Discard(t *Token) {
	if held := s.current.Load(); held != nil && held.token == t {
		s.current.CompareAndSwap(held, nil)
	}
}

// Close ends a renewal that is under way and waits for it.
func (s *Source) Close() {
	s.mu.Lock()
	s.closed = true
	if s.flight != nil {
		s.flight.cancel()
	}
	s.mu.Unlock()
	s.flights.Wait()
}

// join returns the renewal under way, or starts one, or says why there is none.
func (s *Source) join(ctx context.Context, now time.Time) (*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.flight != nil {
		return s.flight, nil
	}
	if held := s.current.Load(); held != nil && now.Before(held.renew) {
		return &flight{done: closedChannel(), token: held.token}, nil // renewed since the caller looked
	}
	if now.Before(s.holdOff) {
		return nil, fmt.Errorf("renewal is held off until %s: %w", s.holdOff.UTC().Format(time.RFC3339), s.failed)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
	f := &flight{done: make(chan struct{}), cancel: cancel}
	s.flight = f
	s.flights.Go(func() { s.renew(ctx, f) })
	return f, nil
}

func closedChannel() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (s *Source) renew(ctx context.Context, f *flight) {
	defer f.cancel()
	f.token, f.err = s.exchange(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight = nil
	if f.err != nil {
		s.failures++
		s.failed = f.err
		s.holdOff = s.now().Add(s.pause(f.err))
		s.log.WarnContext(ctx, "token not renewed", "failures", s.failures, "error", f.err)
	} else {
		s.failures, s.failed, s.holdOff = 0, nil, time.Time{}
		s.current.Store(newLease(f.token, s.now()))
	}
	close(f.done)
}

// pause is how long to leave the broker alone: at least what it asked for.
func (s *Source) pause(err error) time.Duration {
	wait := jitter(min(30*time.Second, 500*time.Millisecond<<min(s.failures-1, 8)))
	if refused, ok := errors.AsType[*ResponseError](err); ok {
		wait = max(wait, min(refused.RetryAfter, 5*time.Minute))
	}
	return wait
}

func (s *Source) exchange(ctx context.Context) (*Token, error) {
	r := s.cfg.Request
	var err error
	if s.cfg.Subject != nil {
		if r.SubjectToken, err = s.cfg.Subject(ctx); err != nil {
			return nil, err
		}
	}
	if s.cfg.Actor != nil {
		if r.ActorToken, err = s.cfg.Actor(ctx); err != nil {
			return nil, err
		}
	}
	return s.cfg.Client.Exchange(ctx, r)
}

// newLease spreads renewals over 60 to 80 % of the life, so that agents that
// started together do not come back together, and stops handing a token out
// shortly before its end, so that it does not die on its way.
func newLease(t *Token, now time.Time) *lease {
	life := max(0, t.Expiry.Sub(now))
	early := life*6/10 + rand.N(life/5+1) // #nosec G404 -- spreads load, guards nothing
	return &lease{token: t, renew: now.Add(early), unfit: t.Expiry.Add(-min(5*time.Second, life/10))}
}

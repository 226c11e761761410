package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// session is one token's time.
type session struct {
	api      *api.Client
	auth     *api.Secret
	replaced chan struct{} // closed once another took its place
}

// String redacts.
func (*session) String() string { return "[vault session]" }

// GoString redacts.
func (s *session) GoString() string { return s.String() }

// failure is the last login that failed, which stands for the next ones until a moment.
type failure struct {
	err   error
	until time.Time
}

// session returns the current session, and logs in where there is none.
func (c *Client) session(ctx context.Context) (*session, error) {
	if s := c.current.Load(); s != nil {
		return s, nil
	}
	return c.replace(ctx, nil)
}

// replace logs in, unless somebody else has done it since old was current. Of many
// that find their token gone at once, one logs in.
func (c *Client) replace(ctx context.Context, old *session) (*session, error) {
	select {
	case <-c.login:
		defer func() { c.login <- struct{}{} }()
	case <-ctx.Done():
		return nil, c.waited(ctx)
	}
	if s := c.current.Load(); s != nil && s != old {
		return s, nil
	}
	if c.failed.err != nil && c.cfg.Now().Before(c.failed.until) {
		return nil, c.failed.err
	}
	s, err := c.newSession(ctx)
	c.cfg.Observe("login", err)
	if err != nil {
		c.fail(err)
		return nil, err
	}
	c.failed = failure{}
	c.current.Store(s)
	if old != nil {
		close(old.replaced)
	}
	c.log.Info("logged in to vault", "method", c.cfg.Login.Method, "ttl", lease(s.auth), "renewable", s.auth.Auth.Renewable)
	return s, nil
}

// waited is why somebody does not wait any longer for another's login.
func (c *Client) waited(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("waiting for the login to vault: %w", ctx.Err())
	}
	return &CallError{Kind: ErrAway, Op: "login", Path: "auth/" + c.cfg.Login.Mount + "/login", Detail: "no login in time", Cause: ctx.Err()}
}

func (c *Client) newSession(ctx context.Context) (*session, error) {
	auth, err := c.authenticate(ctx)
	if err != nil {
		return nil, err
	}
	client, err := c.api(secret(auth.Auth.ClientToken), 0)
	if err != nil {
		return nil, err
	}
	return &session{api: client, auth: auth, replaced: make(chan struct{})}, nil
}

// fail keeps a refused login from being repeated by every request; what was only
// unavailable has the breaker for that, and a caller that gave up says nothing.
func (c *Client) fail(err error) {
	if failed, ok := errors.AsType[*CallError](err); !ok || failed.passing() {
		return
	}
	c.failed = failure{err: err, until: c.cfg.Now().Add(c.cfg.ProbeEvery/2 + upTo(c.cfg.ProbeEvery))}
}

// gone reports whether a session's token is not known to Vault anymore.
func (c *Client) gone(ctx context.Context, s *session) (bool, error) {
	err := c.send(ctx, s.api, request{op: "lookup", path: "auth/token/lookup-self"}, nil)
	if errors.Is(err, ErrDenied) {
		return true, nil
	}
	return false, err
}

func lease(s *api.Secret) time.Duration { return time.Duration(s.Auth.LeaseDuration) * time.Second }

// Run logs in, renews the token, and logs in anew before it ends, until ctx ends; then
// it returns nil. What fails meanwhile is logged and tried again.
func (c *Client) Run(ctx context.Context) error {
	const most = 15 * time.Second
	wait, failing := c.cfg.ProbeEvery, false
	var old *session // to be replaced
	for ctx.Err() == nil {
		s, err := c.renewed(ctx, old)
		if err != nil {
			if !failing && ctx.Err() == nil {
				c.log.Error("cannot log in to vault", "error", err)
			}
			failing = true
			pause(ctx, wait/2+upTo(wait/2))
			wait = min(2*wait, most)
			continue
		}
		wait, failing = c.cfg.ProbeEvery, false
		c.keep(ctx, s)
		old = s
	}
	return nil
}

// renewed is the session to keep: another than old.
func (c *Client) renewed(ctx context.Context, old *session) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if s := c.current.Load(); s != nil && s != old {
		return s, nil
	}
	return c.replace(ctx, old)
}

// keep renews a session's token until it has to be replaced, or was.
func (c *Client) keep(ctx context.Context, s *session) {
	if s.auth.Auth.LeaseDuration == 0 { // it does not end
		select {
		case <-ctx.Done():
		case <-s.replaced:
		}
		return
	}
	// The watcher's calls have no context, so its client has a timeout.
	client, err := c.api(secret(s.auth.Auth.ClientToken), c.cfg.Timeout)
	if err != nil {
		c.log.Error("vault token cannot be renewed", "error", err)
		return
	}
	watcher, err := client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: s.auth})
	if err != nil {
		c.log.Error("vault token cannot be renewed", "error", err)
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(watcher.Start)
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.replaced:
			return
		case <-watcher.RenewCh():
			c.cfg.Observe("renew", nil)
		case err := <-watcher.DoneCh():
			if err != nil {
				failed := classify(request{op: "renew", path: "auth/token/renew-self"}, err)
				c.cfg.Observe("renew", failed)
				c.log.Error("vault token cannot be renewed; logging in anew", "error", failed)
			}
			return
		}
	}
}

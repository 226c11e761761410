package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/token"
	"github.com/writbroker/writ/verifier"
)

// spread is the verifiers that are connected to some replicas: readers of the feed, and a few that
// are whole.
type spread struct {
	callers *callers
	wanted  atomic.Pointer[arrivals]
	total   int // readers
	groups  []*readers
	servers []*verifier.Verifier
	stops   []func()
	rules   int // so far
}

// connect adds n readers of a replica; after is the position to begin at, empty for the start.
func (s *spread) connect(ctx context.Context, b *broker, n int, after string) error {
	auth, err := s.callers.server.Token(ctx)
	if err != nil {
		return err
	}
	r := &readers{token: auth.Secret.Reveal(), host: b.host(), wanted: &s.wanted}
	s.groups = append(s.groups, r)
	first := s.total
	s.total += n
	if err := r.open(ctx, n, first, after); err != nil {
		return err
	}
	return r.wait(ctx, n)
}

// serve adds n whole verifiers of a replica.
func (s *spread) serve(ctx context.Context, b *broker, n int) error {
	running, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	transport := transportTo(b)
	s.stops = append(s.stops, func() {
		cancel()
		_ = g.Wait() // Run ends with its context, without an error
		transport.CloseIdleConnections()
	})
	for i := range n {
		v, err := verifier.New(ctx, verifier.Config{
			Issuer: b.issuer.audience, Audience: []string{toolAudience}, Tool: tool,
			FeedToken: s.callers.server, Name: fmt.Sprintf("server-%d", i), Transport: transport,
		})
		if err != nil {
			return fmt.Errorf("making resource server: %w", err)
		}
		s.servers = append(s.servers, v)
		g.Go(func() error { return v.Run(running) })
	}
	waiting, stop := context.WithTimeout(ctx, startTimeout)
	defer stop()
	for _, v := range s.servers {
		if err := v.Wait(waiting); err != nil {
			return fmt.Errorf("connecting resource servers: %w", err)
		}
	}
	return nil
}

// passage is how a rule got to the verifiers.
type passage struct {
	acked time.Duration   // from the call to its answer
	whole []time.Duration // from the call to when each reader had it, sorted
	after []time.Duration // the same from the answer
	last  time.Duration   // from then to when all had it, whole ones too
}

// revoke calls the admin API and waits until every verifier has the rule.
func (s *spread) revoke(ctx context.Context, byRole bool) (*passage, error) {
	rule := wire.RevokeRequest{Selector: "token", Value: numbered(seriesToken, uint64(s.rules)), Apply: true, Reason: "bench"}
	if byRole {
		rule.Selector, rule.Value = "role", massRole
	}
	s.rules++
	a := newArrivals(rule.Value, s.total)
	s.wanted.Store(a)
	answer, err := s.callers.admin.Revoke(ctx, rule)
	p := &passage{acked: time.Since(a.began)}
	if err != nil {
		return nil, fmt.Errorf("revoking: %w", err)
	}
	at, err := token.ParseRev(answer.Position)
	if err != nil {
		return nil, fmt.Errorf("revoking: the rule is %q and at no place in the log: %w", answer.Durability, err)
	}
	ctx, cancel := context.WithTimeout(ctx, tooLong)
	defer cancel()
	for _, v := range s.servers {
		for have := v.Position(); have.Lineage != at.Lineage || have.Seq < at.Seq; have = v.Position() {
			if err := pause(ctx, look); err != nil {
				return nil, fmt.Errorf("a resource server lacks the rule: %w", err)
			}
		}
	}
	if len(s.servers) > 0 {
		p.last = max(0, time.Since(a.began)-p.acked)
	}
	select {
	case <-a.all:
	case <-ctx.Done():
		return nil, fmt.Errorf("%d of %d readers lack the rule: %w", a.left.Load(), s.total, s.fault(ctx.Err()))
	}
	p.whole, p.after = a.after(0), a.after(p.acked)
	p.last = max(p.last, p.after[len(p.after)-1])
	return p, nil
}

// fault is why a reader ended, if one did.
func (s *spread) fault(err error) error {
	for _, r := range s.groups {
		if ended := r.fault.Load(); ended != nil {
			err = errors.Join(*ended, err)
		}
	}
	return err
}

func (s *spread) close() {
	for _, stop := range s.stops {
		stop()
	}
	for _, r := range s.groups {
		r.close()
	}
	if s.callers != nil {
		s.callers.close()
	}
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/httpapi/wire"
)

const (
	spreadRounds = 5
	// Between two rules: while the exchange is compared, and when they alone are timed.
	spreadPause  = 500 * time.Millisecond
	quickPause   = 50 * time.Millisecond
	wholeServers = 4 // of the verifiers, on each replica
)

// twoReplicas measures from when the admin call is acknowledged to when the last verifier of two
// replicas has the rule, while clients exchange at full speed on both.
type twoReplicas struct {
	*redisWorld
	spread
	replicas []*broker
	bodies   [][]byte

	lasts          []time.Duration // from the acknowledgement to the last verifier, one a rule
	one, many      []time.Duration // from the call to the last verifier
	quiet, revoked []*sample
	again          atomic.Int64 // exchanges that were asked for again
}

func (w *redisWorld) overReplicas(ctx context.Context) error {
	if err := openFiles(2*w.sizes.Spread + 8*w.sizes.Connections); err != nil {
		return err
	}
	t, f := &twoReplicas{redisWorld: w}, w.fleet(databaseSpread)
	for n := range 2 {
		b, err := w.startReplica(ctx, fmt.Sprintf("replica-%d", n), f)
		if err != nil {
			return errors.Join(err, stopAll(t.replicas...))
		}
		t.replicas = append(t.replicas, b)
	}
	err := t.measure(ctx)
	t.spread.close()
	return errors.Join(err, stopAll(t.replicas...))
}

func (t *twoReplicas) measure(ctx context.Context) (err error) {
	if err := t.countMass(ctx); err != nil {
		return err
	}
	if t.callers, err = t.replicas[0].callers(ctx); err != nil {
		return err
	}
	whole := min(wholeServers, t.sizes.Spread/4+1)
	for _, b := range t.replicas {
		if err := t.serve(ctx, b, whole); err != nil {
			return err
		}
		if err := t.connect(ctx, b, max(1, t.sizes.Spread/2-whole), ""); err != nil {
			return err
		}
	}
	n := agents(t.sizes.Bindings)
	if t.bodies, err = t.replicas[0].issuer.exchanges(ctx, min(repeated, n), n); err != nil {
		return err
	}
	each := t.cfg.Duration / (2*spreadRounds + 4)
	if _, err := t.exchangeOnBoth(ctx, each); err != nil {
		return err
	}
	for round := range spreadRounds {
		stretches := []func(context.Context, time.Duration) error{t.quietly, t.revoking}
		for i := range stretches {
			runtime.GC()
			if err := stretches[(i+round)%len(stretches)](ctx, each); err != nil {
				return err
			}
		}
	}
	if err := t.pour(ctx, 2*each, quickPause, &[]*sample{}); err != nil {
		return err
	}
	t.tell()
	return nil
}

// exchangeOnBoth has half of the clients exchange on each replica.
func (t *twoReplicas) exchangeOnBoth(ctx context.Context, d time.Duration) (*sample, error) {
	half := *t.load
	half.again = &t.again
	half.conns = max(1, half.conns/len(t.replicas))
	samples := make([]*sample, len(t.replicas))
	g, ctx := errgroup.WithContext(ctx)
	for i, b := range t.replicas {
		g.Go(func() (err error) {
			samples[i], err = half.post(ctx, b.url+wire.PathToken, t.bodies, false, d)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	sum := &sample{}
	for _, s := range samples {
		sum.rate += s.rate
	}
	return sum, nil
}

func (t *twoReplicas) quietly(ctx context.Context, d time.Duration) error {
	s, err := t.exchangeOnBoth(ctx, d)
	t.quiet = append(t.quiet, s)
	return err
}

// revoking is the same while rules come in; those by role take turns with those by token.
func (t *twoReplicas) revoking(ctx context.Context, d time.Duration) error {
	return t.pour(ctx, d, spreadPause, &t.revoked)
}

func (t *twoReplicas) pour(ctx context.Context, d, rest time.Duration, into *[]*sample) error {
	var s *sample
	ended := make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		defer close(ended)
		s, err = t.exchangeOnBoth(ctx, d)
		return err
	})
	g.Go(func() error {
		for n := 0; ; n++ {
			if err := t.rule(ctx, n%2 == 1); err != nil {
				return err
			}
			select {
			case <-ended:
				if n > 0 { // one of each at least
					return nil
				}
			case <-time.After(rest):
			}
		}
	})
	err := g.Wait()
	*into = append(*into, s)
	return err
}

func (t *twoReplicas) rule(ctx context.Context, byRole bool) error {
	p, err := t.revoke(ctx, byRole)
	if err != nil {
		return err
	}
	t.lasts = append(t.lasts, p.last)
	if byRole {
		t.many = append(t.many, p.acked+p.last)
	} else {
		t.one = append(t.one, p.acked+p.last)
	}
	return nil
}

// countMass counts what one rule hits, if no part of this run has.
func (w *redisWorld) countMass(ctx context.Context) error {
	if _, counted := w.report.Figure("mass_rule_hits"); counted {
		return nil
	}
	if err := w.mass(ctx); err != nil {
		return err
	}
	w.figure("mass_rule_hits", float64(w.sizes.Tokens), Goal{}, "distinct tokens that one rule by role was counted to hit")
	return nil
}

func (t *twoReplicas) tell() {
	slices.Sort(t.lasts)
	rate := func(s *sample) float64 { return s.rate }
	about := fmt.Sprintf("from the answer of the admin call to the last of %d verifiers of two replicas, while %d clients exchange",
		t.total+len(t.servers), t.sizes.Connections)
	t.figure("redis_propagation_p50_ms", milliseconds(at(t.lasts, 0.5)), Goal{}, about)
	t.figure("redis_propagation_p99_ms", milliseconds(at(t.lasts, 0.99)), AtMost(50), "")
	t.figure("redis_propagation_rules", float64(len(t.lasts)), Goal{}, "rules that were timed")
	t.figure("exchange_during_revocation_ratio", ratio(t.revoked, t.quiet, rate), AtLeast(0.9),
		"rate of exchange with a rule every 500 ms, each second one hitting every token, over that without")
	t.figure("exchanges_asked_again", float64(t.again.Load()), Goal{}, "answered 503 while a mass rule had no place in the log yet")
	t.figure("exchange_on_two_replicas_rps", middle(t.quiet, rate), Goal{}, "without rules, with the verifiers connected")
	one, many := median(t.one), median(t.many)
	t.figure("mass_rule_ratio", float64(many)/float64(max(one, 1)), AtMost(1.5), "until the last verifier: a rule that hits every token over one that hits one")
	t.figure("one_token_rule_ms", milliseconds(one), Goal{}, "from the call to the last verifier")
	t.figure("mass_rule_ms", milliseconds(many), Goal{}, "")
}

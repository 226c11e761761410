package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

const (
	revocationRounds = 9
	bystanders       = 4096 // enough that their claims are not all in the CPU's caches
	signingKey       = "key-1"
)

// revocation measures the index, and then how fast a rule reaches resource servers.
func (r *run) revocation(ctx context.Context) error {
	if err := r.index(ctx); err != nil {
		return err
	}
	runtime.GC()
	r.cfg.Progress("revocation: propagation")
	return r.propagation(ctx)
}

func (r *run) index(ctx context.Context) error {
	before := heap()
	x, err := r.filledIndex()
	if err != nil {
		return err
	}
	perRule := float64(heap()-before) / float64(r.sizes.Rules)
	for _, e := range otherRules(r.sizes.Rules) {
		if err := x.Apply(e); err != nil {
			return fmt.Errorf("applying rule: %w", err)
		}
	}
	cost, err := r.revokedTime(ctx, x)
	if err != nil {
		return err
	}
	about := fmt.Sprintf("with %d token rules live", r.sizes.Rules)
	r.report.add(PartRevocation, "revoked_ns", cost, AtMost(300), "one look-up, token of depth 3 with 8 scopes, every selector in use, "+about)
	r.report.add(PartRevocation, "rule_bytes", perRule, AtMost(100), "of heap for each token rule, "+about)
	if err := r.mass(ctx); err != nil {
		return err
	}
	r.report.add(PartRevocation, "mass_rule_hits", float64(r.sizes.Tokens), Goal{}, "distinct tokens that one rule by role was counted to hit")
	return nil
}

// filledIndex has the token rules alone: what they take of the heap is to be told.
func (r *run) filledIndex() (*revocation.Index, error) {
	x := revocation.NewIndex(revocation.Options{})
	if err := x.Apply(markerEvent()); err != nil {
		return nil, fmt.Errorf("opening lineage: %w", err)
	}
	for n := range r.sizes.Rules {
		if err := x.Apply(tokenRule(n)); err != nil {
			return nil, fmt.Errorf("applying rule: %w", err)
		}
	}
	return x, nil
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held until the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func (r *run) revokedTime(ctx context.Context, x *revocation.Index) (float64, error) {
	tokens := make([]*token.Claims, bystanders)
	for n := range tokens {
		var err error
		if tokens[n], err = bystander(n); err != nil {
			return 0, err
		}
	}
	var costs []float64
	hits, next := 0, 0
	for range revocationRounds {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		costs = append(costs, timed(r.cfg.Duration/(4*revocationRounds), func() {
			if _, hit := x.Revoked(tokens[next%len(tokens)], signingKey); hit {
				hits++
			}
			next++
		}))
	}
	if hits > 0 {
		return 0, errors.New("a rule hit a token that it does not name")
	}
	return slices.Min(costs), nil
}

// mass counts: one rule by role must hit every one of so many distinct tokens, and one by token
// just one of them. Neither holds the tokens, so to hit many is not more work for a rule; what
// either costs end to end is measured by propagation.
func (r *run) mass(ctx context.Context) error {
	const chosen = 0
	for _, c := range []struct {
		rule revocation.Event
		hits int
	}{
		{ruleEvent(0, revocation.SelectToken, numbered(seriesToken, chosen)), 1},
		{ruleEvent(0, revocation.SelectRole, "analyst"), r.sizes.Tokens},
	} {
		x := revocation.NewIndex(revocation.Options{})
		if err := errors.Join(x.Apply(markerEvent()), x.Apply(c.rule)); err != nil {
			return fmt.Errorf("applying rule: %w", err)
		}
		hits, err := r.countHits(ctx, x)
		if err != nil {
			return err
		}
		if hits != c.hits {
			return fmt.Errorf("a rule that should hit %d tokens hit %d", c.hits, hits)
		}
	}
	return nil
}

// countHits tries so many distinct tokens.
func (r *run) countHits(ctx context.Context, x *revocation.Index) (int, error) {
	c, err := bystander(0)
	if err != nil {
		return 0, err
	}
	hits := 0
	for n := range r.sizes.Tokens {
		if n%4096 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		c.ID = numbered(seriesToken, uint64(n))
		if _, hit := x.Revoked(c, signingKey); hit {
			hits++
		}
	}
	return hits, nil
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

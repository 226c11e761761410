package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
)

const (
	authorizeRounds = 9
	fewBindings     = 100
)

// authorize measures one decision under many bindings and under few.
func (r *run) authorize(ctx context.Context) error {
	many, err := r.loadBundle(r.sizes.Bindings)
	if err != nil {
		return err
	}
	few, err := r.loadBundle(min(fewBindings, r.sizes.Bindings))
	if err != nil {
		return err
	}
	request, err := probeRequest()
	if err != nil {
		return err
	}
	each := r.cfg.Duration / (2 * authorizeRounds)
	var costs, growth []float64
	for range authorizeRounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		small, err := decisionTime(few, request, each)
		if err != nil {
			return err
		}
		large, err := decisionTime(many, request, each)
		if err != nil {
			return err
		}
		costs, growth = append(costs, large), append(growth, large/small)
	}
	r.report.add(PartAuthorize, "authorize_ns", median(costs), most(20_000),
		fmt.Sprintf("one decision: 8 scopes, 6 parts, 20 bindings that match, %d bindings", r.sizes.Bindings))
	r.report.add(PartAuthorize, "authorize_growth", median(growth), most(2),
		fmt.Sprintf("the same decision, over its cost under %d bindings", fewBindings))
	return nil
}

func (r *run) loadBundle(bindings int) (*policy.Bundle, error) {
	dir := filepath.Join(r.dir, fmt.Sprintf("bundle-%d", bindings))
	if err := writeBundle(dir, r.sizes.Roles, bindings); err != nil {
		return nil, err
	}
	b, err := policy.Load(os.DirFS(dir), policy.Options{Environment: map[string]string{"stage": "prod", "freeze": "false"}})
	if err != nil {
		return nil, fmt.Errorf("loading policy bundle: %w", err)
	}
	return b, nil
}

func probeRequest() (policy.Request, error) {
	r := policy.Request{
		ID: "bench", Time: time.Now(), SourceIP: netip.MustParseAddr("10.1.2.3"), Task: "report-7",
		Subject: identity.Principal{
			ID: prefix + probeAgent, Issuer: issuerURL, Source: source, Prefix: prefix, Kind: identity.KindWorkload,
			Attributes: map[string]any{"namespace": "team-1", "service_account": "probe"},
		},
	}
	for _, text := range probeScopes {
		s, err := scopes.Parse(text)
		if err != nil {
			return r, fmt.Errorf("making request: %w", err)
		}
		r.Scopes = append(r.Scopes, s)
	}
	return r, nil
}

// decisionTime is the nanoseconds that one decision takes.
func decisionTime(b *policy.Bundle, request policy.Request, d time.Duration) (float64, error) {
	if decision := b.Authorize(request); !decision.Allowed {
		return 0, errors.New("the measured request is refused:\n" + decision.Trace.String())
	}
	return timed(d, func() { b.Authorize(request) }), nil
}

// timed calls f for d, and gives the nanoseconds of one call.
func timed(d time.Duration, f func()) float64 {
	const batch = 64 // calls between two looks at the clock
	began, calls := time.Now(), 0
	for {
		for range batch {
			f()
		}
		calls += batch
		if took := time.Since(began); took >= d {
			return float64(took) / float64(calls)
		}
	}
}

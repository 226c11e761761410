package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/policy/fixture"
)

const (
	authorizeRounds = 9
	// fewRoles and fewBindings make the small bundle that growth is measured from.
	fewRoles    = 20
	fewBindings = 100
)

// authorize measures one decision under many bindings and under few.
func (r *run) authorize(ctx context.Context) error {
	request, err := fixture.Request()
	if err != nil {
		return err
	}
	many, err := decided(r.sizes.Roles, r.sizes.Bindings, request)
	if err != nil {
		return err
	}
	few, err := decided(fewRoles, fewBindings, request)
	if err != nil {
		return err
	}
	each := r.cfg.Duration / (2 * authorizeRounds)
	var costs, growth []float64
	for range authorizeRounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		small := timed(each, func() { few.Authorize(request) })
		large := timed(each, func() { many.Authorize(request) })
		costs, growth = append(costs, large), append(growth, large/small)
	}
	r.report.add(PartAuthorize, "authorize_ns", slices.Min(costs), AtMost(20_000),
		fmt.Sprintf("one decision on 8 pattern scopes, 20 bindings that match of %d, 10 conditions, 3 denies", r.sizes.Bindings))
	r.report.add(PartAuthorize, "authorize_growth", median(growth), AtMost(2),
		fmt.Sprintf("its cost over that under %d bindings", fewBindings))
	return nil
}

// decided compiles a bundle that allows the request.
func decided(roles, bindings int, request policy.Request) (*policy.Bundle, error) {
	b, err := fixture.Bundle(roles, bindings)
	if err != nil {
		return nil, err
	}
	if d := b.Authorize(request); !d.Allowed {
		return nil, errors.New("the measured request is refused:\n" + d.Trace.String())
	}
	return b, nil
}

// timed calls f for d, and gives the nanoseconds of one call. Of several such stretches the
// shortest tells what f costs: whatever else the machine did made the others longer.
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

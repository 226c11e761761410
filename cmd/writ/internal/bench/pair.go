package bench

import (
	"context"
	"runtime"

	"github.com/writbroker/writ/httpapi/wire"
)

// pairRounds are many and short: what disturbs the machine comes and goes.
const pairRounds = 15

// pair is two brokers that are sent the same load in turn; samples of the same index are of the same
// round.
type pair struct {
	of, over *pairSide
}

type pairSide struct {
	broker  *broker
	bodies  [][]byte
	samples []*sample
}

// compare has the clients of a load present the same tokens to both, again and again.
func (r *run) compare(ctx context.Context, l *load, of, over *broker) (*pair, error) {
	p := &pair{of: &pairSide{broker: of}, over: &pairSide{broker: over}}
	n := agents(r.sizes.Bindings)
	sides := []*pairSide{p.of, p.over}
	each := r.cfg.Duration / (2*pairRounds + 2)
	for _, s := range sides {
		var err error
		if s.bodies, err = s.broker.issuer.exchanges(ctx, min(repeated, n), n); err != nil {
			return nil, err
		}
		if _, err := l.post(ctx, s.broker.url+wire.PathToken, s.bodies, false, each); err != nil {
			return nil, err
		}
	}
	for round := range pairRounds {
		for i := range sides {
			s := sides[(i+round)%len(sides)]
			runtime.GC() // none pays for the garbage of the other
			got, err := l.post(ctx, s.broker.url+wire.PathToken, s.bodies, false, each)
			if err != nil {
				return nil, err
			}
			s.samples = append(s.samples, got)
		}
	}
	return p, nil
}

// ratio is that of a figure of the two.
func (p *pair) ratio(figure func(*sample) float64) float64 {
	return ratio(p.of.samples, p.over.samples, figure)
}

// Figures of a sample.
func rateOf(s *sample) float64 { return s.rate }
func cpuOf(s *sample) float64  { return float64(s.cpu) }
func p50Of(s *sample) float64  { return milliseconds(s.at(0.5)) }
func p99Of(s *sample) float64  { return milliseconds(s.at(0.99)) }

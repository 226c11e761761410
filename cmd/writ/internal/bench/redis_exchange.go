package bench

import (
	"context"
	"errors"
	"runtime"

	"github.com/writbroker/writ/httpapi/wire"
)

// storeRounds are many and short: what disturbs the machine comes and goes.
const storeRounds = 15

// compareStores compares a replica on Redis with a broker on the embedded store, in turn.
func (w *redisWorld) compareStores(ctx context.Context) error {
	alone, err := w.startBroker(ctx, "embedded")
	if err != nil {
		return err
	}
	shared, err := w.startReplica(ctx, "on-redis", w.fleet(databaseEmpty))
	if err != nil {
		return errors.Join(err, stopAll(alone))
	}
	return errors.Join(w.compare(ctx, shared, alone), stopAll(shared, alone))
}

func (w *redisWorld) compare(ctx context.Context, shared, alone *broker) error {
	type side struct {
		broker  *broker
		bodies  [][]byte
		samples []*sample
	}
	n := agents(w.sizes.Bindings)
	sides := []*side{{broker: shared}, {broker: alone}}
	each := w.cfg.Duration / (2*storeRounds + 2)
	for _, s := range sides {
		var err error
		if s.bodies, err = s.broker.issuer.exchanges(ctx, min(repeated, n), n); err != nil {
			return err
		}
		if _, err := w.load.post(ctx, s.broker.url+wire.PathToken, s.bodies, false, each); err != nil {
			return err
		}
	}
	for round := range storeRounds {
		for i := range sides {
			s := sides[(i+round)%len(sides)]
			runtime.GC() // none pays for the garbage of the other
			got, err := w.load.post(ctx, s.broker.url+wire.PathToken, s.bodies, false, each)
			if err != nil {
				return err
			}
			s.samples = append(s.samples, got)
		}
	}
	rate := func(s *sample) float64 { return s.rate }
	w.figure("redis_exchange_ratio", ratio(sides[0].samples, sides[1].samples, rate), AtLeast(0.9),
		"rate of exchange on Redis, token presented again, over that on the embedded store")
	cpu := func(s *sample) float64 { return float64(s.cpu) }
	w.figure("redis_exchange_cpu_ratio", ratio(sides[0].samples, sides[1].samples, cpu), Goal{},
		"processor time of one exchange, likewise: what else the machine does counts less in it")
	w.figure("redis_exchange_rps", middle(sides[0].samples, rate), Goal{}, "")
	return nil
}

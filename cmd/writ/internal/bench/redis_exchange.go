package bench

import (
	"context"
	"errors"
)

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
	p, err := w.compare(ctx, w.load, shared, alone)
	if err := errors.Join(err, stopAll(shared, alone)); err != nil {
		return err
	}
	w.figure("redis_exchange_ratio", p.ratio(rateOf), AtLeast(0.9),
		"rate of exchange on Redis, token presented again, over that on the embedded store")
	w.figure("redis_exchange_cpu_ratio", p.ratio(cpuOf), Goal{},
		"processor time of one exchange, likewise: what else the machine does counts less in it")
	w.figure("redis_exchange_rps", middle(p.of.samples, rateOf), Goal{}, "")
	return nil
}

package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/httpapi/wire"
)

const (
	exchangeRounds = 7
	// repeated is how many workloads present the token again that they presented before.
	repeated = 512
	// syncs is how many writes of a usual batch's size tell what the disk can do.
	syncs     = 200
	syncBytes = 16 << 10
)

// exchange measures the broker's whole way of a token against the floor's.
func (r *run) exchange(ctx context.Context) error {
	b, err := r.startBroker(ctx, "exchange")
	if err != nil {
		return err
	}
	x := &exchangeRun{run: r, broker: b, load: newLoad(r.sizes.Connections), each: r.cfg.Duration / (3*exchangeRounds + 2)}
	err = x.measure(ctx)
	x.load.close()
	return errors.Join(err, b.stop())
}

type exchangeRun struct {
	*run
	broker   *broker
	load     *load
	each     time.Duration // one stretch
	floorURL string
	again    [][]byte // the requests that are repeated

	floor, fresh, repeat []*sample // one a round
	sync                 []time.Duration
}

func (x *exchangeRun) measure(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making key of floor: %w", err)
	}
	f := &floor{verify: &x.broker.issuer.key.PublicKey, sign: key}
	url, stop, err := f.serve(ctx)
	if err != nil {
		return fmt.Errorf("starting floor: %w", err)
	}
	defer func() { _ = stop() }()
	x.floorURL = url
	rate, err := x.warm(ctx)
	if err != nil {
		return err
	}
	for n := range exchangeRounds {
		if err := x.round(ctx, n, rate); err != nil {
			return err
		}
	}
	x.reportExchange()
	return nil
}

// warm fills pools and caches, and gives the rate of the floor: that of the broker, for which
// tokens have to be signed ahead, is not far above.
func (x *exchangeRun) warm(ctx context.Context) (float64, error) {
	var err error
	if x.again, err = x.broker.issuer.exchanges(ctx, min(repeated, x.agents()), x.agents()); err != nil {
		return 0, err
	}
	s, err := x.load.post(ctx, x.floorURL, x.again, false, x.each)
	if err != nil {
		return 0, fmt.Errorf("warming floor: %w", err)
	}
	if _, err := x.load.post(ctx, x.tokenURL(), x.again, false, x.each); err != nil {
		return 0, fmt.Errorf("warming broker: %w", err)
	}
	return s.rate, nil
}

func (x *exchangeRun) tokenURL() string { return x.broker.url + wire.PathToken }
func (x *exchangeRun) agents() int      { return agents(x.sizes.Bindings) }

// round measures the three once, in an order that changes from round to round.
func (x *exchangeRun) round(ctx context.Context, n int, rate float64) error {
	unseen, err := x.broker.issuer.exchanges(ctx, int(rate*x.each.Seconds()*1.2)+x.sizes.Connections, x.agents())
	if err != nil {
		return err
	}
	if err := x.syncDisk(); err != nil {
		return err
	}
	stretches := []func() error{
		func() error { return x.stretch(ctx, &x.floor, x.floorURL, x.again, false) },
		func() error { return x.stretch(ctx, &x.fresh, x.tokenURL(), unseen, true) },
		func() error { return x.stretch(ctx, &x.repeat, x.tokenURL(), x.again, false) },
	}
	for i := range stretches {
		if err := stretches[(i+n)%len(stretches)](); err != nil {
			return err
		}
	}
	return nil
}

func (x *exchangeRun) stretch(ctx context.Context, into *[]*sample, url string, bodies [][]byte, once bool) error {
	runtime.GC() // none pays for the garbage of the one before
	s, err := x.load.post(ctx, url, bodies, once, x.each)
	if err != nil {
		return err
	}
	*into = append(*into, s)
	return nil
}

// syncDisk times what the audit log does with each batch, through its own file layer, while
// nothing else is done.
func (x *exchangeRun) syncDisk() error {
	files, err := audit.OpenDir(filepath.Join(x.dir, "sync"))
	if err != nil {
		return fmt.Errorf("timing disk: %w", err)
	}
	file, err := files.Append("probe")
	if err != nil {
		return errors.Join(fmt.Errorf("timing disk: %w", err), files.Close())
	}
	data := make([]byte, syncBytes)
	for range syncs {
		if _, err = file.Write(data); err != nil {
			break
		}
		began := time.Now()
		if err = file.Sync(); err != nil {
			break
		}
		x.sync = append(x.sync, time.Since(began))
	}
	return errors.Join(err, file.Truncate(0), file.Close(), files.Close())
}

func (x *exchangeRun) reportExchange() {
	add := func(name string, value float64, goal Goal, about string) {
		x.report.add(PartExchange, name, value, goal, about)
	}
	rate := func(s *sample) float64 { return s.rate }
	p99 := func(s *sample) float64 { return milliseconds(s.at(0.99)) }
	add("exchange_new_ratio", ratio(x.fresh, x.floor, rate), AtLeast(0.75), "rate with a subject token never seen before, over the floor's")
	add("exchange_repeat_ratio", ratio(x.repeat, x.floor, rate), AtLeast(1.1), "rate with one that is presented again, over the floor's")
	add("exchange_p99_ratio", ratio(x.fresh, x.floor, p99), AtMost(3), "p99 with a token never seen before, over the floor's")
	add("exchange_repeat_p99_ratio", ratio(x.repeat, x.floor, p99), AtMost(3), "p99 with one that is presented again, over the floor's")
	add("exchange_rps", middle(x.fresh, rate), Goal{}, "exchanges a second, token never seen before")
	add("exchange_repeat_rps", middle(x.repeat, rate), Goal{}, "exchanges a second, token presented again")
	add("floor_rps", middle(x.floor, rate), Goal{}, "answers a second of the floor")
	add("floor_p99_ms", middle(x.floor, p99), Goal{}, "")
	cpu := func(s *sample) float64 { return float64(s.cpu) / float64(time.Microsecond) }
	add("exchange_cpu_us", middle(x.fresh, cpu), Goal{}, "of processor time for one exchange, the client's share too")
	add("exchange_repeat_cpu_us", middle(x.repeat, cpu), Goal{}, "")
	add("floor_cpu_us", middle(x.floor, cpu), Goal{}, "")
	all := pooled(x.fresh)
	add("exchange_p50_ms", milliseconds(at(all, 0.5)), Goal{}, "token never seen before, all rounds")
	add("exchange_p99_ms", milliseconds(at(all, 0.99)), Goal{}, "")
	add("exchange_p999_ms", milliseconds(at(all, 0.999)), Goal{}, "")
	slices.Sort(x.sync)
	add("fdatasync_p50_ms", milliseconds(at(x.sync, 0.5)), Goal{}, "what the disk takes for one batch, idle")
	add("fdatasync_p99_ms", milliseconds(at(x.sync, 0.99)), Goal{}, "")
	add("connections", float64(x.sizes.Connections), Goal{}, "")
}

// ratio is the median of the rounds' ratios: what disturbs one round disturbs one of them.
func ratio(of, over []*sample, figure func(*sample) float64) float64 {
	var all []float64
	for i := range of {
		if base := figure(over[i]); base > 0 {
			all = append(all, figure(of[i])/base)
		}
	}
	return median(all)
}

func middle(of []*sample, figure func(*sample) float64) float64 {
	var all []float64
	for _, s := range of {
		all = append(all, figure(s))
	}
	return median(all)
}

func pooled(of []*sample) []time.Duration {
	var all []time.Duration
	for _, s := range of {
		all = append(all, s.latency...)
	}
	slices.Sort(all)
	return all
}

package broker_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/mint/awssts"
)

// What AWS credentials cost at the broker, decision and record and all: each from STS, and kept.
func BenchmarkExchangeForAWS(b *testing.B) {
	for name, entries := range map[string]int{"minted": -1, "kept": 0} {
		a := brokertest.NewAWS(awssts.AssumeRole)
		a.Entries = entries
		c := &cloud{newWorld(b, a.Options(b)), a}
		req := c.request(c.workload("analyst"), []change{forAWS})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Exchange(b.Context(), req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Tokens, while somebody else asks the same broker for AWS credentials. The rows differ in what STS does
// to those calls, and the last has none. That caller keeps a pace and waits for no answer, so that what is
// compared is waiting and locks, and not how much of the processors it takes. Allocations are of the whole
// process, with its share and STS's own.
func BenchmarkExchangeWhileSTS(b *testing.B) {
	for _, row := range []struct {
		name  string
		fault *ststest.Fault
		pace  int // sessions asked for a second
	}{
		{"answers", nil, 200},
		{"is_down", &ststest.Fault{Drop: true}, 200},
		{"hangs", &ststest.Fault{Delay: time.Minute}, 200},
		{"throttles", &ststest.Fault{Code: "Throttling", Message: "Rate exceeded"}, 200},
		{"is_not_asked", nil, 0},
	} {
		b.Run(row.name, func(b *testing.B) {
			a := brokertest.NewAWS(awssts.AssumeRole)
			a.Entries = -1 // each is a call
			o := a.Options(b)
			o.Now = time.Now // for the breaker, which asks anew after a time
			join := o.Config
			o.Config = func(cfg *broker.Config) {
				join(cfg)
				cfg.Audit = forgetful{cfg.Audit}
			}
			c := &cloud{newWorld(b, o), a}
			c.STS.Always(row.fault)
			req := c.request(c.workload("analyst"), nil)
			other := c.askForAWS(b, row.pace)
			defer other.end()
			took := make([]time.Duration, 0, 1<<20)
			b.ReportAllocs()
			for b.Loop() {
				began := time.Now()
				if _, err := c.Exchange(b.Context(), req); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
			other.report(b)
		})
	}
}

// asker is a caller of its own for AWS credentials.
type asker struct {
	began  time.Time
	stop   context.CancelFunc
	calls  sync.WaitGroup
	asked  atomic.Int64
	given  atomic.Int64
	denied atomic.Int64
}

// askForAWS begins to ask, each time for another session, and returns after a second: STS has shown by
// then how it is.
func (c *cloud) askForAWS(b *testing.B, pace int) *asker {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	k := &asker{began: time.Now(), stop: stop}
	if pace == 0 {
		return k
	}
	proof := c.workload("helper")
	k.calls.Go(func() {
		ticker := time.NewTicker(time.Second / time.Duration(pace))
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			n := k.asked.Add(1)
			if n%int64(5*pace) == 0 { // a replica that is not in touch with its store gives nothing
				if err := c.Journal.Sync(ctx); err != nil && ctx.Err() == nil {
					b.Error(err)
				}
			}
			k.calls.Go(func() {
				if _, err := c.Exchange(ctx, c.request(proof, []change{forAWS, task(fmt.Sprint("bench-", n))})); err == nil {
					k.given.Add(1)
				} else {
					k.denied.Add(1)
				}
			})
		}
	})
	time.Sleep(time.Second)
	return k
}

// end waits for the calls that are under way, which the broker bounds.
func (k *asker) end() {
	k.stop()
	k.calls.Wait()
}

func (k *asker) report(b *testing.B) {
	seconds := time.Since(k.began).Seconds()
	b.ReportMetric(float64(k.asked.Load())/seconds, "aws-asked/s")
	b.ReportMetric(float64(k.given.Load())/seconds, "aws-given/s")
	b.ReportMetric(float64(k.asked.Load()-k.given.Load()-k.denied.Load()), "aws-waiting")
}

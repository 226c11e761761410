package broker_test

import (
	"testing"

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

// A token costs what it does, with AWS behind the broker that does not answer.
func BenchmarkExchangeWhileSTSIsDown(b *testing.B) {
	a := brokertest.NewAWS(awssts.AssumeRole)
	o := a.Options(b)
	join := o.Config
	o.Config = func(cfg *broker.Config) {
		join(cfg)
		cfg.Audit = forgetful{cfg.Audit}
	}
	c := &cloud{newWorld(b, o), a}
	req, aws := c.request(c.workload("analyst"), nil), c.request(c.workload("helper"), []change{forAWS})
	c.STS.Always(&ststest.Fault{Drop: true})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = c.Exchange(b.Context(), aws)
			}
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Exchange(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
	close(stop)
	<-done
}

package broker_test

import (
	"context"
	"testing"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
)

// What an exchange costs at the broker, without HTTP: with an audit log that is synced, alone and
// from many callers at once, who share a sync.
func BenchmarkExchange(b *testing.B) {
	w := newWorld(b, brokertest.Options{})
	agent, person := w.workload("analyst"), w.person("alice")
	for _, row := range []struct {
		name string
		req  broker.ExchangeRequest
	}{
		{"self", w.request(agent, nil)},
		{"delegated", w.request(person, []change{actor(agent)})},
		{"child", w.request(w.token(person, actor(agent)), []change{actor(w.workload("helper"))})},
		{"refused", w.request(agent, []change{scope("warehouse:read:sales/pii/x")})},
	} {
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = w.Exchange(b.Context(), row.req)
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		req := w.request(agent, nil)
		b.SetParallelism(16)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := w.Exchange(b.Context(), req); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// The same without the disk: what the broker itself spends.
func BenchmarkExchangeUnsynced(b *testing.B) {
	w := newWorld(b, brokertest.Options{Config: func(c *broker.Config) { c.Audit = forgetful{c.Audit} }})
	agent := w.workload("analyst")
	b.Run("repeated token", func(b *testing.B) {
		req := w.request(agent, nil)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.Exchange(b.Context(), req); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type forgetful struct{ broker.Auditor }

func (forgetful) Append(context.Context, audit.Event) (audit.Ref, error) { return audit.Ref{}, nil }

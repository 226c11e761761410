package policy_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/policy/fixture"
)

func BenchmarkAuthorize(b *testing.B) {
	for _, size := range []struct{ roles, bindings int }{{20, 100}, {1000, 10_000}} {
		bundle, err := fixture.Bundle(size.roles, size.bindings)
		if err != nil {
			b.Fatal(err)
		}
		for name, request := range map[string]func() (policy.Request, error){"self": fixture.Request, "delegated": fixture.Delegated} {
			r, err := request()
			if err != nil {
				b.Fatal(err)
			}
			if d := bundle.Authorize(r); !d.Allowed {
				b.Fatalf("refused: %s\n%s", d.Reason, d.Trace)
			}
			b.Run(fmt.Sprintf("%s/bindings=%d", name, size.bindings), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					bundle.Authorize(r)
				}
			})
		}
	}
}

func BenchmarkTraceJSON(b *testing.B) {
	bundle, err := fixture.Bundle(20, 100)
	if err != nil {
		b.Fatal(err)
	}
	r, err := fixture.Request()
	if err != nil {
		b.Fatal(err)
	}
	d := bundle.Authorize(r)
	b.ReportAllocs()
	for b.Loop() {
		data, err := json.Marshal(d.Trace)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(data)))
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := fixture.Bundle(1000, 10_000); err != nil {
			b.Fatal(err)
		}
	}
}

// The fixture is what its benchmark says it is.
func TestFixture(t *testing.T) {
	bundle, err := fixture.Bundle(50, 200)
	if err != nil {
		t.Fatal(err)
	}
	r, err := fixture.Request()
	if err != nil {
		t.Fatal(err)
	}
	d := bundle.Authorize(r)
	if !d.Allowed {
		t.Fatal(d.Trace)
	}
	count := map[policy.EntryKind]map[string]bool{}
	for _, e := range d.Trace.Entries() {
		if count[e.Kind] == nil {
			count[e.Kind] = map[string]bool{}
		}
		count[e.Kind][e.Rule] = true
	}
	if got := len(count[policy.EntryBinding]); got != 20 {
		t.Errorf("%d bindings match, not 20", got)
	}
	if got := len(count[policy.EntryDeny]); got != 3 {
		t.Errorf("%d denies take part, not 3", got)
	}
	if got := len(d.Grant.Tags()); got != 5 { // and one without tags
		t.Errorf("%d combinations of tags, not 5", got)
	}
	delegated, err := fixture.Delegated()
	if err != nil {
		t.Fatal(err)
	}
	if d := bundle.Authorize(delegated); !d.Allowed {
		t.Error(d.Trace)
	}
}

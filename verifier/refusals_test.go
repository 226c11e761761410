package verifier_test

import (
	"testing"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// TestRefusalsAreReported: in batches, once a token, and with a count of what did not fit.
func TestRefusalsAreReported(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	rule := b.revoke(revocation.SelectTask, "gone")
	eventually(t, "the rule is here", func() bool { return v.Position() == b.index.Position() })
	tokens := make([]string, 3000) // more than wait
	for i := range tokens {
		tokens[i] = b.mint(func(c *token.Claims) { c.Task, c.Rev = "gone", token.Rev{} })
	}
	b.set(func() { b.down = true }) // however long it takes, nothing is told before all were refused
	for _, raw := range tokens {
		for range 3 {
			if _, err := v.Verify(t.Context(), raw); err == nil {
				t.Fatal("not revoked")
			}
		}
	}
	b.set(func() { b.down = false })
	var told map[string]bool
	var dropped int64
	eventually(t, "reports, with a count", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		told, dropped = map[string]bool{}, 0
		for i, r := range b.reports {
			if len(r.Refusals) > wire.MaxRefusals || r.Name != "warehouse-1" || r.Verifier == "" {
				t.Fatalf("report of %d by %q %q", len(r.Refusals), r.Name, r.Verifier)
			}
			if i > 0 && b.reportAt[i].Sub(b.reportAt[i-1]) < 2*time.Second {
				t.Fatalf("told again after %v", b.reportAt[i].Sub(b.reportAt[i-1]))
			}
			dropped += r.Dropped
			for _, one := range r.Refusals {
				if one.RuleID != rule.ID || told[one.TokenID] {
					t.Fatalf("%+v is wrong, or told twice", one)
				}
				told[one.TokenID] = true
			}
		}
		return len(b.reports) > 1 && dropped > 0
	})
	if len(told)+int(dropped) > 3*len(tokens) {
		t.Errorf("%d told and %d dropped of %d refusals", len(told), dropped, 3*len(tokens))
	}
}

package verifier_test

import (
	"testing"

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
	for _, raw := range tokens {
		for range 3 {
			if _, err := v.Verify(t.Context(), raw); err == nil {
				t.Fatal("not revoked")
			}
		}
	}
	var told map[string]bool
	var dropped int64
	atOnce := 0
	eventually(t, "reports, with a count", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		told, dropped = map[string]bool{}, 0
		for _, r := range b.reports {
			if len(r.Refusals) > wire.MaxRefusals || r.Name != "warehouse-1" || r.Verifier == "" {
				t.Fatalf("report of %d by %q %q", len(r.Refusals), r.Name, r.Verifier)
			}
			dropped += r.Dropped
			for _, one := range r.Refusals {
				if one.RuleID != rule.ID || told[one.TokenID] {
					t.Fatalf("%+v is wrong, or told twice", one)
				}
				told[one.TokenID] = true
			}
		}
		if atOnce == 0 {
			atOnce = len(told)
		}
		return len(told) > 0 && dropped > 0
	})
	if atOnce > wire.MaxRefusals*2 || len(told)+int(dropped) > 3*len(tokens) {
		t.Errorf("%d told at once; %d told and %d dropped of %d refusals", atOnce, len(told), dropped, 3*len(tokens))
	}
}

package broker_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/scopes"
)

// Whatever the parameters hold, an exchange ends in one of the package's errors, or in a token that
// says what was asked for and that each of its scopes would have been given alone.
func FuzzExchange(f *testing.F) {
	w := newWorld(f, brokertest.Options{Config: func(c *broker.Config) { c.Audit = forgetful{c.Audit} }})
	agent := w.workload("analyst")
	f.Add(readEU, "t1", warehouse, "", int64(60), broker.TokenTypeJWT, "")
	f.Add(readEU+" tickets:*:open/**", "", "", tickets, int64(0), broker.TokenTypeAccessToken, broker.TokenTypeJWT)
	f.Add("warehouse:*:sales/eu/** x", "a\x00", "STS.amazonaws.com", "https://x#", int64(-1), "x", "y")
	f.Add("", "", "//iam.googleapis.com/x", "://", int64(1)<<40, "", "")
	f.Fuzz(func(t *testing.T, scope, task, audience, resource string, ttl int64, typ, requested string) {
		req := broker.ExchangeRequest{
			SubjectToken: agent, SubjectTokenType: typ, Scope: scope, Task: task,
			RequestedTTL: time.Duration(ttl), RequestedTokenType: requested,
		}
		if audience != "" {
			req.Audiences = []string{audience}
		}
		if resource != "" {
			req.Resources = []string{resource}
		}
		issued, err := w.Exchange(t.Context(), req)
		if err != nil {
			return
		}
		c, _ := w.Claims(t, issued.Token)
		if c.Task != task || c.Subject != "k8s:analyst" || c.Actor != nil {
			t.Fatalf("claims %+v", c)
		}
		if ttl > 0 && time.Duration(c.Expiry-c.IssuedAt)*time.Second > time.Duration(ttl) {
			t.Fatalf("lives longer than the %v asked for: %+v", time.Duration(ttl), c)
		}
		if audience != "" && !slices.Contains(c.Audience, audience) && !slices.Contains(c.Audience, resource) {
			t.Fatalf("aud %v, asked for %q and %q", c.Audience, audience, resource)
		}
		for part := range strings.SplitSeq(scope, " ") {
			if part == "" {
				continue
			}
			asked, err := scopes.Parse(part)
			if err != nil {
				t.Fatalf("%q was let pass: %v", part, err)
			}
			if asked.Action() != scopes.AnyAction && !c.Scope.Covers(asked, nil) {
				t.Fatalf("%s was cut: %s", asked, c.Scope)
			}
		}
		for s := range c.Scope.All() {
			alone := broker.ExchangeRequest{SubjectToken: agent, SubjectTokenType: broker.TokenTypeJWT, Scope: s.String()}
			if _, err := w.Exchange(t.Context(), alone); err != nil {
				t.Fatalf("%s alone: %v", s, err)
			}
		}
	})
}

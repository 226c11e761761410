package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/token"
)

func TestAuthorize(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	need := scopeOf(t, "writ:revoke:agent/k8s%3Aanalyst")
	admin := w.token(w.person("sec"), scope("writ:revoke:agent/* writ:feed:read"))
	try := func(cred broker.Credentials) (*broker.Operator, error) {
		return w.Authorize(t.Context(), cred, need, broker.NeedFresh)
	}
	op, err := try(broker.Credentials{Bearer: admin, Caller: broker.Caller{IP: netip.MustParseAddr("::ffff:192.0.2.7")}})
	if err != nil {
		t.Fatal(err)
	}
	c, _ := w.Claims(t, admin)
	if op.ID != "user:sec" || op.Agent != "user:sec" || op.TokenID != c.ID || op.IP != "192.0.2.7" || op.BreakGlass() ||
		!op.Until().Equal(time.Unix(c.Expiry, 0)) {
		t.Errorf("operator %+v", op)
	}
	var forbidden *broker.ForbiddenError
	if _, err := w.Authorize(t.Context(), broker.Credentials{Bearer: admin}, scopeOf(t, "writ:keys:rotate"), broker.NeedFresh); !errors.As(err, &forbidden) || forbidden.Need.String() != "writ:keys:rotate" {
		t.Errorf("without the scope: %v", err)
	}
	bound := w.token("", clientCredentials(""), w.certificate("warehouse-api"), scope("writ:feed:read"))
	for name, cred := range map[string]broker.Credentials{
		"nothing":                        {},
		"rubbish":                        {Bearer: "rubbish"},
		"a person's own token":           {Bearer: w.person("sec")},
		"a token for a resource server":  {Bearer: w.token(w.workload("analyst"))},
		"one with our audience unsigned": {Bearer: admin[:len(admin)-4] + "AAAA"},
		"a bound token alone":            {Bearer: bound},
		"a bound token, another's key":   {Bearer: bound, Caller: broker.Caller{Certificates: w.SVID(t, "warehouse-api")}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := try(cred); !errors.Is(err, broker.ErrUnauthorized) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("a token that is for us and for another", func(t *testing.T) {
		both := w.token(w.person("sec"), scope("writ:revoke:agent/*"))
		if _, err := try(broker.Credentials{Bearer: both}); err != nil {
			t.Error(err)
		}
	})
	t.Run("expired", func(t *testing.T) {
		w.Pass(t, brokertest.DefaultTTL+brokertest.Skew)
		if _, err := try(broker.Credentials{Bearer: admin}); !errors.Is(err, broker.ErrUnauthorized) {
			t.Errorf("got %v", err)
		}
	})
	for _, row := range []struct {
		name string
		stop func()
	}{
		{"revoked", func() { w.Revoke(t, revocation.SelectSubject, "user:sec") }},
		{"quarantined", func() { w.Quarantine(t, revocation.SelectIssuer, "user:") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			w.Pass(t, time.Minute) // past the skew of clocks
			fresh := w.token(w.person("sec"), scope("writ:revoke:agent/*"))
			row.stop()
			if _, err := try(broker.Credentials{Bearer: fresh}); !errors.Is(err, broker.ErrUnauthorized) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A workload that proves itself gets what policy gives it, asked about that alone.
func TestIdentifyByProof(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	feed, other := scopeOf(t, "writ:feed:read"), scopeOf(t, "writ:introspect:tickets")
	op, err := w.Authorize(t.Context(), w.client("warehouse-api"), feed, broker.NeedFresh)
	if err != nil || op.ID != "k8s:warehouse-api" || op.TokenID != "" {
		t.Fatalf("%+v, %v", op, err)
	}
	if op.Until().After(w.Now().Add(brokertest.DefaultTTL)) {
		t.Errorf("the right lasts until %v", op.Until())
	}
	cert := broker.Credentials{Caller: broker.Caller{Certificates: w.SVID(t, "warehouse-api")}}
	if _, err := w.Authorize(t.Context(), cert, feed, broker.NeedFresh); err != nil {
		t.Errorf("by certificate: %v", err)
	}
	if _, err := w.Authorize(t.Context(), w.client("warehouse-api"), other, broker.NeedFresh); !errors.Is(err, broker.ErrForbidden) {
		t.Errorf("another's tool: %v", err)
	}
	for name, raw := range map[string]string{
		"somebody acts for it": w.Cluster.Token(t, "warehouse-api", claims{"act": claims{"sub": "helper"}}),
		"somebody may":         w.Cluster.Token(t, "warehouse-api", claims{"may_act": claims{"sub": "helper"}}),
		"expired":              w.Cluster.Token(t, "warehouse-api", claims{"exp": w.Now().Add(-time.Hour).Unix()}),
	} {
		if _, err := w.Authorize(t.Context(), broker.Credentials{ClientAssertion: raw}, feed, broker.NeedFresh); !errors.Is(err, broker.ErrClient) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.Quarantine(t, revocation.SelectAgent, "k8s:warehouse-api")
	if _, err := w.Authorize(t.Context(), w.client("warehouse-api"), feed, broker.NeedFresh); !errors.Is(err, broker.ErrUnauthorized) {
		t.Errorf("quarantined: %v", err)
	}
}

func TestIntrospect(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	raw := w.token(w.person("alice"), actor(w.workload("analyst")), scope("tickets:read:open/1 "+readEU))
	only := w.token(w.workload("analyst"))
	ask := func(cred broker.Credentials, raw string) *token.Claims {
		t.Helper()
		c, err := w.Introspect(t.Context(), cred, raw)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := ask(w.client("warehouse-api"), raw)
	if c == nil || c.Subject != "user:alice" || c.Scope.String() != readEU || !slices.Equal(c.Actor.Chain(), []string{"k8s:analyst"}) {
		t.Errorf("the warehouse sees %+v", c)
	}
	if c := ask(w.client("tickets-api"), raw); c == nil || c.Scope.String() != "tickets:read:open/1" {
		t.Errorf("the tickets see %+v", c)
	}
	if c := ask(w.client("tickets-api"), only); c != nil {
		t.Errorf("the tickets see a token for the warehouse: %+v", c)
	}
	if c := ask(w.client("analyst"), raw); c != nil {
		t.Errorf("an agent sees %+v", c)
	}
	byToken := broker.Credentials{Bearer: w.token(w.workload("warehouse-api"), scope("writ:introspect:warehouse"))}
	if c := ask(byToken, only); c == nil {
		t.Error("by token: inactive")
	}
	for name, dead := range map[string]string{
		"rubbish": "rubbish", "a foreign token": w.workload("analyst"), "an altered one": only[:len(only)-4] + "AAAA",
	} {
		if c := ask(w.client("warehouse-api"), dead); c != nil {
			t.Errorf("%s is active: %+v", name, c)
		}
	}
	if _, err := w.Introspect(t.Context(), broker.Credentials{}, raw); !errors.Is(err, broker.ErrUnauthorized) {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := w.Introspect(t.Context(), broker.Credentials{ClientAssertion: "x"}, raw); !errors.Is(err, broker.ErrClient) {
		t.Errorf("a failed client: %v", err)
	}
	w.Revoke(t, revocation.SelectAgent, "k8s:analyst")
	if c := ask(w.client("warehouse-api"), raw); c != nil {
		t.Errorf("revoked, and active: %+v", c)
	}
	w.Pass(t, brokertest.DefaultTTL+time.Minute)
	if c := ask(w.client("warehouse-api"), only); c != nil {
		t.Errorf("expired, and active: %+v", c)
	}
}

func TestRevokeToken(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	give := func(cred broker.Credentials, raw string) error { return w.RevokeToken(t.Context(), cred, raw) }
	raw := w.token(w.person("alice"), actor(w.workload("analyst")))
	child := w.token(raw, actor(w.workload("helper")))

	if err := give(w.client("stranger"), raw); !errors.Is(err, broker.ErrNotParty) {
		t.Errorf("a stranger: %v", err)
	}
	// The sub-agent took part in the child, and not in the parent.
	if err := give(w.client("helper"), raw); !errors.Is(err, broker.ErrNotParty) {
		t.Errorf("a sub-agent: %v", err)
	}
	if err := give(broker.Credentials{}, raw); !errors.Is(err, broker.ErrClient) {
		t.Errorf("nobody: %v", err)
	}
	w.token(raw)
	for name, dead := range map[string]string{"rubbish": "rubbish", "a foreign token": w.workload("analyst"), "nothing": ""} {
		if err := give(w.client("analyst"), dead); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := give(w.client("analyst"), raw); err != nil {
		t.Fatal(err)
	}
	w.refused(broker.ErrSubjectToken, raw)
	w.refused(broker.ErrSubjectToken, child)

	t.Run("again and again it is one rule", func(t *testing.T) {
		rules := w.Index.Len()
		for range 10 {
			if err := give(w.client("analyst"), raw); err != nil {
				t.Fatal(err)
			}
		}
		if w.Index.Len() != rules {
			t.Errorf("%d rules have become %d", rules, w.Index.Len())
		}
	})
	t.Run("under a rule that may be lifted it is one more", func(t *testing.T) {
		mine := w.token(w.workload("analyst"))
		r := w.Revoke(t, revocation.SelectRole, "reader")
		if err := give(w.client("analyst"), mine); err != nil {
			t.Fatal(err)
		}
		w.lift(r.ID)
		w.refused(broker.ErrSubjectToken, mine)
	})
	t.Run("who is acted for may", func(t *testing.T) {
		raw := w.token(w.staff("bob"), actor(w.workload("analyst")))
		if err := give(broker.Credentials{ClientAssertion: w.staff("bob")}, raw); err != nil {
			t.Error(err)
		}
	})
	t.Run("an agent that acts for them may give back its own alone", func(t *testing.T) {
		raw := w.token(w.staff("bob"), actor(w.workload("analyst")))
		other := w.forged(func(c *token.Claims) {
			c.Subject, c.ClientID, c.Audience = "staff:bob", "k8s:helper", []string{brokertest.Audience}
			c.Actor = &token.Actor{Subject: "k8s:helper"}
		})
		if err := give(broker.Credentials{Bearer: other}, raw); !errors.Is(err, broker.ErrNotParty) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRevoke(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	op := broker.BreakGlass(7)
	for range 3 {
		w.token(w.person("alice"), actor(w.workload("analyst")))
	}
	preview, err := w.Broker.Revoke(t.Context(), op, broker.RevokeOrder{Selector: revocation.SelectAgent, Value: "k8s:analyst"})
	if err != nil || preview.Applied || preview.Preview.Tokens != 3 || !slices.Equal(preview.Preview.Agents, []string{"k8s:analyst"}) {
		t.Fatalf("preview %+v, %v", preview, err)
	}
	if w.Index.Len() != 0 {
		t.Fatal("a preview revokes")
	}
	done, err := w.Broker.Revoke(t.Context(), op, broker.RevokeOrder{
		Selector: revocation.SelectAgent, Value: "k8s:analyst", Reason: "leaked", Apply: true,
	})
	if err != nil || !done.Applied || done.Result.Durability != journal.DurableLog || done.Quarantine == nil || done.AuditFault != nil {
		t.Fatalf("%+v, %v", done, err)
	}
	if life := done.Rule.ExpiresAt.Sub(done.Rule.CreatedAt); life != brokertest.MaxTTL+2*brokertest.Skew {
		t.Errorf("the rule lives %v", life)
	}
	if done.Rule.By != "break-glass:uid:7" || !done.Quarantine.Quarantine || !done.Quarantine.ExpiresAt.IsZero() {
		t.Errorf("%+v", done)
	}
	w.Pass(t, time.Minute)
	w.refused(broker.ErrSubjectToken, w.workload("analyst"))
	if rec := w.Records(t, audit.KindRevocation); len(rec) != 1 || rec[0].Detail["value"] != "k8s:analyst" || rec[0].Detail["reason"] != "leaked" {
		t.Errorf("audit log holds %+v", rec)
	}
	again, err := w.Broker.Revoke(t.Context(), op, broker.RevokeOrder{
		Selector: revocation.SelectAgent, Value: "k8s:helper", Apply: true, AllowReissue: true,
	})
	if err != nil || again.Quarantine != nil {
		t.Errorf("allow_reissue: %+v, %v", again, err)
	}
}

func TestRevokeValues(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	version := w.Policy.Current().Version()
	for name, row := range map[string]struct {
		sel         revocation.Selector
		value, want string // want "" = refused
		need        string
	}{
		"an issuer by name":         {revocation.SelectIssuer, "cluster", "k8s:", "writ:revoke:issuer/k8s%3A"},
		"an issuer by URL":          {revocation.SelectIssuer, "https://cluster.example", "k8s:", "writ:revoke:issuer/k8s%3A"},
		"an issuer by prefix":       {revocation.SelectIssuer, "k8s:", "k8s:", "writ:revoke:issuer/k8s%3A"},
		"an unknown issuer":         {revocation.SelectIssuer, "other", "", "writ:revoke:issuer/other"},
		"a policy by its whole sum": {revocation.SelectPolicy, version, version[:16], "writ:revoke:policy/" + version[:16]},
		"a policy by pol":           {revocation.SelectPolicy, version[:16], version[:16], "writ:revoke:policy/" + version[:16]},
		"a scope":                   {revocation.SelectScope, readEU, readEU, "writ:revoke:scope/warehouse%3Aread%3Asales%2Feu%2F%2A"},
		"a malformed scope":         {revocation.SelectScope, "warehouse", "", "writ:revoke:scope/warehouse"},
		"everything":                {revocation.SelectAll, "", "", "writ:revoke:all"},
		"everything of something":   {revocation.SelectAll, "x", "", "writ:revoke:all/x"},
		"no value":                  {revocation.SelectAgent, "", "", "writ:revoke:agent"},
		"an unknown selector":       {"colour", "red", "", "writ:revoke:colour/red"},
		"a long id":                 {revocation.SelectSubject, "user:" + strings.Repeat("x", 600), "user:" + strings.Repeat("x", 600), "writ:revoke:subject/*"},
	} {
		t.Run(name, func(t *testing.T) {
			need, err := w.RevokeNeed(row.sel, row.value)
			if err != nil || need.String() != row.need {
				t.Errorf("needs %s, %v, want %s", need, err, row.need)
			}
			out, err := w.Broker.Revoke(t.Context(), broker.BreakGlass(0), broker.RevokeOrder{Selector: row.sel, Value: row.value})
			if row.want == "" && row.sel != revocation.SelectAll || row.value == "x" {
				if !errors.Is(err, broker.ErrRequest) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || out.Rule.Value != row.want {
				t.Errorf("value %q, %v", out.Rule.Value, err)
			}
		})
	}
	if _, err := w.Broker.Revoke(t.Context(), broker.BreakGlass(0), broker.RevokeOrder{
		Selector: revocation.SelectAll, Reason: strings.Repeat("x", 513),
	}); !errors.Is(err, broker.ErrRequest) {
		t.Errorf("a long reason: %v", err)
	}
}

func TestLift(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	op := broker.BreakGlass(0)
	raw := w.token(w.workload("analyst"))
	r := w.Revoke(t, revocation.SelectRole, "reader")
	w.refused(broker.ErrSubjectToken, raw)
	if _, _, err := w.Lift(t.Context(), op, r.ID, "", false); err != nil {
		t.Fatal(err)
	}
	w.refused(broker.ErrSubjectToken, raw)
	w.lift(r.ID)
	w.token(raw)
	if rec := w.Records(t, audit.KindLift); len(rec) != 1 || rec[0].Detail["rule"] != r.ID {
		t.Errorf("audit log holds %+v", rec)
	}
	if _, _, err := w.Lift(t.Context(), op, r.ID, "", true); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	for sel, value := range map[revocation.Selector]string{
		revocation.SelectKey: "k1", revocation.SelectPolicy: w.Policy.Current().Short(),
	} {
		r := w.Revoke(t, sel, value)
		if _, _, err := w.Lift(t.Context(), op, r.ID, "", true); !errors.Is(err, broker.ErrRequest) {
			t.Errorf("a %s rule is lifted: %v", sel, err)
		}
	}
}

func TestRotateKeys(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	raw := w.token(w.workload("analyst"))
	_, first := w.Claims(t, raw)
	if out, err := w.RotateKeys(t.Context(), broker.BreakGlass(0), broker.RotateOrder{}); err != nil || out != nil {
		t.Fatalf("planned: %+v, %v", out, err)
	}
	child := w.token(raw)
	_, second := w.Claims(t, child)
	if second == first {
		t.Fatal("the key has not changed")
	}
	w.Pass(t, 0)
	out, err := w.RotateKeys(t.Context(), broker.BreakGlass(0), broker.RotateOrder{Revoke: second, Reason: "leaked"})
	if err != nil || out == nil || out.Rule.Selector != revocation.SelectKey {
		t.Fatalf("%+v, %v", out, err)
	}
	w.refused(broker.ErrSubjectToken, child)
	// Whoever has the key can write any rev; the rule does not look at it.
	c, kid := w.forgedClaims(second)
	if _, hit := w.Index.Revoked(c, kid); !hit {
		t.Error("a forged rev survives")
	}
	w.token(raw) // signed by a key that did not leak
	if _, err := w.RotateKeys(t.Context(), broker.BreakGlass(0), broker.RotateOrder{Revoke: "k-unknown"}); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("an unknown key: %v", err)
	}
	if rec := w.Records(t, audit.KindKeys); len(rec) != 2 || rec[1].Detail["revoked"] != second {
		t.Errorf("audit log holds %+v", rec)
	}
}

// noNext is a ring without a published key to turn to.
type noNext struct{ broker.KeyRing }

func (noNext) Rotate(context.Context) (keys.Rotation, error) {
	return keys.Rotation{}, keys.ErrNoNextKey
}

func (noNext) RotateNow(context.Context, string) (keys.Rotation, error) {
	return keys.Rotation{}, fmt.Errorf("rotating keys: %w", keys.ErrNoNextKey)
}

func TestRotateKeysWithoutANextKey(t *testing.T) {
	w := newWorld(t, brokertest.Options{Config: func(c *broker.Config) { c.Keys = noNext{c.Keys} }})
	_, active := w.Claims(t, w.token(w.workload("analyst")))
	if out, err := w.RotateKeys(t.Context(), broker.BreakGlass(0), broker.RotateOrder{}); !errors.Is(err, broker.ErrRequest) || out != nil {
		t.Errorf("planned: %+v, %v", out, err)
	}
	// A key that leaked is refused all the same: better no tokens than a stranger's.
	out, err := w.RotateKeys(t.Context(), broker.BreakGlass(0), broker.RotateOrder{Revoke: active})
	if !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "the key is revoked") || out == nil {
		t.Errorf("leaked: %+v, %v", out, err)
	}
	w.refused(broker.ErrUnavailable, w.workload("analyst"))
}

// overtaken is a ring in which another revokes the same key while an order is on its way.
type overtaken struct{ broker.KeyRing }

func (o overtaken) RotateNow(ctx context.Context, revoke string) (keys.Rotation, error) {
	if _, err := o.KeyRing.RotateNow(ctx, revoke); err != nil {
		return keys.Rotation{}, err
	}
	return o.KeyRing.RotateNow(ctx, revoke)
}

// Of two who revoke a key that leaked at once, neither hears that no other key could take over.
func TestTwoRevokeOneKeyAtOnce(t *testing.T) {
	w := newWorld(t, brokertest.Options{Config: func(c *broker.Config) { c.Keys = overtaken{c.Keys} }})
	_, active := w.Claims(t, w.token(w.workload("analyst")))
	out, err := w.RotateKeys(t.Context(), broker.BreakGlass(0), broker.RotateOrder{Revoke: active})
	if err != nil || out == nil || !out.Applied {
		t.Errorf("%+v, %v", out, err)
	}
	w.token(w.workload("analyst"))
	if rec := w.Records(t, audit.KindKeys); len(rec) != 1 || rec[0].Detail["revoked"] != active {
		t.Errorf("audit log holds %+v", rec)
	}
}

// forgedClaims are those of a token that the holder of a leaked key would write: a rev from the
// far future.
func (w *world) forgedClaims(kid string) (*token.Claims, string) {
	at := w.Index.Position()
	at.Seq += 1 << 40
	return &token.Claims{ID: "01981c2e-58f0-7000-8000-00000000f00d", Subject: "user:sec", ClientID: "user:sec", Rev: at}, kid
}

func TestBreakGlassTakesAccessAway(t *testing.T) {
	fail := &hookedAudit{hook: &during{}, fail: audit.ErrUnavailable}
	w := newWorld(t, brokertest.Options{Config: func(c *broker.Config) { fail.Auditor = c.Audit; c.Audit = fail }})
	w.Advance(time.Hour) // nothing is fresh any more
	op := broker.BreakGlass(0)
	if !op.BreakGlass() {
		t.Fatal("not a break-glass operator")
	}
	if out, err := w.Broker.Revoke(t.Context(), op, broker.RevokeOrder{Selector: revocation.SelectAll, Apply: true}); err != nil || !out.Applied {
		t.Errorf("revoke: %+v, %v", out, err)
	}
	if _, err := w.RotateKeys(t.Context(), op, broker.RotateOrder{}); err != nil {
		t.Errorf("rotate: %v", err)
	}
}

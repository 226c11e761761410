package broker_test

import (
	"crypto/x509"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

type claims = map[string]any

// forged signs claims with the broker's own active key: what a token of an older version, or one
// that a bug let out, could say.
func (w *world) forged(change func(*token.Claims)) string {
	w.tb.Helper()
	set, err := scopes.ParseSet(readEU)
	if err != nil {
		w.tb.Fatal(err)
	}
	now := w.Now()
	c := &token.Claims{
		Issuer: brokertest.Audience, Subject: "user:alice", ClientID: "k8s:analyst", Audience: []string{warehouse},
		IssuedAt: now.Unix(), Expiry: now.Add(10 * time.Minute).Unix(), ID: uuid.Must(uuid.NewV7()).String(), Scope: set,
		Actor: &token.Actor{Subject: "k8s:analyst"}, Rev: w.Index.Position(), Policy: w.Policy.Current().Short(),
	}
	change(c)
	payload, err := c.Encode()
	if err != nil {
		w.tb.Fatal(err)
	}
	raw, err := token.Sign(w.tb.Context(), token.TypeAccessToken, payload, w.Keys.Ring().Active())
	if err != nil {
		w.tb.Fatal(err)
	}
	return raw
}

// What a token says of who acts binds, whichever parameters are sent.
func TestDelegationCannotBeShed(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	t.Run("act of a token of ours, no actor", func(t *testing.T) {
		parent := w.token(w.person("alice"), actor(w.workload("analyst")))
		if _, c := w.minted(parent); !slices.Equal(c.Actor.Chain(), []string{"k8s:analyst"}) || c.ClientID != "k8s:analyst" {
			t.Errorf("act %v, client_id %s", c.Actor.Chain(), c.ClientID)
		}
		// Nor does the grant that has no place for a subject take it.
		w.refused(broker.ErrClient, "", clientCredentials(parent))
		w.refused(broker.ErrClient, w.person("alice"), func(r *broker.ExchangeRequest) { r.ClientAssertion = parent })
	})
	t.Run("act of a foreign token, no actor", func(t *testing.T) {
		raw := w.Cluster.Token(t, "analyst", claims{"act": claims{"sub": "helper"}})
		if _, c := w.minted(raw); !slices.Equal(c.Actor.Chain(), []string{"k8s:helper"}) || c.ClientID != "k8s:helper" {
			t.Errorf("act %v, client_id %s", c.Actor.Chain(), c.ClientID)
		}
		_, c := w.minted("", clientCredentials(raw))
		if !slices.Equal(c.Actor.Chain(), []string{"k8s:helper"}) {
			t.Errorf("by client_credentials: act %v", c.Actor.Chain())
		}
		_, c = w.minted(raw, actor(w.workload("helper2")))
		if !slices.Equal(c.Actor.Chain(), []string{"k8s:helper2", "k8s:helper"}) {
			t.Errorf("with an actor: act %v", c.Actor.Chain())
		}
		// The subject comes back in, but who acted for it stays in the chain.
		if _, c = w.minted(raw, actor(w.workload("analyst"))); !slices.Equal(c.Actor.Chain(), []string{"k8s:analyst", "k8s:helper"}) {
			t.Errorf("with the subject as actor: act %v", c.Actor.Chain())
		}
	})
	t.Run("act of a foreign token counts for policy", func(t *testing.T) {
		raw := w.Cluster.Token(t, "analyst", claims{"act": claims{"sub": "stranger"}})
		w.refused(broker.ErrActorToken, raw)
	})
}

func TestMayActBinds(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	only := func(may claims) string { return w.Cluster.Token(t, "analyst", claims{"may_act": may}) }
	helper := only(claims{"sub": "helper"})
	t.Run("who is named may act", func(t *testing.T) {
		if _, c := w.minted(helper, actor(w.workload("helper"))); !slices.Equal(c.Actor.Chain(), []string{"k8s:helper"}) {
			t.Errorf("act %v", c.Actor.Chain())
		}
	})
	ours := w.forged(func(c *token.Claims) { c.MayAct = &token.Actor{Subject: "k8s:helper"} })
	nobodyOurs := w.forged(func(c *token.Claims) { c.MayAct = &token.Actor{Subject: "nobody"} })
	for name, try := range map[string]struct {
		sentinel error
		subject  string
		changes  []change
	}{
		"no actor":                       {broker.ErrSubjectToken, helper, nil},
		"another actor":                  {broker.ErrSubjectToken, helper, []change{actor(w.workload("helper2"))}},
		"another client":                 {broker.ErrSubjectToken, helper, []change{w.certificate("agent")}},
		"the subject itself":             {broker.ErrSubjectToken, helper, []change{actor(w.workload("analyst"))}},
		"client_credentials":             {broker.ErrSubjectToken, "", []change{clientCredentials(helper)}},
		"nobody may, nobody asks":        {broker.ErrSubjectToken, only(claims{"email": "x"}), nil},
		"nobody may, one asks":           {broker.ErrSubjectToken, only(claims{"email": "x"}), []change{actor(w.workload("helper"))}},
		"somebody of another issuer may": {broker.ErrSubjectToken, only(claims{"sub": "helper", "iss": "https://corp.example"}), []change{actor(w.workload("helper"))}},
		"a token of ours, no actor":      {broker.ErrSubjectToken, ours, nil},
		"a token of ours, another actor": {broker.ErrSubjectToken, ours, []change{actor(w.workload("helper2"))}},
		"a token of ours, nobody may":    {broker.ErrSubjectToken, nobodyOurs, []change{actor(w.workload("helper"))}},
		"an actor's own token has it":    {broker.ErrActorToken, w.person("alice"), []change{actor(helper)}},
		"a client's own token has it":    {broker.ErrClient, w.person("alice"), []change{func(r *broker.ExchangeRequest) { r.ClientAssertion = helper }}},
		"a client's, beside actor's own": {broker.ErrClient, w.person("alice"), []change{func(r *broker.ExchangeRequest) { r.ClientAssertion = helper }, actor(w.workload("analyst"))}},
		"an actor's token of ours has it": {broker.ErrActorToken, w.person("alice"), []change{actor(w.forged(func(c *token.Claims) {
			c.Subject, c.Actor = "k8s:analyst", nil
			c.MayAct = &token.Actor{Subject: "k8s:analyst"}
		}))}},
	} {
		t.Run(name, func(t *testing.T) { w.refused(try.sentinel, try.subject, try.changes...) })
	}
	t.Run("a token of ours, who is named", func(t *testing.T) {
		_, c := w.minted(ours, actor(w.workload("helper")))
		if !slices.Equal(c.Actor.Chain(), []string{"k8s:helper", "k8s:analyst"}) {
			t.Errorf("act %v", c.Actor.Chain())
		}
	})
}

// Somebody who acts for another proves nothing about themselves.
func TestADelegatedTokenIsNoActor(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	delegated := w.token(w.person("alice"), actor(w.workload("analyst")))
	w.refused(broker.ErrActorToken, w.person("bob"), actor(delegated))
	w.refused(broker.ErrActorToken, w.person("alice"), actor(w.Cluster.Token(t, "analyst", claims{"act": claims{"sub": "helper"}})))
	// client_id says who holds the token: a subject that is somebody else is not the holder.
	w.refused(broker.ErrActorToken, w.person("alice"), actor(w.forged(func(c *token.Claims) {
		c.Subject, c.ClientID, c.Actor = "k8s:analyst", "k8s:stranger", nil
	})))
}

// A resource server has seen the tokens that were shown to it. Playing one back as the proof of an
// agent's identity gives no more than the token itself.
func TestATokenOfOursAsActorGivesNoMoreThanItself(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	proof, p := w.minted(w.workload("analyst"), scope(readEU), task("t9"), func(r *broker.ExchangeRequest) { r.RequestedTTL = 2 * time.Minute })
	_, kid := w.Claims(t, proof)

	_, c := w.minted(w.person("alice"), actor(proof), scope("warehouse:read:sales/eu/q1"))
	if c.Expiry > p.Expiry || c.Task != "t9" || !slices.Equal(c.Ancestors, []token.Ancestor{{ID: p.ID, KeyID: kid}}) {
		t.Errorf("expiry %d (proof %d), task %q, anc %v", c.Expiry, p.Expiry, c.Task, c.Ancestors)
	}
	w.refused(broker.ErrScope, w.person("alice"), actor(proof), scope(readWide))
	w.refused(broker.ErrScope, w.person("alice"), actor(proof), scope("tickets:read:open/1"))
	w.refused(broker.ErrRequest, w.person("alice"), actor(proof), task("another"))

	t.Run("beside a parent, both bind", func(t *testing.T) {
		parent, pc := w.minted(w.person("alice"), actor(w.workload("helper")), scope("warehouse:read:sales/eu/** tickets:read:open/**"), task("t9"))
		_, c := w.minted(parent, actor(proof), scope("warehouse:read:sales/eu/q1"))
		want := []token.Ancestor{{ID: pc.ID, KeyID: kid}, {ID: p.ID, KeyID: kid}}
		if !slices.Equal(c.Ancestors, want) || c.Expiry > p.Expiry || !slices.Equal(c.Actor.Chain(), []string{"k8s:analyst", "k8s:helper"}) {
			t.Errorf("anc %v, want %v; expiry %d; act %v", c.Ancestors, want, c.Expiry, c.Actor.Chain())
		}
		w.refused(broker.ErrScope, parent, actor(proof), scope("tickets:read:open/1"))
		w.refused(broker.ErrScope, parent, actor(proof), scope("warehouse:read:sales/eu/q1/x"))
	})
	t.Run("of a task that differs from the parent's", func(t *testing.T) {
		parent := w.token(w.person("alice"), actor(w.workload("helper")), task("t1"))
		w.refused(broker.ErrRequest, parent, actor(proof), scope("warehouse:read:sales/eu/q1"))
	})
}

func TestPairsThatPolicyDoesNotAllow(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	w.refused(broker.ErrActorToken, w.person("alice"), actor(w.workload("stranger")))
	w.refused(broker.ErrActorToken, w.workload("helper"), actor(w.workload("analyst")))
	w.refused(broker.ErrActorToken, w.person("alice"), w.certificate("other"))
	records := w.Records(t, audit.KindRefusal)
	if len(records) != 3 || records[0].Subject != "user:alice" || !slices.Equal(records[0].Actors, []string{"k8s:stranger"}) {
		t.Errorf("audit log holds %+v", records)
	}
}

func TestAChildIsNoMoreThanItsParent(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	narrow := w.token(w.person("alice"), actor(w.workload("analyst")), scope("warehouse:read:sales/eu/q1"))
	for name, asked := range map[string]string{
		"a wider resource":  readEU,
		"another resource":  "warehouse:read:sales/us/q1",
		"another action":    "warehouse:write:sales/eu/q1",
		"any action":        "warehouse:*:sales/eu/q1",
		"another tool":      "tickets:read:open/1",
		"one more":          "warehouse:read:sales/eu/q1 warehouse:read:sales/eu/q2",
		"what lies beneath": "warehouse:read:sales/eu/q1/**",
	} {
		t.Run(name, func(t *testing.T) {
			w.refused(broker.ErrScope, narrow, scope(asked))
			w.refused(broker.ErrScope, narrow, scope(asked), actor(w.workload("helper")))
		})
	}
	t.Run("life", func(t *testing.T) {
		w.Pass(t, brokertest.DefaultTTL-90*time.Second)
		p, _ := w.Claims(t, narrow)
		_, c := w.minted(narrow, scope("warehouse:read:sales/eu/q1"), func(r *broker.ExchangeRequest) { r.RequestedTTL = time.Hour })
		if c.Expiry > p.Expiry {
			t.Errorf("the child outlives its parent by %d s", c.Expiry-p.Expiry)
		}
		// Verification grants leeway, but no life is left to give.
		w.Pass(t, 100*time.Second)
		w.refused(broker.ErrSubjectToken, narrow, scope("warehouse:read:sales/eu/q1"))
	})
	t.Run("task", func(t *testing.T) {
		parent := w.token(w.workload("analyst"), task("t1"))
		w.refused(broker.ErrRequest, parent, task("t2"))
		if _, c := w.minted(parent, task("t1")); c.Task != "t1" {
			t.Errorf("task %q", c.Task)
		}
		if _, c := w.minted(parent); c.Task != "t1" {
			t.Errorf("the task was shed: %q", c.Task)
		}
		// One without may be given one.
		if _, c := w.minted(w.token(w.workload("analyst")), task("t3")); c.Task != "t3" {
			t.Errorf("task %q", c.Task)
		}
	})
}

func TestChainsAreCapped(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	raw := w.token(w.person("alice"), actor(w.workload("analyst")))
	for _, name := range []string{"helper", "helper2", "helper3"} {
		raw = w.token(raw, actor(w.workload(name)))
	}
	w.refused(broker.ErrSubjectToken, raw, actor(w.workload("helper4")))
	w.token(raw) // the same agent goes on

	t.Run("act of a foreign token", func(t *testing.T) {
		act := claims{"sub": "helper"}
		for range 4 {
			act = claims{"sub": "helper", "act": act}
		}
		w.refused(broker.ErrSubjectToken, w.Cluster.Token(t, "analyst", claims{"act": act}))
	})
	t.Run("ancestors", func(t *testing.T) {
		raw := w.token(w.workload("analyst"))
		for range 8 {
			raw = w.token(raw)
		}
		w.refused(broker.ErrSubjectToken, raw)
	})
}

func TestAPersonWithoutAnAgent(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	const revoke = "writ:revoke:agent/*"
	for name, try := range map[string]func(person string) (string, []change){
		"as subject token":      func(p string) (string, []change) { return p, nil },
		"by client_credentials": func(p string) (string, []change) { return "", []change{clientCredentials(p)} },
		"as its own actor":      func(p string) (string, []change) { return p, []change{actor(p)} },
		"as its own client": func(p string) (string, []change) {
			return p, []change{func(r *broker.ExchangeRequest) { r.ClientAssertion = p }}
		},
		"as an access token": func(p string) (string, []change) {
			return p, []change{func(r *broker.ExchangeRequest) { r.SubjectTokenType = broker.TokenTypeAccessToken }}
		},
		"from a token of ours of their": func(string) (string, []change) {
			return w.forged(func(c *token.Claims) { c.ClientID, c.Actor = "user:alice", nil }), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			subject, changes := try(w.person("alice"))
			w.refused(broker.ErrScope, subject, changes...)
			if name == "from a token of ours of their" {
				return
			}
			subject, changes = try(w.person("sec"))
			if _, c := w.minted(subject, append(changes, scope(revoke))...); c.Scope.String() != revoke {
				t.Errorf("administration: %+v", c)
			}
			w.refused(broker.ErrScope, subject, append(changes, scope(revoke+" "+readEU))...)
		})
	}
	records := w.Records(t, audit.KindRefusal)
	if got := records[0].Refused; !slices.Equal(got, []string{readEU}) || records[0].Detail["answer"] == "" {
		t.Errorf("the record does not say what was refused: %+v", records[0])
	}
	if _, c := w.minted(w.staff("bob")); c.Subject != "staff:bob" {
		t.Errorf("self_exchange: %+v", c)
	}
	w.token(w.staff("bob"), actor(w.staff("bob")))
	w.token("", clientCredentials(w.staff("bob")))
}

func TestAdministrationIsNotDelegated(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	const revoke = "writ:revoke:agent/*"
	w.refused(broker.ErrScope, w.person("sec"), actor(w.workload("analyst")), scope(revoke))
	own := w.token(w.person("sec"), scope(revoke))
	w.refused(broker.ErrScope, own, actor(w.workload("analyst")), scope(revoke))
	w.token(own, scope("writ:revoke:agent/x"))
	// To a workload by its exact name only.
	w.token(w.workload("sentinel"), scope(revoke))
	w.refused(broker.ErrScope, w.workload("analyst"), scope(revoke))
}

// A certificate that a token is bound to must be there again.
func TestBoundTokens(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	chain, other := w.SVID(t, "agent"), w.SVID(t, "agent")
	with := func(c *broker.ExchangeRequest) { c.Caller.Certificates = chain }
	bound := w.token("", clientCredentials(""), with, scope(readWide))

	_, c := w.minted(bound, with)
	if c.Confirmation == nil || c.Confirmation.X5tS256 != thumbprint(chain) || c.Actor != nil {
		t.Errorf("the child is not bound as its parent: %+v", c)
	}
	w.refused(broker.ErrSubjectToken, bound)
	w.refused(broker.ErrSubjectToken, bound, func(r *broker.ExchangeRequest) { r.Caller.Certificates = other })
	w.refused(broker.ErrSubjectToken, bound, actor(w.workload("helper")))
	w.refused(broker.ErrActorToken, w.person("alice"), actor(bound))
	w.token(w.person("alice"), actor(bound), with)
	t.Run("to a key that is not checked here", func(t *testing.T) {
		for name, cnf := range map[string]*token.Confirmation{
			"DPoP": {JKT: "abc"}, "both": {JKT: "abc", X5tS256: thumbprint(chain)},
		} {
			raw := w.forged(func(c *token.Claims) {
				c.Subject, c.ClientID, c.Actor, c.Confirmation = "spiffe://prod.example/agent", "spiffe://prod.example/agent", nil, cnf
			})
			t.Log(name)
			w.refused(broker.ErrSubjectToken, raw, with)
		}
	})
	t.Run("a certificate of a stranger", func(t *testing.T) {
		stranger := brokertest.NewAuthority(t, w.Now)
		forgedChain, _ := stranger.SVID(t, "agent")
		w.refused(broker.ErrClient, "", clientCredentials(""), func(r *broker.ExchangeRequest) { r.Caller.Certificates = forgedChain })
		w.refused(broker.ErrClient, bound, func(r *broker.ExchangeRequest) { r.Caller.Certificates = forgedChain })
	})
}

// A proof from outside that is bound to a certificate (RFC 8705) is no bearer token here either,
// in whichever parameter it comes, and what it buys is bound as well.
func TestBoundForeignTokens(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	chain, other := w.SVID(t, "agent"), w.SVID(t, "agent")
	show := func(chain []*x509.Certificate) change {
		return func(r *broker.ExchangeRequest) { r.Caller.Certificates = chain }
	}
	cnf := claims{"cnf": claims{"x5t#S256": thumbprint(chain)}}
	person, workload := w.Corp.Token(t, "alice", cnf), w.Cluster.Token(t, "analyst", cnf)
	if _, c := w.minted(person, show(chain)); c.Confirmation == nil || c.Confirmation.X5tS256 != thumbprint(chain) {
		t.Errorf("what a bound token buys is not bound: %+v", c.Confirmation)
	}
	w.refused(broker.ErrSubjectToken, person, show(other))
	w.refused(broker.ErrSubjectToken, person, actor(w.workload("analyst")))
	w.refused(broker.ErrActorToken, w.person("alice"), actor(workload))
	w.refused(broker.ErrClient, w.person("alice"), func(r *broker.ExchangeRequest) { r.ClientAssertion = workload })
	w.refused(broker.ErrClient, "", clientCredentials(workload))
	if _, err := w.Broker.Authorize(t.Context(), broker.Credentials{ClientAssertion: workload}, scopeOf(t, "writ:feed:read"), broker.NeedFresh); !errors.Is(err, broker.ErrClient) {
		t.Errorf("an administrative call: %v", err)
	}
	w.refused(broker.ErrSubjectToken, w.Cluster.Token(t, "analyst", claims{"cnf": claims{"jkt": "abc"}}))

	t.Run("where certificates prove nobody", func(t *testing.T) {
		w := newWorld(t, brokertest.Options{Config: func(c *broker.Config) { c.Identity = noX509{c.Identity} }})
		for name, raw := range map[string]string{"subject": w.person("alice"), "actor": w.Corp.Token(t, "alice", cnf)} {
			agent := w.workload("analyst")
			if name == "subject" {
				agent = w.Cluster.Token(t, "analyst", cnf)
			}
			if _, c := w.minted(raw, actor(agent), show(chain)); c.Confirmation == nil || c.Confirmation.X5tS256 != thumbprint(chain) {
				t.Errorf("unbound %s: what was bought sheds the binding", name)
			}
			w.refused(broker.ErrSubjectToken, w.Corp.Token(t, "alice", cnf), actor(agent), show(other))
		}
		if _, c := w.minted("", clientCredentials(w.Cluster.Token(t, "analyst", cnf)), show(chain)); c.Confirmation == nil {
			t.Error("client_credentials sheds the binding")
		}
	})
}

// noX509 has no source of X.509-SVIDs.
type noX509 struct{ broker.Authenticator }

func (n noX509) Sources() []identity.Source {
	return slices.DeleteFunc(slices.Clone(n.Authenticator.Sources()), func(s identity.Source) bool { return s.X509 != nil })
}

// A key that was dropped signs for nobody any more.
func TestTokensOfKeysThatAreGone(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	raw := w.token(w.workload("analyst"), func(r *broker.ExchangeRequest) { r.RequestedTTL = time.Hour })
	_, kid := w.Claims(t, raw)
	if _, err := w.Keys.RotateNow(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if stage(w, kid) != keys.StageRetired {
		t.Fatalf("key %s is %s", kid, stage(w, kid))
	}
	child := w.token(raw)
	if _, now := w.Claims(t, child); now == kid {
		t.Error("the retired key signs")
	}
	w.Pass(t, 0) // a next key is made
	if _, err := w.Keys.RotateNow(t.Context(), kid); err != nil {
		t.Fatal(err)
	}
	err := w.refused(broker.ErrSubjectToken, raw)
	if got := err.Error(); got != "subject token not accepted: it is signed by an unknown key" {
		t.Errorf("answer %q", got)
	}
	w.refused(broker.ErrActorToken, w.person("alice"), actor(raw))
}

func stage(w *world, kid string) keys.Stage {
	for _, k := range w.Keys.List() {
		if k.ID == kid {
			return k.Stage
		}
	}
	return ""
}

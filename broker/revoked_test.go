package broker_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/store"
)

// A rule refuses the tokens of ours that it hits, in whichever parameter they come, and what
// descends from them.
func TestRevokedTokensOfOurs(t *testing.T) {
	for name, row := range map[string]struct {
		sel   revocation.Selector
		value func(parent, child string, w *world) string
		alive bool // whether the parent is
	}{
		"the token":    {revocation.SelectToken, func(_, child string, w *world) string { return w.id(child) }, true},
		"its parent":   {revocation.SelectToken, func(parent, _ string, w *world) string { return w.id(parent) }, false},
		"its subject":  {revocation.SelectSubject, text("user:alice"), false},
		"its agent":    {revocation.SelectAgent, text("k8s:helper"), true},
		"an old agent": {revocation.SelectAgent, text("k8s:analyst"), false},
		"its task":     {revocation.SelectTask, text("t1"), false},
		"its issuer":   {revocation.SelectIssuer, text("user:"), false},
		"a role":       {revocation.SelectRole, text("reader"), false},
		"its audience": {revocation.SelectAudience, text(warehouse), false},
		"its scope":    {revocation.SelectScope, text("warehouse:*:sales/eu/q1"), false},
		"its policy":   {revocation.SelectPolicy, func(_, _ string, w *world) string { return w.Policy.Current().Short() }, false},
		"everything":   {revocation.SelectAll, text(""), false},
		"its key": {revocation.SelectKey, func(parent, _ string, w *world) string {
			_, kid := w.Claims(w.tb, parent)
			return kid
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, brokertest.Options{})
			parent := w.token(w.person("alice"), actor(w.workload("analyst")), task("t1"))
			child := w.token(parent, actor(w.workload("helper")))
			w.Revoke(t, row.sel, row.value(parent, child, w))
			w.refused(broker.ErrSubjectToken, child)
			if row.alive {
				w.token(parent)
			} else {
				w.refused(broker.ErrSubjectToken, parent)
			}
		})
	}
	t.Run("as actor token", func(t *testing.T) {
		w := newWorld(t, brokertest.Options{})
		proof := w.token(w.workload("analyst"))
		derived := w.token(w.person("alice"), actor(proof))
		w.Revoke(t, revocation.SelectToken, w.id(proof))
		w.refused(broker.ErrActorToken, w.person("alice"), actor(proof))
		w.refused(broker.ErrSubjectToken, derived)
	})
}

func text(v string) func(string, string, *world) string {
	return func(string, string, *world) string { return v }
}

func (w *world) id(raw string) string {
	w.tb.Helper()
	c, _ := w.Claims(w.tb, raw)
	return c.ID
}

// A rule on a principal or an issuer refuses a workload's own tokens that are older than it.
func TestForeignTokensFromBeforeARule(t *testing.T) {
	for name, row := range map[string]struct {
		sel   revocation.Selector
		value string
		inAct bool // whether it hits a principal that acts
	}{
		"its subject": {revocation.SelectSubject, "k8s:analyst", false},
		"its agent":   {revocation.SelectAgent, "k8s:analyst", true},
		"its issuer":  {revocation.SelectIssuer, "k8s:", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, brokertest.Options{})
			old, chain := w.workload("analyst"), w.SVID(t, "agent")
			inAct := w.Cluster.Token(t, "helper", claims{"act": claims{"sub": "analyst"}})
			w.token(old)
			w.Advance(time.Second)
			w.Revoke(t, row.sel, row.value)
			w.refused(broker.ErrSubjectToken, old)
			w.refused(broker.ErrClient, "", clientCredentials(old))
			w.refused(broker.ErrActorToken, w.person("alice"), actor(old))
			w.refused(broker.ErrClient, w.person("alice"), func(r *broker.ExchangeRequest) { r.ClientAssertion = old })
			if row.inAct {
				w.refused(broker.ErrSubjectToken, inAct)
			}
			w.token("", clientCredentials(""), func(r *broker.ExchangeRequest) { r.Caller.Certificates = chain })
			// One that the platform issued after it is good again, past the skew of clocks.
			w.Pass(t, time.Minute)
			w.token(w.workload("analyst"))
		})
	}
	t.Run("a certificate's subject", func(t *testing.T) {
		w := newWorld(t, brokertest.Options{})
		chain := w.SVID(t, "agent")
		with := func(r *broker.ExchangeRequest) { r.Caller.Certificates = chain }
		w.Revoke(t, revocation.SelectAgent, "spiffe://prod.example/agent")
		w.refused(broker.ErrClient, "", clientCredentials(""), with)
		w.refused(broker.ErrClient, w.person("alice"), with)
	})
	t.Run("its jti", func(t *testing.T) {
		w := newWorld(t, brokertest.Options{})
		raw := w.Cluster.Token(t, "analyst", claims{"jti": "01981c2e-58f0-7000-8000-00000000f00d"})
		w.token(raw)
		w.Revoke(t, revocation.SelectToken, "01981c2e-58f0-7000-8000-00000000f00d")
		w.refused(broker.ErrSubjectToken, raw)
	})
}

// Quarantine stops issuance in any position, for tokens of any age, until it is lifted.
func TestQuarantine(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	parent := w.token(w.person("alice"), actor(w.workload("analyst")))
	quarantines := map[string]struct {
		sel   revocation.Selector
		value string
	}{
		"the agent":  {revocation.SelectAgent, "k8s:analyst"},
		"by subject": {revocation.SelectSubject, "k8s:analyst"},
		"the issuer": {revocation.SelectIssuer, "k8s:"},
		"everything": {revocation.SelectAll, ""},
	}
	for name, q := range quarantines {
		t.Run(name, func(t *testing.T) {
			r := w.Quarantine(t, q.sel, q.value)
			w.Pass(t, time.Minute)
			w.refused(broker.ErrSubjectToken, w.workload("analyst"))
			w.refused(broker.ErrSubjectToken, "", clientCredentials(w.workload("analyst")))
			w.refused(broker.ErrSubjectToken, w.person("alice"), actor(w.workload("analyst")))
			w.refused(broker.ErrSubjectToken, parent)
			w.refused(broker.ErrSubjectToken, parent, actor(w.workload("helper")))
			w.refused(broker.ErrSubjectToken, w.Cluster.Token(t, "helper", claims{"act": claims{"sub": "analyst"}}))
			w.lift(r.ID)
			w.token(w.workload("analyst"))
			w.token(parent)
		})
	}
}

func (w *world) lift(id string) {
	w.tb.Helper()
	_, _, err := w.Lift(w.tb.Context(), broker.BreakGlass(0), id, "test", true)
	if err != nil {
		w.tb.Fatal(err)
	}
}

// during runs a test's step once, at a moment within an exchange.
type during struct {
	sync.Once
	step func()
}

func (d *during) now() {
	if d.step != nil {
		d.Do(d.step)
	}
}

// hookedIdentity lets something happen after the policy has decided: that is when the broker asks
// it for the source of a person who came alone.
type hookedIdentity struct {
	broker.Authenticator
	hook *during
}

func (h hookedIdentity) SourceOf(id string) (identity.Source, bool) {
	h.hook.now()
	return h.Authenticator.SourceOf(id)
}

// hookedAudit lets something happen when the token is made and has not left.
type hookedAudit struct {
	broker.Auditor
	hook *during
	fail error
}

func (h hookedAudit) Append(ctx context.Context, e audit.Event) (audit.Ref, error) {
	h.hook.now()
	if h.fail != nil {
		return audit.Ref{}, h.fail
	}
	return h.Auditor.Append(ctx, e)
}

// A rule that lands between the check and the stamp hits what is stamped.
func TestARuleBetweenCheckAndStamp(t *testing.T) {
	var hook during
	w := newWorld(t, brokertest.Options{Config: func(c *broker.Config) { c.Identity = hookedIdentity{c.Identity, &hook} }})
	hook.step = func() { w.Revoke(t, revocation.SelectRole, "reader") }
	err := w.refused(broker.ErrUnavailable, w.staff("bob"))
	var unavailable *broker.UnavailableError
	if !errors.As(err, &unavailable) || unavailable.RetryAfter <= 0 {
		t.Errorf("dead on arrival: %v", err)
	}
	// The next one starts behind the rule.
	raw := w.token(w.staff("bob"))
	c, kid := w.Claims(t, raw)
	if hit, revoked := w.Index.Revoked(c, kid); revoked {
		t.Errorf("rule %s hits a token that was made after it", hit.RuleID)
	}
}

func TestARuleBetweenStampAndAnswer(t *testing.T) {
	var hook during
	w := newWorld(t, brokertest.Options{Config: func(c *broker.Config) { c.Audit = hookedAudit{Auditor: c.Audit, hook: &hook} }})
	hook.step = func() { w.Revoke(t, revocation.SelectAgent, "k8s:analyst") }
	raw := w.token(w.workload("analyst"))
	c, kid := w.Claims(t, raw)
	if _, revoked := w.Index.Revoked(c, kid); !revoked {
		t.Error("the token survives a rule that came before it left")
	}
	w.refused(broker.ErrSubjectToken, raw)
}

// A rule that has no place in the log yet hits what is minted under it: nothing can show that its
// minter knew.
func TestALocalRuleIsDeadOnArrival(t *testing.T) {
	log := &switchedLog{}
	w := newWorld(t, brokertest.Options{Log: func(l store.Log) store.Log { log.Log = l; return log }})
	log.away(true)
	w.Revoke(t, revocation.SelectTask, "t1")
	w.refused(broker.ErrUnavailable, w.workload("analyst"), task("t1"))
	w.token(w.workload("analyst"), task("t2"))
	log.away(false)
	w.Pass(t, 0)
	w.token(w.workload("analyst"), task("t1"))
	if got := w.Records(t, audit.KindRefusal); len(got) != 1 || got[0].Outcome != audit.Failure {
		t.Errorf("audit log holds %+v", got)
	}
}

// switchedLog is a log that can be away.
type switchedLog struct {
	store.Log
	mu   sync.Mutex
	gone bool
}

func (l *switchedLog) away(gone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = gone
}

func (l *switchedLog) check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return store.ErrUnavailable
	}
	return nil
}

func (l *switchedLog) Tail(ctx context.Context) (store.Tail, error) {
	if err := l.check(); err != nil {
		return store.Tail{}, err
	}
	return l.Log.Tail(ctx)
}

func (l *switchedLog) Append(ctx context.Context, at store.Position, e ...store.Entry) (store.Position, error) {
	if err := l.check(); err != nil {
		return store.Position{}, err
	}
	return l.Log.Append(ctx, at, e...)
}

func TestStaleListRefuses(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	sec := w.token(w.person("sec"), scope("writ:revoke:** writ:lift:**"))
	raw := w.token(w.workload("analyst"))
	w.Advance(brokertest.MaxStaleness)
	w.token(w.workload("analyst"))
	w.Advance(time.Second)
	err := w.refused(broker.ErrUnavailable, w.workload("analyst"))
	var unavailable *broker.UnavailableError
	if !errors.As(err, &unavailable) || unavailable.RetryAfter <= 0 {
		t.Errorf("no hint when to come back: %v", err)
	}
	if _, err := w.Introspect(t.Context(), w.client("warehouse-api"), raw); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("introspection from a stale list: %v", err)
	}
	// Taking access away is always answered; giving it back is not.
	need := scopeOf(t, "writ:revoke:agent/x")
	if _, err := w.Authorize(t.Context(), broker.Credentials{Bearer: sec}, need, broker.AllowStale); err != nil {
		t.Errorf("revocation from a stale list: %v", err)
	}
	if _, err := w.Authorize(t.Context(), broker.Credentials{Bearer: sec}, scopeOf(t, "writ:lift:agent/x"), broker.NeedFresh); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("lift from a stale list: %v", err)
	}
	if err := w.RevokeToken(t.Context(), w.client("analyst"), raw); err != nil {
		t.Errorf("RFC 7009 from a stale list: %v", err)
	}
	w.Pass(t, 0)
	w.token(w.workload("analyst"))
}

func TestNoTokenLeavesUnrecorded(t *testing.T) {
	fail := &hookedAudit{hook: &during{}}
	w := newWorld(t, brokertest.Options{Config: func(c *broker.Config) { fail.Auditor = c.Audit; c.Audit = fail }})
	raw := w.token(w.workload("analyst"))
	fail.fail = audit.ErrUnavailable
	for name, try := range map[string]func(){
		"a token":   func() { w.refused(broker.ErrUnavailable, w.workload("analyst")) },
		"a child":   func() { w.refused(broker.ErrUnavailable, raw) },
		"a refusal": func() { w.refused(broker.ErrUnavailable, w.workload("analyst"), scope("tickets:close:x")) },
	} {
		t.Run(name, func(*testing.T) { try() })
	}
	if p := w.Ledger.Preview(revocation.Rule{
		ID: "01981c2e-58f0-7000-8000-00000000f00d", Selector: revocation.SelectAll, CreatedAt: w.Now(), ExpiresAt: w.Now().Add(time.Hour),
	}); p.Tokens != 1 {
		t.Errorf("the ledger counts %d tokens, 1 left", p.Tokens)
	}
	// Taking access away goes on, and says what is missing.
	out, err := w.Broker.Revoke(t.Context(), broker.BreakGlass(0), broker.RevokeOrder{
		Selector: revocation.SelectTask, Value: "t1", Apply: true,
	})
	if err != nil || !out.Applied || out.AuditFault == nil {
		t.Errorf("revocation without audit log: %+v, %v", out, err)
	}
	if _, _, err := w.Lift(t.Context(), broker.BreakGlass(0), out.Rule.ID, "", true); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("lift without audit log: %v", err)
	}
}

// A real disk that is full, rather than a wrapper: the folder is closed under the log.
func TestAuditLogThatIsClosed(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	if err := w.Audit.Close(); err != nil {
		t.Fatal(err)
	}
	w.refused(broker.ErrUnavailable, w.workload("analyst"))
}

func TestJournalThatIsAway(t *testing.T) {
	w := newWorld(t, brokertest.Options{Config: func(c *broker.Config) { c.Recorder = awayRecorder{c.Recorder} }})
	_, err := w.Broker.Revoke(t.Context(), broker.BreakGlass(0), broker.RevokeOrder{Selector: revocation.SelectAll, Apply: true})
	if !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("a revocation that is nowhere: %v", err)
	}
}

type awayRecorder struct{ broker.Recorder }

func (awayRecorder) Append(context.Context, []revocation.Rule, []revocation.Lift) (journal.Result, error) {
	return journal.Result{}, journal.ErrUnavailable
}

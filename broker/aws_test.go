package broker_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

const readLake = "lake:read:sales/**"

// cloud is a world with AWS.
type cloud struct {
	*world
	*brokertest.AWS
}

func newCloud(tb testing.TB, mode awssts.Mode) *cloud {
	tb.Helper()
	a := brokertest.NewAWS(mode)
	return &cloud{newWorld(tb, a.Options(tb)), a}
}

// forAWS asks for credentials instead of a token.
func forAWS(r *broker.ExchangeRequest) {
	r.RequestedTokenType, r.Scope = broker.TokenTypeAWSCredentials, readLake
}

func awsRole(name string) change { return func(r *broker.ExchangeRequest) { r.Role = name } }

// session is an exchange that must give one.
func (c *cloud) session(subject string, changes ...change) (*mint.Session, *broker.Issued) {
	c.tb.Helper()
	issued, err := c.exchange(subject, append([]change{forAWS}, changes...)...)
	if err != nil {
		c.tb.Fatalf("exchange refused: %v", err)
	}
	return issued.Session, issued
}

// noSession is an exchange that must fail with sentinel.
func (c *cloud) noSession(sentinel error, subject string, changes ...change) error {
	c.tb.Helper()
	issued, err := c.exchange(subject, append([]change{forAWS}, changes...)...)
	if err == nil {
		c.tb.Fatalf("credentials were made: %+v", issued.Session.Claims)
	}
	if !errors.Is(err, sentinel) {
		c.tb.Fatalf("got %v, want %v", err, sentinel)
	}
	return err
}

func TestExchangeForAWSCredentials(t *testing.T) {
	for _, mode := range []awssts.Mode{awssts.AssumeRole, awssts.WebIdentity} {
		c := newCloud(t, mode)
		s, issued := c.session(c.person("alice"), actor(c.workload("analyst")), task("report"), awsRole("default"))
		if issued.Token != "" || issued.TokenType != broker.TokenTypeAWSCredentials || issued.Scope != readLake || issued.ExpiresIn != brokertest.DefaultTTL {
			t.Errorf("%s: %+v", mode, issued)
		}
		call := c.STS.Calls("")[0]
		if call.SessionName != issued.DecisionID || call.Role != brokertest.LakeRole || call.Tags["writ:agent"] != "k8s:analyst" ||
			call.Tags["writ:subject"] != "user:alice" || call.Tags["writ:task"] != "report" || s.Credentials.ID() != call.SessionKeyID {
			t.Errorf("%s: %+v", mode, call)
		}
		if s.Claims.Subject != "user:alice" || !slices.Equal(s.Claims.Actor.Chain(), []string{"k8s:analyst"}) || s.Claims.Rev != c.Index.Position() {
			t.Errorf("%s: the session says %+v", mode, s.Claims)
		}
	}
}

// The audit joins CloudTrail's events to decisions, and holds no secret.
func TestAWSCredentialsAreRecorded(t *testing.T) {
	c := newCloud(t, awssts.AssumeRole)
	s, first := c.session(c.workload("analyst"), task("report"))
	again, second := c.session(c.workload("analyst"), task("report"))
	if again != s || second.DecisionID == first.DecisionID {
		t.Fatal("an equal request is not served from what is kept")
	}
	records := c.Records(t, audit.KindExchange)
	if len(records) != 2 {
		t.Fatalf("%d records", len(records))
	}
	_, secret, session := s.Credentials.Reveal()
	source, exact := awssts.SourceIdentity("k8s:analyst")
	if exact {
		t.Fatal("the id fits: the test wants one that does not")
	}
	for i, r := range records {
		want := map[string]string{
			"type": broker.TokenTypeAWSCredentials, "access_key_id": s.Credentials.ID(), "session": first.DecisionID,
			"role": brokertest.LakeRole, "source_identity": source, "policy_digest": s.PolicyDigest, "user_id": s.UserID,
			"fresh": map[int]string{0: "true", 1: "false"}[i], "rev": s.Claims.Rev.String(),
		}
		for k, v := range want {
			if v == "" || r.Detail[k] != v {
				t.Errorf("record %d: %s is %q, want %q", i, k, r.Detail[k], v)
			}
		}
		if r.ClientID != "k8s:analyst" || r.TokenID != s.Claims.ID || !r.Expires.Equal(s.Expires) || r.Task != "report" {
			t.Errorf("record %d: %+v", i, r.Event)
		}
		if strings.Contains(string(r.Raw), secret) || strings.Contains(string(r.Raw), session) {
			t.Errorf("record %d holds a secret", i)
		}
	}
}

// What AWS itself takes for an identity is never had from here, nor taken here.
func TestTheReservedAudience(t *testing.T) {
	c := newCloud(t, awssts.WebIdentity)
	for _, reserved := range []string{awssts.DefaultAudience, "STS.amazonaws.com/", "https://sts.eu-central-1.amazonaws.com"} {
		c.refused(broker.ErrTarget, c.workload("analyst"), func(r *broker.ExchangeRequest) { r.Audiences = []string{reserved} })
		c.noSession(broker.ErrTarget, c.workload("analyst"), func(r *broker.ExchangeRequest) { r.Audiences = []string{reserved} })
	}
	// The proof for STS, should it ever leave, buys nothing.
	c.session(c.workload("analyst"))
	proof := c.STS.Calls("")[0].Proof
	if proof == "" {
		t.Fatal("there was no proof")
	}
	// Nor does a token of ours for that audience, were one ever signed.
	_, claims := c.minted(c.workload("analyst"))
	forged := *claims
	forged.Audience = []string{awssts.DefaultAudience}
	payload, err := forged.Encode()
	if err != nil {
		t.Fatal(err)
	}
	access, err := token.Sign(t.Context(), token.TypeAccessToken, payload, c.Keys.Ring().Active())
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{"the proof": proof, "an access token": access} {
		t.Run(name, func(t *testing.T) {
			c.refused(broker.ErrSubjectToken, raw)
			c.noSession(broker.ErrSubjectToken, raw)
			c.refused(broker.ErrActorToken, c.person("alice"), actor(raw))
			c.refused(broker.ErrClient, "", clientCredentials(raw))
		})
	}
}

// Each failure has one name, for the caller and in the audit; and a token is had all the same.
func TestAWSFailuresAreNamed(t *testing.T) {
	long := make([]string, 0, 40)
	for i := range 40 {
		long = append(long, "lake:read:"+strings.Repeat(string(rune('a'+i%26)), 30)+"/"+strings.Repeat(string(rune('a'+i/26)), 20+i)+"/x")
	}
	for name, row := range map[string]struct {
		fault    *ststest.Fault
		change   change
		sentinel error
		reason   string
		outcome  audit.Outcome
	}{
		"STS down":                {&ststest.Fault{Drop: true}, nil, broker.ErrUnavailable, awssts.ReasonDown, audit.Failure},
		"STS slow":                {&ststest.Fault{Delay: time.Hour}, nil, broker.ErrUnavailable, awssts.ReasonSlow, audit.Failure},
		"throttling":              {&ststest.Fault{Code: "Throttling"}, nil, broker.ErrUnavailable, awssts.ReasonThrottled, audit.Failure},
		"expired credentials":     {&ststest.Fault{Code: "ExpiredToken"}, nil, broker.ErrUnavailable, awssts.ReasonExpired, audit.Failure},
		"clock skew":              {&ststest.Fault{Code: "RequestTimeTooSkewed"}, nil, broker.ErrUnavailable, awssts.ReasonClockSkew, audit.Failure},
		"wrong region":            {&ststest.Fault{Code: "RegionDisabledException"}, nil, broker.ErrAWS, awssts.ReasonRegion, audit.Failure},
		"malformed ARN":           {&ststest.Fault{Code: "ValidationError", Message: "arn is invalid"}, nil, broker.ErrTarget, awssts.ReasonMalformedARN, audit.Deny},
		"a role that trusts none": {nil, awsRole("audit"), broker.ErrTarget, awssts.ReasonUntrusted, audit.Deny},
		"an unknown role":         {nil, awsRole("other"), broker.ErrTarget, awssts.ReasonRole, audit.Deny},
		"packed policy too large": {&ststest.Fault{Code: "PackedPolicyTooLarge"}, nil, broker.ErrScope, awssts.ReasonPackedSize, audit.Deny},
		"policy too large":        {nil, scope(strings.Join(long, " ")), broker.ErrScope, awssts.ReasonPolicySize, audit.Deny},
		"malformed policy":        {&ststest.Fault{Code: "MalformedPolicyDocument"}, nil, broker.ErrAWS, awssts.ReasonMalformedPolicy, audit.Failure},
		"a tool not in AWS":       {nil, scope(readEU), broker.ErrTarget, awssts.ReasonRole, audit.Deny},
		"too long":                {&ststest.Fault{Code: "ValidationError", Message: "MaxSessionDuration"}, nil, broker.ErrRequest, awssts.ReasonRoleDuration, audit.Deny},
	} {
		t.Run(name, func(t *testing.T) {
			a := brokertest.NewAWS(awssts.AssumeRole)
			if row.reason == awssts.ReasonSlow { // which the others must not be
				a.Change = func(cfg *awssts.Config) { cfg.Timeout = time.Second }
			}
			c := &cloud{newWorld(t, a.Options(t)), a}
			c.STS.Always(row.fault)
			var changes []change
			if row.change != nil {
				changes = append(changes, row.change)
			}
			err := c.noSession(row.sentinel, c.workload("analyst"), changes...)
			named, ok := errors.AsType[*broker.AWSError](err)
			if !ok || named.Reason != row.reason || !strings.HasPrefix(err.Error(), row.reason+": ") {
				t.Fatalf("got %v", err)
			}
			if (named.RetryAfter > 0) != errors.Is(err, broker.ErrUnavailable) {
				t.Errorf("retry after %s", named.RetryAfter)
			}
			records := c.Records(t, audit.KindRefusal)
			if len(records) != 1 || records[0].Error != row.reason || records[0].Outcome != row.outcome || records[0].DecisionID != named.DecisionID {
				t.Errorf("recorded %+v", records)
			}
			c.token(c.workload("analyst"))
		})
	}
}

// While STS hangs, tokens are had as always; and who waits for it gets a session when it answers.
func TestASlowSTSHoldsNoTokenUp(t *testing.T) {
	a := brokertest.NewAWS(awssts.AssumeRole)
	a.Change = func(cfg *awssts.Config) { cfg.Timeout = time.Minute }
	c := &cloud{newWorld(t, a.Options(t)), a}
	held := make(chan struct{})
	answer := sync.OnceFunc(func() { close(held) })
	defer answer()
	c.STS.Always(&ststest.Fault{Hold: held})
	waiting := make(chan error, 8)
	for i := range 8 {
		req := c.request(c.workload("analyst"), []change{forAWS, task(string(rune('a' + i)))})
		go func() {
			_, err := c.Exchange(t.Context(), req)
			waiting <- err
		}()
	}
	c.eventually("eight calls", func() bool { return len(c.STS.Calls("")) >= 8 })
	for range 50 {
		c.token(c.workload("analyst"))
	}
	if n := len(waiting); n > 0 {
		t.Errorf("%d calls ended while STS hung", n)
	}
	answer()
	for range 8 {
		if err := <-waiting; err != nil {
			t.Errorf("got %v", err)
		}
	}
}

// Whoever asks gets a session of its own chain, scopes, task and role.
func TestSessionsOfOthersAreNotServed(t *testing.T) {
	c := newCloud(t, awssts.AssumeRole)
	base := []change{actor(c.workload("analyst")), task("t")}
	first, _ := c.session(c.person("alice"), base...)
	if again, _ := c.session(c.person("alice"), base...); again != first {
		t.Fatal("an equal request is not served")
	}
	parent := c.token(c.person("alice"), actor(c.workload("analyst")), task("t"), scope(readLake))
	for name, get := range map[string]func() (*mint.Session, *broker.Issued){
		"another subject": func() (*mint.Session, *broker.Issued) { return c.session(c.person("bob"), base...) },
		"another agent": func() (*mint.Session, *broker.Issued) {
			return c.session(c.person("alice"), actor(c.workload("helper")), task("t"))
		},
		"the agent itself": func() (*mint.Session, *broker.Issued) { return c.session(c.workload("analyst"), task("t")) },
		"another task":     func() (*mint.Session, *broker.Issued) { return c.session(c.person("alice"), base[0], task("u")) },
		"other scopes": func() (*mint.Session, *broker.Issued) {
			return c.session(c.person("alice"), append(base, scope("lake:read:sales/eu/*"))...)
		},
		"a longer chain": func() (*mint.Session, *broker.Issued) { return c.session(parent, actor(c.workload("helper"))) },
		"from a token":   func() (*mint.Session, *broker.Issued) { return c.session(parent, actor(c.workload("analyst"))) },
		"a shorter request": func() (*mint.Session, *broker.Issued) {
			return c.session(c.person("alice"), append(base, func(r *broker.ExchangeRequest) { r.RequestedTTL = time.Minute })...)
		},
	} {
		if got, _ := get(); got == first || got.Credentials.ID() == first.Credentials.ID() {
			t.Errorf("%s: got the credentials of another", name)
		}
	}
}

// A rule or a quarantine drops what is kept at once, whatever its selector; lifting it brings
// nothing back.
func TestRevokedSessionsAreNotServed(t *testing.T) {
	for name, rule := range map[string]func(c *cloud, s *mint.Session){
		"its id":       func(c *cloud, s *mint.Session) { c.Revoke(t, revocation.SelectToken, s.Claims.ID) },
		"its subject":  func(c *cloud, _ *mint.Session) { c.Revoke(t, revocation.SelectSubject, "user:alice") },
		"its agent":    func(c *cloud, _ *mint.Session) { c.Revoke(t, revocation.SelectAgent, "k8s:analyst") },
		"its task":     func(c *cloud, _ *mint.Session) { c.Revoke(t, revocation.SelectTask, "t") },
		"its role":     func(c *cloud, _ *mint.Session) { c.Revoke(t, revocation.SelectRole, "lake") },
		"its scope":    func(c *cloud, _ *mint.Session) { c.Revoke(t, revocation.SelectScope, "lake:read:sales/eu/x") },
		"its key":      func(c *cloud, s *mint.Session) { c.Revoke(t, revocation.SelectKey, s.KeyID) },
		"all":          func(c *cloud, _ *mint.Session) { c.Revoke(t, revocation.SelectAll, "") },
		"a quarantine": func(c *cloud, _ *mint.Session) { c.Quarantine(t, revocation.SelectSubject, "user:alice") },
		"a parent":     func(c *cloud, s *mint.Session) { c.Revoke(t, revocation.SelectToken, s.Claims.Ancestors[0].ID) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, awssts.WebIdentity)
			subject := c.token(c.person("alice"), actor(c.workload("analyst")), scope(readLake), task("t"))
			s, _ := c.session(subject, actor(c.workload("analyst")))
			if c.Sessions.Kept() != 1 {
				t.Fatal("nothing is kept")
			}
			rule(c, s)
			got, err := c.exchange(subject, forAWS, actor(c.workload("analyst")))
			if err == nil && got.Session.Credentials.ID() == s.Credentials.ID() {
				t.Error("the revoked session was given out")
			}
			// Whoever asks next, the dead session is gone from memory too.
			_, _ = c.exchange(c.workload("helper"), forAWS, scope("lake:read:x/y"))
			found := false
			c.Sessions.Forget(func(kept *mint.Session) bool { found = found || kept == s; return false })
			if found {
				t.Error("the revoked session is still kept")
			}
		})
	}
}

// A rule that lands while STS is asked refuses what comes back; it is known to the ledger all
// the same, since it lives at AWS.
func TestRevokedWhileSTSIsAsked(t *testing.T) {
	c := newCloud(t, awssts.AssumeRole)
	hold := make(chan struct{})
	c.STS.Fail(ststest.Fault{Hold: hold})
	done := make(chan error, 1)
	req := c.request(c.workload("analyst"), []change{forAWS})
	go func() {
		_, err := c.Exchange(t.Context(), req)
		done <- err
	}()
	c.eventually("a call of STS", func() bool { return len(c.STS.Calls("")) > 0 })
	c.Revoke(t, revocation.SelectAgent, "k8s:analyst")
	close(hold)
	if err := <-done; !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	rule := rule(revocation.SelectAgent, "k8s:analyst")
	if p := c.Ledger.PreviewAll(t.Context(), rule); p.STSSessions != 1 {
		t.Errorf("the ledger knows of %d sessions", p.STSSessions)
	}
	if n := c.Sessions.Kept(); n != 0 {
		t.Errorf("%d sessions are kept", n)
	}
	if n := len(c.Records(t, audit.KindExchange)); n != 0 {
		t.Errorf("%d issuances are recorded", n)
	}
}

// Without a record no credentials leave, fresh or kept.
func TestNoCredentialsWithoutARecord(t *testing.T) {
	a := brokertest.NewAWS(awssts.AssumeRole)
	o := a.Options(t)
	join, broken := o.Config, &brokenAudit{}
	o.Config = func(cfg *broker.Config) {
		join(cfg)
		broken.Auditor = cfg.Audit
		cfg.Audit = broken
	}
	c := &cloud{newWorld(t, o), a}
	c.session(c.workload("analyst"))
	broken.broken = true
	c.noSession(broker.ErrUnavailable, c.workload("analyst"))
	c.noSession(broker.ErrUnavailable, c.workload("helper"))
}

type brokenAudit struct {
	broker.Auditor
	broken bool
}

func (b *brokenAudit) Append(ctx context.Context, e audit.Event) (audit.Ref, error) {
	if b.broken {
		return audit.Ref{}, audit.ErrUnavailable
	}
	return b.Auditor.Append(ctx, e)
}

func TestRequestsForAWSThatAreRefused(t *testing.T) {
	c := newCloud(t, awssts.AssumeRole)
	self := func(r *broker.ExchangeRequest) { r.Self = true }
	parent := c.token(c.person("alice"), actor(c.workload("analyst")), scope(readLake))
	batch := c.certificate("batch")
	bound := c.token("", clientCredentials(""), batch, scope(readLake))
	if claims, _ := c.Claims(t, bound); claims.Confirmation == nil {
		t.Fatal("the token is not bound")
	}
	c.token(bound, batch, scope(readLake)) // it is good for a token
	for name, row := range map[string]struct {
		subject  string
		changes  []change
		sentinel error
	}{
		"a role for a token":              {c.workload("analyst"), []change{func(r *broker.ExchangeRequest) { r.RequestedTokenType, r.Role = "", "default" }}, broker.ErrRequest},
		"a role that is too long":         {c.workload("analyst"), []change{awsRole(strings.Repeat("r", 3000))}, broker.ErrRequest},
		"a scope that is not granted":     {c.workload("analyst"), []change{scope("warehouse:write:hr/x")}, broker.ErrScope},
		"on behalf, where none may be":    {c.person("alice"), []change{actor(c.workload("analyst")), self}, broker.ErrSubjectToken},
		"delegated, where none may be":    {parent, []change{self}, broker.ErrSubjectToken},
		"an act claim, where none may be": {"", []change{clientCredentials(c.Cluster.Token(t, "analyst", map[string]any{"act": map[string]any{"sub": "k8s:helper"}})), self}, broker.ErrSubjectToken},
		"a token that is bound to a key":  {bound, []change{batch}, broker.ErrSubjectToken},
		"a person without an agent":       {c.person("alice"), nil, broker.ErrScope},
	} {
		t.Run(name, func(t *testing.T) { c.noSession(row.sentinel, row.subject, row.changes...) })
	}
	if n := len(c.STS.Calls("")); n != 0 {
		t.Errorf("STS was asked %d times", n)
	}
	if _, err := newWorld(t, brokertest.Options{}).exchange(c.workload("analyst"), forAWS); !errors.Is(err, broker.ErrTokenType) {
		t.Errorf("a broker without AWS: %v", err)
	}
}

// A client certificate is the caller's own identity, and its use for credentials like any other's.
func TestACertificateBuysAWSCredentials(t *testing.T) {
	c := newCloud(t, awssts.AssumeRole)
	s, issued := c.session("", func(r *broker.ExchangeRequest) {
		r.SubjectToken, r.SubjectTokenType, r.ClientCredentials = "", "", true
	}, c.certificate("batch"))
	if s.Claims.Subject != "spiffe://prod.example/batch" || issued.Bound || s.Claims.Confirmation != nil {
		t.Errorf("%+v", s.Claims)
	}
}

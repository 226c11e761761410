package awssts_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

const sessionYAML = `
kind: catalog
tools:
- {name: lake, audience: lake, actions: [read, write, delete, list], aws: {service: s3, roles: {default: "arn:aws:iam::123456789012:role/writ-agents", audit: "arn:aws:iam::123456789012:role/writ-audit"}, with: {bucket: acme-lake}}}
- {name: tickets, audience: tickets, actions: [read]}
- {name: broken, audience: broken, actions: [read], aws: {service: s3, role: "arn:minio:iam:::role/elsewhere", with: {bucket: acme-lake}}}
---
kind: roles
roles:
- {name: reader, grants: [{scopes: ["lake:*:**", "tickets:*:**", "broken:*:**"]}]}
---
kind: bindings
bindings:
- {name: agents, principals: ["k8s:**"], roles: [reader]}
---
kind: delegations
delegations:
- {name: agents, agents: ["k8s:**"], subjects: ["k8s:**"], max_depth: 3, ceiling: ["lake:*:**"]}
`

const (
	auditRole  = "arn:aws:iam::123456789012:role/writ-audit"
	foreign    = "arn:aws:iam::123456789012:role/writ-foreign"
	brokerKey  = "AKIABROKER"
	issuerURL  = "https://writ.example"
	agent      = "k8s:ns:agent"
	readLake   = "lake:read:sales/eu/**"
	plentyOfIt = 12 * time.Hour
)

// studio is a Minter before an STS.
type studio struct {
	tb     testing.TB
	sts    *ststest.Server
	bundle *policy.Bundle
	signer token.Signer
	keys   *token.KeySet
	cfg    awssts.Config
	now    time.Time
}

type workload struct {
	subject string // "" = the agent itself
	asked   []string
	role    string
	task    string
	ttl     time.Duration
	alive   func(*mint.Session) bool
	change  func(*mint.Input)
}

func newStudio(tb testing.TB, mode awssts.Mode) *studio {
	tb.Helper()
	s := &studio{tb: tb, now: time.Now().Truncate(time.Second)}
	var err error
	if s.bundle, err = policy.Parse(map[string][]byte{"bundle.yaml": []byte(sessionYAML)}, policy.Options{MaxTTL: plentyOfIt}); err != nil {
		tb.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if s.signer, err = token.NewLocalSigner("k1", token.ES256, key); err != nil {
		tb.Fatal(err)
	}
	if s.keys, err = token.NewKeySet(token.Key{ID: "k1", Algorithm: token.ES256, Public: key.Public(), Use: "sig"}); err != nil {
		tb.Fatal(err)
	}
	s.sts = ststest.New(tb, ststest.Options{
		Roles: []ststest.Role{
			{ARN: role, Federated: true, MaxSession: plentyOfIt}, {ARN: auditRole, Federated: true, ExternalID: "42"},
			{ARN: foreign, Trusts: []string{"AKIASOMEBODY"}},
		},
		Principals: []ststest.Principal{
			{AccessKeyID: brokerKey, ARN: "arn:aws:iam::123456789012:user/writ"},
			{AccessKeyID: "ASIAROLE", ARN: "arn:aws:sts::123456789012:assumed-role/writ/i-1", SessionToken: "session"},
			{AccessKeyID: "ASIAUSER", ARN: "arn:aws:iam::123456789012:user/writ", SessionToken: "session"},
		},
		Issuer: issuerURL, Audience: awssts.DefaultAudience, Keys: func() *token.KeySet { return s.keys }, Now: s.clock,
	})
	s.cfg = awssts.Config{
		Mode: mode, Region: ststest.Region, Endpoint: s.sts.URL, Now: s.clock, Timeout: 5 * time.Second, Issuer: issuerURL,
		HTTP: &http.Client{Transport: &http.Transport{}},
	}
	if mode == awssts.AssumeRole {
		s.cfg.Credentials = static(brokerKey, "")
	}
	tb.Cleanup(s.cfg.HTTP.CloseIdleConnections)
	return s
}

func static(id, session string) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(id, "secret", session)
}

func (s *studio) clock() time.Time { return s.now }

func (s *studio) sessions() *awssts.Sessions {
	s.tb.Helper()
	m, err := awssts.New(s.cfg)
	if err != nil {
		s.tb.Fatal(err)
	}
	all, err := awssts.NewSessions(awssts.SessionsConfig{Minter: m})
	if err != nil {
		s.tb.Fatal(err)
	}
	return all
}

// order is what policy grants the workload.
func (s *studio) order(w workload) *mint.SessionOrder {
	s.tb.Helper()
	if w.asked == nil {
		w.asked = []string{readLake}
	}
	r := policy.Request{ID: "0197c0de-0000-7000-8000-000000000001", Time: s.now, Task: w.task, TTL: w.ttl, Subject: workloadOf(agent)}
	if w.subject != "" {
		r.Subject, r.Actors = workloadOf(w.subject), []identity.Principal{workloadOf(agent)}
	}
	for _, text := range w.asked {
		scope, err := scopes.Parse(text)
		if err != nil {
			s.tb.Fatal(err)
		}
		r.Scopes = append(r.Scopes, scope)
	}
	d := s.bundle.Authorize(r)
	if !d.Allowed {
		s.tb.Fatalf("refused: %s %v", d.Reason, d.Refused)
	}
	m, err := mint.New(mint.Config{Issuer: issuerURL})
	if err != nil {
		s.tb.Fatal(err)
	}
	in := mint.Input{Signer: s.signer, IssuedAt: s.now, ClientID: agent}
	if w.change != nil {
		w.change(&in)
	}
	o, err := m.SessionOrder(d.Grant, in)
	if err != nil {
		s.tb.Fatal(err)
	}
	o.Bundle, o.Role, o.RequestedTTL, o.Alive = s.bundle, w.role, w.ttl, w.alive
	if w.alive == nil {
		o.Alive = func(*mint.Session) bool { return true }
	}
	return o
}

func workloadOf(id string) identity.Principal {
	return identity.Principal{ID: id, Kind: identity.KindWorkload, Attributes: map[string]any{}}
}

// made is a session that must come about, and the call that made it.
func (s *studio) made(w workload) (*mint.Session, ststest.Call) {
	s.tb.Helper()
	session, fresh, err := s.sessions().Session(s.tb.Context(), s.order(w))
	if err != nil || !fresh {
		s.tb.Fatalf("fresh %v, error %v", fresh, err)
	}
	calls := s.sts.Calls("")
	return session, calls[len(calls)-1]
}

func TestAssumeRole(t *testing.T) {
	s := newStudio(t, awssts.AssumeRole)
	s.cfg.ExternalID = "42"
	session, call := s.made(workload{subject: "k8s:ns:boss", role: "audit", task: "report 7", ttl: time.Hour})
	if call.Action != "AssumeRole" || call.AccessKeyID != brokerKey || call.Role != auditRole || call.ExternalID != "42" {
		t.Errorf("asked as %+v", call)
	}
	if call.SessionName != "0197c0de-0000-7000-8000-000000000001" || session.Name != call.SessionName {
		t.Errorf("session name %q", call.SessionName)
	}
	if want, _ := awssts.SourceIdentity(agent); call.SourceIdentity != want || session.SourceIdentity != want {
		t.Errorf("source identity %q, want %q", call.SourceIdentity, want)
	}
	wantTags := map[string]string{
		"writ:agent": agent, "writ:subject": "k8s:ns:boss", "writ:task": "report 7", "writ:policy": s.bundle.Short(), "writ:decision": call.SessionName,
	}
	for k, v := range wantTags {
		if call.Tags[k] != v || !slices.Contains(call.TransitiveTags, k) {
			t.Errorf("tag %s is %q, transitive %v", k, call.Tags[k], call.TransitiveTags)
		}
	}
	if len(call.Tags) != len(wantTags) || call.Duration != time.Hour {
		t.Errorf("tags %v, duration %s", call.Tags, call.Duration)
	}
	want := compiled(t, s.bundle, awssts.Options{Role: "audit"})
	if call.Policy != want.JSON || session.PolicyDigest != want.Digest() || session.Role != auditRole {
		t.Errorf("policy %s, want %s", call.Policy, want.JSON)
	}
	if session.Credentials.ID() != call.SessionKeyID || session.UserID == "" || session.KeyID != "" || session.UsedPercent == 0 {
		t.Errorf("session %+v", session)
	}
	if got := session.Expires.Sub(s.now); got > time.Hour || got < time.Hour-time.Second {
		t.Errorf("ends after %s", got)
	}
}

func compiled(tb testing.TB, b *policy.Bundle, opt awssts.Options) *awssts.Policy {
	tb.Helper()
	c, err := awssts.NewCatalog(b.Catalog(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := c.Compile(parseSet(tb, readLake), opt)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestWebIdentity(t *testing.T) {
	s := newStudio(t, awssts.WebIdentity)
	session, call := s.made(workload{task: "t", ttl: time.Hour})
	if call.Action != "AssumeRoleWithWebIdentity" || call.AccessKeyID != "" || session.KeyID != "k1" {
		t.Errorf("asked as %+v; key %q", call, session.KeyID)
	}
	if want, _ := awssts.SourceIdentity(agent); call.SourceIdentity != want || call.Tags["writ:agent"] != agent || len(call.TransitiveTags) != len(call.Tags) {
		t.Errorf("source identity %q, tags %v, transitive %v", call.SourceIdentity, call.Tags, call.TransitiveTags)
	}
	u, err := token.Parse(call.Proof)
	if err != nil {
		t.Fatal(err)
	}
	// What verifiers and the broker take for a token of ours has another type, so this never is one.
	if token.CheckType(u.Header(), token.TypeAccessToken) == nil {
		t.Error("the proof has the type of an access token")
	}
	var claims map[string]any
	if err := json.Unmarshal(u.UnverifiedPayload(), &claims); err != nil {
		t.Fatal(err)
	}
	if claims["aud"] != awssts.DefaultAudience || claims["sub"] != agent || claims["iss"] != issuerURL {
		t.Errorf("the proof says %v", claims)
	}
	if life := claims["exp"].(float64) - claims["iat"].(float64); life > 300 {
		t.Errorf("the proof lives %v s", life)
	}
}

// STS gives 15 minutes at least. A shorter grant ends when it ends: the policy holds it, and the
// answer says so. Nothing is raised.
func TestAShortGrantEndsWhenItEnds(t *testing.T) {
	for _, mode := range []awssts.Mode{awssts.AssumeRole, awssts.WebIdentity} {
		s := newStudio(t, mode)
		session, call := s.made(workload{ttl: 5 * time.Minute})
		end := time.Unix(s.now.Unix()+300, 0)
		if call.Duration != awssts.MinDuration || !session.Expires.Equal(end) || session.Claims.Expiry != end.Unix() {
			t.Errorf("%s: duration %s, ends %s, want %s", mode, call.Duration, session.Expires, end)
		}
		if want := compiled(t, s.bundle, awssts.Options{Until: end}); call.Policy != want.JSON || !strings.Contains(call.Policy, "aws:CurrentTime") {
			t.Errorf("%s: policy %s, want %s", mode, call.Policy, want.JSON)
		}
	}
	// Time that passes until STS is asked is time of the grant.
	s := newStudio(t, awssts.AssumeRole)
	all, o := s.sessions(), s.order(workload{ttl: time.Hour})
	s.now = s.now.Add(50 * time.Minute)
	session, _, err := all.Session(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if call := s.sts.Calls("AssumeRole")[0]; call.Duration != awssts.MinDuration || !strings.Contains(call.Policy, "aws:CurrentTime") || session.Expires.Unix() != o.Claims().Expiry {
		t.Errorf("duration %s, ends %s", call.Duration, session.Expires)
	}
}

// AWS gives sessions of a broker that is on a role's credentials one hour. A longer grant is cut
// to it, which the answer says; a user's session is not cut.
func TestRoleChaining(t *testing.T) {
	for id, want := range map[string]time.Duration{brokerKey: 2 * time.Hour, "ASIAROLE": time.Hour, "ASIAUSER": 2 * time.Hour} {
		s := newStudio(t, awssts.AssumeRole)
		session := "session"
		if id == brokerKey {
			session = ""
		}
		s.cfg.Credentials = static(id, session)
		all := s.sessions()
		for range 2 {
			got, _, err := all.Session(t.Context(), s.order(workload{ttl: 2 * time.Hour, alive: func(*mint.Session) bool { return false }}))
			if err != nil {
				t.Fatal(err)
			}
			if life := got.Expires.Sub(s.now).Round(time.Minute); life != want {
				t.Errorf("%s: lives %s, want %s", id, life, want)
			}
		}
		if n := len(s.sts.Calls("GetCallerIdentity")); n > 1 {
			t.Errorf("%s: asked %d times who it is", id, n)
		}
	}
	// Where nobody says who the broker is, it counts as a role.
	s := newStudio(t, awssts.AssumeRole)
	s.cfg.Credentials = static("ASIAUSER", "session")
	s.sts.Fail(ststest.Fault{Code: "AccessDenied", Status: 403})
	if session, _ := s.made(workload{ttl: 2 * time.Hour}); session.Expires.Sub(s.now).Round(time.Minute) != time.Hour {
		t.Errorf("ends %s", session.Expires)
	}
}

// The end of a session is never later than STS's own.
func TestAnEarlierEndOfSTSCounts(t *testing.T) {
	s := newStudio(t, awssts.AssumeRole)
	behind := s.now.Add(-10 * time.Minute)
	other := ststest.New(t, ststest.Options{
		Roles:      []ststest.Role{{ARN: role}},
		Principals: []ststest.Principal{{AccessKeyID: brokerKey}}, Now: func() time.Time { return behind },
	})
	s.cfg.Endpoint = other.URL
	session, _, err := s.sessions().Session(t.Context(), s.order(workload{ttl: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	if got := session.Expires.Sub(s.now).Round(time.Second); got > 50*time.Minute {
		t.Errorf("ends after %s", got)
	}
	behind = s.now.Add(-2 * time.Hour)
	wantReason(t, s, workload{ttl: time.Hour, task: "other"}, mint.FaultBroker, awssts.ReasonClockSkew)
}

func TestConfigIsChecked(t *testing.T) {
	good := newStudio(t, awssts.AssumeRole).cfg
	for name, change := range map[string]func(*awssts.Config){
		"no mode":                            func(c *awssts.Config) { c.Mode = "" },
		"no region":                          func(c *awssts.Config) { c.Region = "" },
		"no credentials":                     func(c *awssts.Config) { c.Credentials = nil },
		"no clock":                           func(c *awssts.Config) { c.Now = nil },
		"a web identity without issuer":      func(c *awssts.Config) { c.Mode, c.Issuer = awssts.WebIdentity, "" },
		"a web identity with an external id": func(c *awssts.Config) { c.Mode, c.ExternalID = awssts.WebIdentity, "42" },
	} {
		cfg := good
		change(&cfg)
		if _, err := awssts.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := awssts.NewSessions(awssts.SessionsConfig{}); err == nil {
		t.Error("sessions without a minter")
	}
}

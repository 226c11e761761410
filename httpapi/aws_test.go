package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/httpapi"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/mint/awssts"
)

// cloud is a server whose broker has AWS.
type cloud struct {
	*server
	*brokertest.AWS
}

func serveAWS(t *testing.T, o options) *cloud {
	t.Helper()
	a := brokertest.NewAWS(awssts.AssumeRole)
	o.world = a.Options(t)
	o.world.Now = func() time.Time { return time.Now().Truncate(time.Second) }
	return &cloud{serve(t, o), a}
}

// credentials asks as an SDK does.
func (c *cloud) credentials(query, authorization string, header http.Header) answer {
	c.tb.Helper()
	h := header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if authorization != "" {
		h.Set("Authorization", authorization)
	}
	return c.send(c.public, http.MethodGet, "/aws/credentials"+query, nil, h)
}

func (c *cloud) helper() string { return c.Cluster.Token(c.tb, "helper", nil) }

func TestContainerCredentials(t *testing.T) {
	c := serveAWS(t, options{})
	for name, row := range map[string]struct {
		query, authorization string
		scope                string
	}{
		"all that can be said":          {"?role=default&scope=lake:read:hr/x&task=t&requested_ttl=900", c.helper(), "lake:read:hr/x"},
		"a bearer":                      {"?scope=lake:read:hr/x", "Bearer " + c.helper(), "lake:read:hr/x"},
		"no scope is the profile":       {"", c.helper(), "lake:read:sales/**"},
		"a role by ARN":                 {"?task=v&role=" + url.QueryEscape(brokertest.LakeRole), c.helper(), "lake:read:sales/**"},
		"several scopes, as in a form":  {"?scope=lake:read:a/b+lake:read:c/d", c.helper(), "lake:read:a/b lake:read:c/d"},
		"a parameter that says nothing": {"?role=&scope=&task=u", c.helper(), "lake:read:sales/**"},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.credentials(row.query, row.authorization, nil)
			if a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
			got := decode[wire.AWSCredentials](t, a)
			calls := c.STS.Calls("AssumeRole")
			made := slices.ContainsFunc(calls, func(call ststest.Call) bool { return call.SessionKeyID == got.AccessKeyID })
			if !made || got.SecretAccessKey == "" || got.Token == "" || got.Expiration.Sub(c.Now()) <= 0 {
				t.Errorf("got %+v", got)
			}
			if !strings.Contains(string(a.body), `Z"}`) || strings.Contains(string(a.body), "scope") {
				t.Errorf("the answer is %s", a.body)
			}
			if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("headers %v", a.header)
			}
			records := c.Records(t, audit.KindExchange)
			last := records[len(records)-1]
			if strings.Join(last.Scopes, " ") != row.scope || last.Subject != "k8s:helper" {
				t.Errorf("recorded %+v", last.Event)
			}
		})
	}
}

// The SDK's own client of the protocol.
func TestTheSDKReadsContainerCredentials(t *testing.T) {
	c := serveAWS(t, options{})
	read := func(query, token string) (string, error) {
		p := endpointcreds.New(c.public.URL+"/aws/credentials"+query, func(o *endpointcreds.Options) {
			o.HTTPClient, o.AuthorizationToken = c.public.Client(), token
		})
		got, err := p.Retrieve(context.WithoutCancel(t.Context()))
		if err == nil && (!got.CanExpire || got.SessionToken == "" || got.SecretAccessKey == "") {
			t.Errorf("got %v", got.AccessKeyID)
		}
		return got.AccessKeyID, err
	}
	if id, err := read("?scope=lake:read:a/b", c.helper()); err != nil || id != c.STS.Calls("AssumeRole")[0].SessionKeyID {
		t.Errorf("%q, %v", id, err)
	}
	if _, err := read("?scope=lake:read:a/b", "nonsense"); err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("a bad token: %v", err)
	}
	if _, err := read("?role=audit", c.helper()); err == nil || !strings.Contains(err.Error(), awssts.ReasonUntrusted) {
		t.Errorf("a role that does not trust us: %v", err)
	}
}

// Somebody acting for another never gets credentials here, nor somebody who hides that.
func TestContainerCredentialsAreForTheWorkloadItself(t *testing.T) {
	c := serveAWS(t, options{})
	act := map[string]any{"act": map[string]any{"sub": "k8s:helper"}}
	ours := decode[wire.TokenResponse](t, c.post("/token", exchangeForm(c.helper(), "lake:read:a/b"), "")).AccessToken
	delegated := exchangeForm(c.Corp.Token(t, "alice", nil), "lake:read:a/b")
	delegated.Set("actor_token", c.helper())
	delegated.Set("actor_token_type", wire.TokenTypeJWT)
	forAlice := decode[wire.TokenResponse](t, c.post("/token", delegated, "")).AccessToken
	for name, row := range map[string]struct {
		query, authorization string
		status               int
		code                 string
	}{
		"a token that says act":             {"", c.Cluster.Token(t, "analyst", act), 403, "invalid_request"},
		"a token that says may_act":         {"", c.Cluster.Token(t, "analyst", map[string]any{"may_act": map[string]any{"sub": "k8s:helper"}}), 403, "invalid_request"},
		"a token of the broker":             {"", ours, 401, "invalid_client"},
		"a token of the broker for another": {"", forAlice, 401, "invalid_client"},
		"a person":                          {"?scope=lake:read:a/b", c.Corp.Token(t, "alice", nil), 403, "invalid_scope"},
		"a subject in the query":            {"?subject_token=x", c.helper(), 400, "invalid_request"},
		"an actor in the query":             {"?actor_token=x", c.helper(), 400, "invalid_request"},
		"a token in the query":              {"?access_token=" + c.helper(), "", 400, "invalid_request"},
		"another type in the query":         {"?requested_token_type=" + url.QueryEscape(wire.TokenTypeJWT), c.helper(), 400, "invalid_request"},
		"a parameter twice":                 {"?role=default&role=audit", c.helper(), 400, "invalid_request"},
		"a query that is malformed":         {"?scope=%zz", c.helper(), 400, "invalid_request"},
		"a life in words":                   {"?requested_ttl=1h", c.helper(), 400, "invalid_request"},
		"no token":                          {"", "", 401, "invalid_client"},
		"another scheme":                    {"", "Basic eDp5", 401, "invalid_client"},
		"two tokens":                        {"", c.helper() + "," + c.helper(), 401, "invalid_client"},
		"a scope that is not granted":       {"?scope=warehouse:write:hr/x", c.helper(), 403, "invalid_scope"},
		"a scope that is malformed":         {"?scope=lake", c.helper(), 403, "invalid_scope"},
		"a tool that is not in AWS":         {"?scope=warehouse:read:sales/x", c.helper(), 400, awssts.ReasonRole},
		"a role that does not trust us":     {"?role=audit", c.helper(), 400, awssts.ReasonUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.credentials(row.query, row.authorization, nil)
			got := decode[wire.AWSError](t, a)
			if a.status != row.status || got.Code != row.code || got.Message == "" {
				t.Errorf("%d %s, want %d %s", a.status, a.body, row.status, row.code)
			}
			if a.header.Get("Cache-Control") != "no-store" {
				t.Error("a cache may keep it")
			}
		})
	}
	// Two headers are one too many; HEAD and POST mint nothing.
	two := http.Header{"Authorization": {c.helper(), c.helper()}}
	if a := c.send(c.public, http.MethodGet, "/aws/credentials", nil, two); a.status != 401 {
		t.Errorf("two headers: %d", a.status)
	}
	for _, method := range []string{http.MethodHead, http.MethodPost} {
		if a := c.send(c.public, method, "/aws/credentials", nil, http.Header{"Authorization": {c.helper()}}); a.status != 405 {
			t.Errorf("%s: %d", method, a.status)
		}
	}
	if n := len(c.STS.Calls("AssumeRole")); n != 1 {
		t.Errorf("STS was asked %d times, want once for the role that does not trust us", n)
	}
}

// What STS says is the caller's to know by name, and when to come back.
func TestContainerCredentialsWhenAWSFails(t *testing.T) {
	for name, row := range map[string]struct {
		fault  ststest.Fault
		status int
		code   string
		retry  bool
	}{
		"throttling":     {ststest.Fault{Code: "Throttling"}, 503, awssts.ReasonThrottled, true},
		"STS down":       {ststest.Fault{Drop: true}, 503, awssts.ReasonDown, true},
		"a wrong region": {ststest.Fault{Code: "RegionDisabledException"}, 500, awssts.ReasonRegion, false},
		"packed size":    {ststest.Fault{Code: "PackedPolicyTooLarge"}, 403, awssts.ReasonPackedSize, false},
		"malformed policy, whose message names an account": {ststest.Fault{Code: "MalformedPolicyDocument", Message: "secret of 123456789012"}, 500, awssts.ReasonMalformedPolicy, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := serveAWS(t, options{})
			c.STS.Always(&row.fault)
			a := c.credentials("", c.helper(), nil)
			got := decode[wire.AWSError](t, a)
			if a.status != row.status || got.Code != row.code || (a.header.Get("Retry-After") != "") != row.retry || strings.Contains(string(a.body), ststest.Account) {
				t.Errorf("%d %s, Retry-After %q", a.status, a.body, a.header.Get("Retry-After"))
			}
			// The same at /token, in its own form.
			f := exchangeForm(c.helper(), "lake:read:a/b")
			f.Set("requested_token_type", wire.TokenTypeAWSCredentials)
			b := c.post("/token", f, "")
			if e := b.error(t); e.Reason != row.code || e.DecisionID == "" {
				t.Errorf("/token: %d %s", b.status, b.body)
			}
			if row.status >= 500 && !strings.Contains(c.log.String(), row.code) {
				t.Error("the log does not say why")
			}
		})
	}
	if a := serve(t, options{}); true {
		got := a.send(a.public, http.MethodGet, "/aws/credentials", nil, http.Header{"Authorization": {a.agent()}})
		if got.status != http.StatusNotFound {
			t.Errorf("a broker without AWS: %d %s", got.status, got.body)
		}
	}
}

// A page whose name a stranger's DNS points to this machine sends that name as Host. Only names
// of loopback, at the port that was called, are answered without TLS.
func TestContainerCredentialsAgainstDNSRebinding(t *testing.T) {
	c := serveAWS(t, options{})
	_, port, _ := strings.Cut(strings.TrimPrefix(c.public.URL, "http://"), ":")
	for host, want := range map[string]int{
		"127.0.0.1:" + port: 200, "localhost:" + port: 200, "[::1]:" + port: 200, "127.0.0.9:" + port: 200,
		"evil.example": 403, "evil.example:" + port: 403, "localhost.evil.example:" + port: 403, "localhost": 403, "localhost.:" + port: 403,
		"127.0.0.1": 403, "127.0.0.1:1": 403, "0.0.0.0:" + port: 403, "10.0.0.1:" + port: 403, "127.0.0.1.nip.example:" + port: 403, "2130706433:" + port: 403,
		"writ.example": 403,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.public.URL+"/aws/credentials", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Authorization", c.helper())
		resp, err := c.public.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Host %q: %d, want %d", host, resp.StatusCode, want)
		}
	}
}

// What was passed on in the clear is refused, whatever it says of itself, but from a proxy that
// is trusted and says that it had TLS.
func TestContainerCredentialsNeedAPrivateWay(t *testing.T) {
	c := serveAWS(t, options{})
	for name, h := range map[string]http.Header{
		"forwarded": {"Forwarded": {"for=10.0.0.1;proto=https"}}, "X-Forwarded-For": {"X-Forwarded-For": {"10.0.0.1"}},
		"X-Forwarded-Proto": {"X-Forwarded-Proto": {"https"}}, "Via": {"Via": {"1.1 proxy"}},
	} {
		if a := c.credentials("", c.helper(), h); a.status != 403 || decode[wire.AWSError](t, a).Code != "access_denied" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	far := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/aws/credentials", nil)
	far.RemoteAddr = "10.1.2.3:4567"
	far.Header.Set("Authorization", c.helper())
	w := httptest.NewRecorder()
	if c.api.Public().ServeHTTP(w, far); w.Code != 403 {
		t.Errorf("from another machine, in the clear: %d %s", w.Code, w.Body)
	}
	if n := len(c.STS.Calls("")); n != 0 {
		t.Errorf("STS was asked %d times", n)
	}

	proxied := serveAWS(t, options{config: func(cfg *httpapi.Config) {
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}})
	for proto, want := range map[string]int{"https": 200, "http": 403, "": 403} {
		h := http.Header{}
		if proto != "" {
			h.Set("X-Forwarded-Proto", proto)
		}
		if a := proxied.credentials("", proxied.helper(), h); a.status != want {
			t.Errorf("by a proxy that had %q: %d %s", proto, a.status, a.body)
		}
	}
	secure := serveAWS(t, options{tls: true})
	if a := secure.credentials("", secure.helper(), http.Header{"X-Forwarded-For": {"10.0.0.1"}}); a.status != 200 {
		t.Errorf("over TLS: %d %s", a.status, a.body)
	}
}

// At /token the credentials are what a credential_process prints.
func TestTokenEndpointGivesAWSCredentials(t *testing.T) {
	c := serveAWS(t, options{})
	f := exchangeForm(c.helper(), "lake:read:a/b")
	f.Set("requested_token_type", wire.TokenTypeAWSCredentials)
	f.Set("role", "default")
	f.Set("requested_ttl", "900")
	a := c.post("/token", f, "")
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	got := decode[wire.TokenResponse](t, a)
	if got.TokenType != "N_A" || got.IssuedTokenType != wire.TokenTypeAWSCredentials || got.ExpiresIn != 900 || got.Scope != "lake:read:a/b" || got.DecisionID == "" {
		t.Errorf("got %+v", got)
	}
	var printed wire.AWSProcessCredentials
	if err := json.Unmarshal([]byte(got.AccessToken), &printed); err != nil {
		t.Fatal(err)
	}
	call := c.STS.Calls("AssumeRole")[0]
	if printed.Version != 1 || printed.AccessKeyID != call.SessionKeyID || printed.SecretAccessKey == "" || printed.SessionToken == "" ||
		call.SessionName != got.DecisionID || printed.Expiration.IsZero() {
		t.Errorf("printed %+v", printed.AccessKeyID)
	}
	// A preview counts it, beside the tokens.
	p := decode[wire.RevokeResponse](t, c.call(c.admin, http.MethodPost, "/admin/v1/revocations", c.secops("writ:revoke:agent/*"), wire.RevokeRequest{Selector: "agent", Value: "k8s:helper"}))
	if p.Preview.STSSessions != 1 || p.Preview.Agents != 1 {
		t.Errorf("previewed %+v", p.Preview)
	}
	f.Del("requested_token_type")
	if a := c.post("/token", f, ""); a.status != 400 {
		t.Errorf("a role for a token: %d %s", a.status, a.body)
	}
}

package httpapi_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/brokertest"
)

// uncached holds what every answer with a token, or about one, must say (RFC 6749 section 5.1).
func uncached(t *testing.T, a answer) {
	t.Helper()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Pragma": "no-cache", "X-Content-Type-Options": "nosniff", "Content-Type": "application/json",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestTokenEndpoint(t *testing.T) {
	s := serve(t, options{})
	t.Run("token exchange", func(t *testing.T) {
		f := exchangeForm(s.Corp.Token(t, "alice", nil), readEU)
		f.Set("actor_token", s.agent())
		f.Set("actor_token_type", wire.TokenTypeJWT)
		f["audience"] = []string{warehouse, ""}
		f.Set("resource", warehouse)
		f.Set("requested_token_type", wire.TokenTypeAccessToken)
		f.Set("task", "t1")
		f.Set("requested_ttl", "60")
		f.Set("unknown", "is ignored")
		f.Set("client_id", "anybody")
		a := s.post("/token", f, "")
		if a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		uncached(t, a)
		got := decode[wire.TokenResponse](t, a)
		c, _ := s.Claims(t, got.AccessToken)
		if got.TokenType != "Bearer" || got.IssuedTokenType != wire.TokenTypeAccessToken || got.ExpiresIn != 60 || got.Scope != readEU || got.DecisionID == "" {
			t.Errorf("answer %+v", got)
		}
		if c.Subject != "user:alice" || c.ClientID != "k8s:analyst" || c.Task != "t1" {
			t.Errorf("claims %+v", c)
		}
	})
	t.Run("as a jwt", func(t *testing.T) {
		f := exchangeForm(s.agent(), readEU)
		f.Set("requested_token_type", wire.TokenTypeJWT)
		if got := decode[wire.TokenResponse](t, s.post("/token", f, "")); got.IssuedTokenType != wire.TokenTypeJWT {
			t.Errorf("answer %+v", got)
		}
	})
	t.Run("client_credentials", func(t *testing.T) {
		f := url.Values{
			"grant_type": {"client_credentials"}, "client_assertion": {s.agent()},
			"client_assertion_type": {wire.AssertionJWTBearer}, "scope": {readEU},
		}
		a := s.post("/token", f, "")
		got := decode[wire.TokenResponse](t, a)
		if a.status != http.StatusOK || got.AccessToken == "" || got.IssuedTokenType != "" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// Bad input of every kind: its status, its code, and what its sender is told.
func TestTokenEndpointRefuses(t *testing.T) {
	s := serve(t, options{})
	good := func() url.Values { return exchangeForm(s.agent(), readEU) }
	with := func(name, value string) url.Values {
		f := good()
		f.Set(name, value)
		return f
	}
	without := func(name string) url.Values {
		f := good()
		f.Del(name)
		return f
	}
	credentials := func(changes url.Values) url.Values {
		f := url.Values{
			"grant_type": {"client_credentials"}, "client_assertion": {s.agent()},
			"client_assertion_type": {wire.AssertionJWTBearer}, "scope": {readEU},
		}
		maps.Copy(f, changes)
		return f
	}
	kind := func(text string) http.Header { return http.Header{"Content-Type": {text}} }
	for name, row := range map[string]struct {
		form   url.Values
		raw    string // in place of form
		header http.Header
		path   string
		status int
		code   string
		says   string
	}{
		"no body":                         {raw: " ", status: 400, code: "invalid_request", says: "invalid request: grant_type is missing"},
		"no content type":                 {form: good(), header: http.Header{}, status: 415, code: "invalid_request", says: "content type not accepted: send application/x-www-form-urlencoded"},
		"JSON":                            {raw: `{"grant_type":"x"}`, header: kind("application/json"), status: 415, code: "invalid_request", says: "content type not accepted: send application/x-www-form-urlencoded"},
		"a form of parts":                 {raw: "x", header: kind("multipart/form-data; boundary=x"), status: 415, code: "invalid_request", says: "content type not accepted: send application/x-www-form-urlencoded"},
		"parameters in the query":         {form: good(), path: "/token?scope=x", status: 400, code: "invalid_request", says: "invalid request: parameters belong in the body, not in the query"},
		"a malformed form":                {raw: "grant_type=%zz", status: 400, code: "invalid_request", says: "invalid request: the form is malformed"},
		"semicolons":                      {raw: "grant_type=a;scope=b", status: 400, code: "invalid_request", says: "invalid request: the form is malformed"},
		"a body over 64 KiB":              {raw: "x=" + strings.Repeat("y", 64<<10), status: 413, code: "invalid_request", says: "the body is larger than 64 KiB"},
		"too many parameters":             {raw: strings.Repeat("a=b&", 65), status: 400, code: "invalid_request", says: "invalid request: more than 64 parameters"},
		"a repeated scope":                {raw: good().Encode() + "&scope=x", status: 400, code: "invalid_request", says: "invalid request: parameter 'scope' is repeated"},
		"a repeated subject_token":        {raw: good().Encode() + "&subject_token=x", status: 400, code: "invalid_request", says: "invalid request: parameter 'subject_token' is repeated"},
		"a repeated unknown one":          {raw: good().Encode() + "&x=1&x=2", status: 400, code: "invalid_request", says: "invalid request: parameter 'x' is repeated"},
		"no grant_type":                   {form: without("grant_type"), status: 400, code: "invalid_request", says: "invalid request: grant_type is missing"},
		"an empty grant_type":             {form: with("grant_type", ""), status: 400, code: "invalid_request", says: "invalid request: grant_type is missing"},
		"another grant_type":              {form: with("grant_type", "password"), status: 400, code: "unsupported_grant_type", says: "grant_type must be urn:ietf:params:oauth:grant-type:token-exchange or client_credentials"},
		"no subject_token":                {form: without("subject_token"), status: 400, code: "invalid_request", says: "invalid request: subject_token is missing"},
		"no subject_token_type":           {form: without("subject_token_type"), status: 400, code: "invalid_request", says: "invalid request: subject_token_type is missing"},
		"an unknown subject_token_type":   {form: with("subject_token_type", "x"), status: 400, code: "invalid_request", says: "unsupported token type: subject_token_type must be a JWT, access_token or id_token type"},
		"actor_token_type alone":          {form: with("actor_token_type", wire.TokenTypeJWT), status: 400, code: "invalid_request", says: "invalid request: actor_token_type must not be sent without actor_token"},
		"actor_token alone":               {form: with("actor_token", "x"), status: 400, code: "invalid_request", says: "invalid request: actor_token_type is missing"},
		"an unknown requested_token_type": {form: with("requested_token_type", "x"), status: 400, code: "invalid_request", says: "unsupported token type: requested_token_type must be urn:ietf:params:oauth:token-type:access_token, urn:ietf:params:oauth:token-type:jwt or urn:writ:token-type:aws-credentials"},
		"requested_ttl in words":          {form: with("requested_ttl", "1h"), status: 400, code: "invalid_request", says: "invalid request: requested_ttl must be a positive number of seconds"},
		"requested_ttl of nothing":        {form: with("requested_ttl", "0"), status: 400, code: "invalid_request", says: "invalid request: requested_ttl must be a positive number of seconds"},
		"requested_ttl before now":        {form: with("requested_ttl", "-5"), status: 400, code: "invalid_request", says: "invalid request: requested_ttl must be a positive number of seconds"},
		"requested_ttl beyond counting":   {form: with("requested_ttl", "99999999999999999999"), status: 400, code: "invalid_request", says: "invalid request: requested_ttl must be a positive number of seconds"},
		"a subject token over 16 KiB":     {form: with("subject_token", strings.Repeat("x", 16<<10+1)), status: 400, code: "invalid_request", says: "invalid request: subject_token is larger than 16 KiB"},
		"a subject token that is none":    {form: with("subject_token", "x"), status: 400, code: "invalid_request", says: "subject token not accepted: it is malformed"},
		"an expired subject token":        {form: with("subject_token", s.Cluster.Token(t, "analyst", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})), status: 400, code: "invalid_request", says: "subject token not accepted: it has expired"},
		"a malformed scope":               {form: with("scope", "warehouse"), status: 400, code: "invalid_scope", says: ""},
		"a scope with a quote":            {form: with("scope", "warehouse:read:\"\\\x01é"), status: 400, code: "invalid_scope", says: ""},
		"a scope that is not granted":     {form: with("scope", "warehouse:read:sales/pii/x"), status: 400, code: "invalid_scope", says: "one or more requested scopes are not granted"},
		"an unknown tool":                 {form: with("scope", "vault:read:x"), status: 400, code: "invalid_scope", says: "one or more requested scopes are not granted"},
		"an unknown audience":             {form: with("audience", "https://x.example"), status: 400, code: "invalid_target", says: "the audience or resource is unknown, or is not that of the scopes"},
		"a reserved audience":             {form: with("audience", "sts.amazonaws.com"), status: 400, code: "invalid_target", says: "target not accepted: 'sts.amazonaws.com' is reserved"},
		"a resource that is no URI":       {form: with("resource", "x"), status: 400, code: "invalid_target", says: "target not accepted: resource must be an absolute URI without fragment"},
		"a pair that is not allowed": {form: func() url.Values {
			f := exchangeForm(s.Corp.Token(t, "alice", nil), readEU)
			f.Set("actor_token", s.Cluster.Token(t, "stranger", nil))
			f.Set("actor_token_type", wire.TokenTypeJWT)
			return f
		}(), status: 400, code: "invalid_request", says: "this agent may not act for this subject"},
		"no client":                       {form: url.Values{"grant_type": {"client_credentials"}}, status: 401, code: "invalid_client", says: "client authentication failed: send client_assertion, or a client certificate"},
		"a client that fails":             {form: credentials(url.Values{"client_assertion": {"x"}}), status: 401, code: "invalid_client", says: "client authentication failed: it is malformed"},
		"no client_assertion_type":        {form: credentials(url.Values{"client_assertion_type": {""}}), status: 400, code: "invalid_request", says: "invalid request: client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"another client_assertion_type":   {form: credentials(url.Values{"client_assertion_type": {"saml"}}), status: 400, code: "invalid_request", says: "invalid request: client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion_type alone":     {form: credentials(url.Values{"client_assertion": {""}}), status: 400, code: "invalid_request", says: "invalid request: client_assertion is missing"},
		"client_credentials of a subject": {form: credentials(url.Values{"subject_token": {"x"}}), status: 400, code: "invalid_request", says: "invalid request: subject_token and actor_token do not go with client_credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			body, header, path := row.raw, row.header, row.path
			if body == "" {
				body = row.form.Encode()
			}
			if header == nil {
				header = formType()
			}
			if path == "" {
				path = "/token"
			}
			a := s.send(s.public, http.MethodPost, path, strings.NewReader(strings.TrimSpace(body)), header)
			e := a.error(t)
			if a.status != row.status || e.Code != row.code {
				t.Errorf("%d %s, want %d %s: %s", a.status, e.Code, row.status, row.code, e.Description)
			}
			if row.says != "" && e.Description != row.says {
				t.Errorf("says %q, want %q", e.Description, row.says)
			}
			if e.Description == "" || strings.ContainsAny(e.Description, "\"\\") || strings.ContainsFunc(e.Description, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
				t.Errorf("RFC 6749 does not allow %q", e.Description)
			}
			uncached(t, a)
			if challenge := a.header.Get("WWW-Authenticate"); (challenge != "") != (a.status == 401) {
				t.Errorf("%d with WWW-Authenticate %q", a.status, challenge)
			}
			discloses(t, string(a.body))
		})
	}
}

// discloses looks for what belongs to the owner of the policy: names of roles, rules, other
// principals and tools.
func discloses(t *testing.T, body string) {
	t.Helper()
	for _, secret := range []string{"reader", "secops", "agents-for-people", "bundle.yaml", "binding", "role", "delegation", "classification", "hr/"} {
		if strings.Contains(body, secret) {
			t.Errorf("%q is disclosed: %s", secret, body)
		}
	}
}

func TestARefusalNamesTheDecision(t *testing.T) {
	s := serve(t, options{})
	a := s.post("/token", exchangeForm(s.agent(), "warehouse:read:sales/pii/x "+readEU), "")
	e := a.error(t)
	if e.DecisionID == "" || len(e.Refused) != 1 || e.Refused[0] != "warehouse:read:sales/pii/x" {
		t.Errorf("%+v", e)
	}
	for _, f := range []url.Values{
		func() url.Values { f := exchangeForm(s.agent(), readEU); f.Set("audience", "x"); return f }(),
	} {
		if e := s.post("/token", f, "").error(t); e.DecisionID == "" {
			t.Errorf("%+v", e)
		}
	}
}

func TestMethodsAndPaths(t *testing.T) {
	s := serve(t, options{})
	for _, row := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/token", 405}, {"PUT", "/token", 405}, {"GET", "/revoke", 405}, {"GET", "/introspect", 405},
		{"POST", "/.well-known/jwks.json", 405}, {"POST", "/revocations/feed", 405}, {"GET", "/revocations/ack", 405},
		{"GET", "/nothing", 404}, {"GET", "/", 404}, {"POST", "/token/", 404},
		// What is for security ops is not on the public listener.
		{"GET", "/admin/v1/revocations", 404}, {"POST", "/admin/v1/revocations", 404}, {"GET", "/metrics", 404},
		{"POST", "/admin/v1/keys/rotate", 404},
	} {
		if a := s.send(s.public, row.method, row.path, nil, nil); a.status != row.status {
			t.Errorf("%s %s: %d, want %d", row.method, row.path, a.status, row.status)
		}
	}
	for _, path := range []string{"/token", "/revoke", "/introspect", "/revocations/feed"} {
		if a := s.send(s.admin, "POST", path, nil, nil); a.status != 404 {
			t.Errorf("%s on the admin listener: %d", path, a.status)
		}
	}
}

func TestTooManyRequests(t *testing.T) {
	now := time.Now() // and it stays so: nothing is earned back while the test runs
	s := serve(t, options{world: brokertest.Options{Now: func() time.Time { return now }, Config: func(c *broker.Config) {
		c.Limits.AgentRate, c.Limits.AgentBurst = 0.1, 1
		c.Limits.FailureRate, c.Limits.FailureBurst = 0.1, 1
	}}})
	s.token(s.agent(), readEU)
	limited := func(f url.Values) {
		t.Helper()
		a := s.post("/token", f, "")
		wait, err := strconv.Atoi(a.header.Get("Retry-After"))
		if a.status != 429 || a.error(t).Code != "slow_down" || err != nil || wait < 1 || wait > 10 {
			t.Errorf("%d %s, Retry-After %q", a.status, a.body, a.header.Get("Retry-After"))
		}
		uncached(t, a)
	}
	limited(exchangeForm(s.agent(), readEU))
	if a := s.post("/token", exchangeForm("x", readEU), ""); a.status != 400 {
		t.Errorf("%d", a.status)
	}
	limited(exchangeForm("x", readEU))
}

func TestStaleReplica(t *testing.T) {
	s := serve(t, options{})
	admin := s.secops("writ:revoke:** writ:lift:** writ:policy:read")
	s.Advance(brokertest.MaxStaleness + time.Second)
	for name, a := range map[string]answer{
		"exchange":   s.post("/token", exchangeForm(s.agent(), readEU), ""),
		"introspect": s.post("/introspect", url.Values{"token": {"x"}, "client_assertion": {s.Cluster.Token(t, "warehouse-api", nil)}, "client_assertion_type": {wire.AssertionJWTBearer}}, ""),
		"policy":     s.call(s.admin, "GET", "/admin/v1/policy", admin, nil),
		"lift":       s.call(s.admin, "POST", "/admin/v1/revocations/x/lift", admin, wire.LiftRequest{}),
	} {
		if a.status != 503 || a.error(t).Code != "temporarily_unavailable" || a.header.Get("Retry-After") != "5" {
			t.Errorf("%s: %d %s, Retry-After %q", name, a.status, a.body, a.header.Get("Retry-After"))
		}
	}
	if a := s.call(s.admin, "POST", "/admin/v1/revocations", admin, wire.RevokeRequest{Selector: "task", Value: "t1", Apply: true}); a.status != 200 {
		t.Errorf("revocation: %d %s", a.status, a.body)
	}
}

func TestIntrospectAndRevokeEndpoints(t *testing.T) {
	s := serve(t, options{})
	raw := s.token(s.agent(), readEU)
	as := func(name, token string) url.Values {
		return url.Values{
			"token": {token}, "token_type_hint": {"access_token"},
			"client_assertion": {s.Cluster.Token(t, name, nil)}, "client_assertion_type": {wire.AssertionJWTBearer},
		}
	}
	a := s.post("/introspect", as("warehouse-api", raw), "")
	uncached(t, a)
	got := decode[wire.Introspection](t, a)
	if !got.Active || got.Subject != "k8s:analyst" || got.ClientID != "k8s:analyst" || got.Scope != readEU || got.TokenType != "Bearer" {
		t.Errorf("%s", a.body)
	}
	for name, a := range map[string]answer{
		"rubbish":       s.post("/introspect", as("warehouse-api", "x"), ""),
		"not its own":   s.post("/introspect", as("tickets-api", raw), ""),
		"by an agent":   s.post("/introspect", as("analyst", raw), ""),
		"a foreign one": s.post("/introspect", as("warehouse-api", s.agent()), ""),
		"over 16 KiB":   s.post("/introspect", as("warehouse-api", strings.Repeat("x", 20<<10)), ""),
	} {
		if a.status != 200 || string(a.body) != `{"active":false}` {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	for _, path := range []string{"/introspect", "/revoke"} {
		for name, row := range map[string]struct {
			a      answer
			status int
			code   string
		}{
			"no token":         {s.post(path, url.Values{"token": {""}}, ""), 400, "invalid_request"},
			"a failed client":  {s.post(path, url.Values{"token": {raw}, "client_assertion": {"x"}, "client_assertion_type": {wire.AssertionJWTBearer}}, ""), 401, "invalid_client"},
			"a repeated token": {s.send(s.public, "POST", path, strings.NewReader("token=a&token=b"), formType()), 400, "invalid_request"},
			"another scheme": {s.send(s.public, "POST", path, strings.NewReader("token=a"), http.Header{
				"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {"Basic eDp5"},
			}), 401, "invalid_token"},
			"two headers": {s.send(s.public, "POST", path, strings.NewReader("token=a"), http.Header{
				"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {"Bearer a", "Bearer b"},
			}), 400, "invalid_request"},
			"a bad bearer token": {s.post(path, url.Values{"token": {raw}}, "x"), 401, map[string]string{"/introspect": "invalid_token", "/revoke": "invalid_client"}[path]},
		} {
			if row.a.status != row.status || row.a.error(t).Code != row.code {
				t.Errorf("%s %s: %d %s", path, name, row.a.status, row.a.body)
			}
			uncached(t, row.a)
		}
	}
	if a := s.post("/introspect", url.Values{"token": {raw}}, ""); a.status != 401 || a.header.Get("WWW-Authenticate") != `Bearer realm="writ"` {
		t.Errorf("nobody: %d %q", a.status, a.header.Get("WWW-Authenticate"))
	}
	if a := s.post("/introspect", url.Values{"token": {raw}}, "x"); a.header.Get("WWW-Authenticate") != `Bearer realm="writ", error="invalid_token"` {
		t.Errorf("a bad token: %q", a.header.Get("WWW-Authenticate"))
	}

	if a := s.post("/revoke", as("stranger", raw), ""); a.status != 400 || a.error(t).Code != "unauthorized_client" {
		t.Errorf("a stranger: %d %s", a.status, a.body)
	}
	if a := s.post("/revoke", as("stranger", "x"), ""); a.status != 200 {
		t.Errorf("an unknown token: %d %s", a.status, a.body)
	}
	a = s.post("/revoke", as("analyst", raw), "")
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	uncached(t, a)
	if a := s.post("/introspect", as("warehouse-api", raw), ""); string(a.body) != `{"active":false}` {
		t.Errorf("revoked: %s", a.body)
	}
}

func TestIntrospectionSaysWhoActs(t *testing.T) {
	s := serve(t, options{})
	f := exchangeForm(s.Corp.Token(t, "alice", nil), readEU)
	f.Set("actor_token", s.agent())
	f.Set("actor_token_type", wire.TokenTypeJWT)
	f.Set("task", "t1")
	parent := decode[wire.TokenResponse](t, s.post("/token", f, "")).AccessToken
	f.Set("subject_token", parent)
	f.Set("actor_token", s.Cluster.Token(t, "helper", nil))
	child := decode[wire.TokenResponse](t, s.post("/token", f, "")).AccessToken
	got := decode[wire.Introspection](t, s.post("/introspect", url.Values{
		"token": {child}, "client_assertion": {s.Cluster.Token(t, "warehouse-api", nil)}, "client_assertion_type": {wire.AssertionJWTBearer},
	}, ""))
	if want := `{"sub":"k8s:helper","act":{"sub":"k8s:analyst"}}`; string(got.Actor) != want || got.Task != "t1" || got.Expiry == 0 || got.Rev == "" || got.Policy == "" {
		t.Errorf("%+v, act %s", got, got.Actor)
	}
}

// Whoever sits behind a proxy that is trusted is known by the address that it gives; a stranger's
// header is only that.
func TestAddresses(t *testing.T) {
	for name, row := range map[string]struct {
		trusted   []string
		forwarded []string
		want      string
	}{
		"no proxy is trusted":       {nil, []string{"192.0.2.1"}, "127.0.0.1"},
		"one":                       {[]string{"127.0.0.0/8"}, []string{"192.0.2.1"}, "192.0.2.1"},
		"what stands before":        {[]string{"127.0.0.0/8"}, []string{"203.0.113.9, 192.0.2.1"}, "192.0.2.1"},
		"two proxies":               {[]string{"127.0.0.0/8", "10.0.0.0/8"}, []string{"192.0.2.1, 10.0.0.2", "10.0.0.3"}, "192.0.2.1"},
		"rubbish":                   {[]string{"127.0.0.0/8"}, []string{"192.0.2.1, rubbish"}, "127.0.0.1"},
		"nothing":                   {[]string{"127.0.0.0/8"}, nil, "127.0.0.1"},
		"an IPv4 address in IPv6":   {[]string{"127.0.0.0/8"}, []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		"proxies all the way":       {[]string{"127.0.0.0/8", "10.0.0.0/8"}, []string{"10.0.0.2"}, "10.0.0.2"},
		"rubbish before an address": {[]string{"127.0.0.0/8"}, []string{"rubbish, 192.0.2.1"}, "192.0.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, options{config: trusting(t, row.trusted)})
			h := formType()
			h["X-Forwarded-For"] = row.forwarded
			a := s.send(s.public, "POST", "/token", strings.NewReader(exchangeForm(s.agent(), readEU).Encode()), h)
			if a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if got := s.Records(t, "exchange"); len(got) != 1 || got[0].RemoteIP != row.want {
				t.Errorf("recorded %q, want %q", fmt.Sprint(got[0].RemoteIP), row.want)
			}
		})
	}
}

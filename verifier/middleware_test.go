package verifier_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
	"github.com/writbroker/writ/verifier"
)

const metadataParam = `resource_metadata="https://warehouse.example/.well-known/oauth-protected-resource/api"`

// guarded serves GET /rows/{region}/{id} behind v.
func guarded(v *verifier.Verifier) http.Handler {
	mux := http.NewServeMux()
	resource := func(r *http.Request) (string, error) {
		return scopes.Resource("sales", r.PathValue("region"), r.PathValue("id"))
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := verifier.FromContext(r.Context())
		if !ok {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, c.Subject)
	})
	mux.Handle("GET /rows/{region}/{id}", v.Require("warehouse", "read", resource)(handler))
	mux.Handle("GET /free", v.Require("warehouse", "read", func(*http.Request) (string, error) { return "sales/*", nil })(handler))
	mux.Handle("GET /own", v.Authenticated(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, _ := verifier.FromContext(r.Context()); !c.Allows("read", "sales/us/q1") {
			v.Refuse(w, "warehouse", "read", "sales/us/q1")
		}
	})))
	return mux
}

func TestRequire(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	server := guarded(v)
	good := b.mint()
	revoked := b.mint(func(c *token.Claims) { c.Subject = "user:bob" })
	b.revoke(revocation.SelectSubject, "user:bob")
	b.reached(v)
	expired := b.mint(func(c *token.Claims) { c.IssuedAt, c.Expiry = time.Now().Unix()-700, time.Now().Unix()-100 })
	foreign := b.mint(func(c *token.Claims) { c.Audience = []string{"https://other.example"} })

	for _, tc := range []struct {
		name, path string
		auth       []string
		status     int
		challenge  string
		code       string
	}{
		{"a good token", "/rows/eu/q1", []string{"Bearer " + good}, 200, "", ""},
		{"the scheme in another case", "/rows/eu/q1", []string{"bearer " + good}, 200, "", ""},
		{"no token", "/rows/eu/q1", nil, 401, "Bearer " + metadataParam, ""},
		{"another scheme", "/rows/eu/q1", []string{"Basic dTpw"}, 401, "Bearer " + metadataParam, ""},
		{"a token in the query", "/rows/eu/q1?access_token=" + good, nil, 401, "Bearer " + metadataParam, ""},
		{"no token and a bad path", "/rows/eu/%2e%2e", nil, 401, "Bearer " + metadataParam, ""},
		{"two headers", "/rows/eu/q1", []string{"Bearer " + good, "Bearer " + good}, 400, `Bearer error="invalid_request", error_description="more than one Authorization header", ` + metadataParam, "invalid_request"},
		{"two tokens in one header", "/rows/eu/q1", []string{"Bearer " + good + ", Bearer " + good}, 400, `Bearer error="invalid_request", error_description="the Authorization header holds no single bearer token", ` + metadataParam, "invalid_request"},
		{"an empty token", "/rows/eu/q1", []string{"Bearer "}, 400, `Bearer error="invalid_request", error_description="the Authorization header holds no single bearer token", ` + metadataParam, "invalid_request"},
		{"nonsense", "/rows/eu/q1", []string{"Bearer nonsense"}, 401, `Bearer error="invalid_token", error_description="the token is malformed", ` + metadataParam, "invalid_token"},
		{"expired", "/rows/eu/q1", []string{"Bearer " + expired}, 401, `Bearer error="invalid_token", error_description="the token has expired", ` + metadataParam, "invalid_token"},
		{"another audience", "/rows/eu/q1", []string{"Bearer " + foreign}, 401, `Bearer error="invalid_token", error_description="the token is for another audience", ` + metadataParam, "invalid_token"},
		{"revoked", "/rows/eu/q1", []string{"Bearer " + revoked}, 401, `Bearer error="invalid_token", error_description="the token is revoked", ` + metadataParam, "invalid_token"},
		{"outside the scope", "/rows/us/q1", []string{"Bearer " + good}, 403, `Bearer error="insufficient_scope", error_description="the token does not allow this", scope="warehouse:read:sales/us/q1", ` + metadataParam, "insufficient_scope"},
		{"a quote in the path", "/rows/us/a%22b", []string{"Bearer " + good}, 403, `Bearer error="insufficient_scope", error_description="the token does not allow this", scope="warehouse:read:sales/us/a%22b", ` + metadataParam, "insufficient_scope"},
		{"a slash inside a segment stays inside", "/rows/eu/a%2Fb", []string{"Bearer " + good}, 200, "", ""},
		{"a star in the path is a literal", "/rows/us/%2A", []string{"Bearer " + good}, 403, `Bearer error="insufficient_scope", error_description="the token does not allow this", scope="warehouse:read:sales/us/%2A", ` + metadataParam, "insufficient_scope"},
		{"a resource function that returns a pattern", "/free", []string{"Bearer " + good}, 400, `Bearer error="invalid_request", error_description="the request names no valid resource", ` + metadataParam, "invalid_request"},
		{"a handler that asks itself", "/own", []string{"Bearer " + good}, 403, `Bearer error="insufficient_scope", error_description="the token does not allow this", scope="warehouse:read:sales/us/q1", ` + metadataParam, "insufficient_scope"},
		{"… without a token", "/own", nil, 401, "Bearer " + metadataParam, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), "GET", tc.path, nil)
			for _, a := range tc.auth {
				r.Header.Add("Authorization", a)
			}
			w := httptest.NewRecorder()
			server.ServeHTTP(w, r)
			if w.Code != tc.status {
				t.Errorf("status %d", w.Code)
			}
			if got := w.Header().Get("WWW-Authenticate"); got != tc.challenge {
				t.Errorf("challenge\n%s\nwant\n%s", got, tc.challenge)
			}
			var body wire.Error
			_ = json.Unmarshal(w.Body.Bytes(), &body)
			if body.Code != tc.code {
				t.Errorf("body %s", w.Body)
			}
			if w.Code == 200 && w.Body.String() != "user:alice" {
				t.Errorf("the handler got %q", w.Body)
			}
			if w.Code != 200 && w.Header().Get("Cache-Control") != "no-store" {
				t.Error("a refusal may be cached")
			}
		})
	}
}

func TestABadPathIs400(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	handler := v.Require("warehouse", "read", func(*http.Request) (string, error) { return "", errors.New("secret detail") })(http.NotFoundHandler())
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/x", nil)
	r.Header.Set("Authorization", "Bearer "+b.mint())
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != 400 || strings.Contains(w.Body.String(), "secret detail") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestStaleIs503(t *testing.T) {
	b := newBroker(t)
	v := b.idle()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/rows/eu/q1", nil)
	r.Header.Set("Authorization", "Bearer "+b.mint())
	w := httptest.NewRecorder()
	guarded(v).ServeHTTP(w, r)
	if w.Code != 503 || w.Header().Get("Retry-After") != "2" || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestRequireTakesTheCertificateOfTheConnection(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	certificate := &x509.Certificate{Raw: []byte("mine")}
	raw := b.mint(func(c *token.Claims) {
		c.Confirmation = &token.Confirmation{X5tS256: thumbprint(certificate)}
	})
	for name, tc := range map[string]struct {
		state  *tls.ConnectionState
		status int
	}{
		"plain HTTP":              {nil, 401},
		"TLS without certificate": {&tls.ConnectionState{}, 401},
		"the right one":           {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}, 200},
		"second in the chain":     {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte("other")}, certificate}}, 401},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/rows/eu/q1", nil)
		r.TLS = tc.state
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		guarded(v).ServeHTTP(w, r)
		if w.Code != tc.status {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

func TestRequireRefusesMistakesWhenRoutesAreBuilt(t *testing.T) {
	b := newBroker(t)
	v := b.idle()
	resource := func(*http.Request) (string, error) { return "a", nil }
	for name, build := range map[string]func(){
		"no resource function": func() { v.Require("warehouse", "read", nil) },
		"no tool":              func() { v.Require("", "read", resource) },
		"any action":           func() { v.Require("warehouse", "*", resource) },
		"a scope for a tool":   func() { v.Require("warehouse:read", "read", resource) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			build()
		}()
	}
}

func TestResourceMetadata(t *testing.T) {
	b := newBroker(t)
	v := b.idle()
	if got := v.MetadataPath(); got != "/.well-known/oauth-protected-resource/api" {
		t.Errorf("path %s", got)
	}
	handler := v.ResourceMetadata("Warehouse", "warehouse:read:sales/**")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", v.MetadataPath(), nil))
	var m wire.ResourceMetadata
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Header().Get("Content-Type") != wire.TypeJSON {
		t.Fatalf("%v %s", err, w.Body)
	}
	if m.Resource != audience+"/api" || len(m.AuthorizationServers) != 1 || m.AuthorizationServers[0] != b.URL || m.BearerMethods[0] != "header" || m.ScopesSupported[0] != "warehouse:read:sales/**" {
		t.Errorf("%+v", m)
	}
	w = httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", v.MetadataPath(), nil))
	if w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
	without := b.idle(func(c *verifier.Config) { c.Resource = "" })
	w = httptest.NewRecorder()
	without.ResourceMetadata("x").ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", without.MetadataPath(), nil))
	if w.Code != 404 {
		t.Errorf("without a resource: %d", w.Code)
	}
}

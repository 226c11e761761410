package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/token"
)

func TestPublicDocuments(t *testing.T) {
	s := serve(t, options{})
	for _, path := range []string{"/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		t.Run(path, func(t *testing.T) {
			a := s.send(s.public, "GET", path, nil, nil)
			etag := a.header.Get("ETag")
			if a.status != 200 || a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "public, max-age=600" || etag == "" {
				t.Fatalf("%d %v", a.status, a.header)
			}
			for match, want := range map[string]int{
				etag: 304, "W/" + etag: 304, "*": 304, `"other", ` + etag: 304, `"other"`: 200, "": 200, strings.Trim(etag, `"`): 200,
			} {
				a := s.send(s.public, "GET", path, nil, http.Header{"If-None-Match": {match}})
				if a.status != want || want == 304 && (len(a.body) > 0 || a.header.Get("ETag") != etag || a.header.Get("Cache-Control") == "") {
					t.Errorf("If-None-Match %q: %d %v", match, a.status, a.header)
				}
			}
			if head := s.send(s.public, "HEAD", path, nil, nil); head.status != 200 || len(head.body) > 0 || head.header.Get("ETag") != etag {
				t.Errorf("HEAD: %d %v", head.status, head.header)
			}
		})
	}
}

func TestJWKSFollowsTheRing(t *testing.T) {
	s := serve(t, options{})
	before := s.send(s.public, "GET", "/.well-known/jwks.json", nil, nil)
	set, err := token.ParseJWKS(before.body, token.JWKSOptions{})
	if err != nil || len(set.Keys()) != 2 {
		t.Fatalf("active and next: %s, %v", before.body, err)
	}
	for _, private := range []string{`"d"`, `"p"`, `"k"`, "sealed"} {
		if strings.Contains(string(before.body), private) {
			t.Fatalf("%s is published", private)
		}
	}
	if _, err := s.Keys.RotateNow(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	after := s.send(s.public, "GET", "/.well-known/jwks.json", nil, http.Header{"If-None-Match": {before.header.Get("ETag")}})
	set, err = token.ParseJWKS(after.body, token.JWKSOptions{})
	if after.status != 200 || err != nil || len(set.Keys()) != 3 {
		t.Errorf("%d %s, %v", after.status, after.body, err)
	}
}

func TestMetadata(t *testing.T) {
	s := serve(t, options{})
	m := decode[wire.Metadata](t, s.send(s.public, "GET", "/.well-known/oauth-authorization-server", nil, nil))
	if m.Issuer != brokertest.Audience || m.TokenEndpoint != m.Issuer+"/token" || m.JWKSURI != m.Issuer+"/.well-known/jwks.json" ||
		m.RevocationFeed == "" || m.MaxTokenTTL != 3600 || m.MaxStaleness != 30 || !m.CertificateBound {
		t.Errorf("%+v", m)
	}
	records, err := token.ParseJWKS(m.RecordsJWKS, token.JWKSOptions{})
	if err != nil || len(records.Keys()) != 1 || records.Keys()[0].ID != "records" {
		t.Errorf("records key: %s, %v", m.RecordsJWKS, err)
	}
	// Clients require these to be there, empty or not (RFC 8414 section 2).
	var plain map[string]json.RawMessage
	if err := json.Unmarshal(s.send(s.public, "GET", "/.well-known/openid-configuration", nil, nil).body, &plain); err != nil {
		t.Fatal(err)
	}
	if string(plain["response_types_supported"]) != "[]" || plain["subject_types_supported"] == nil || plain["id_token_signing_alg_values_supported"] == nil {
		t.Errorf("%s", plain["response_types_supported"])
	}
}

package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/token"
)

// describe makes the document of RFC 8414 and OpenID discovery; it never changes while
// the process runs.
func (a *API) describe() ([]byte, error) {
	records, err := token.NewKeySet(a.cfg.RecordKey)
	if err != nil {
		return nil, fmt.Errorf("publishing records key: %w", err)
	}
	recordsJWKS, err := json.Marshal(records)
	if err != nil {
		return nil, fmt.Errorf("encoding records key: %w", err)
	}
	iss := a.cfg.Issuer
	auth := []string{"private_key_jwt", "tls_client_auth"}
	algs := []string{"ES256", "ES384", "RS256", "PS256", "Ed25519"}
	doc, err := json.Marshal(wire.Metadata{
		Issuer: iss, TokenEndpoint: iss + wire.PathToken, JWKSURI: iss + wire.PathJWKS,
		RevocationEndpoint: iss + wire.PathRevoke, IntrospectionEndpoint: iss + wire.PathIntrospect,
		ResponseTypes: []string{}, GrantTypes: []string{wire.GrantTokenExchange, wire.GrantClientCredentials},
		SubjectTypes: []string{"public"}, IDTokenAlgorithms: []string{"ES256", "RS256", "Ed25519"},
		TokenAuthMethods: append([]string{"none"}, auth...), TokenAuthAlgorithms: algs,
		RevocationAuthMethods: auth, RevocationAuthAlgorithms: algs,
		IntrospectionAuthMethods: auth, IntrospectionAuthAlgorithms: algs,
		CertificateBound: true,
		RevocationFeed:   iss + wire.PathFeed, RevocationAck: iss + wire.PathAck,
		RevocationSnapshot: iss + wire.PathSnapshot, RevocationRefusals: iss + wire.PathRefusals,
		RecordsJWKS:  recordsJWKS,
		MaxTokenTTL:  int64(a.cfg.MaxTTL / time.Second),
		MaxStaleness: int64(a.cfg.MaxStaleness / time.Second),
	})
	if err != nil {
		return nil, fmt.Errorf("encoding metadata: %w", err)
	}
	return doc, nil
}

func (a *API) serveMetadata(w http.ResponseWriter, r *http.Request) {
	a.cacheable(w, r, a.metadata, a.cfg.JWKSMaxAge)
}

// jwks serves the published keys: next, active and retired. A set that lacks one of them is
// not served: verifiers would keep it, and refuse what another replica signs meanwhile, or tokens
// that live. What they have is good until then, and another replica may answer.
func (a *API) jwks(w http.ResponseWriter, r *http.Request) {
	ring := a.cfg.Keys.Ring()
	if ring.Lacks() {
		a.writeError(w, r, &broker.UnavailableError{RetryAfter: retryJWKS, Detail: "a published key does not open on this replica yet"})
		return
	}
	age := a.cfg.JWKSMaxAge
	if !a.cfg.Keys.Fresh() {
		age = 0 // others may have come to sign with a key that is not in it
	}
	a.cacheable(w, r, ring.JWKS(), age)
}

const retryJWKS = 2 * time.Second

// cacheable writes a public document that may be kept for an age.
func (a *API) cacheable(w http.ResponseWriter, r *http.Request, body []byte, age time.Duration) {
	sum := sha256.Sum256(body)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	h := w.Header()
	h.Set("Content-Type", wire.TypeJSON)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(age.Seconds())))
	h.Set("ETag", etag)
	if matches(r.Header.Values("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(body)
}

// matches compares as If-None-Match does, weakly (RFC 9110 section 13.1.2).
func matches(headers []string, etag string) bool {
	for _, h := range headers {
		for one := range strings.SplitSeq(h, ",") {
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == etag {
				return true
			}
		}
	}
	return false
}

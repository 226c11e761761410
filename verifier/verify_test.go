package verifier_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/token"
	"github.com/writbroker/writ/verifier"
)

func TestGoodToken(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	raw := b.mint()
	for _, when := range []string{"cold", "cached"} {
		c, err := v.Verify(t.Context(), raw)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if c.Subject != "user:alice" || c.ClientID != "k8s:prod/agent" || c.Task != "task-1" {
			t.Errorf("%s: claims %+v", when, c.Claims)
		}
		for _, tc := range []struct {
			action, resource string
			allowed          bool
		}{
			{"read", "sales/eu/q1", true},
			{"read", "sales/eu/q1/rows", false},
			{"read", "sales/us/q1", false},
			{"read", "sales/eu", false},
			{"write", "sales/eu/drafts/a/b", true},
			{"write", "sales/eu/q1", false},
			{"delete", "sales/eu/q1", false},
			{"*", "sales/eu/q1", false},
			{"read", "sales/eu/*", false},
			{"read", "sales/eu/../us", false},
			{"read", "sales/eu//q1", false},
			{"read", "sales/eu/q1/", false},
			{"read", "", false},
		} {
			if got := c.Allows(tc.action, tc.resource); got != tc.allowed {
				t.Errorf("%s: Allows(%q, %q) = %v", when, tc.action, tc.resource, got)
			}
		}
		if c.AllowsTool("other", "read", "sales/eu/q1") || c.AllowsTool("", "read", "sales/eu/q1") {
			t.Error("another tool is allowed")
		}
	}
}

func TestNoToolAllowsNothing(t *testing.T) {
	b := newBroker(t)
	v := b.run(func(c *verifier.Config) { c.Tool = "" })
	c, err := v.Verify(t.Context(), b.mint())
	if err != nil {
		t.Fatal(err)
	}
	if c.Allows("read", "sales/eu/q1") || !c.AllowsTool("warehouse", "read", "sales/eu/q1") {
		t.Error("a verifier without a tool spoke for one")
	}
	var none *verifier.Claims
	if none.Allows("read", "a") || (&verifier.Claims{}).AllowsTool("warehouse", "read", "a") {
		t.Error("empty claims allow")
	}
}

func TestCaseInsensitiveTool(t *testing.T) {
	b := newBroker(t)
	v := b.run(func(c *verifier.Config) { c.CaseInsensitive = []string{"warehouse"} })
	c, err := v.Verify(t.Context(), b.mint())
	if err != nil {
		t.Fatal(err)
	}
	if !c.Allows("read", "Sales/EU/Q1") || c.Allows("read", "Sales/US/Q1") || c.Allows("read", "sales/eu/%C3%84") {
		t.Error("folding is wrong")
	}
}

// compact builds a JWS from raw parts, for what package token does not write.
func compact(header string, payload []byte, sign func(input []byte) []byte) string {
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString(payload)
	return input + "." + enc.EncodeToString(sign([]byte(input)))
}

func TestRefusedTokens(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	forged, err := token.NewLocalSigner("k1", token.ES256, stranger)
	must(t, err)
	unknown, err := token.NewLocalSigner("k9", token.ES256, stranger)
	must(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	confused, err := token.NewLocalSigner("k1", token.Ed25519, edKey)
	must(t, err)
	payload, err := b.claims().Encode()
	must(t, err)
	publicDER, err := x509.MarshalPKIXPublicKey(b.keys[0].Public)
	must(t, err)
	without := func(member string) []byte {
		var m map[string]any
		must(t, json.Unmarshal(payload, &m))
		delete(m, member)
		data, err := json.Marshal(m)
		must(t, err)
		return data
	}
	signed := func(payload []byte) string {
		raw, err := token.Sign(t.Context(), token.TypeAccessToken, payload, b.signer)
		must(t, err)
		return raw
	}
	hmacWithPublicKey := func(in []byte) []byte { m := hmac.New(sha256.New, publicDER); m.Write(in); return m.Sum(nil) }
	nothing := func([]byte) []byte { return nil }
	good := b.mint()
	parts := strings.Split(good, ".")
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }

	for _, tc := range []struct {
		name string
		raw  string
		want error
	}{
		{"empty", "", token.ErrMalformed},
		{"two parts", parts[0] + "." + parts[1], token.ErrMalformed},
		{"padding", good + "=", token.ErrMalformed},
		{"over 16 KiB", strings.Repeat("a", token.MaxBytes+1), token.ErrTooLarge},
		{"alg none", compact(`{"alg":"none","typ":"at+jwt","kid":"k1"}`, payload, nothing), nil},
		{"HMAC with the public key", compact(`{"alg":"HS256","typ":"at+jwt","kid":"k1"}`, payload, hmacWithPublicKey), token.ErrAlgorithm},
		{"an algorithm that is not accepted here", compact(`{"alg":"PS256","typ":"at+jwt","kid":"k1"}`, payload, hmacWithPublicKey), token.ErrAlgorithm},
		{"another key type under a known kid", b.sign(token.TypeAccessToken, b.claims(), confused), token.ErrKeyMismatch},
		{"embedded jwk", compact(`{"alg":"ES256","typ":"at+jwt","kid":"k1","jwk":{}}`, payload, hmacWithPublicKey), token.ErrEmbeddedKey},
		{"jku", compact(`{"alg":"ES256","typ":"at+jwt","kid":"k1","jku":"https://evil.example"}`, payload, hmacWithPublicKey), token.ErrEmbeddedKey},
		{"x5u", compact(`{"alg":"ES256","typ":"at+jwt","kid":"k1","x5u":"https://evil.example"}`, payload, hmacWithPublicKey), token.ErrEmbeddedKey},
		{"crit", compact(`{"alg":"ES256","typ":"at+jwt","kid":"k1","crit":["exp"]}`, payload, hmacWithPublicKey), token.ErrCritical},
		{"an ID token", b.sign("JWT", b.claims(), b.signer), token.ErrType},
		{"a signed snapshot", b.sign("writ-snapshot+jwt", b.claims(), b.signer), token.ErrType},
		{"no typ", compact(`{"alg":"ES256","kid":"k1"}`, payload, hmacWithPublicKey), token.ErrType},
		{"unknown kid", b.sign(token.TypeAccessToken, b.claims(), unknown), verifier.ErrUnknownKey},
		{"no kid", compact(`{"alg":"ES256","typ":"at+jwt"}`, payload, hmacWithPublicKey), verifier.ErrUnknownKey},
		{"a stranger's signature", b.sign(token.TypeAccessToken, b.claims(), forged), token.ErrSignature},
		{"a changed payload", parts[0] + "." + base64.RawURLEncoding.EncodeToString(without("act")) + "." + parts[2], token.ErrSignature},
		{"another issuer", b.mint(func(c *token.Claims) { c.Issuer = "https://evil.example" }), token.ErrIssuer},
		{"an issuer with a slash more", b.mint(func(c *token.Claims) { c.Issuer += "/" }), token.ErrIssuer},
		{"another audience", b.mint(func(c *token.Claims) { c.Audience = []string{"https://other.example"} }), token.ErrAudience},
		{"a prefix of the audience", b.mint(func(c *token.Claims) { c.Audience = []string{audience[:len(audience)-1]} }), token.ErrAudience},
		{"expired", b.mint(func(c *token.Claims) { c.IssuedAt, c.Expiry = ago(time.Hour), ago(time.Minute) }), token.ErrExpired},
		{"not yet valid", b.mint(func(c *token.Claims) { c.NotBefore = ago(-time.Minute) }), token.ErrNotYetValid},
		{"issued in the future", b.mint(func(c *token.Claims) { c.IssuedAt = ago(-time.Minute) }), token.ErrNotYetValid},
		{"lives too long", b.mint(func(c *token.Claims) { c.Expiry = c.IssuedAt + 3601 }), token.ErrTTL},
		{"without exp", signed(without("exp")), token.ErrMissingClaim},
		{"without iat", signed(without("iat")), token.ErrMissingClaim},
		{"without aud", signed(without("aud")), token.ErrMissingClaim},
		{"without iss", signed(without("iss")), token.ErrMissingClaim},
		{"without sub", signed(without("sub")), token.ErrMissingClaim},
		{"without jti", signed(without("jti")), token.ErrMissingClaim},
		{"without client_id", signed(without("client_id")), token.ErrMissingClaim},
		{"without scope", signed(without("scope")), token.ErrMissingClaim},
		{"without rev", signed(without("rev")), token.ErrMissingClaim},
		{"bound to a certificate", b.mint(func(c *token.Claims) { c.Confirmation = &token.Confirmation{X5tS256: strings.Repeat("A", 43)} }), verifier.ErrConfirmation},
		{"bound to a DPoP key", b.mint(func(c *token.Claims) { c.Confirmation = &token.Confirmation{JKT: strings.Repeat("A", 43)} }), verifier.ErrConfirmation},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, when := range []string{"first", "again"} {
				_, err := v.Verify(t.Context(), tc.raw)
				if err == nil {
					t.Fatalf("%s: accepted", when)
				}
				if tc.want != nil && !errors.Is(err, tc.want) {
					t.Errorf("%s: got %v", when, err)
				}
				if text := verifier.Reason(err); text == "" || len(tc.raw) > 10 && strings.Contains(text, tc.raw[:10]) {
					t.Errorf("reason %q", text)
				}
			}
		})
	}
}

// A token that was accepted must die in the cache too, on time.
func TestTheCacheKnowsTheTime(t *testing.T) {
	b := newBroker(t)
	var offset atomicDuration
	began := time.Now() // the clock stands, so that how long the test takes says nothing
	v := b.run(func(c *verifier.Config) {
		c.Now = func() time.Time { return began.Add(offset.load()) }
		c.InsecureTrustUntilExpiry = true
	})
	raw := b.mint(func(c *token.Claims) { c.IssuedAt, c.Expiry = began.Unix(), began.Unix()+600 })
	for _, tc := range []struct {
		at   time.Duration
		want error
	}{
		{0, nil},
		{628 * time.Second, nil},
		{631 * time.Second, token.ErrExpired},
		{0, nil},
		{-40 * time.Second, token.ErrNotYetValid},
	} {
		offset.store(tc.at)
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, tc.want) {
			t.Errorf("at %v: %v, want %v", tc.at, err, tc.want)
		}
	}
}

func thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestCertificateBoundToken(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	mine, other := &x509.Certificate{Raw: []byte("mine")}, &x509.Certificate{Raw: []byte("other")}
	raw := b.mint(func(c *token.Claims) {
		c.Confirmation = &token.Confirmation{X5tS256: thumbprint(mine)}
	})
	for range 2 { // cold and cached
		if _, err := v.VerifyPresented(t.Context(), raw, verifier.Presented{Certificate: mine}); err != nil {
			t.Errorf("with its certificate: %v", err)
		}
		if _, err := v.VerifyPresented(t.Context(), raw, verifier.Presented{Certificate: other}); !errors.Is(err, verifier.ErrConfirmation) {
			t.Errorf("with another certificate: %v", err)
		}
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, verifier.ErrConfirmation) {
			t.Errorf("without: %v", err)
		}
	}
}

func TestConfigThatIsRefused(t *testing.T) {
	good := verifier.Config{Issuer: "https://writ.example", Audience: []string{"a"}, FeedToken: &source{}}
	for name, change := range map[string]func(*verifier.Config){
		"no issuer":            func(c *verifier.Config) { c.Issuer = "" },
		"plain http":           func(c *verifier.Config) { c.Issuer = "http://writ.example" },
		"no audience":          func(c *verifier.Config) { c.Audience = nil },
		"an empty audience":    func(c *verifier.Config) { c.Audience = []string{"a", ""} },
		"no feed":              func(c *verifier.Config) { c.FeedToken = nil },
		"leeway too wide":      func(c *verifier.Config) { c.Leeway = time.Hour },
		"leeway of a fraction": func(c *verifier.Config) { c.Leeway = time.Millisecond },
		"no staleness bound":   func(c *verifier.Config) { c.MaxStaleness = 24 * time.Hour },
		"a tool with a colon":  func(c *verifier.Config) { c.Tool = "a:b" },
		"a relative resource":  func(c *verifier.Config) { c.Resource = "/api" },
	} {
		cfg := good
		change(&cfg)
		if _, err := verifier.New(t.Context(), cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := verifier.New(t.Context(), good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

package identity_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/token"
)

func TestAuthenticate(t *testing.T) {
	key := newKey(t, "ES256")
	keys := ringOf("acme", token.Key{ID: "k1", Public: key.Public()})
	p, err := compile(t, acme()).Authenticate(t.Context(), sign(t, key, acmeHeader(), acmeClaims()), now(), keys)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != "acme:worker" || p.Prefix != "acme:" || p.Issuer != "https://issuer.acme.example" || p.TokenID != "t-1" ||
		!p.Expires.Equal(issuedAt().Add(time.Hour)) || p.Attributes == nil {
		t.Errorf("got %+v", p)
	}
}

// Everything that can be wrong with the claims of a token whose signature holds.
func TestAuthenticateRefusesClaims(t *testing.T) {
	at := func(d time.Duration) int64 { return now().Add(d).Unix() }
	cases := []struct {
		name    string
		changes object
		want    error
	}{
		{"no issuer", object{"iss": nil}, identity.ErrMissingClaim},
		{"issuer in a list", object{"iss": []string{"https://issuer.acme.example"}}, identity.ErrMalformed},
		{"issuer with a slash more", object{"iss": "https://issuer.acme.example/"}, identity.ErrUnknownIssuer},
		{"issuer in other case", object{"iss": "https://ISSUER.acme.example"}, identity.ErrUnknownIssuer},
		{"issuer that begins like ours", object{"iss": "https://issuer.acme.example.evil.example"}, identity.ErrUnknownIssuer},
		{"empty issuer", object{"iss": ""}, identity.ErrUnknownIssuer},

		{"no audience", object{"aud": nil}, identity.ErrMissingClaim},
		{"another audience", object{"aud": "https://other.example"}, identity.ErrAudience},
		{"audience that begins like ours", object{"aud": audience + "/x"}, identity.ErrAudience},
		{"empty list of audiences", object{"aud": []string{}}, identity.ErrAudience},
		{"audience among things that are no text", object{"aud": []any{audience, 7}}, identity.ErrMalformed},
		{"audience in an object", object{"aud": object{"a": audience}}, identity.ErrMalformed},

		{"no exp", object{"exp": nil}, identity.ErrMissingClaim},
		{"exp in text", object{"exp": "1790003600"}, identity.ErrMalformed},
		{"negative exp", object{"exp": -1}, identity.ErrMalformed},
		{"exp beyond all calendars", object{"exp": 1e18}, identity.ErrMalformed},
		{"expired by leeway to the second", object{"exp": at(-30 * time.Second)}, identity.ErrExpired},
		{"expired long ago", object{"exp": at(-time.Hour)}, identity.ErrExpired},

		{"not valid until after the leeway", object{"nbf": at(31 * time.Second)}, identity.ErrNotYetValid},
		{"nbf in text", object{"nbf": "soon"}, identity.ErrMalformed},
		{"no iat", object{"iat": nil}, identity.ErrMissingClaim},
		{"issued in the future", object{"iat": at(31 * time.Second)}, identity.ErrNotYetValid},
		{"older than the maximum age", object{"iat": at(-25 * time.Hour)}, identity.ErrTooOld},

		{"jti that is no text", object{"jti": 7}, identity.ErrMalformed},
		{"no sub", object{"sub": nil}, identity.ErrMissingClaim},
		{"empty sub", object{"sub": ""}, identity.ErrMissingClaim},
		{"sub that is a number", object{"sub": 7}, identity.ErrMalformed},
		{"sub with a space", object{"sub": "a b"}, identity.ErrMalformed},
		{"sub with a line break", object{"sub": "a\nb"}, identity.ErrMalformed},
		{"sub with an invisible character", object{"sub": "a\u200bb"}, identity.ErrMalformed},
		{"sub that policy would take for a pattern", object{"sub": "*"}, identity.ErrMalformed},
		{"bound to a DPoP key", object{"cnf": object{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, identity.ErrConfirmation},
		{"bound to a certificate and to more", object{"cnf": object{"x5t#S256": "abc", "jkt": "def"}}, identity.ErrConfirmation},
		{"bound to an empty thumbprint", object{"cnf": object{"x5t#S256": ""}}, identity.ErrConfirmation},
		{"bound to text", object{"cnf": "abc"}, identity.ErrMalformed},

		{"sub too long", object{"sub": strings.Repeat("a", 1020)}, identity.ErrMalformed},
	}
	key := newKey(t, "ES256")
	reg := compile(t, acme())
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			keys := ringOf("acme", token.Key{ID: "k1", Public: key.Public()})
			p, err := reg.Authenticate(t.Context(), sign(t, key, acmeHeader(), with(acmeClaims(), c.changes)), now(), keys)
			if p != nil || !errors.Is(err, c.want) {
				t.Errorf("got %v, %v; want %v", p, err, c.want)
			}
			if errors.Is(err, identity.ErrUnknownIssuer) && keys.asked != 0 {
				t.Error("keys were looked up for an issuer that is not configured")
			}
			onlySentinel(t, err)
		})
	}
}

func TestAuthenticateAcceptsWithinLeeway(t *testing.T) {
	at := func(d time.Duration) int64 { return now().Add(d).Unix() }
	key := newKey(t, "ES256")
	keys := ringOf("acme", token.Key{ID: "k1", Public: key.Public()})
	reg := compile(t, acme())
	for name, changes := range map[string]object{
		"expired less than the leeway ago": {"exp": at(-29 * time.Second)},
		"valid within the leeway":          {"nbf": at(30 * time.Second)},
		"issued within the leeway":         {"iat": at(30 * time.Second)},
		"no nbf":                           {"nbf": nil},
		"as old as is accepted":            {"iat": at(-24 * time.Hour)},
		"one audience of several":          {"aud": []string{"https://other.example", audience}},
		"times with fractions":             {"iat": 1790000000.25, "exp": 1790003600.75},
	} {
		t.Run(name, func(t *testing.T) {
			raw := sign(t, key, acmeHeader(), with(acmeClaims(), changes))
			if _, err := reg.Authenticate(t.Context(), raw, now(), keys); err != nil {
				t.Error(err)
			}
		})
	}
}

// Attacks on the form, the header and the signature.
func TestAuthenticateRefusesTokens(t *testing.T) {
	ec, other, rsaKey := newKey(t, "ES256"), newKey(t, "ES256"), newKey(t, "RS256")
	rsaPublic, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	good := sign(t, ec, acmeHeader(), acmeClaims())
	payload := encode(t, acmeClaims())
	header := func(changes object) object { return with(acmeHeader(), changes) }
	head := func(changes object) string { return encode(t, header(changes)) }
	doubled := fmt.Appendf(nil, `{"iss":"https://issuer.acme.example","sub":"worker","sub":"root","aud":%q,"exp":1790003600,"iat":1790000000}`, audience)

	cases := []struct {
		name, raw string
		want      error
	}{
		{"nothing", "", identity.ErrMalformed},
		{"not a token", "hello", identity.ErrMalformed},
		{"too large", strings.Repeat("a", 17<<10), identity.ErrMalformed},
		{"payload that is no JSON", sign(t, ec, acmeHeader(), []byte("{")), identity.ErrMalformed},
		{"a claim twice", sign(t, ec, acmeHeader(), doubled), identity.ErrMalformed},
		{"padding", good + "=", identity.ErrMalformed},
		{"alg none", head(object{"alg": "none"}) + "." + payload + "." + encode(t, []byte("x")), identity.ErrAlgorithm},
		{"HMAC with the public key", sign(t, rsaPublic, header(object{"alg": "HS256", "kid": "r1"}), acmeClaims()), identity.ErrAlgorithm},
		{"algorithm that the source does not list", sign(t, rsaKey, header(object{"alg": "RS512", "kid": "r1"}), acmeClaims()), identity.ErrAlgorithm},
		{"algorithm that is not the key's", sign(t, rsaKey, header(object{"alg": "RS256", "kid": "k1"}), acmeClaims()), identity.ErrAlgorithm},
		{"embedded key", sign(t, other, header(object{"jwk": object{"kty": "EC"}}), acmeClaims()), identity.ErrMalformed},
		{"key by reference", sign(t, other, header(object{"jku": "https://evil.example"}), acmeClaims()), identity.ErrMalformed},
		{"critical extension", sign(t, ec, header(object{"crit": []string{"exp"}}), acmeClaims()), identity.ErrMalformed},
		{"another type", sign(t, ec, header(object{"typ": "at+jwt"}), acmeClaims()), identity.ErrType},
		{"a workload identity token that is bound to a key", sign(t, ec, header(object{"typ": "wit+jwt"}), acmeClaims()), identity.ErrType},
		{"a key that the issuer does not have", sign(t, ec, header(object{"kid": "k9"}), acmeClaims()), identity.ErrKeyNotFound},
		{"signed by somebody else", sign(t, other, acmeHeader(), acmeClaims()), identity.ErrSignature},
		{"claims replaced", strings.Join([]string{strings.Split(good, ".")[0], encode(t, with(acmeClaims(), object{"sub": "root"})), strings.Split(good, ".")[2]}, "."), identity.ErrSignature},
		{"signature of zeros", strings.Join(append(strings.Split(good, ".")[:2], base64.RawURLEncoding.EncodeToString(make([]byte, 64))), "."), identity.ErrSignature},
	}
	reg := compile(t, acme())
	keys := ringOf("acme", token.Key{ID: "k1", Public: ec.Public()}, token.Key{ID: "r1", Public: rsaKey.Public()})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := reg.Authenticate(t.Context(), c.raw, now(), keys)
			if p != nil || !errors.Is(err, c.want) {
				t.Errorf("got %v, %v; want %v", p, err, c.want)
			}
			onlySentinel(t, err)
		})
	}
}

// onlySentinel holds the promise that an error matches exactly one of the package's sentinels.
func onlySentinel(t *testing.T, err error) {
	t.Helper()
	matched := 0
	for _, sentinel := range []error{
		identity.ErrMalformed, identity.ErrUnknownIssuer, identity.ErrAlgorithm, identity.ErrType,
		identity.ErrKeyNotFound, identity.ErrKeysUnavailable, identity.ErrSignature, identity.ErrAudience, identity.ErrExpired,
		identity.ErrNotYetValid, identity.ErrTooOld, identity.ErrMissingClaim, identity.ErrConfirmation, identity.ErrRequirement,
	} {
		if errors.Is(err, sentinel) {
			matched++
		}
	}
	if matched != 1 {
		t.Errorf("%v matches %d sentinels", err, matched)
	}
}

func TestKeysUnavailableIsNotTheTokensFault(t *testing.T) {
	key := newKey(t, "ES256")
	keys := &keyRing{err: fmt.Errorf("fetching: %w", identity.ErrKeysUnavailable)}
	_, err := compile(t, acme()).Authenticate(t.Context(), sign(t, key, acmeHeader(), acmeClaims()), now(), keys)
	if !errors.Is(err, identity.ErrKeysUnavailable) {
		t.Errorf("got %v", err)
	}
	keys.err = context.Canceled
	_, err = compile(t, acme()).Authenticate(t.Context(), sign(t, key, acmeHeader(), acmeClaims()), now(), keys)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTokenWithoutKID(t *testing.T) {
	key := newKey(t, "ES256")
	raw := sign(t, key, with(acmeHeader(), object{"kid": nil}), acmeClaims())
	strangers := func(n int) []token.Key {
		out := make([]token.Key, n)
		for i := range out {
			out[i] = token.Key{ID: fmt.Sprintf("s%d", i), Public: newKey(t, "ES256").Public()}
		}
		return out
	}
	ours := token.Key{ID: "k1", Public: key.Public()}
	reg := compile(t, acme())
	rsaKey := token.Key{ID: "r1", Public: newKey(t, "RS256").Public()}
	if _, err := reg.Authenticate(t.Context(), raw, now(), ringOf("acme", rsaKey, strangers(1)[0], ours)); err != nil {
		t.Errorf("the right key is among few: %v", err)
	}
	if _, err := reg.Authenticate(t.Context(), raw, now(), ringOf("acme", append(strangers(4), ours)...)); !errors.Is(err, identity.ErrSignature) {
		t.Errorf("more keys were tried than the bound: %v", err)
	}

	svid := compile(t, identity.Source{Name: "acme", Preset: "spiffe-jwt", TrustDomain: "td", JWKSFile: "b", Audiences: []string{audience}})
	raw = sign(t, key, object{"alg": "ES256"}, with(acmeClaims(), object{"iss": nil, "sub": "spiffe://td/a"}))
	if _, err := svid.Authenticate(t.Context(), raw, now(), ringOf("acme", ours)); !errors.Is(err, identity.ErrKeyNotFound) {
		t.Errorf("a JWT-SVID without kid: %v", err)
	}
}

func TestEdDSAHasTwoNames(t *testing.T) {
	source := acme()
	source.Algorithms = []string{"Ed25519"}
	key := newKey(t, "EdDSA")
	keys := ringOf("acme", token.Key{ID: "k1", Public: key.Public()})
	raw := sign(t, key, with(acmeHeader(), object{"alg": "EdDSA"}), acmeClaims())
	if _, err := compile(t, source).Authenticate(t.Context(), raw, now(), keys); err != nil {
		t.Error(err)
	}
}

func TestRequirementTellsItsMessage(t *testing.T) {
	source := acme()
	source.Require = []identity.Rule{
		{Expression: `claims.aud != ""`, Message: "first"},
		{Expression: `claims.env.matches("prod|stage")`, Message: "production and staging only"},
	}
	reg := compile(t, source)
	key := newKey(t, "ES256")
	keys := ringOf("acme", token.Key{ID: "k1", Public: key.Public()})
	for name, env := range map[string]any{
		"false": "dev", "claim missing": nil, "not a string": 7, "pattern found in the middle": "xprod", "and at a line": "prod\nx",
	} {
		t.Run(name, func(t *testing.T) {
			raw := sign(t, key, acmeHeader(), with(acmeClaims(), object{"env": env}))
			_, err := reg.Authenticate(t.Context(), raw, now(), keys)
			var unmet *identity.RequirementError
			if !errors.As(err, &unmet) || unmet.Message != "production and staging only" {
				t.Errorf("got %v", err)
			}
		})
	}
	for _, env := range []string{"prod", "stage"} {
		raw := sign(t, key, acmeHeader(), with(acmeClaims(), object{"env": env}))
		if _, err := reg.Authenticate(t.Context(), raw, now(), keys); err != nil {
			t.Errorf("%s: %v", env, err)
		}
	}
}

func TestRuleThatIsNotTrueDoesNotHold(t *testing.T) {
	source := acme()
	source.Require = []identity.Rule{{Expression: `claims.admin`, Message: "admins only"}}
	reg := compile(t, source)
	key := newKey(t, "ES256")
	keys := ringOf("acme", token.Key{ID: "k1", Public: key.Public()})
	for _, admin := range []any{"true", 1, false, []bool{true}} {
		raw := sign(t, key, acmeHeader(), with(acmeClaims(), object{"admin": admin}))
		if _, err := reg.Authenticate(t.Context(), raw, now(), keys); !errors.Is(err, identity.ErrRequirement) {
			t.Errorf("admin=%v: %v", admin, err)
		}
	}
}

func TestAttributeOfAMissingClaimRefuses(t *testing.T) {
	source := acme()
	source.Claims = map[string]string{"team": "claims.team", "level": "claims.?level"}
	reg := compile(t, source)
	key := newKey(t, "ES256")
	keys := ringOf("acme", token.Key{ID: "k1", Public: key.Public()})
	for name, changes := range map[string]object{
		"missing": {}, "null": {"team": []byte(nil)},
	} {
		raw := sign(t, key, acmeHeader(), with(acmeClaims(), changes))
		if _, err := reg.Authenticate(t.Context(), raw, now(), keys); !errors.Is(err, identity.ErrMissingClaim) {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw := sign(t, key, acmeHeader(), with(acmeClaims(), object{"team": "a"}))
	p, err := reg.Authenticate(t.Context(), raw, now(), keys)
	if err != nil || len(p.Attributes) != 1 {
		t.Errorf("an optional claim that is missing: %v, %v", p, err)
	}
}

func TestSourcesAreTheCallers(t *testing.T) {
	reg := compile(t, acme())
	reg.Sources()[0].Audiences[0] = "https://evil.example"
	if got := reg.Sources()[0].Audiences; !slices.Equal(got, []string{audience}) {
		t.Errorf("audiences changed to %v", got)
	}
}

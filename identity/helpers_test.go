package identity_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/token"
)

const audience = "https://writ.example.com"

// issuedAt is the iat of all fixtures; now is a minute later.
func issuedAt() time.Time { return time.Unix(1790000000, 0) }
func now() time.Time      { return issuedAt().Add(time.Minute) }

// object is a JSON object.
type object = map[string]any

// with returns a copy of o with members replaced; a nil value removes one.
func with(o, changes object) object {
	out := object{}
	maps.Copy(out, o)
	for k, v := range changes {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = v
	}
	return out
}

// fixture reads a token as a platform writes it.
func fixture(tb testing.TB, name string) (header, claims object) {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	var doc struct{ Header, Claims object }
	if err := json.Unmarshal(data, &doc); err != nil {
		tb.Fatal(err)
	}
	return doc.Header, doc.Claims
}

// newKey makes a private key that fits an algorithm.
func newKey(tb testing.TB, alg string) crypto.Signer {
	tb.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "EdDSA", "Ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// sign makes a compact JWS with a foreign library's signature. The header is written as given.
func sign(tb testing.TB, key any, header object, payload any) string {
	tb.Helper()
	input := encode(tb, header) + "." + encode(tb, payload)
	method := jwt.GetSigningMethod(header["alg"].(string))
	signature, err := method.Sign(input, key)
	if err != nil {
		tb.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func encode(tb testing.TB, v any) string {
	tb.Helper()
	data, ok := v.([]byte)
	if !ok {
		var err error
		if data, err = json.Marshal(v); err != nil {
			tb.Fatal(err)
		}
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// keyRing is a KeyFinder that holds what a test puts into it and counts the questions.
type keyRing struct {
	keys       map[string][]token.Key
	generation uint64
	asked      int
	err        error
}

func ringOf(source string, keys ...token.Key) *keyRing {
	return &keyRing{keys: map[string][]token.Key{source: keys}, generation: 1}
}

func (r *keyRing) Keys(_ context.Context, source, kid string) ([]token.Key, uint64, error) {
	r.asked++
	if r.err != nil {
		return nil, 0, r.err
	}
	var found []token.Key
	for _, k := range r.keys[source] {
		if kid == "" || k.ID == kid {
			found = append(found, k)
		}
	}
	if found == nil {
		return nil, r.generation, identity.ErrKeyNotFound
	}
	return found, r.generation, nil
}

func (r *keyRing) Generation(string) uint64 { return r.generation }

// compile fails the test if the sources do not.
func compile(tb testing.TB, sources ...identity.Source) *identity.Registry {
	tb.Helper()
	reg, err := identity.Compile(sources)
	if err != nil {
		tb.Fatalf("Compile: %v", err)
	}
	return reg
}

// acme is a plain source without preset, and the token it accepts.
func acme() identity.Source {
	return identity.Source{
		Name: "acme", Issuer: "https://issuer.acme.example", JWKSFile: "keys.json", Audiences: []string{audience},
		Algorithms: []string{"ES256", "RS256"}, SubjectPrefix: "acme:", Kind: identity.KindWorkload,
	}
}

func acmeHeader() object { return object{"alg": "ES256", "kid": "k1", "typ": "JWT"} }

func acmeClaims() object {
	return object{
		"iss": "https://issuer.acme.example", "aud": audience, "sub": "worker", "jti": "t-1",
		"iat": issuedAt().Unix(), "nbf": issuedAt().Unix(), "exp": issuedAt().Add(time.Hour).Unix(),
	}
}

func tokenKey(header object, key crypto.Signer) token.Key {
	return token.Key{ID: header["kid"].(string), Public: key.Public()}
}

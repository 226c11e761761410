package token_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/writbroker/writ/token"
)

func TestKeySetRoundTripAndForeignReader(t *testing.T) {
	ec, rsaKey := newECKey(t), newRSAKey(t, 2048)
	edPub, edKey, _ := ed25519.GenerateKey(rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	set, err := token.NewKeySet(
		token.Key{ID: "e", Algorithm: "ES256", Public: ec.Public()},
		token.Key{ID: "r", Algorithm: "RS256", Public: rsaKey.Public()},
		token.Key{ID: "d", Algorithm: "Ed25519", Public: edPub},
		token.Key{ID: "p", Public: p521.Public()},
	)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	back, err := token.ParseJWKS(data, token.JWKSOptions{})
	if err != nil || back.Len() != 4 {
		t.Fatalf("ParseJWKS(%s) = %d keys, %v", data, back.Len(), err)
	}
	foreign, err := jwk.Parse(data)
	if err != nil {
		t.Fatalf("jwx refuses %s: %v", data, err)
	}
	for kid, signer := range map[string]token.Signer{
		"e": mustSigner(t, "e", "ES256", ec), "r": mustSigner(t, "r", "RS256", rsaKey), "d": mustSigner(t, "d", "Ed25519", edKey),
	} {
		raw, err := token.Sign(t.Context(), "at+jwt", []byte(`{"a":1}`), signer)
		if err != nil {
			t.Fatal(err)
		}
		u, err := token.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		key, ok := back.Key(kid)
		if _, err := u.Verify(key); !ok || err != nil {
			t.Errorf("key %q read back: %v, %v", kid, ok, err)
		}
		theirs, _ := foreign.LookupKeyID(kid)
		alg, _ := jwa.LookupSignatureAlgorithm(signer.Algorithm())
		if _, err := jws.Verify([]byte(raw), jws.WithKey(alg, theirs)); err != nil {
			t.Errorf("jwx does not verify under %q: %v", kid, err)
		}
	}
	if _, ok := back.Key("nobody"); ok {
		t.Error("found a key that is not there")
	}
}

func TestThumbprintIsThatOfTheRFC(t *testing.T) {
	// RFC 7638 §3.1 and RFC 8037 appendix A.3.
	const rsaJWK = `{"kty":"RSA","e":"AQAB","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}`
	const edJWK = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	for jwkText, want := range map[string]string{
		rsaJWK: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		edJWK:  "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
	} {
		key, err := token.ParseJWK([]byte(jwkText))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := token.Thumbprint(key.Public); err != nil || got != want {
			t.Errorf("Thumbprint = %s, %v, want %s", got, err, want)
		}
	}
	if _, err := token.Thumbprint([]byte("secret")); !errors.Is(err, token.ErrKeySet) {
		t.Errorf("Thumbprint of bytes: %v", err)
	}
}

// jwkOf returns a JWK as a map, to be spoiled.
func jwkOf(t *testing.T, k token.Key) map[string]any {
	t.Helper()
	data, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestParseJWKSSkipsKeysThatCannotVerify(t *testing.T) {
	ec := newECKey(t)
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	base := func() map[string]any { return jwkOf(t, token.Key{ID: "k", Algorithm: "ES256", Public: ec.Public()}) }
	with := func(member string, value any) map[string]any {
		k := base()
		if value == nil {
			delete(k, member)
		} else {
			k[member] = value
		}
		return k
	}
	huge := new(big.Int).Lsh(big.NewInt(1), 9000)
	tests := []struct {
		name string
		jwk  map[string]any
		kept bool
	}{
		{"good", base(), true},
		{"no kid", with("kid", nil), true},
		{"no alg", with("alg", nil), true},
		{"no use", with("use", nil), true},
		{"key_ops verify", with("key_ops", []any{"verify"}), true},
		{"x5c is ignored here", with("x5c", []any{"garbage"}), true},
		{"use=enc", with("use", "enc"), false},
		{"an unknown use", with("use", "x509-svid"), false},
		{"key_ops without verify", with("key_ops", []any{"sign"}), false},
		{"key_ops not a list", with("key_ops", "verify"), false},
		{"an unknown type", with("kty", "AKP"), false},
		{"no type", with("kty", nil), false},
		{"an unknown curve", with("crv", "secp256k1"), false},
		{"alg of an encryption", with("alg", "ECDH-ES"), false},
		{"alg of an HMAC", with("alg", "HS256"), false},
		{"alg none", with("alg", "none"), false},
		{"alg of another curve", with("alg", "ES384"), false},
		{"alg of another type", with("alg", "RS256"), false},
		{"alg not a string", with("alg", 7.0), false},
		{"a point off the curve", with("y", base()["x"]), false},
		{"a short coordinate", with("x", "AAAA"), false},
		{"a coordinate in other base64", with("x", base()["x"].(string)+"="), false},
		{"RSA of 1024 bits", jwkOf(t, token.Key{ID: "k", Public: weak.Public()}), false},
		{"RSA of 9001 bits", map[string]any{"kty": "RSA", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(huge.Bytes())}, false},
		{"RSA with exponent 1", map[string]any{"kty": "RSA", "e": "AQ", "n": base64.RawURLEncoding.EncodeToString(newRSAKey(t, 2048).N.Bytes())}, false},
		{"RSA without anything", map[string]any{"kty": "RSA"}, false},
		{"OKP of another curve", map[string]any{"kty": "OKP", "crv": "X25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := json.Marshal(map[string]any{"keys": []any{tt.jwk}})
			if err != nil {
				t.Fatal(err)
			}
			set, err := token.ParseJWKS(data, token.JWKSOptions{})
			if err != nil {
				t.Fatalf("one key spoils the set: %v", err)
			}
			if (set.Len() == 1) != tt.kept || (len(set.Skipped()) == 0) != tt.kept {
				t.Errorf("kept %d, skipped %q, want kept %t", set.Len(), set.Skipped(), tt.kept)
			}
		})
	}
}

func TestParseJWKSRefusesTheWholeSet(t *testing.T) {
	jwk, err := json.Marshal(token.Key{ID: "k", Public: newECKey(t).Public()})
	if err != nil {
		t.Fatal(err)
	}
	key := string(jwk)
	shows := func(member string) string {
		return `{"keys":[` + strings.TrimSuffix(key, "}") + `,"` + member + `":"AQAB"}]}`
	}
	for name, data := range map[string]string{
		"not JSON":                  `{"keys":[`,
		"no keys":                   `{}`,
		"keys not a list":           `{"keys":{}}`,
		"a key not an object":       `{"keys":["x"]}`,
		"duplicate keys":            `{"keys":[],"keys":[]}`,
		"duplicate member of a key": `{"keys":[{"kty":"EC","kty":"RSA"}]}`,
		"private EC key":            shows("d"),
		"private RSA factor":        shows("p"),
		"private RSA CRT":           shows("qi"),
		"symmetric key":             `{"keys":[{"kty":"oct","k":"AAAA"}]}`,
		"too many keys":             `{"keys":[` + strings.Repeat(`{},`, token.MaxKeys) + `{}]}`,
		"too large":                 `{"keys":[],"x":"` + strings.Repeat("x", token.MaxJWKSBytes) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := token.ParseJWKS([]byte(data), token.JWKSOptions{}); !errors.Is(err, token.ErrKeySet) {
				t.Errorf("ParseJWKS = %v, want ErrKeySet", err)
			}
		})
	}
}

func TestTwoKeysWithOneKidAreNotGuessedBetween(t *testing.T) {
	a, b := jwkOf(t, token.Key{ID: "k", Public: newECKey(t).Public()}), jwkOf(t, token.Key{ID: "k", Public: newECKey(t).Public()})
	data, err := json.Marshal(map[string]any{"keys": []any{a, b}})
	if err != nil {
		t.Fatal(err)
	}
	set, err := token.ParseJWKS(data, token.JWKSOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := set.Key("k"); ok || len(set.Lookup("k")) != 2 {
		t.Errorf("Key found one of %d", len(set.Lookup("k")))
	}
	if _, err := token.NewKeySet(set.Keys()...); !errors.Is(err, token.ErrKeySet) {
		t.Errorf("NewKeySet = %v, want ErrKeySet", err)
	}
}

func TestSPIFFEBundle(t *testing.T) {
	ca := newECKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(issuedAt, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ca.Public(), ca)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	jwt := jwkOf(t, token.Key{ID: "j", Use: "jwt-svid", Public: newECKey(t).Public()})
	authority := func() map[string]any {
		return jwkOf(t, token.Key{Use: "x509-svid", Public: ca.Public(), X5C: []*x509.Certificate{cert}})
	}
	withKid, twoCerts, stolen := authority(), authority(), authority()
	withKid["kid"] = "x"
	twoCerts["x5c"] = []any{authority()["x5c"].([]any)[0], authority()["x5c"].([]any)[0]}
	other := jwkOf(t, token.Key{Use: "x509-svid", Public: newECKey(t).Public()})
	stolen["x"], stolen["y"] = other["x"], other["y"]
	noKid := jwkOf(t, token.Key{Use: "jwt-svid", Public: newECKey(t).Public()})
	plain := jwkOf(t, token.Key{ID: "p", Public: newECKey(t).Public()})
	data, err := json.Marshal(map[string]any{"spiffe_sequence": 1, "keys": []any{jwt, authority(), withKid, twoCerts, stolen, noKid, plain}})
	if err != nil {
		t.Fatal(err)
	}
	set, err := token.ParseJWKS(data, token.JWKSOptions{SPIFFE: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Skipped()) != 5 || set.Len() != 2 {
		t.Errorf("kept %d, skipped %q", set.Len(), set.Skipped())
	}
	if roots := set.X509Authorities(); len(roots) != 1 || !roots[0].Equal(cert) {
		t.Errorf("authorities = %d", len(roots))
	}
	if key, ok := set.Key("j"); !ok || key.Use != token.UseJWTSVID {
		t.Errorf("Key(j) = %v", ok)
	}
	if plainSet, err := token.ParseJWKS(data, token.JWKSOptions{}); err != nil || plainSet.Len() != 1 {
		t.Errorf("read as a plain set it has %d keys, %v, want the one with use=sig", plainSet.Len(), err)
	}
}

func FuzzParseJWKS(f *testing.F) {
	data, err := json.Marshal(map[string]any{"keys": []any{token.Key{ID: "k", Algorithm: "ES256", Public: newECKey(f).Public()}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, false)
	f.Add(data, true)
	f.Fuzz(func(t *testing.T, data []byte, spiffe bool) {
		set, err := token.ParseJWKS(data, token.JWKSOptions{SPIFFE: spiffe})
		if err != nil {
			return
		}
		written, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		again, err := token.ParseJWKS(written, token.JWKSOptions{SPIFFE: spiffe})
		if err != nil || again.Len() != set.Len() {
			t.Fatalf("%s became %s: %v", data, written, err)
		}
	})
}

package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/writbroker/writ/token"
)

const goodHeader = `{"alg":"ES256","kid":"k1","typ":"at+jwt"}`

func TestEveryAlgorithmVerifiesWhatItSigned(t *testing.T) {
	rsaKey := newRSAKey(t, 2048)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	for alg, key := range map[string]crypto.Signer{
		"ES256": newECKey(t), "ES384": p384, "ES512": p521, "Ed25519": edKey,
		"RS256": rsaKey, "RS384": rsaKey, "RS512": rsaKey, "PS256": rsaKey, "PS384": rsaKey, "PS512": rsaKey,
	} {
		t.Run(alg, func(t *testing.T) {
			raw, err := token.Sign(t.Context(), "JWT", []byte(`{"a":1}`), mustSigner(t, "k", alg, key))
			if err != nil {
				t.Fatal(err)
			}
			u, err := token.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if want := (token.Header{Algorithm: alg, KeyID: "k", Type: "JWT"}); u.Header() != want {
				t.Errorf("header = %+v, want %+v", u.Header(), want)
			}
			for _, k := range []token.Key{
				{ID: "k", Algorithm: alg, Public: key.Public(), Use: "sig"},
				{Public: key.Public()},
			} {
				if payload, err := u.Verify(k); err != nil || string(payload) != `{"a":1}` {
					t.Errorf("Verify(%q) = %s, %v", k.ID, payload, err)
				}
			}
			tampered, err := token.Parse(strings.Replace(raw, b64(`{"a":1}`), b64(`{"a":2}`), 1))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tampered.Verify(token.Key{Public: key.Public()}); !errors.Is(err, token.ErrSignature) {
				t.Errorf("tampered payload: %v, want ErrSignature", err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	signer := mustSigner(t, "k1", token.ES256, newECKey(t))
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	headers := []struct {
		name, header string
		want         error
	}{
		{"alg none", `{"alg":"none","kid":"k1"}`, token.ErrAlgorithm},
		{"alg None in another case", `{"alg":"nOnE","kid":"k1"}`, token.ErrAlgorithm},
		{"alg HS256", `{"alg":"HS256","kid":"k1"}`, token.ErrAlgorithm},
		{"alg HS512", `{"alg":"HS512","kid":"k1"}`, token.ErrAlgorithm},
		{"alg secp256k1", `{"alg":"ES256K","kid":"k1"}`, token.ErrAlgorithm},
		{"alg in lower case", `{"alg":"es256","kid":"k1"}`, token.ErrAlgorithm},
		{"alg absent", `{"kid":"k1"}`, token.ErrAlgorithm},
		{"alg null", `{"alg":null}`, token.ErrMalformed},
		{"alg a list", `{"alg":["ES256"]}`, token.ErrMalformed},
		{"embedded jwk", `{"alg":"ES256","jwk":{"kty":"EC"}}`, token.ErrEmbeddedKey},
		{"embedded jku", `{"alg":"ES256","jku":"https://evil.example"}`, token.ErrEmbeddedKey},
		{"embedded x5u", `{"alg":"ES256","x5u":"https://evil.example"}`, token.ErrEmbeddedKey},
		{"embedded x5c", `{"alg":"ES256","x5c":["MII="]}`, token.ErrEmbeddedKey},
		{"embedded jwk by an escaped name", `{"alg":"ES256","j\u0077k":{}}`, token.ErrEmbeddedKey},
		{"crit", `{"alg":"ES256","crit":["exp"],"exp":1}`, token.ErrCritical},
		{"crit empty", `{"alg":"ES256","crit":[]}`, token.ErrCritical},
		{"b64 false", `{"alg":"ES256","b64":false}`, token.ErrCritical},
		{"b64 true", `{"alg":"ES256","b64":true}`, token.ErrCritical},
		{"zip", `{"alg":"ES256","zip":"DEF"}`, token.ErrCritical},
		{"enc", `{"alg":"ES256","enc":"A128GCM"}`, token.ErrCritical},
		{"duplicate alg", `{"alg":"ES256","alg":"ES256"}`, token.ErrDuplicateMember},
		{"duplicate by an escaped name", `{"alg":"none","al\u0067":"ES256"}`, token.ErrDuplicateMember},
		{"duplicate inside an ignored member", `{"alg":"ES256","x":{"a":1,"a":2}}`, token.ErrDuplicateMember},
		{"kid empty", `{"alg":"ES256","kid":""}`, token.ErrMalformed},
		{"kid a number", `{"alg":"ES256","kid":1}`, token.ErrMalformed},
		{"typ empty", `{"alg":"ES256","typ":""}`, token.ErrMalformed},
		{"header nests too deep", `{"alg":"ES256","x":` + deep + `}`, token.ErrTooLarge},
		{"header is a list", `["ES256"]`, token.ErrMalformed},
		{"header has a second value", `{"alg":"ES256"}{}`, token.ErrMalformed},
		{"header is empty", ``, token.ErrMalformed},
	}
	for _, tt := range headers {
		t.Run(tt.name, func(t *testing.T) {
			raw := craft(t, tt.header, `{}`, signer)
			if _, err := token.Parse(raw); !errors.Is(err, tt.want) {
				t.Errorf("Parse = %v, want %v", err, tt.want)
			}
		})
	}

	good := craft(t, goodHeader, `{"a":1}`, signer)
	if _, err := token.Parse(good); err != nil {
		t.Fatal("the token that the attacks start from:", err)
	}
	parts := strings.Split(good, ".")
	texts := []struct {
		name, raw string
		want      error
	}{
		{"nothing", "", token.ErrMalformed},
		{"two parts", parts[0] + "." + parts[1], token.ErrMalformed},
		{"four parts", good + ".AA", token.ErrMalformed},
		{"five parts, a JWE", good + ".AA.AA", token.ErrMalformed},
		{"signature stripped", parts[0] + "." + parts[1] + ".", token.ErrMalformed},
		{"payload detached", parts[0] + ".." + parts[2], token.ErrMalformed},
		{"padding", good + "=", token.ErrMalformed},
		{"stray bits in the last character", parts[0] + "." + parts[1] + "." + strayBits(parts[2]), token.ErrMalformed},
		{"standard base64 alphabet", parts[0] + "." + parts[1] + "." + strings.Repeat("+/", 43), token.ErrMalformed},
		{"line break at the end", good + "\n", token.ErrMalformed},
		{"line break inside", parts[0] + "." + parts[1][:2] + "\r\n" + parts[1][2:] + "." + parts[2], token.ErrMalformed},
		{"space", " " + good, token.ErrMalformed},
		{"Bearer prefix", "Bearer " + good, token.ErrMalformed},
		{"too large", good + strings.Repeat("A", token.MaxBytes), token.ErrTooLarge},
		{"JSON serialization", `{"payload":"","protected":"","signature":""}`, token.ErrMalformed},
	}
	for _, tt := range texts {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := token.Parse(tt.raw); !errors.Is(err, tt.want) {
				t.Errorf("Parse = %v, want %v", err, tt.want)
			}
		})
	}
}

// strayBits returns another text that a lenient decoder reads as the same bytes.
func strayBits(part string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, part[len(part)-1])
	return part[:len(part)-1] + string(alphabet[last|1])
}

func TestVerifyRefusesAKeyThatDoesNotFit(t *testing.T) {
	ec, other, rsaKey := newECKey(t), newECKey(t), newRSAKey(t, 2048)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	edPub, _, _ := ed25519.GenerateKey(rand.Reader)
	es := craft(t, goodHeader, `{}`, mustSigner(t, "k1", "ES256", ec))
	es384 := craft(t, `{"alg":"ES384","kid":"k1"}`, `{}`, mustSigner(t, "k1", "ES384", p384))
	ps := craft(t, `{"alg":"PS256","kid":"k1"}`, `{}`, mustSigner(t, "k1", "PS256", rsaKey))
	noKid := craft(t, `{"alg":"ES256"}`, `{}`, mustSigner(t, "k1", "ES256", ec))
	der, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, raw string
		key       token.Key
		want      error
	}{
		{"fits", es, token.Key{ID: "k1", Algorithm: "ES256", Public: ec.Public(), Use: "sig"}, nil},
		{"another key", es, token.Key{ID: "k1", Public: other.Public()}, token.ErrSignature},
		{"kid mismatch", es, token.Key{ID: "k2", Public: ec.Public()}, token.ErrKeyMismatch},
		{"kid absent, key has one", noKid, token.Key{ID: "k1", Public: ec.Public()}, token.ErrKeyMismatch},
		{"kid absent, key has none", noKid, token.Key{Public: ec.Public()}, nil},
		{"use=enc", es, token.Key{ID: "k1", Public: ec.Public(), Use: "enc"}, token.ErrKeyMismatch},
		{"use=x509-svid", es, token.Key{ID: "k1", Public: ec.Public(), Use: "x509-svid"}, token.ErrKeyMismatch},
		{"use=jwt-svid", es, token.Key{ID: "k1", Public: ec.Public(), Use: "jwt-svid"}, nil},
		{"key for another algorithm", ps, token.Key{ID: "k1", Algorithm: "RS256", Public: rsaKey.Public()}, token.ErrKeyMismatch},
		{"ECDSA token under an RSA key", es, token.Key{ID: "k1", Public: rsaKey.Public()}, token.ErrKeyMismatch},
		{"RSA token under an ECDSA key", ps, token.Key{ID: "k1", Public: ec.Public()}, token.ErrKeyMismatch},
		{"ECDSA token under an Ed25519 key", es, token.Key{ID: "k1", Public: edPub}, token.ErrKeyMismatch},
		{"curve mismatch", es384, token.Key{ID: "k1", Public: ec.Public()}, token.ErrKeyMismatch},
		{"curve mismatch, the other way", es, token.Key{ID: "k1", Public: p384.Public()}, token.ErrKeyMismatch},
		{"public key as bytes", es, token.Key{ID: "k1", Public: der}, token.ErrKeyMismatch},
		{"private key in place of the public", es, token.Key{ID: "k1", Public: ec}, token.ErrKeyMismatch},
		{"no key", es, token.Key{ID: "k1"}, token.ErrKeyMismatch},
		{"typed nil key", es, token.Key{ID: "k1", Public: (*ecdsa.PublicKey)(nil)}, token.ErrKeyMismatch},
		{"RSA key without a modulus", ps, token.Key{ID: "k1", Public: &rsa.PublicKey{}}, token.ErrKeyMismatch},
		{"Ed25519 key cut short", es, token.Key{ID: "k1", Public: edPub[:31]}, token.ErrKeyMismatch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := token.Parse(tt.raw)
			if err != nil {
				t.Fatal(err)
			}
			payload, err := u.Verify(tt.key)
			if !errors.Is(err, tt.want) || (err != nil) != (payload == nil) {
				t.Errorf("Verify = %q, %v, want %v", payload, err, tt.want)
			}
		})
	}
}

func TestHMACWithThePublicKeyIsRefused(t *testing.T) {
	ec := newECKey(t)
	der, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{"HS256", "ES256"} {
		input := b64(`{"alg":"`+alg+`","kid":"k1"}`) + "." + b64(`{"sub":"root"}`)
		mac := hmac.New(sha256.New, der)
		mac.Write([]byte(input))
		raw := input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
		u, err := token.Parse(raw)
		if alg == "HS256" {
			if !errors.Is(err, token.ErrAlgorithm) {
				t.Errorf("Parse = %v, want ErrAlgorithm", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Verify(token.Key{ID: "k1", Public: ec.Public()}); !errors.Is(err, token.ErrSignature) {
			t.Errorf("Verify = %v, want ErrSignature", err)
		}
	}
}

func TestSignatureOfAnotherShapeIsRefused(t *testing.T) {
	ec, rsaKey := newECKey(t), newRSAKey(t, 2048)
	weak, err := rsa.GenerateKey(rand.Reader, 2048-512)
	if err != nil {
		t.Fatal(err)
	}
	pssInput := b64(`{"alg":"PS256"}`) + "." + b64(`{}`)
	pssSum := sha256.Sum256([]byte(pssInput))
	ecInput := b64(`{"alg":"ES256"}`) + "." + b64(`{}`)
	ecSum := sha256.Sum256([]byte(ecInput))
	longSalt, _ := rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, pssSum[:], &rsa.PSSOptions{SaltLength: 64})
	noSalt, _ := rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, pssSum[:], &rsa.PSSOptions{SaltLength: 0})
	pkcs, _ := rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA256, pssSum[:])
	weakPSS, _ := rsa.SignPSS(rand.Reader, weak, crypto.SHA256, pssSum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	der, _ := ecdsa.SignASN1(rand.Reader, ec, ecSum[:])
	tests := []struct {
		name, input string
		signature   []byte
		key         crypto.PublicKey
		want        error
	}{
		{"PSS with a salt longer than the hash", pssInput, longSalt, rsaKey.Public(), token.ErrSignature},
		{"PSS without salt", pssInput, noSalt, rsaKey.Public(), token.ErrSignature},
		{"PKCS #1 v1.5 under a PSS name", pssInput, pkcs, rsaKey.Public(), token.ErrSignature},
		{"RSA below 2048 bits", pssInput, weakPSS, weak.Public(), token.ErrKeyMismatch},
		{"ECDSA in ASN.1", ecInput, der, ec.Public(), token.ErrSignature},
		{"ECDSA of zeros", ecInput, make([]byte, 64), ec.Public(), token.ErrSignature},
		{"ECDSA one byte long", ecInput, []byte{1}, ec.Public(), token.ErrSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := token.Parse(tt.input + "." + base64.RawURLEncoding.EncodeToString(tt.signature))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := u.Verify(token.Key{Public: tt.key}); !errors.Is(err, tt.want) {
				t.Errorf("Verify = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestEd25519HasTwoNamesAndIsWrittenUnderOne(t *testing.T) {
	pub, key, _ := ed25519.GenerateKey(rand.Reader)
	signer := mustSigner(t, "k1", token.Ed25519, key)
	for _, header := range []string{"EdDSA", "Ed25519"} {
		for _, keyAlg := range []string{"", "EdDSA", "Ed25519"} {
			u, err := token.Parse(craft(t, `{"alg":"`+header+`","kid":"k1"}`, `{}`, signer))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := u.Verify(token.Key{ID: "k1", Algorithm: keyAlg, Public: pub}); err != nil {
				t.Errorf("header %s, key %q: %v", header, keyAlg, err)
			}
			if _, err := u.Verify(token.Key{ID: "k1", Algorithm: keyAlg, Public: newECKey(t).Public()}); !errors.Is(err, token.ErrKeyMismatch) {
				t.Errorf("header %s under an ECDSA key: %v", header, err)
			}
		}
	}
	if _, err := token.NewLocalSigner("k1", "EdDSA", key); !errors.Is(err, token.ErrAlgorithm) {
		t.Errorf("a signer named EdDSA: %v", err)
	}
}

func TestNewLocalSignerRefuses(t *testing.T) {
	ec := newECKey(t)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	for _, tt := range []struct {
		name, kid, alg string
		key            crypto.Signer
		want           error
	}{
		{"alg none", "k", "none", ec, token.ErrAlgorithm},
		{"an HMAC", "k", "HS256", ec, token.ErrAlgorithm},
		{"another type of key", "k", "RS256", ec, token.ErrKeyMismatch},
		{"another curve", "k", "ES256", p384, token.ErrKeyMismatch},
		{"a weak RSA key", "k", "RS256", weak, token.ErrKeyMismatch},
		{"no kid", "", "ES256", ec, token.ErrKeyMismatch},
		{"no key", "k", "ES256", nil, token.ErrKeyMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := token.NewLocalSigner(tt.kid, tt.alg, tt.key); !errors.Is(err, tt.want) {
				t.Errorf("NewLocalSigner = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestCheckType(t *testing.T) {
	for _, tt := range []struct {
		name, typ string
		allowed   []string
		ok        bool
	}{
		{"same", "at+jwt", []string{"at+jwt"}, true},
		{"another case", "AT+JWT", []string{"at+jwt"}, true},
		{"media type", "application/at+jwt", []string{"at+jwt"}, true},
		{"media type in another case", "Application/AT+jwt", []string{"at+jwt"}, true},
		{"another type", "JWT", []string{"at+jwt"}, false},
		{"a prefix", "at+jwtx", []string{"at+jwt"}, false},
		{"absent", "", []string{"at+jwt"}, false},
		{"absent and allowed", "", []string{"", "JWT"}, true},
		{"only the media prefix", "application/", []string{""}, false},
		{"nothing allowed", "at+jwt", nil, false},
		{"nothing allowed, absent", "", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := token.CheckType(token.Header{Type: tt.typ}, tt.allowed...)
			if (err == nil) != tt.ok || (err != nil && !errors.Is(err, token.ErrType)) {
				t.Errorf("CheckType = %v, want ok %t", err, tt.ok)
			}
		})
	}
}

package token_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/writbroker/writ/token"
)

// The floor of each pair is what crypto/ecdsa alone takes for the same bytes:
// compare them within one run.

func BenchmarkVerify(b *testing.B) {
	key := newECKey(b)
	raw := mustSign(b, typicalClaims(b), key)
	public := token.Key{ID: "k1", Algorithm: token.ES256, Public: key.Public()}
	u, err := token.Parse(raw)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte(raw[:len(raw)-87]))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	want := expectation()
	b.Run("raw-ecdsa", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
				b.Fatal("raw signature does not verify")
			}
		}
	})
	b.Run("whole-token", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := check(raw, public, want); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("without-signature", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := token.Parse(raw); err != nil {
				b.Fatal(err)
			}
			if _, err := token.DecodeClaims(u.UnverifiedPayload()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	key := newECKey(b)
	signer := mustSigner(b, "k1", token.ES256, key)
	claims := typicalClaims(b)
	payload, err := claims.Encode()
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256(payload)
	b.Run("raw-ecdsa", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("whole-token", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			payload, err := claims.Encode()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := token.Sign(b.Context(), token.TypeAccessToken, payload, signer); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := claims.Encode(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// check is what a resource server does with a token before it looks at scopes.
func check(raw string, key token.Key, want token.Expect) error {
	u, err := token.Parse(raw)
	if err != nil {
		return err
	}
	if err := token.CheckType(u.Header(), token.TypeAccessToken); err != nil {
		return err
	}
	payload, err := u.Verify(key)
	if err != nil {
		return err
	}
	claims, err := token.DecodeClaims(payload)
	if err != nil {
		return err
	}
	return claims.Validate(want)
}

func expectation() token.Expect {
	return token.Expect{
		Issuer: "https://writ.example.com", Audience: []string{"https://warehouse.example.com"},
		Now: time.Unix(issuedAt+60, 0), Leeway: 30 * time.Second, MaxTTL: time.Hour,
	}
}

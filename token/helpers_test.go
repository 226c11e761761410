package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"testing"

	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

const issuedAt = 1_790_000_000

// typicalClaims are those of a sub-agent's token: four scopes, one act, one
// ancestor, a task.
func typicalClaims(tb testing.TB) *token.Claims {
	tb.Helper()
	set, err := scopes.ParseSet("warehouse:list:sales/** warehouse:read:sales/eu/* warehouse:read:sales/us/* warehouse:write:reports/weekly/*")
	if err != nil {
		tb.Fatal(err)
	}
	return &token.Claims{
		Issuer: "https://writ.example.com", Subject: "user:alice@example.com",
		Audience: []string{"https://warehouse.example.com"},
		Expiry:   issuedAt + 900, IssuedAt: issuedAt,
		ID: "01990a5f-7c3e-7d4a-8b5c-0123456789ab", ClientID: "k8s:agents:report-writer",
		Scope: set, Actor: &token.Actor{Subject: "k8s:agents:report-writer"},
		Roles: []string{"analyst"}, Task: "report-4711",
		Rev: token.Rev{Lineage: 0x8f3a12bc99d0e471, Seq: 10234}, Policy: "0123456789abcdef",
		Ancestors: []token.Ancestor{{ID: "01990a5f-6b2d-7c1f-9a0e-ba9876543210", KeyID: "n5kq2xw7hd3m"}},
	}
}

func newECKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func newRSAKey(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func mustSigner(tb testing.TB, kid, alg string, key crypto.Signer) token.Signer {
	tb.Helper()
	signer, err := token.NewLocalSigner(kid, alg, key)
	if err != nil {
		tb.Fatal(err)
	}
	return signer
}

func mustSign(tb testing.TB, c *token.Claims, key *ecdsa.PrivateKey) string {
	tb.Helper()
	payload, err := c.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := token.Sign(tb.Context(), token.TypeAccessToken, payload, mustSigner(tb, "k1", token.ES256, key))
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// craft signs header and payload texts as they are: what an attacker, or a
// careless issuer with a good key, can send.
func craft(tb testing.TB, header, payload string, s token.Signer) string {
	tb.Helper()
	input := b64(header) + "." + b64(payload)
	signature, err := s.Sign(tb.Context(), []byte(input))
	if err != nil {
		tb.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

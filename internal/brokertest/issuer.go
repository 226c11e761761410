package brokertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/writbroker/writ/token"
)

// Audience is the audience of tokens for the broker, and its issuer.
const Audience = "https://writ.example"

// Issuer is a platform or identity provider with one ES256 key.
type Issuer struct {
	Name string
	URL  string
	Key  token.Key

	signer token.Signer
	now    func() time.Time
}

func newIssuer(tb testing.TB, name string, now func() time.Time) *Issuer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	kid := name + "-1"
	signer, err := token.NewLocalSigner(kid, token.ES256, key)
	if err != nil {
		tb.Fatal(err)
	}
	return &Issuer{
		Name: name, URL: "https://" + name + ".example", signer: signer, now: now,
		Key: token.Key{ID: kid, Algorithm: token.ES256, Public: key.Public(), Use: "sig"},
	}
}

// jwks is the issuer's document.
func (i *Issuer) jwks(tb testing.TB) []byte {
	tb.Helper()
	set, err := token.NewKeySet(i.Key)
	if err != nil {
		tb.Fatal(err)
	}
	doc, err := set.MarshalJSON()
	if err != nil {
		tb.Fatal(err)
	}
	return doc
}

// Token signs a token for sub that lives an hour. Changes replace claims; a nil value leaves
// one out.
func (i *Issuer) Token(tb testing.TB, sub string, changes map[string]any) string {
	tb.Helper()
	now := i.now()
	claims := map[string]any{
		"iss": i.URL, "sub": sub, "aud": []string{Audience}, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return Sign(tb, i.signer, "JWT", claims)
}

// Sign signs any claims with any signer.
func Sign(tb testing.TB, signer token.Signer, typ string, claims any) string {
	tb.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := token.Sign(tb.Context(), typ, payload, signer)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// TrustDomain is that of the authority's SVIDs.
const TrustDomain = "prod.example"

// Authority signs X.509-SVIDs.
type Authority struct {
	Certificate *x509.Certificate

	key *ecdsa.PrivateKey
	now func() time.Time
}

// NewAuthority returns one that nobody trusts yet.
func NewAuthority(tb testing.TB, now func() time.Time) *Authority {
	tb.Helper()
	a := &Authority{now: now}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		URIs: []*url.URL{{Scheme: "spiffe", Host: TrustDomain}},
	}
	a.Certificate, a.key = a.issue(tb, template, 30*24*time.Hour)
	return a
}

// issue signs a certificate; the first, by its own key.
func (a *Authority) issue(tb testing.TB, template *x509.Certificate, life time.Duration) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		tb.Fatal(err)
	}
	template.SerialNumber, template.BasicConstraintsValid = serial, true
	template.NotBefore, template.NotAfter = a.now().Add(-time.Minute).Truncate(time.Second), a.now().Add(life).Truncate(time.Second)
	parent, signer := a.Certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert, key
}

// SVID is a workload's certificate and its key.
func (a *Authority) SVID(tb testing.TB, path string) ([]*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	cert, key := a.issue(tb, &x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{{Scheme: "spiffe", Host: TrustDomain, Path: "/" + path}},
	}, time.Hour)
	return []*x509.Certificate{cert}, key
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw})
}

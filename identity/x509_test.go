package identity_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/writbroker/writ/identity"
)

// authority is a CA of a trust domain.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	a := &authority{key: newKey(tb, "ES256")}
	a.cert = a.issue(tb, a.key.Public(), func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "prod.example.org"}}
		c.NotAfter = issuedAt().Add(24 * time.Hour)
	})
	return a
}

// issue signs a certificate for a workload, changed as the test wants.
func (a *authority) issue(tb testing.TB, public crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{Organization: []string{"SPIRE"}}, BasicConstraintsValid: true,
		NotBefore: issuedAt(), NotAfter: issuedAt().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "prod.example.org", Path: "/ns/research/sa/crawler"}},
	}
	change(template)
	parent := a.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func unchanged(*x509.Certificate) {}

func svidSource() identity.Source {
	return identity.Source{
		Name: "mesh", Preset: "spiffe-x509", TrustDomain: "prod.example.org", X509: &identity.X509Config{BundleFile: "bundle.pem"},
	}
}

func svidRegistry(tb testing.TB, ca *authority) *identity.Registry {
	tb.Helper()
	reg := compile(tb, svidSource())
	if err := reg.SetAuthorities("mesh", []*x509.Certificate{ca.cert}); err != nil {
		tb.Fatal(err)
	}
	return reg
}

func TestAuthenticateX509(t *testing.T) {
	ca := newAuthority(t)
	leaf := ca.issue(t, newKey(t, "ES256").Public(), unchanged)
	p, err := svidRegistry(t, ca).AuthenticateX509([]*x509.Certificate{leaf}, now())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.Raw)
	if p.ID != "spiffe://prod.example.org/ns/research/sa/crawler" || p.Kind != identity.KindWorkload || p.Source != "mesh" ||
		p.Thumbprint != base64.RawURLEncoding.EncodeToString(sum[:]) || !p.Expires.Equal(leaf.NotAfter) || p.Attributes == nil {
		t.Errorf("got %+v", p)
	}
}

func TestAuthenticateX509ThroughAnIntermediate(t *testing.T) {
	ca := newAuthority(t)
	middle := &authority{key: newKey(t, "ES256")}
	middle.cert = ca.issue(t, middle.key.Public(), func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage, c.URIs = true, x509.KeyUsageCertSign, nil, nil
	})
	leaf := middle.issue(t, newKey(t, "ES256").Public(), unchanged)
	reg := svidRegistry(t, ca)
	if _, err := reg.AuthenticateX509([]*x509.Certificate{leaf, middle.cert}, now()); err != nil {
		t.Error(err)
	}
	if _, err := reg.AuthenticateX509([]*x509.Certificate{leaf}, now()); !errors.Is(err, identity.ErrSignature) {
		t.Errorf("without the intermediate: %v", err)
	}
}

func TestAuthenticateX509Refuses(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	spiffe := func(host, path string) *url.URL { return &url.URL{Scheme: "spiffe", Host: host, Path: path} }
	names := func(u ...*url.URL) func(*x509.Certificate) { return func(c *x509.Certificate) { c.URIs = u } }
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name   string
		by     *authority
		change func(*x509.Certificate)
		want   error
	}{
		{"signed by another authority", stranger, unchanged, identity.ErrSignature},
		{"no URI name", ca, names(), identity.ErrMalformed},
		{"two URI names", ca, names(spiffe("prod.example.org", "/a"), spiffe("prod.example.org", "/b")), identity.ErrMalformed},
		{"a second URI name that is no SPIFFE ID", ca, names(spiffe("prod.example.org", "/a"), &url.URL{Scheme: "https", Host: "a.example"}), identity.ErrMalformed},
		{"a URI that is no SPIFFE ID", ca, names(&url.URL{Scheme: "https", Host: "prod.example.org", Path: "/a"}), identity.ErrMalformed},
		{"the trust domain itself", ca, names(spiffe("prod.example.org", "")), identity.ErrMalformed},
		{"an empty path", ca, names(spiffe("prod.example.org", "/")), identity.ErrMalformed},
		{"a dot segment", ca, names(spiffe("prod.example.org", "/ns/../root")), identity.ErrMalformed},
		{"an escape in the path", ca, names(spiffe("prod.example.org", "/a b")), identity.ErrMalformed},
		{"a port", ca, names(spiffe("prod.example.org:1", "/a")), identity.ErrMalformed},
		{"a query", ca, names(&url.URL{Scheme: "spiffe", Host: "prod.example.org", Path: "/a", RawQuery: "x"}), identity.ErrMalformed},
		{"a trust domain in capitals", ca, names(spiffe("PROD.example.org", "/a")), identity.ErrMalformed},
		{"another trust domain", ca, names(spiffe("evil.example", "/a")), identity.ErrUnknownIssuer},
		{"a CA", ca, func(c *x509.Certificate) { c.IsCA = true }, identity.ErrMalformed},
		{"a leaf that may sign others", ca, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, identity.ErrMalformed},
		{"a leaf that may not sign", ca, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, identity.ErrMalformed},
		{"a server's certificate", ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, identity.ErrSignature},
		{"expired", ca, func(c *x509.Certificate) { c.NotAfter = now().Add(-time.Second) }, identity.ErrExpired},
		{"not yet valid", ca, func(c *x509.Certificate) { c.NotBefore = now().Add(time.Second) }, identity.ErrNotYetValid},
		{"too old", ca, func(c *x509.Certificate) { c.NotBefore = now().Add(-25 * time.Hour) }, identity.ErrTooOld},
	}
	reg := svidRegistry(t, ca)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			leaf := c.by.issue(t, newKey(t, "ES256").Public(), c.change)
			p, err := reg.AuthenticateX509([]*x509.Certificate{leaf}, now())
			if p != nil || !errors.Is(err, c.want) {
				t.Errorf("got %v, %v; want %v", p, err, c.want)
			}
			onlySentinel(t, err)
		})
	}
	t.Run("a weak key", func(t *testing.T) {
		leaf := ca.issue(t, weak.Public(), unchanged)
		if _, err := reg.AuthenticateX509([]*x509.Certificate{leaf}, now()); !errors.Is(err, identity.ErrAlgorithm) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no certificate", func(t *testing.T) {
		if _, err := reg.AuthenticateX509(nil, now()); !errors.Is(err, identity.ErrMalformed) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("an authority that has expired", func(t *testing.T) {
		leaf := ca.issue(t, newKey(t, "ES256").Public(), func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = now().Add(24*time.Hour), now().Add(48*time.Hour)
		})
		if _, err := reg.AuthenticateX509([]*x509.Certificate{leaf}, now().Add(25*time.Hour)); !errors.Is(err, identity.ErrExpired) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAuthoritiesAreReplaced(t *testing.T) {
	old, next := newAuthority(t), newAuthority(t)
	leaf := []*x509.Certificate{old.issue(t, newKey(t, "ES256").Public(), unchanged)}
	reg := compile(t, svidSource())
	if _, err := reg.AuthenticateX509(leaf, now()); !errors.Is(err, identity.ErrKeysUnavailable) {
		t.Errorf("before any authority: %v", err)
	}
	for _, step := range []struct {
		authorities []*x509.Certificate
		want        error
	}{
		{[]*x509.Certificate{old.cert, next.cert}, nil},
		{[]*x509.Certificate{next.cert}, identity.ErrSignature},
		{nil, identity.ErrKeysUnavailable},
	} {
		if err := reg.SetAuthorities("mesh", step.authorities); err != nil {
			t.Fatal(err)
		}
		if _, err := reg.AuthenticateX509(leaf, now()); !errors.Is(err, step.want) {
			t.Errorf("with %d authorities: %v, want %v", len(step.authorities), err, step.want)
		}
	}
	if err := reg.SetAuthorities("other", nil); err == nil {
		t.Error("authorities of a source that is not there are accepted")
	}
}

// A trust domain's two kinds of SVIDs prove the same principal, in one source.
func TestOneSourceForBothSVIDs(t *testing.T) {
	source := svidSource()
	source.Preset, source.JWKSFile, source.Audiences = "spiffe-jwt", "bundle.json", []string{audience}
	reg := compile(t, source)
	ca := newAuthority(t)
	if err := reg.SetAuthorities("mesh", []*x509.Certificate{ca.cert}); err != nil {
		t.Fatal(err)
	}
	byCert, err := reg.AuthenticateX509([]*x509.Certificate{ca.issue(t, newKey(t, "ES256").Public(), unchanged)}, now())
	if err != nil {
		t.Fatal(err)
	}
	header, claims := fixture(t, "spiffe-jwt")
	key := newKey(t, "ES256")
	byJWT, err := reg.Authenticate(t.Context(), sign(t, key, header, claims), now(), ringOf("mesh", tokenKey(header, key)))
	if err != nil {
		t.Fatal(err)
	}
	if byCert.ID != byJWT.ID {
		t.Errorf("%q and %q", byCert.ID, byJWT.ID)
	}
}

package jwks_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/identity/jwks"
)

const crawler = "spiffe://prod.example.org/ns/research/sa/crawler"

// ca is a trust domain's authority for both kinds of SVIDs.
type ca struct {
	domain string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
}

func newCA(tb testing.TB, domain string) *ca {
	tb.Helper()
	c := &ca{domain: domain, key: newECKey(tb)}
	c.cert = c.issue(tb, c.key.Public(), &x509.Certificate{
		IsCA: true, KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{{Scheme: "spiffe", Host: domain}},
	})
	return c
}

func newECKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func (c *ca) issue(tb testing.TB, public crypto.PublicKey, template *x509.Certificate) *x509.Certificate {
	tb.Helper()
	template.SerialNumber, template.BasicConstraintsValid = big.NewInt(time.Now().UnixNano()), true
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	parent := c.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, c.key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// svid makes an X.509-SVID in go-spiffe's form, which checks it.
func (c *ca) svid(tb testing.TB, id string) *x509svid.SVID {
	tb.Helper()
	key := newECKey(tb)
	uri, err := url.Parse(id)
	if err != nil {
		tb.Fatal(err)
	}
	leaf := c.issue(tb, key.Public(), &x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, URIs: []*url.URL{uri},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	svid, err := x509svid.ParseRaw(leaf.Raw, pkcs8)
	if err != nil {
		tb.Fatal(err)
	}
	return svid
}

// bundle is the trust domain's, as go-spiffe writes it.
func (c *ca) bundle(tb testing.TB) *spiffebundle.Bundle {
	tb.Helper()
	b := spiffebundle.New(spiffeid.RequireTrustDomainFromString(c.domain))
	b.AddX509Authority(c.cert)
	if err := b.AddJWTAuthority("jwt-1", c.key.Public()); err != nil {
		tb.Fatal(err)
	}
	b.SetSequenceNumber(7)
	b.SetRefreshHint(5 * time.Minute)
	return b
}

func marshal(tb testing.TB, b *spiffebundle.Bundle) []byte {
	tb.Helper()
	data, err := b.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func spiffeBundle(tb testing.TB, authorities ...*x509.Certificate) []byte {
	tb.Helper()
	b := spiffebundle.New(spiffeid.RequireTrustDomainFromString("prod.example.org"))
	b.SetX509Authorities(authorities)
	return marshal(tb, b)
}

// mesh is one source for both kinds of SVIDs of a trust domain, both from its bundle file.
func mesh(tb testing.TB, bundle []byte) (*identity.Registry, *jwks.Cache) {
	tb.Helper()
	file := write(tb, "bundle.json", bundle)
	reg, err := identity.Compile([]identity.Source{{
		Name: "mesh", Preset: "spiffe-jwt", TrustDomain: "prod.example.org", JWKSFile: file,
		Audiences: []string{"https://writ.example.com"}, X509: &identity.X509Config{BundleFile: file},
	}})
	if err != nil {
		tb.Fatal(err)
	}
	conf := config(&clock{}, reg.Sources()...)
	conf.OnAuthorities = reg.SetAuthorities
	return reg, open(tb, conf)
}

// A JWT-SVID that go-spiffe accepts under a bundle proves the same id here, under the same bundle.
func TestForeignJWTSVID(t *testing.T) {
	domain := newCA(t, "prod.example.org")
	bundle := domain.bundle(t)
	unsigned := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"sub": crawler, "aud": []string{"https://writ.example.com"}, "iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
	})
	unsigned.Header["kid"] = "jwt-1"
	raw, err := unsigned.SignedString(domain.key)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := jwtsvid.ParseAndValidate(raw, bundle, []string{"https://writ.example.com"})
	if err != nil {
		t.Fatalf("go-spiffe: %v", err)
	}
	reg, keys := mesh(t, marshal(t, bundle))
	p, err := identity.NewCache(reg, keys, 10).Authenticate(t.Context(), foreign.Marshal(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != foreign.ID.String() || p.Expires.Unix() != foreign.Expiry.Unix() {
		t.Errorf("%q, go-spiffe reads %q", p.ID, foreign.ID)
	}
}

// An X.509-SVID that go-spiffe presents in a real mutual TLS handshake proves its id.
func TestForeignX509SVID(t *testing.T) {
	domain, stranger := newCA(t, "prod.example.org"), newCA(t, "prod.example.org")
	reg, _ := mesh(t, marshal(t, domain.bundle(t)))
	chain := handshake(t, domain, domain.svid(t, crawler))
	p, err := reg.AuthenticateX509(chain, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != crawler || p.Thumbprint == "" {
		t.Errorf("got %+v", p)
	}
	chain = handshake(t, domain, stranger.svid(t, crawler))
	if _, err := reg.AuthenticateX509(chain, time.Now()); !errors.Is(err, identity.ErrSignature) {
		t.Errorf("an SVID of a stranger with the same trust domain's name: %v", err)
	}
}

// handshake has go-spiffe's client present its SVID to a server that asks for any certificate, as ours does.
func handshake(t *testing.T, domain *ca, client *x509svid.SVID) []*x509.Certificate {
	t.Helper()
	serverSVID := domain.svid(t, "spiffe://prod.example.org/broker")
	server := tlsconfig.TLSServerConfig(serverSVID)
	server.ClientAuth = tls.RequireAnyClientCert
	config := tlsconfig.MTLSClientConfig(client, domain.bundle(t), tlsconfig.AuthorizeID(serverSVID.ID))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	done := make(chan error, 1)
	go func() {
		conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", listener.Addr().String())
		if err == nil {
			err = conn.Close()
		}
		done <- err
	}()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	accepted := tls.Server(conn, server)
	if err := accepted.HandshakeContext(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return accepted.ConnectionState().PeerCertificates
}

// The rules of SPIFFE bundles: keys without kid, for other uses, or of the wrong kind do not count.
func TestBundleRules(t *testing.T) {
	domain := newCA(t, "prod.example.org")
	var bundle map[string]any
	if err := json.Unmarshal(marshal(t, domain.bundle(t)), &bundle); err != nil {
		t.Fatal(err)
	}
	var jwtKey, certKey map[string]any
	for _, k := range bundle["keys"].([]any) {
		if key := k.(map[string]any); key["use"] == "jwt-svid" {
			jwtKey = key
		} else {
			certKey = key
		}
	}
	other := func(key map[string]any, member string, value any) map[string]any {
		out := map[string]any{}
		maps.Copy(out, key)
		out[member] = value
		return out
	}
	document := func(keys ...any) []byte {
		data, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	_, cache := mesh(t, document(jwtKey, certKey, other(jwtKey, "use", "sig"), other(jwtKey, "use", "wit-svid"), other(certKey, "kid", "x")))
	if s := cache.Status(); s[0].Entries != 2 || s[1].Entries != 1 {
		t.Errorf("status %+v", s)
	}
	for name, data := range map[string][]byte{
		"no authority": document(jwtKey), "PEM that holds a key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}),
		"an authority that is none": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: domain.svid(t, crawler).Certificates[0].Raw}),
		"nothing":                   {},
	} {
		t.Run(name, func(t *testing.T) {
			source := identity.Source{Name: "mesh", TrustDomain: "prod.example.org", X509: &identity.X509Config{BundleFile: write(t, "b", data)}}
			if _, err := jwks.New(config(&clock{}, source)); err == nil {
				t.Error("accepted")
			}
		})
	}
	good := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: domain.cert.Raw})
	source := identity.Source{Name: "mesh", TrustDomain: "prod.example.org", X509: &identity.X509Config{BundleFile: write(t, "b", good)}}
	if s := open(t, config(&clock{}, source)).Status(); s[0].Entries != 1 {
		t.Errorf("PEM: %+v", s)
	}
}

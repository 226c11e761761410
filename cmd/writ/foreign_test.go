package main_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxt "github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/cmd/writ/internal/dev"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/internal/porttest"
	"github.com/writbroker/writ/token"
)

const warehouse = "https://warehouse.example.com"

// startWorld starts a broker with all around it, until the test ends.
func startWorld(t *testing.T) *dev.World {
	t.Helper()
	w, err := dev.Start(t.Context(), dev.Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// TestForeignLibrariesVerifyTokens has two libraries that know nothing of Writ find its keys
// by discovery and verify a token.
func TestForeignLibrariesVerifyTokens(t *testing.T) {
	w := startWorld(t)
	agent, err := w.Sample(t.Context(), dev.SampleAgent)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Issuer: w.Issuer()})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := c.Exchange(t.Context(), client.Request{SubjectToken: agent.Token, Scopes: []string{agent.Scope}})
	if err != nil {
		t.Fatal(err)
	}
	raw := issued.Secret.Reveal()

	t.Run("coreos/go-oidc", func(t *testing.T) {
		provider, err := oidc.NewProvider(t.Context(), w.Issuer())
		if err != nil {
			t.Fatal(err)
		}
		verified, err := provider.VerifierContext(t.Context(), &oidc.Config{ClientID: warehouse}).Verify(t.Context(), raw)
		if err != nil || verified.Subject != agent.ID {
			t.Errorf("got %+v, %v", verified, err)
		}
		if _, err := provider.VerifierContext(t.Context(), &oidc.Config{ClientID: "https://elsewhere.example.com"}).Verify(t.Context(), raw); err == nil {
			t.Error("verified for another audience")
		}
	})
	t.Run("lestrrat-go/jwx", func(t *testing.T) {
		meta, err := c.Metadata(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		keys, err := jwk.Fetch(t.Context(), meta.JWKSURI)
		if err != nil {
			t.Fatal(err)
		}
		verified, err := jwxt.Parse([]byte(raw), jwxt.WithKeySet(keys), jwxt.WithIssuer(w.Issuer()), jwxt.WithAudience(warehouse))
		if err != nil {
			t.Fatal(err)
		}
		if sub, _ := verified.Subject(); sub != agent.ID {
			t.Errorf("subject %q", sub)
		}
	})
}

// TestPlainOAuthClient gets a token with golang.org/x/oauth2 alone: the workload's token is
// the client's assertion (RFC 7523).
func TestPlainOAuthClient(t *testing.T) {
	w := startWorld(t)
	agent, err := w.Sample(t.Context(), dev.SampleAgent)
	if err != nil {
		t.Fatal(err)
	}
	plain := clientcredentials.Config{
		ClientID: agent.ID, TokenURL: w.Issuer() + "/token", Scopes: []string{agent.Scope}, AuthStyle: oauth2.AuthStyleInParams,
		EndpointParams: url.Values{
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {agent.Token},
		},
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Resource()+"/data/eu/orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := plain.Client(t.Context()).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the resource server answered %d %s, %v", resp.StatusCode, body, err)
	}
}

// mesh is a trust domain's authority for both kinds of SVIDs.
type mesh struct {
	domain spiffeid.TrustDomain
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{domain: spiffeid.RequireTrustDomainFromString("prod.example.org"), key: newKey(t)}
	m.cert = m.sign(t, &x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{m.domain.ID().URL()}}, m.key)
	return m
}

func (m *mesh) sign(t *testing.T, template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template.SerialNumber, template.BasicConstraintsValid = big.NewInt(time.Now().UnixNano()), true
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	parent := m.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), m.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// x509SVID is an X.509-SVID that go-spiffe has checked.
func (m *mesh) x509SVID(t *testing.T, path string) *x509svid.SVID {
	t.Helper()
	key := newKey(t)
	leaf := m.sign(t, &x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, URIs: []*url.URL{spiffeid.RequireFromPath(m.domain, path).URL()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := x509svid.ParseRaw(leaf.Raw, pkcs8)
	if err != nil {
		t.Fatal(err)
	}
	return svid
}

// jwtSVID is a JWT-SVID that go-spiffe has checked.
func (m *mesh) jwtSVID(t *testing.T, bundle *spiffebundle.Bundle, path, audience string) string {
	t.Helper()
	unsigned := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"sub": spiffeid.RequireFromPath(m.domain, path).String(), "aud": []string{audience},
		"iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
	})
	unsigned.Header["kid"] = "jwt-1"
	raw, err := unsigned.SignedString(m.key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jwtsvid.ParseAndValidate(raw, bundle, []string{audience}); err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestSPIFFEWorkloads runs a broker with TLS in a SPIFFE trust domain, whose workloads prove
// themselves with what go-spiffe takes for a JWT-SVID and an X.509-SVID.
func TestSPIFFEWorkloads(t *testing.T) {
	m := newMesh(t)
	bundle := spiffebundle.New(m.domain)
	bundle.AddX509Authority(m.cert)
	if err := bundle.AddJWTAuthority("jwt-1", m.key.Public()); err != nil {
		t.Fatal(err)
	}
	issuer, roots := startMeshBroker(t, bundle)

	t.Run("JWT-SVID", func(t *testing.T) {
		c, err := client.New(client.Config{
			Issuer: issuer, Transport: client.NewTransport(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}),
		})
		if err != nil {
			t.Fatal(err)
		}
		issued, err := c.Exchange(t.Context(), client.Request{
			SubjectToken: m.jwtSVID(t, bundle, "/ns/research/sa/crawler", issuer), Scopes: []string{"files:read:public/*"},
		})
		if err != nil {
			t.Fatal(err)
		}
		claims := decode(t, issued.Secret.Reveal())
		if claims.Subject != "spiffe://prod.example.org/ns/research/sa/crawler" || claims.Confirmation != nil {
			t.Errorf("subject %q, confirmation %v", claims.Subject, claims.Confirmation)
		}
	})
	t.Run("X.509-SVID", func(t *testing.T) {
		svid := m.x509SVID(t, "/ns/research/sa/crawler")
		https := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsconfig.MTLSWebClientConfig(svid, roots)}}
		defer https.CloseIdleConnections()
		form := url.Values{"grant_type": {"client_credentials"}, "scope": {"files:read:public/*"}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, issuer+"/token", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := https.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer struct {
			Token string `json:"access_token"`
			Error string `json:"error_description"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("got %d %s, %v", resp.StatusCode, answer.Error, err)
		}
		claims := decode(t, answer.Token)
		if claims.Subject != "spiffe://prod.example.org/ns/research/sa/crawler" || claims.Confirmation == nil {
			t.Errorf("subject %q, confirmation %v: the token is not bound to the certificate", claims.Subject, claims.Confirmation)
		}
	})
}

func decode(t *testing.T, raw string) *token.Claims {
	t.Helper()
	unverified, err := token.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := token.DecodeClaims(unverified.UnverifiedPayload())
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// startMeshBroker runs a broker until the test ends, and gives its issuer and the roots of
// its certificate.
func startMeshBroker(t *testing.T, bundle *spiffebundle.Bundle) (issuer string, roots *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	address := porttest.Address(t)
	document, err := bundle.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, roots := serverCertificate(t)
	if err := os.Mkdir(filepath.Join(dir, "policy"), 0o700); err != nil {
		t.Fatal(err)
	}
	issuer = "https://" + address
	for name, text := range map[string]string{
		"bundle.json": string(document), "tls.crt": certificate, "tls.key": key,
		"policy/policy.yaml": `
kind: catalog
tools: [{name: files, audience: "https://files.test", actions: [read]}]
---
kind: roles
roles: [{name: reader, grants: [{scopes: ["files:read:public/**"]}]}]
---
kind: bindings
bindings: [{name: crawlers, principals: ["spiffe://prod.example.org/ns/research/**"], roles: [reader]}]
`,
		"writ.yaml": `
issuer: ` + issuer + `
public: {address: "` + address + `", tls: {cert_file: tls.crt, key_file: tls.key}}
admin: {address: "127.0.0.1:0"}
data_dir: data
bundle: {dir: policy}
identity:
  sources:
    - {name: mesh, preset: spiffe-jwt, trust_domain: prod.example.org, jwks_file: bundle.json, audiences: ["` + issuer + `"], x509: {bundle_file: bundle.json}}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "writ.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	run(t, cfg, &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}})
	return issuer, roots
}

// run runs a broker until the test ends, and returns when it is ready.
func run(t *testing.T, cfg *config.Config, c *http.Client) {
	t.Helper()
	a, err := app.Start(t.Context(), cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, cfg.Issuer+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil && resp.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not ready within a minute: %v", err)
		}
	}
}

// serverCertificate is a self-signed one for loopback.
func serverCertificate(t *testing.T) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	private := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(certificate))
	return certificate, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), roots
}

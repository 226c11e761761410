package vaultcases

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/keys/vault"
	"github.com/writbroker/writ/token"
)

// Certificate makes a certificate that is its own authority, for a client or for a
// server on the loopback interface, and returns the files that hold it and its key.
func Certificate(t testing.TB) (certFile, keyFile string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "broker"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	return certFile, keyFile
}

// CertLogin is the login by certificate, which needs a Vault that serves https.
func CertLogin(t *testing.T, d *Deployment) {
	t.Helper()
	mount := "cert-" + d.Policy
	cfg := d.Config
	cfg.Login = vault.Login{Method: vault.MethodCert, Mount: mount, Role: "writ"}
	cfg.Login.CertFile, cfg.Login.KeyFile = Certificate(t)
	pinned, err := os.ReadFile(cfg.Login.CertFile)
	must(t, err)
	d.Admin.Write(t, "sys/auth/"+mount, map[string]any{"type": "cert"})
	d.Admin.Write(t, "auth/"+mount+"/certs/writ", d.tokenRules(map[string]any{"certificate": string(pinned)}))
	works(t, Sealing(t, cfg))
	works(t, Signing(t, cfg))

	cfg.Login.CertFile, cfg.Login.KeyFile = Certificate(t)
	_, err = Sealing(t, cfg).Generate(t.Context(), ring, token.ES256, 1)
	is(t, err, vault.ErrLogin)

	cfg = d.Config
	cfg.CAFile, _ = Certificate(t)
	_, err = Sealing(t, cfg).Generate(t.Context(), ring, token.ES256, 1)
	is(t, err, vault.ErrAway)
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok || !strings.Contains(err.Error(), unknown.Error()) {
		t.Errorf("it does not say that the authority is not known: %v", err)
	}
}

package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/config"
)

// TestRenewedCertificate: cert-manager and SPIRE renew a certificate in place, many times in the
// life of a process.
func TestRenewedCertificate(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	files := config.TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	writeCertificate(t, files, 1)
	conf, err := app.ServerTLS(files, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	must(t, err)
	serial := func() int64 {
		t.Helper()
		pair, err := conf.GetCertificate(&tls.ClientHelloInfo{})
		must(t, err)
		return pair.Leaf.SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Fatalf("serves certificate %d", got)
	}
	writeCertificate(t, files, 2)
	now = now.Add(time.Minute)
	if got := serial(); got != 2 {
		t.Errorf("a minute after it was renewed, serves certificate %d", got)
	}
	must(t, os.WriteFile(files.KeyFile, []byte("half a"), 0o600))
	now = now.Add(time.Minute)
	if got := serial(); got != 2 {
		t.Errorf("with files that are being written, serves certificate %d", got)
	}
	writeCertificate(t, files, 3)
	now = now.Add(time.Minute)
	if got := serial(); got != 3 {
		t.Errorf("after they were written, serves certificate %d", got)
	}
}

func writeCertificate(t *testing.T, files config.TLS, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"writ.example"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(files.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	must(t, os.WriteFile(files.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

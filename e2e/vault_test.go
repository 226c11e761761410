package e2e_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/vaulttest"
	"github.com/writbroker/writ/internal/vaulttest/vaultcases"
)

// vaultBinary is what make e2e builds of e2e/vaultdev.
const vaultBinary = "../.cache/bin/vaultdev"

// startVault runs a real Vault, in memory and unsealed, until the test ends.
func startVault(t *testing.T, args ...string) *vaultcases.Bed {
	t.Helper()
	path, err := filepath.Abs(vaultBinary)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the real Vault is not built: make %s (%v)", strings.TrimPrefix(vaultBinary, "../"), err)
	}
	cmd := exec.Command(path, args...)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // it ends with its input
		if err := cmd.Wait(); err != nil {
			t.Errorf("vaultdev ended with %v: %s", err, complaints.String())
		}
	})
	var line struct {
		Address   string `json:"address"`
		RootToken string `json:"root_token"`
		UnsealKey string `json:"unseal_key"`
	}
	text, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil || json.Unmarshal(text, &line) != nil {
		t.Fatalf("vaultdev printed %q: %v", text, err)
	}
	return &vaultcases.Bed{
		Admin:     &vaulttest.Admin{Address: line.Address, Token: line.RootToken, HTTP: &http.Client{Timeout: time.Minute}},
		UnsealKey: line.UnsealKey,
	}
}

// realVault's one bed serves all cases of a test: deployments in it do not meet.
func realVault(t *testing.T) func(*testing.T) *vaultcases.Bed {
	bed := startVault(t)
	return func(*testing.T) *vaultcases.Bed { return bed }
}

func TestVaultCustodies(t *testing.T) { vaultcases.Custodies(t, realVault(t)) }

func TestVaultOverTLS(t *testing.T) {
	cert, key := vaultcases.Certificate(t)
	bed := startVault(t, "-tls-cert", cert, "-tls-key", key)
	pem, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	bed.CAFile = cert
	bed.Admin.HTTP.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	vaultcases.CertLogin(t, bed.Deploy(t))
}

func TestVault(t *testing.T) { vaultcases.Run(t, realVault(t)) }

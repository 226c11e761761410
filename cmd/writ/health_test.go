package main_test

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/writbroker/writ/cmd/writ/internal/cli"
)

// TestHealthOfAConfiguration: a container's check finds the admin listener by itself, under TLS
// with a certificate that names the broker and not loopback, too.
func TestHealthOfAConfiguration(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "with TLS": true} {
		t.Run(name, func(t *testing.T) {
			asked := ""
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.URL.Path
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"status":"ok"}`))
			}))
			section := ""
			if secure {
				srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
				srv.StartTLS()
				section = ", tls: {cert_file: tls.crt, key_file: tls.key}"
			} else {
				srv.Start()
			}
			defer srv.Close()
			file := filepath.Join(t.TempDir(), "writ.yaml")
			config := strings.NewReplacer("ADMIN", srv.Listener.Addr().String(), "TLS", section).Replace(`issuer: http://127.0.0.1:8443
public: {address: "127.0.0.1:8443"}
admin: {address: "ADMIN"TLS}
data_dir: data
bundle: {dir: bundle}
identity:
  sources:
    - {name: cluster, preset: kubernetes, issuer: https://cluster.example, discovery: true, audiences: [writ], subject_prefix: "k8s:"}
`)
			if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			if code := cli.Main([]string{"health", "--config", file}, nil, &out, &errs); code != 0 || asked != "/healthz" {
				t.Errorf("exit %d, asked %q\n%s%s", code, asked, out.String(), errs.String())
			}
			srv.Close()
			if code := cli.Main([]string{"health", "--config", file}, nil, &out, &errs); code == 0 {
				t.Error("well, with nobody there")
			}
		})
	}
}

package e2e_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestBenchOfCustody runs the benchmark of custody with the real Vault, too short for its figures to say
// anything: each is there, in one flat object, which says what Vault it was.
func TestBenchOfCustody(t *testing.T) {
	vault, err := filepath.Abs(vaultBinary)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "bench", "--only", "custody", "--json", "--duration", "500ms", "--vault", vault, "--dir", t.TempDir())
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("writ bench: %v: %s%s", err, out, complaints.String())
	}
	var figures map[string]any
	if err := json.Unmarshal(out, &figures); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{
		"vault_exchange_ratio", "transit_ratio", "transit_batch_ratio", "transit_rps", "transit_p99_ms",
		"vault_sign_rps", "vault_sign_p99_ms", "rotation_p99_ratio", "emergency_p99_ms",
	} {
		if v, ok := figures[name].(float64); !ok || v <= 0 {
			t.Errorf("%s is %v", name, figures[name])
		}
	}
	if figures["vault"] != "real" || figures["vault_version"] == "" {
		t.Errorf("it was measured with %v of version %v", figures["vault"], figures["vault_version"])
	}
	t.Logf("%s", out)
}

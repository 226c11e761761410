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
	figures := benchmark(t, "custody", "--vault", vault)
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
}

// TestBenchOfAWS does the same with the real MinIO.
func TestBenchOfAWS(t *testing.T) {
	minio, err := filepath.Abs(minioBinary)
	must(t, err)
	figures := benchmark(t, "aws", "--minio", minio)
	for _, name := range []string{
		"aws_overhead_ratio", "aws_cached_ratio", "aws_down_exchange_ratio", "aws_minter_overhead_ratio", "aws_minter_cached_ratio", "compile_us", "aws_bare_rps", "aws_bare_p50_ms", "aws_bare_p99_ms", "aws_minted_rps",
		"aws_minted_p50_ms", "aws_minted_p99_ms", "aws_minted_loaded_rps", "aws_cached_rps", "aws_cached_p50_ms", "aws_cached_p99_ms",
	} {
		if v, ok := figures[name].(float64); !ok || v <= 0 {
			t.Errorf("%s is %v", name, figures[name])
		}
	}
	if figures["minio"] != "real" {
		t.Errorf("it was measured with a MinIO that is %v", figures["minio"])
	}
}

// benchmark runs one part of the benchmark, and gives the object that it prints.
func benchmark(t *testing.T, part string, args ...string) map[string]any {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"bench", "--only", part, "--json", "--duration", "500ms", "--dir", t.TempDir()}, args...)...)
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
	t.Logf("%s", out)
	return figures
}

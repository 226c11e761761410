package bench_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/writbroker/writ/cmd/writ/internal/bench"
	"github.com/writbroker/writ/internal/ststest"
	"github.com/writbroker/writ/internal/vaulttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small measures in no time what says nothing about the goals.
func small(t *testing.T, only string) bench.Config {
	return bench.Config{
		Only: only, Duration: 200 * time.Millisecond, Dir: t.TempDir(),
		Sizes: bench.Sizes{Connections: 4, Roles: 30, Bindings: 300, Rules: 30_000, Verifiers: 5, Tokens: 1000,
			Spread: 12, Readers: 30, Backlog: 1000},
	}
}

// TestEveryFigureIsPrinted runs all parts: each works from end to end, and the JSON is one flat object
// of numbers with every figure that is promised.
func TestEveryFigureIsPrinted(t *testing.T) {
	report, err := bench.Run(t.Context(), small(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var flat map[string]any
	if err := json.Unmarshal(data, &flat); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	for _, name := range []string{
		"exchange_new_ratio", "exchange_repeat_ratio", "exchange_p99_ratio", "exchange_rps", "exchange_repeat_rps",
		"floor_rps", "floor_p99_ms", "exchange_p50_ms", "exchange_p99_ms", "exchange_p999_ms", "fdatasync_p99_ms",
		"verify_cold_ratio", "verify_cached_ns", "authorize_ns", "authorize_growth", "revoked_ns", "rule_bytes",
		"propagation_p50_ms", "propagation_p99_ms", "mass_rule_ratio", "mass_rule_hits",
	} {
		if v, ok := flat[name].(float64); !ok || v <= 0 {
			t.Errorf("%s = %v", name, flat[name])
		}
	}
	if _, ok := flat["verify_cached_allocs"].(float64); !ok {
		t.Errorf("verify_cached_allocs = %v", flat["verify_cached_allocs"])
	}
	for name, v := range flat {
		switch v.(type) {
		case float64, string:
		default:
			t.Errorf("%s is %T: the object is not flat", name, v)
		}
	}
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"exchange_new_ratio", "≥ 0.75", "≤ 50"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, text.String())
		}
	}
}

// TestRedisFigures needs redis-server, as every test of what runs on Redis does.
func TestRedisFigures(t *testing.T) {
	report, err := bench.Run(t.Context(), small(t, bench.PartRedis))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"redis_propagation_p99_ms", "redis_exchange_ratio", "mass_rule_ratio", "exchange_during_revocation_ratio",
		"boot_seconds", "journal_boot_seconds", "snapshot_seconds", "rule_bytes", "connection_bytes",
		"fanout_propagation_p99_ms", "stuck_reader_ratio",
	} {
		if _, ok := report.Figure(name); !ok {
			t.Errorf("%s was not measured", name)
		}
	}
	if data, err := json.Marshal(report); err != nil {
		t.Error(err)
	} else {
		t.Logf("%s", data)
	}
}

func TestRedisMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := bench.Run(t.Context(), small(t, bench.PartRedis)); !errors.Is(err, bench.ErrNoRedis) || !strings.Contains(err.Error(), "apt-get install") {
		t.Errorf("err = %v", err)
	}
}

// TestCustodyFigures has keys in the stand-in for Vault; the end-to-end tests run it with the real one.
func TestCustodyFigures(t *testing.T) {
	server := vaulttest.Start(t)
	cfg := small(t, bench.PartCustody)
	cfg.Vault.Address, cfg.Vault.TokenFile = server.Admin().Address, filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(cfg.Vault.TokenFile, []byte(server.Admin().Token), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := bench.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"vault_exchange_ratio", "transit_ratio", "transit_rps", "transit_p99_ms", "transit_batch_ratio", "transit_batch_rps",
		"transit_batch_p99_ms", "vault_sign_rps", "vault_sign_p99_ms", "rotation_p99_ratio", "emergency_p99_ms",
	} {
		if v, ok := report.Figure(name); !ok || v <= 0 {
			t.Errorf("%s = %v", name, v)
		}
	}
	data, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var told struct{ Vault string }
	if err := json.Unmarshal(data, &told); err != nil || told.Vault != "given" {
		t.Errorf("it does not say that the Vault is somebody's: %s (%v)", data, err)
	}
	if made, gone := server.Count("PUT sys/mounts/"), server.Count("DELETE sys/mounts/"); made == 0 || gone != made {
		t.Errorf("%d mounts were made, and %d removed", made, gone)
	}
}

func TestVaultMissing(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg := small(t, bench.PartCustody)
	if _, err := bench.Run(t.Context(), cfg); !errors.Is(err, bench.ErrNoVault) || !strings.Contains(err.Error(), "--vault") {
		t.Errorf("without a Vault: err = %v", err)
	}
	cfg.Vault.Binary = "nowhere"
	if _, err := bench.Run(t.Context(), cfg); !errors.Is(err, bench.ErrNoVault) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("with one that is not there: err = %v", err)
	}
}

// TestAWSFigures has sessions from the stand-in for STS; the end-to-end tests run it with a real MinIO.
func TestAWSFigures(t *testing.T) {
	const key = "AKIABENCH"
	server := ststest.New(t, ststest.Options{
		Roles: []ststest.Role{{ARN: bench.AWSRole}}, Principals: []ststest.Principal{{AccessKeyID: key, ARN: "arn:aws:iam::123456789012:user/bench"}},
	})
	cfg := small(t, bench.PartAWS)
	cfg.MinIO = bench.MinIO{Address: server.URL, Region: ststest.Region, CredentialsFile: filepath.Join(t.TempDir(), "credentials")}
	if err := os.WriteFile(cfg.MinIO.CredentialsFile, []byte("[default]\naws_access_key_id = "+key+"\naws_secret_access_key = secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := bench.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range awsFigures() {
		if v, ok := report.Figure(name); !ok || v <= 0 {
			t.Errorf("%s = %v", name, v)
		}
	}
	data, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var told struct{ MinIO string }
	if err := json.Unmarshal(data, &told); err != nil || told.MinIO != "given" {
		t.Errorf("it does not say that the STS is somebody's: %s (%v)", data, err)
	}
	alike(t, server.Calls("AssumeRole"))
}

// alike checks that the bare calls and the broker's are of one kind, and that each of the broker's made a
// session of a decision of its own: none that should be made was kept.
func alike(t *testing.T, calls []ststest.Call) {
	t.Helper()
	decisions, bare := map[string]bool{}, 0
	first := calls[0] // is a bare one
	for _, c := range calls {
		if c.Policy != first.Policy || c.Duration.Round(time.Minute) != first.Duration || len(c.Tags) != len(first.Tags) || len(c.SourceIdentity) != len(first.SourceIdentity) {
			t.Fatalf("%+v is of another kind than %+v", c, first)
		}
		for name, value := range c.Tags {
			if drift := len(value) - len(first.Tags[name]); drift < -8 || drift > 8 {
				t.Fatalf("tag %s is %q, and %q elsewhere", name, value, first.Tags[name])
			}
		}
		if c.SessionName == first.SessionName {
			bare++
		}
		decisions[c.SessionName] = true
	}
	// Nothing but the bare client asks twice for the same.
	if bare < 2 || len(decisions)-1 != len(calls)-bare {
		t.Errorf("of %d calls %d were bare, and the others for %d decisions", len(calls), bare, len(decisions)-1)
	}
}

func awsFigures() []string {
	return []string{
		"aws_overhead_ratio", "aws_cached_ratio", "aws_down_exchange_ratio", "aws_minter_overhead_ratio", "aws_minter_cached_ratio", "compile_us", "aws_bare_rps", "aws_bare_p50_ms", "aws_bare_p99_ms",
		"aws_minter_rps", "aws_minter_p50_ms", "aws_minter_cached_rps",
		"aws_minted_rps", "aws_minted_p50_ms", "aws_minted_p99_ms", "aws_minted_loaded_rps", "aws_cached_rps", "aws_cached_p50_ms",
	}
}

func TestMinIOMissing(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg := small(t, bench.PartAWS)
	if _, err := bench.Run(t.Context(), cfg); !errors.Is(err, bench.ErrNoMinIO) || !strings.Contains(err.Error(), "--minio") {
		t.Errorf("without a MinIO: err = %v", err)
	}
	cfg.MinIO.Binary = "nowhere"
	if _, err := bench.Run(t.Context(), cfg); !errors.Is(err, bench.ErrNoMinIO) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("with one that is not there: err = %v", err)
	}
}

func TestOnePartAlone(t *testing.T) {
	report, err := bench.Run(t.Context(), small(t, bench.PartAuthorize))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Figures {
		if f.Part != bench.PartAuthorize {
			t.Errorf("%s of %s was measured too", f.Name, f.Part)
		}
	}
	if _, ok := report.Figure("authorize_ns"); !ok {
		t.Error("authorize_ns was not measured")
	}
}

func TestUnknownPart(t *testing.T) {
	if _, err := bench.Run(t.Context(), bench.Config{Only: "speed"}); !errors.Is(err, bench.ErrPart) {
		t.Errorf("err = %v", err)
	}
}

func TestGoals(t *testing.T) {
	for name, c := range map[string]struct {
		goal  bench.Goal
		value float64
		met   bool
	}{
		"as high as asked":        {bench.AtLeast(0.75), 0.75, true},
		"too low":                 {bench.AtLeast(0.75), 0.7499, false},
		"as low as asked":         {bench.AtMost(2), 2, true},
		"too high":                {bench.AtMost(2), 2.001, false},
		"some where none may be":  {bench.AtMost(0), 0.01, false},
		"none where none may be":  {bench.AtMost(0), 0, true},
		"anything without a goal": {bench.Goal{}, 1e9, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.goal.Met(c.value); got != c.met {
				t.Errorf("%v met by %v = %v", c.goal, c.value, got)
			}
		})
	}
}

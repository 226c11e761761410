package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/config"
)

// minimal is the shortest file that starts a broker.
const minimal = `issuer: https://writ.example.com
bundle: {dir: bundle}
identity:
  sources:
    - name: prod
      kind: workload
      issuer: https://k8s.example.com
      discovery: true
      audiences: [https://writ.example.com]
      subject_prefix: "k8s:prod:"
`

func parse(text string) (*config.Config, error) {
	environment := map[string]string{"CREDENTIALS": "/run/credentials", "EMPTY": ""}
	return config.Parse("writ.yaml", []byte(text), "/etc/writ", func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	})
}

func faultsOf(t *testing.T, err error) []config.Fault {
	t.Helper()
	faults, ok := errors.AsType[*config.FaultsError](err)
	if !ok {
		t.Fatalf("error is %v, want a *config.FaultsError", err)
	}
	return faults.Faults
}

func TestMinimalFileHasSafeDefaults(t *testing.T) {
	c, err := parse(minimal)
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"public on loopback":          c.Public.Address == "127.0.0.1:8443",
		"admin on loopback":           c.Admin.Address == "127.0.0.1:8444",
		"published before it signs":   c.Keys.Prepublish >= c.Keys.JWKSMaxAge,
		"published while tokens live": c.Keys.RetireAfter >= c.Tokens.MaxTTL+c.Tokens.Skew,
		"30 s of staleness":           c.Revocation.MaxStaleness == 30*time.Second,
		"no trusted proxy":            len(c.TrustedProxies) == 0,
		"checkpoints leave the disk":  c.Audit.Anchor.Log,
		"state under data_dir":        c.Store.Path == "/var/lib/writ/store.db",
		"root key under data_dir":     c.RootKeyFile == "/var/lib/writ/root.key",
		"bundle beside the file":      c.Bundle.Dir == "/etc/writ/bundle",
		"file remembered":             c.File() == "writ.yaml",
	} {
		if !ok {
			t.Errorf("%s: does not hold", name)
		}
	}
}

func TestEmptyFileNamesAllThatHasNoDefault(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n"} {
		_, err := parse(text)
		got := map[string]bool{}
		for _, f := range faultsOf(t, err) {
			got[f.Key] = true
		}
		for _, key := range []string{"issuer", "bundle.dir", "identity.sources"} {
			if !got[key] {
				t.Errorf("%q: no fault for %s", text, key)
			}
		}
		if len(got) != 3 {
			t.Errorf("%q: faults for %v, want three", text, got)
		}
	}
}

// TestAllFaultsAtOnce gives a file that is wrong in each way there is at the same
// time: reading and checking must both be complete.
func TestAllFaultsAtOnce(t *testing.T) {
	_, err := parse(`issuer: http://writ.example.com
isuer: x
bundle: {dir: bundle}
public:
  address: ":8443"
keys:
  prepublish: 5m
  retire_after: 10m
tokens: {default_ttl: soon}
log: {level: loud}
identity:
  sources:
    - name: prod
      kind: workload
      issuer: https://k8s.example.com
      discovery: true
      subject_prefix: "k8s:prod:"
`)
	want := []struct {
		line int
		key  string
	}{
		{1, "issuer"}, {2, "isuer"}, {4, "public.tls"}, {7, "keys.prepublish"}, {8, "keys.retire_after"},
		{9, "tokens.default_ttl"}, {10, "log.level"}, {13, "identity.sources[0].audiences"},
	}
	faults := faultsOf(t, err)
	for i, f := range faults {
		if i < len(want) && (f.Line != want[i].line || f.Key != want[i].key || f.File != "writ.yaml") {
			t.Errorf("fault %d is %v, want line %d, key %s", i, f, want[i].line, want[i].key)
		}
	}
	if len(faults) != len(want) {
		t.Errorf("%d faults, want %d:\n%v", len(faults), len(want), err)
	}
}

func TestExpansionIsForNamedFilesOnly(t *testing.T) {
	c, err := parse(minimal + "root_key_file: ${CREDENTIALS}/root\n")
	if err != nil {
		t.Fatal(err)
	}
	if c.RootKeyFile != "/run/credentials/root" {
		t.Errorf("root_key_file = %q", c.RootKeyFile)
	}
}

func TestProxiesAreMasked(t *testing.T) {
	c, err := parse(minimal + `trusted_proxies: ["10.1.2.3/8", "192.0.2.7", "2001:db8::1"]` + "\n")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range c.Proxies() {
		got = append(got, p.String())
	}
	if text := strings.Join(got, " "); text != "10.0.0.0/8 192.0.2.7/32 2001:db8::1/128" {
		t.Errorf("proxies are %s", text)
	}
}

func TestLoadSaysWhatCannotBeRead(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "absent.yaml"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v, want one that matches os.ErrNotExist", err)
	}
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(big); len(faultsOf(t, err)) != 1 {
		t.Errorf("error is %v, want one fault", err)
	}
}

func TestValidateNeedsNoFile(t *testing.T) {
	if faults := faultsOf(t, config.Default().Validate()); len(faults) != 3 {
		t.Errorf("faults of the bare defaults: %v", faults)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(minimal)
	f.Add("a: &a [*a]\n")
	f.Add("? {x: 1}\n: 2\n")
	f.Add("tokens: {max_bytes: 99999999999GiB}\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(text)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v with error %v", c, err)
		}
		if err != nil {
			for _, fault := range faultsOf(t, err) {
				if fault.File == "" || fault.Message == "" || fault.Line < 0 {
					t.Errorf("fault without place or message: %+v", fault)
				}
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Errorf("what Parse returned does not validate: %v", err)
		}
	})
}

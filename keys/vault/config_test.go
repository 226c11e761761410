package vault_test

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/keys/vault"
)

func complete() vault.Config {
	return vault.Config{
		Address: "https://vault.example:8200", Rings: []string{"tokens"}, SealKey: "writ-seal", SignKeys: "writ", KV: "secret",
		Login: vault.Login{Method: vault.MethodAppRole, RoleID: "role", SecretIDFile: "/run/secret-id"},
		Now:   time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

func TestConfigFaults(t *testing.T) {
	if _, err := vault.New(complete()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*vault.Config)
		want   string
	}{
		"no address":              {func(c *vault.Config) { c.Address = "" }, "https://host:port"},
		"an address with a path":  {func(c *vault.Config) { c.Address = "https://vault/v1" }, "https://host:port"},
		"a user in the address":   {func(c *vault.Config) { c.Address = "https://me:secret@vault" }, "https://host:port"},
		"plain http":              {func(c *vault.Config) { c.Address = "http://vault:8200" }, "in the clear"},
		"plain http to a name":    {func(c *vault.Config) { c.Address = "http://localhost:8200" }, "in the clear"},
		"another scheme":          {func(c *vault.Config) { c.Address = "unix://vault" }, "neither https nor http"},
		"no ring":                 {func(c *vault.Config) { c.Rings = nil }, "no ring"},
		"a ring with a path":      {func(c *vault.Config) { c.Rings = []string{"../tokens"} }, "part of a path"},
		"nothing to keep":         {func(c *vault.Config) { c.SealKey, c.SignKeys, c.KV = "", "", "" }, "nothing is kept here"},
		"a seal key with a glob":  {func(c *vault.Config) { c.SealKey = "seal*" }, "not the name of a key"},
		"sign keys with a quote":  {func(c *vault.Config) { c.SignKeys = `w"` }, "not the name of a key"},
		"a mount with a slash":    {func(c *vault.Config) { c.Transit = "transit/" }, "transit mount"},
		"a mount that climbs":     {func(c *vault.Config) { c.KV = "../sys" }, "kv mount"},
		"a kv path with a glob":   {func(c *vault.Config) { c.KVPath = "writ/*" }, "kv path"},
		"a negative bound":        {func(c *vault.Config) { c.QueueSize = -1 }, "negative"},
		"no clock":                {func(c *vault.Config) { c.Now = nil }, "clock and logger"},
		"no logger":               {func(c *vault.Config) { c.Logger = nil }, "clock and logger"},
		"an unknown login":        {func(c *vault.Config) { c.Login.Method = "ldap" }, `"ldap" is none of approle`},
		"approle without role":    {func(c *vault.Config) { c.Login.RoleID = "" }, "needs a role id"},
		"approle without secret":  {func(c *vault.Config) { c.Login.SecretIDFile = "" }, "needs a secret id file"},
		"kubernetes without role": {func(c *vault.Config) { c.Login = vault.Login{Method: vault.MethodKubernetes} }, "needs a role"},
		"jwt without file":        {func(c *vault.Config) { c.Login = vault.Login{Method: vault.MethodJWT} }, "needs a jwt file"},
		"token without file":      {func(c *vault.Config) { c.Login = vault.Login{Method: vault.MethodToken} }, "needs a token file"},
		"cert without key":        {func(c *vault.Config) { c.Login = vault.Login{Method: vault.MethodCert, CertFile: "x"} }, "needs a key file"},
		"a login mount that climbs": {func(c *vault.Config) { c.Login.Mount = "a/../b" },
			"login mount"},
		"a CA file that is missing": {func(c *vault.Config) { c.CAFile = "/nowhere/ca.pem" }, "/nowhere/ca.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := complete()
			c.change(&cfg)
			if _, err := vault.New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("New = %v, want %q in it", err, c.want)
			} else if strings.Contains(err.Error(), "secret@") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
	for name, change := range map[string]func(*vault.Config){
		"http to loopback":        func(c *vault.Config) { c.Address = "http://127.0.0.1:8200" },
		"http to loopback, IPv6":  func(c *vault.Config) { c.Address = "http://[::1]:8200" },
		"http where it is wanted": func(c *vault.Config) { c.Address, c.InsecureHTTP = "http://vault:8200", true },
		"a mount below another":   func(c *vault.Config) { c.Transit = "team/transit" },
	} {
		cfg := complete()
		change(&cfg)
		if _, err := vault.New(cfg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPartsThatAreNotConfigured(t *testing.T) {
	cfg := complete()
	cfg.SealKey, cfg.KV = "", ""
	c, err := vault.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Signing(); err != nil {
		t.Error(err)
	}
	if _, err := c.Sealing(); err == nil {
		t.Error("there is a custody without its key")
	}
	if _, err := c.Anchor(); err == nil {
		t.Error("there is an anchor without its mount")
	}
}

// The printed policy is a contract with operators: a change of it is one of theirs.
func TestPolicyHCL(t *testing.T) {
	want, err := os.ReadFile("testdata/policy.hcl")
	if err != nil {
		t.Fatal(err)
	}
	got := vault.PolicyHCL(complete())
	if got != string(want) {
		t.Errorf("the policy is\n%s", got)
	}
	cfg := complete()
	cfg.SealKey, cfg.KV = "", ""
	if got := vault.PolicyHCL(cfg); strings.Contains(got, "encrypt") || strings.Contains(got, "secret/") {
		t.Errorf("it grants what is not used:\n%s", got)
	}
	cfg = complete()
	cfg.SignKeys, cfg.Transit = "", "team/transit"
	if got := vault.PolicyHCL(cfg); strings.Contains(got, "/sign/") || !strings.Contains(got, `path "team/transit/encrypt/writ-seal"`) {
		t.Errorf("it grants\n%s", got)
	}
}

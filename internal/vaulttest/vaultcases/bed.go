// Package vaultcases holds a broker's dealings with Vault against a Vault: the custody
// suite, every way to log in, and what can be wrong. The same cases run against the
// stand-in and against the real one.
package vaultcases

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/vaulttest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/custodytest"
	"github.com/writbroker/writ/keys/vault"
	"github.com/writbroker/writ/token"
)

// Bed is an unsealed Vault that is the test's own.
type Bed struct {
	Admin     *vaulttest.Admin
	CAFile    string // of an https one
	UnsealKey string
}

// Fake is a bed on the stand-in.
func Fake(s *vaulttest.Server) *Bed {
	return &Bed{Admin: s.Admin(), CAFile: s.CAFile, UnsealKey: s.UnsealKey}
}

// Seal seals it, and Unseal undoes that.
func (b *Bed) Seal(t testing.TB) {
	t.Helper()
	b.Admin.Write(t, "sys/seal", map[string]any{})
}

// Unseal returns when it answers again.
func (b *Bed) Unseal(t testing.TB) {
	t.Helper()
	b.Admin.Write(t, "sys/unseal", map[string]any{"key": b.UnsealKey})
	Eventually(t, func() error {
		_, err := b.Admin.Call(t.Context(), http.MethodGet, "auth/token/lookup-self", nil)
		return err
	})
}

// Deployment is what one broker has in Vault: its own mounts, a policy and an AppRole
// with that policy and no other. Deployments in one bed do not meet.
type Deployment struct {
	*Bed

	Config   vault.Config // complete; change a copy before New
	SecretID string
	Policy   string // its name
	Role     string

	mu     sync.Mutex
	counts map[string]int // of calls that ended, by op and vault.What
}

const ring = "tokens"

// Deploy makes one.
func (b *Bed) Deploy(t testing.TB) *Deployment {
	t.Helper()
	id := strings.ToLower(rand.Text()[:8])
	d := &Deployment{Bed: b, Policy: "broker-" + id, Role: "broker", counts: map[string]int{}}
	d.Config = vault.Config{
		Address: b.Admin.Address, CAFile: b.CAFile, Rings: []string{ring, "others"},
		Transit: "transit-" + id, SealKey: "writ-seal", SignKeys: "writ", KV: "kv-" + id, KVPath: "writ/anchor",
		ProbeEvery: 20 * time.Millisecond, Timeout: time.Minute, // none that a test waits for
		Now: time.Now, Logger: slog.New(slog.DiscardHandler), Observe: d.observe,
		Login: vault.Login{Method: vault.MethodAppRole, Mount: "approle-" + id},
	}
	b.Admin.Write(t, "sys/mounts/"+d.Config.Transit, map[string]any{"type": "transit"})
	b.Admin.Write(t, "sys/mounts/"+d.Config.KV, map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	b.Admin.Write(t, d.Config.Transit+"/keys/writ-seal", map[string]any{"type": "aes256-gcm96"})
	// A KV that was just mounted upgrades itself, and answers only once that is done.
	Eventually(t, func() error {
		_, err := b.Admin.Call(t.Context(), http.MethodPost, d.Config.KV+"/data/ready", map[string]any{"data": map[string]any{}})
		return err
	})
	d.SetPolicy(t, vault.PolicyHCL(d.Config))
	d.appRole(t)
	return d
}

// SetPolicy replaces the broker's policy.
func (d *Deployment) SetPolicy(t testing.TB, hcl string) {
	t.Helper()
	d.Admin.Write(t, "sys/policies/acl/"+d.Policy, map[string]any{"policy": hcl})
}

// tokenRules are what a login's role says of its tokens.
func (d *Deployment) tokenRules(extra map[string]any) map[string]any {
	rules := map[string]any{"token_policies": []string{d.Policy}, "token_no_default_policy": true, "token_ttl": "3600s", "token_max_ttl": "7200s"}
	maps.Copy(rules, extra)
	return rules
}

func (d *Deployment) appRole(t testing.TB) {
	t.Helper()
	login := &d.Config.Login
	d.Admin.Write(t, "sys/auth/"+login.Mount, map[string]any{"type": "approle"})
	role := "auth/" + login.Mount + "/role/" + d.Role
	d.Admin.Write(t, role, d.tokenRules(nil))
	login.RoleID, _ = d.Admin.Read(t, role+"/role-id")["role_id"].(string)
	d.SecretID, _ = d.Admin.Write(t, role+"/secret-id", map[string]any{})["secret_id"].(string)
	login.SecretIDFile = File(t, d.SecretID)
}

// File writes a file that holds a secret.
func File(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (d *Deployment) observe(op string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[op+" "+vault.What(err)]++
}

// Count says how many calls ended so: "login ok", "decrypt sealed".
func (d *Deployment) Count(end string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts[end]
}

// Client is a client of a configuration, closed with the test.
func Client(t testing.TB, cfg vault.Config) *vault.Client {
	t.Helper()
	c, err := vault.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test may have ended its token, or the Vault.
		_ = c.Close(context.Background())
	})
	return c
}

// Sealing is the custody of a configuration that seals.
func Sealing(t testing.TB, cfg vault.Config) *vault.Sealing {
	t.Helper()
	custody, err := Client(t, cfg).Sealing()
	if err != nil {
		t.Fatal(err)
	}
	return custody
}

// Signing is the custody of a configuration where Vault signs.
func Signing(t testing.TB, cfg vault.Config) *vault.Signing {
	t.Helper()
	custody, err := Client(t, cfg).Signing()
	if err != nil {
		t.Fatal(err)
	}
	return custody
}

// Custodies runs the custody suite on both, as a broker with the least policy.
func Custodies(t *testing.T, bed func(t *testing.T) *Bed) {
	t.Helper()
	factory := func(custody func(testing.TB, vault.Config) keys.Custody, remote bool) custodytest.Factory {
		return func(t *testing.T) *custodytest.Backend {
			b := bed(t)
			d, stranger := b.Deploy(t), b.Deploy(t)
			return &custodytest.Backend{
				Replica:    func(t *testing.T) keys.Custody { return custody(t, d.Config) },
				Foreign:    func(t *testing.T) keys.Custody { return custody(t, stranger.Config) },
				Algorithms: []string{token.ES256, token.RS256, token.Ed25519},
				Secrets:    []string{d.SecretID, b.Admin.Token},
				Refused:    vault.ErrBinding,
				Outage: func(t *testing.T) func() {
					b.Seal(t)
					return func() { b.Unseal(t) }
				},
				SignsRemotely: remote,
			}
		}
	}
	t.Run("vault", func(t *testing.T) {
		custodytest.Run(t, factory(func(t testing.TB, cfg vault.Config) keys.Custody { return Sealing(t, cfg) }, false))
	})
	t.Run("vault-transit", func(t *testing.T) {
		custodytest.Run(t, factory(func(t testing.TB, cfg vault.Config) keys.Custody { return Signing(t, cfg) }, true))
	})
}

// Eventually tries until it works; it asserts that it comes, not how soon.
func Eventually(t testing.TB, try func() error) {
	t.Helper()
	const patience = 60 * time.Second
	err := errors.New("not tried")
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("it did not come: %v", err)
}

// is fails the test unless err is of a kind, comes with a call, and says whether it may pass.
func is(t testing.TB, err, kind error) *vault.CallError {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want %v", err, kind)
	}
	failed, ok := errors.AsType[*vault.CallError](err)
	if !ok {
		t.Fatalf("%v says not where", err)
	}
	return failed
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

// made is a key as it stands in a ring.
func made(t testing.TB, c keys.Custody, alg string) keys.KeyInfo {
	t.Helper()
	const born = 1
	m, err := c.Generate(t.Context(), ring, alg, born)
	must(t, err)
	public, err := token.Key{ID: m.ID, Algorithm: alg, Public: m.Public}.MarshalJSON()
	must(t, err)
	return keys.KeyInfo{ID: m.ID, Algorithm: alg, Public: public, Sealed: m.Sealed, Custody: c.Name(), Born: born}
}

// works makes, opens and uses a key.
func works(t testing.TB, c keys.Custody) {
	t.Helper()
	k := made(t, c, token.ES256)
	signer, err := c.Open(t.Context(), ring, k)
	must(t, err)
	must(t, signs(t, signer, k))
}

func signs(t testing.TB, s token.Signer, k keys.KeyInfo) error {
	t.Helper()
	raw, err := token.Sign(t.Context(), token.TypeAccessToken, []byte("{}"), s)
	if err != nil {
		return err
	}
	unverified, err := token.Parse(raw)
	must(t, err)
	key, err := k.Key()
	must(t, err)
	_, err = unverified.Verify(key)
	return err
}

package vaultcases

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/vault"
	"github.com/writbroker/writ/token"
)

// Run runs all cases but the custody suite.
func Run(t *testing.T, bed func(t *testing.T) *Bed) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*testing.T, *Deployment)
	}{
		{"the least policy is enough, and allows no more", leastPolicy},
		{"a wrapped secret id opens once", wrappedSecretID},
		{"a wrapping token of something else is refused", wrappedOther},
		{"a secret id that Vault does not know", unknownSecretID},
		{"jwt", jwtLogin},
		{"a token from a file", tokenFile},
		{"a token that is revoked is replaced by one login", revokedToken},
		{"a token is replaced before its end", shortToken},
		{"sealed in the middle", sealedInTheMiddle},
		{"wrong mounts", wrongMounts},
		{"permission denied on one path", deniedPath},
		{"a key that is not there", missingKey},
		{"a key of the wrong type", wrongType},
		{"a key that can be exported", exportable},
		{"the version is pinned", pinnedVersion},
		{"the anchor only rises", anchorRises},
		{"an anchor that was deleted", anchorDeleted},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, bed(t).Deploy(t)) })
	}
}

func leastPolicy(t *testing.T, d *Deployment) {
	sealing, signing := Sealing(t, d.Config), Signing(t, d.Config)
	works(t, sealing)
	works(t, signing)
	anchor, err := Client(t, d.Config).Anchor()
	must(t, err)
	must(t, anchor.Raise(t.Context(), ring, 3))

	broker := *d.Admin
	broker.Token = d.Admin.NewToken(t, 60e9, d.Policy)
	key := d.Config.Transit + "/keys/writ-tokens-es256"
	for _, c := range []struct {
		what, method, path string
		body               any
	}{
		{"export a key", http.MethodGet, d.Config.Transit + "/export/signing-key/writ-tokens-es256", nil},
		{"let a key be exported", http.MethodPost, key + "/config", map[string]any{"exportable": true}},
		{"make a key that can be", http.MethodPost, d.Config.Transit + "/keys/writ-others-es256", map[string]any{"type": "ecdsa-p256", "exportable": true}},
		{"make a key of another type", http.MethodPost, d.Config.Transit + "/keys/writ-others-es256", map[string]any{"type": "aes256-gcm96"}},
		{"delete a key", http.MethodDelete, key, nil},
		{"delete the anchor", http.MethodDelete, d.Config.KV + "/data/writ/anchor/tokens", nil},
		{"forget the anchor", http.MethodDelete, d.Config.KV + "/metadata/writ/anchor/tokens", nil},
		{"rotate the key that seals", http.MethodPost, d.Config.Transit + "/keys/writ-seal/rotate", map[string]any{}},
		{"change policies", http.MethodPost, "sys/policies/acl/" + d.Policy, map[string]any{"policy": `path "*" { capabilities = ["sudo"] }`}},
		{"make tokens", http.MethodPost, "auth/token/create", map[string]any{}},
		{"read another ring's key", http.MethodGet, d.Config.Transit + "/keys/writ-strangers-es256", nil},
	} {
		if _, err := broker.Call(t.Context(), c.method, c.path, c.body); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("it may %s: %v", c.what, err)
		}
	}
}

// revokedToken ends the broker's token behind its back.
func revokedToken(t *testing.T, d *Deployment) {
	c := Sealing(t, d.Config)
	k := made(t, c, token.ES256)
	if n := d.Count("login ok"); n != 1 {
		t.Fatalf("%d logins", n)
	}
	d.RevokeTokens(t)
	const callers = 16
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			if _, err := c.Open(t.Context(), ring, k); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := d.Count("login ok"); n != 2 {
		t.Errorf("%d callers that found the token gone made %d logins, want 1 besides the first", callers, n-1)
	}
}

// RevokeTokens ends every token that came from the deployment's login.
func (d *Deployment) RevokeTokens(t testing.TB) {
	t.Helper()
	_, err := d.Admin.Call(t.Context(), http.MethodPost, "sys/leases/revoke-prefix/auth/"+d.Config.Login.Mount, map[string]any{})
	must(t, err)
}

func sealedInTheMiddle(t *testing.T, d *Deployment) {
	sealing, signing := Sealing(t, d.Config), Signing(t, d.Config)
	k, remote := made(t, sealing, token.ES256), made(t, signing, token.ES256)
	local, err := sealing.Open(t.Context(), ring, k)
	must(t, err)
	signer, err := signing.Open(t.Context(), ring, remote)
	must(t, err)
	d.Seal(t)
	is(t, signs(t, signer, remote), vault.ErrSealed)
	_, err = sealing.Open(t.Context(), ring, k)
	is(t, err, vault.ErrSealed)
	if !errors.Is(err, keys.ErrUnavailable) {
		t.Errorf("%v does not say that it may pass", err)
	}
	must(t, signs(t, local, k))
	d.Unseal(t)
	Eventually(t, func() error { return signs(t, signer, remote) })
	Eventually(t, func() error { _, err := sealing.Open(t.Context(), ring, k); return err })
	if d.Count("sign sealed") == 0 || d.Count("decrypt sealed") == 0 {
		t.Errorf("the metric missed it: %v", d.counts)
	}
}

func wrongMounts(t *testing.T, d *Deployment) {
	d.Admin.Write(t, "sys/mounts/old-"+d.Config.KV, map[string]any{"type": "kv"})
	for name, change := range map[string]func(*vault.Config){
		"nothing is mounted":        func(c *vault.Config) { c.Transit, c.KV = "nowhere", "nowhere" },
		"another engine is mounted": func(c *vault.Config) { c.Transit, c.KV = c.KV, c.Transit },
		"a kv of version 1":         func(c *vault.Config) { c.Transit, c.KV = "old-"+c.KV, "old-"+c.KV },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := d.Config
			change(&cfg)
			d.SetPolicy(t, vault.PolicyHCL(cfg))
			anchor, err := Client(t, cfg).Anchor()
			must(t, err)
			is(t, anchor.Raise(t.Context(), ring, 1), vault.ErrMount)
			if name != "nothing is mounted" {
				return // what a stranger says of a key that it does not have is its own affair
			}
			_, err = Sealing(t, cfg).Generate(t.Context(), ring, token.ES256, 1)
			is(t, err, vault.ErrMount)
			_, err = Signing(t, cfg).Generate(t.Context(), ring, token.ES256, 1)
			if failed := is(t, err, vault.ErrMount); !strings.HasPrefix(failed.Path, "nowhere/") {
				t.Errorf("it names %s", failed.Path)
			}
		})
	}
}

func deniedPath(t *testing.T, d *Deployment) {
	c := Sealing(t, d.Config)
	k := made(t, c, token.ES256)
	hcl := vault.PolicyHCL(d.Config)
	d.SetPolicy(t, strings.Replace(hcl, d.Config.Transit+"/decrypt/writ-seal", d.Config.Transit+"/decrypt/another", 1))
	_, err := c.Open(t.Context(), ring, k)
	failed := is(t, err, vault.ErrDenied)
	if want := d.Config.Transit + "/decrypt/writ-seal"; failed.Path != want || !strings.Contains(err.Error(), want) {
		t.Errorf("it names %s in %q, want %s", failed.Path, err, want)
	}
	if errors.Is(err, keys.ErrUnavailable) {
		t.Error("it is told as something that passes")
	}
	if d.Count("decrypt denied") == 0 || d.Count("login ok") != 1 {
		t.Errorf("calls: %v; a denial is no reason to log in anew", d.counts)
	}
	works(t, Signing(t, d.Config)) // the other paths are as they were
	d.SetPolicy(t, hcl)
	_, err = c.Open(t.Context(), ring, k)
	must(t, err)
}

func missingKey(t *testing.T, d *Deployment) {
	cfg := d.Config
	cfg.SealKey = "nobody-made-it"
	d.SetPolicy(t, vault.PolicyHCL(cfg))
	_, err := Sealing(t, cfg).Generate(t.Context(), ring, token.ES256, 1)
	is(t, err, vault.ErrNotFound)
	if !strings.Contains(err.Error(), "vault write -f "+cfg.Transit+"/keys/nobody-made-it") {
		t.Errorf("%v does not say how to make it", err)
	}
}

func wrongType(t *testing.T, d *Deployment) {
	for name, body := range map[string]map[string]any{
		"signs": {"type": "ecdsa-p256"}, "derived": {"type": "aes256-gcm96", "derived": true},
	} {
		cfg := d.Config
		cfg.SealKey = name
		d.SetPolicy(t, vault.PolicyHCL(cfg))
		d.Admin.Write(t, cfg.Transit+"/keys/"+name, body)
		c := Sealing(t, cfg)
		_, err := c.Generate(t.Context(), ring, token.ES256, 1)
		is(t, err, vault.ErrKeyType)
		_, err = c.Open(t.Context(), ring, keys.KeyInfo{ID: "x", Algorithm: token.ES256, Sealed: append([]byte{1, 0, 0, 0, 1}, make([]byte, 40)...)})
		is(t, err, vault.ErrKeyType)
	}
	d.SetPolicy(t, vault.PolicyHCL(d.Config))
	d.Admin.Write(t, d.Config.Transit+"/keys/writ-tokens-es256", map[string]any{"type": "ed25519"})
	_, err := Signing(t, d.Config).Generate(t.Context(), ring, token.ES256, 1)
	if failed := is(t, err, vault.ErrKeyType); !strings.Contains(failed.Detail, "ed25519") {
		t.Errorf("it does not say of what type it is: %v", err)
	}
	if _, err := Signing(t, d.Config).Generate(t.Context(), ring, token.Ed25519, 1); err != nil {
		t.Errorf("another algorithm's key: %v", err)
	}
}

func exportable(t *testing.T, d *Deployment) {
	c := Signing(t, d.Config)
	k := made(t, c, token.ES256)
	_, err := c.Open(t.Context(), ring, k)
	must(t, err)
	d.Admin.Write(t, d.Config.Transit+"/keys/writ-tokens-es256/config", map[string]any{"exportable": true})
	_, err = c.Open(t.Context(), ring, k)
	is(t, err, vault.ErrKeyType)
	_, err = c.Generate(t.Context(), ring, token.ES256, 1)
	is(t, err, vault.ErrKeyType)
}

func pinnedVersion(t *testing.T, d *Deployment) {
	c := Signing(t, d.Config)
	for _, alg := range []string{token.ES256, token.RS256, token.Ed25519} {
		first := made(t, c, alg)
		signer, err := c.Open(t.Context(), ring, first)
		must(t, err)
		second := made(t, c, alg)
		if first.ID == second.ID {
			t.Fatal("the second key is the first")
		}
		must(t, signs(t, signer, first))
		if signs(t, signer, second) == nil {
			t.Error("it signs with the version that came after")
		}
	}
}

func anchorRises(t *testing.T, d *Deployment) {
	anchor, err := Client(t, d.Config).Anchor()
	must(t, err)
	at := func(want uint64) {
		t.Helper()
		if got, err := anchor.Version(t.Context(), ring); err != nil || got != want {
			t.Fatalf("Version = %d, %v, want %d", got, err, want)
		}
	}
	at(0)
	for _, c := range []struct{ raise, want uint64 }{{3, 3}, {2, 3}, {3, 3}, {7, 7}} {
		must(t, anchor.Raise(t.Context(), ring, c.raise))
		at(c.want)
	}
	const most = 8
	var wait sync.WaitGroup
	for version := range uint64(most) {
		wait.Go(func() {
			other, err := Client(t, d.Config).Anchor()
			if err == nil {
				err = other.Raise(t.Context(), ring, 20+version)
			}
			// Against so many others one may give up; the highest of those that did not, counts.
			if err != nil && !errors.Is(err, vault.ErrRefused) {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	must(t, anchor.Raise(t.Context(), ring, 20+most))
	at(20 + most)
	if got, err := anchor.Version(t.Context(), "others"); err != nil || got != 0 {
		t.Errorf("another ring is at %d, %v", got, err)
	}
	if _, err := anchor.Version(t.Context(), "../tokens"); !errors.Is(err, vault.ErrBinding) {
		t.Errorf("a ring that is not kept here: %v", err)
	}
}

func anchorDeleted(t *testing.T, d *Deployment) {
	anchor, err := Client(t, d.Config).Anchor()
	must(t, err)
	for _, kind := range []string{"data", "metadata"} {
		must(t, anchor.Raise(t.Context(), ring, 5))
		d.Admin.Delete(t, d.Config.KV+"/"+kind+"/"+d.Config.KVPath+"/"+ring)
		if got, err := anchor.Version(t.Context(), ring); err != nil || got != 0 {
			t.Errorf("%s deleted: Version = %d, %v", kind, got, err)
		}
		must(t, anchor.Raise(t.Context(), ring, 4))
		if got, err := anchor.Version(t.Context(), ring); err != nil || got != 4 {
			t.Errorf("%s deleted, and raised again: Version = %d, %v", kind, got, err)
		}
	}
}

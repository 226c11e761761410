package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/keys/vault"
)

const (
	vaultReady = 10 * time.Second
	transitAt  = "transit"
	// signKeys is what the names of keys that sign begin with.
	signKeys = "writ"
)

// vaultPlace is what one broker has in a Vault: its own mounts, and a policy that allows what
// `writ keys vault-policy` prints, and no more.
type vaultPlace struct {
	server   *vaultServer
	settings config.Vault
	policy   string
	dir      string
}

// place makes one, with a token for the broker in a file below dir.
func (s *vaultServer) place(ctx context.Context, dir string) (*vaultPlace, error) {
	id := "writ-bench-" + strings.ToLower(rand.Text()[:8])
	p := &vaultPlace{server: s, policy: id, dir: dir, settings: config.Vault{
		Address: s.address, TransitMount: id + "-" + transitAt, SealKey: "writ-seal", SignKeys: signKeys, KVMount: id + "-kv",
		Login: config.VaultLogin{Method: vault.MethodToken, TokenFile: filepath.Join(dir, "vault-token")},
	}}
	if err := p.prepare(ctx); err != nil {
		return nil, errors.Join(err, p.remove(ctx))
	}
	return p, nil
}

func (p *vaultPlace) prepare(ctx context.Context) error {
	type object map[string]any
	for _, call := range []struct {
		path string
		body object
	}{
		{"sys/mounts/" + p.settings.TransitMount, object{"type": "transit"}},
		{"sys/mounts/" + p.settings.KVMount, object{"type": "kv", "options": map[string]string{"version": "2"}}},
		{p.settings.TransitMount + "/keys/" + p.settings.SealKey, object{"type": "aes256-gcm96"}},
		{"sys/policies/acl/" + p.policy, object{"policy": vault.PolicyHCL(p.config())}},
	} {
		if err := p.server.call(ctx, http.MethodPost, call.path, call.body, nil); err != nil {
			return err
		}
	}
	// A KV that was just mounted upgrades itself, and answers only once that is done.
	ready, cancel := context.WithTimeout(ctx, vaultReady)
	defer cancel()
	for {
		err := p.server.call(ready, http.MethodPost, p.settings.KVMount+"/data/ready", object{"data": object{}}, nil)
		if err == nil {
			break
		}
		if pause(ready, 10*time.Millisecond) != nil {
			return err
		}
	}
	token, err := p.token(ctx)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.settings.Login.TokenFile, []byte(token.Reveal()), 0o600); err != nil {
		return fmt.Errorf("writing token for Vault: %w", err)
	}
	return nil
}

// token makes a token of the broker's policy alone.
func (p *vaultPlace) token(ctx context.Context) (client.Secret, error) {
	var made struct {
		Auth struct {
			Token client.Secret `json:"client_token"`
		} `json:"auth"`
	}
	err := p.server.call(ctx, http.MethodPost, "auth/token/create",
		map[string]any{"policies": []string{p.policy}, "no_default_policy": true, "no_parent": true, "ttl": "12h"}, &made)
	return made.Auth.Token, err
}

// remove undoes all.
func (p *vaultPlace) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), vaultCall)
	defer cancel()
	var errs []error
	for _, path := range []string{"sys/mounts/" + p.settings.TransitMount, "sys/mounts/" + p.settings.KVMount, "sys/policies/acl/" + p.policy} {
		errs = append(errs, p.server.call(ctx, http.MethodDelete, path, nil, nil))
	}
	return errors.Join(errs...)
}

// keys is the broker's configuration of keys that are in such custody.
func (p *vaultPlace) keys(custody string) string {
	v := p.settings
	return fmt.Sprintf("keys: {custody: %s, vault: {address: %q, login: {method: %s, token_file: %q}, transit_mount: %q, seal_key: %q, sign_keys: %q, kv_mount: %q}}\n",
		custody, v.Address, v.Login.Method, v.Login.TokenFile, v.TransitMount, v.SealKey, v.SignKeys, v.KVMount)
}

// config is how a broker that is configured so calls Vault.
func (p *vaultPlace) config() vault.Config {
	cfg := app.VaultConfig(&config.Config{Keys: config.Keys{Vault: p.settings}})
	cfg.Now, cfg.Logger = time.Now, slog.New(slog.DiscardHandler)
	return cfg
}

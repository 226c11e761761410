package vaultcases

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/writbroker/writ/keys/vault"
	"github.com/writbroker/writ/token"
)

func (d *Deployment) rolePath() string { return "auth/" + d.Config.Login.Mount + "/role/" + d.Role }

func wrappedSecretID(t *testing.T, d *Deployment) {
	cfg := d.Config
	cfg.Login.Wrapped = true
	cfg.Login.SecretIDFile = File(t, d.Admin.Wrapped(t, d.rolePath()+"/secret-id"))
	c := Sealing(t, cfg)
	works(t, c)
	d.RevokeTokens(t)
	works(t, c) // the secret id is kept for the next login
	if n := d.Count("login ok"); n != 2 {
		t.Errorf("%d logins", n)
	}
	_, err := Sealing(t, cfg).Generate(t.Context(), ring, token.ES256, 1) // as after a restart
	is(t, err, vault.ErrUnwrap)
	if d.Count("login unwrap") == 0 {
		t.Errorf("the metric missed it: %v", d.counts)
	}
	must(t, os.WriteFile(cfg.Login.SecretIDFile, []byte(d.Admin.Wrapped(t, d.rolePath()+"/secret-id")), 0o600))
	works(t, Sealing(t, cfg))
}

// wrappedOther is what somebody can do who took the secret id out and wrapped it again.
func wrappedOther(t *testing.T, d *Deployment) {
	cfg := d.Config
	cfg.Login.Wrapped = true
	cfg.Login.SecretIDFile = File(t, d.Admin.Wrapped(t, "auth/token/create"))
	_, err := Sealing(t, cfg).Generate(t.Context(), ring, token.ES256, 1)
	if failed := is(t, err, vault.ErrUnwrap); !strings.Contains(failed.Detail, "auth/token/create") {
		t.Errorf("it does not say where it was wrapped: %v", err)
	}
}

func unknownSecretID(t *testing.T, d *Deployment) {
	cfg := d.Config
	cfg.Login.SecretIDFile = File(t, "7b0a8f2e-0000-4000-8000-000000000000")
	c := Sealing(t, cfg)
	for range 3 {
		_, err := c.Generate(t.Context(), ring, token.ES256, 1)
		failed := is(t, err, vault.ErrLogin)
		if strings.Contains(err.Error(), "7b0a8f2e") || failed.Path != "auth/"+cfg.Login.Mount+"/login" {
			t.Errorf("the error is %v", err)
		}
	}
	must(t, os.WriteFile(cfg.Login.SecretIDFile, []byte(d.SecretID), 0o600))
	Eventually(t, func() error { _, err := c.Generate(t.Context(), ring, token.ES256, 1); return err })

	cfg.Login.Mount = "not-mounted"
	_, err := Sealing(t, cfg).Generate(t.Context(), ring, token.ES256, 1)
	is(t, err, vault.ErrLogin)
}

// Issuer signs the JWTs that a workload logs in with.
type Issuer struct{ key *ecdsa.PrivateKey }

// NewIssuer makes one.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return &Issuer{key: key}
}

// PEM is its public key.
func (i *Issuer) PEM(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(i.key.Public())
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Sign makes a JWT that is good for an hour.
func (i *Issuer) Sign(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	all := jwt.MapClaims{"sub": "broker", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	raw, err := jwt.NewWithClaims(jwt.SigningMethodES256, all).SignedString(i.key)
	must(t, err)
	return raw
}

func jwtLogin(t *testing.T, d *Deployment) {
	issuer := NewIssuer(t)
	mount := "jwt-" + d.Policy
	d.Admin.Write(t, "sys/auth/"+mount, map[string]any{"type": "jwt"})
	d.Admin.Write(t, "auth/"+mount+"/config", map[string]any{"jwt_validation_pubkeys": []string{issuer.PEM(t)}})
	d.Admin.Write(t, "auth/"+mount+"/role/writ", d.tokenRules(map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{"vault"},
	}))
	cfg := d.Config
	cfg.Login = vault.Login{
		Method: vault.MethodJWT, Mount: mount, Role: "writ", JWTFile: File(t, issuer.Sign(t, jwt.MapClaims{"aud": "vault"})),
	}
	works(t, Sealing(t, cfg))
	for name, raw := range map[string]string{
		"another audience": issuer.Sign(t, jwt.MapClaims{"aud": "elsewhere"}),
		"another issuer":   NewIssuer(t).Sign(t, jwt.MapClaims{"aud": "vault"}),
		"an expired one":   issuer.Sign(t, jwt.MapClaims{"aud": "vault", "exp": time.Now().Add(-time.Hour).Unix()}),
		"no jwt":           "x",
	} {
		cfg.Login.JWTFile = File(t, raw)
		_, err := Sealing(t, cfg).Generate(t.Context(), ring, token.ES256, 1)
		is(t, err, vault.ErrLogin)
		if strings.Contains(err.Error(), raw) && name != "no jwt" {
			t.Errorf("%s: the error shows it", name)
		}
	}
	cfg.Login.JWTFile = cfg.Login.JWTFile + ".gone"
	_, err := Sealing(t, cfg).Generate(t.Context(), ring, token.ES256, 1)
	if is(t, err, vault.ErrLogin); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}
}

func tokenFile(t *testing.T, d *Deployment) {
	cfg := d.Config
	first := d.Admin.NewToken(t, time.Hour, d.Policy)
	cfg.Login = vault.Login{Method: vault.MethodToken, TokenFile: File(t, first)}
	c := Sealing(t, cfg)
	works(t, c)
	d.Admin.Write(t, "auth/token/revoke", map[string]any{"token": first})
	_, err := c.Generate(t.Context(), ring, token.ES256, 1)
	is(t, err, vault.ErrToken)
	if strings.Contains(err.Error(), first) || !strings.Contains(err.Error(), cfg.Login.TokenFile) {
		t.Errorf("the error is %v", err)
	}
	must(t, os.WriteFile(cfg.Login.TokenFile, []byte(d.Admin.NewToken(t, time.Hour, d.Policy)), 0o600))
	Eventually(t, func() error { _, err := c.Generate(t.Context(), ring, token.ES256, 1); return err })
}

// shortToken has tokens end every few seconds, and no call see it.
func shortToken(t *testing.T, d *Deployment) {
	d.Admin.Write(t, d.rolePath(), d.tokenRules(map[string]any{"token_ttl": "2s", "token_max_ttl": "3s"}))
	client := Client(t, d.Config)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { must(t, client.Run(ctx)) })
	defer running.Wait()
	defer cancel()
	c, err := client.Sealing()
	must(t, err)
	k := made(t, c, token.ES256)
	Eventually(t, func() error {
		if _, err := c.Open(ctx, ring, k); err != nil {
			t.Fatalf("a call saw a token end: %v", err)
		}
		if d.Count("login ok") < 3 || d.Count("renew ok") == 0 {
			return errors.New("not enough logins and renewals yet")
		}
		return nil
	})
}

package vault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/writbroker/writ/internal/vaulttest"
	"github.com/writbroker/writ/internal/vaulttest/vaultcases"
	"github.com/writbroker/writ/keys/vault"
)

func TestKubernetesLogin(t *testing.T) {
	_, d := deploy(t)
	issuer := vaultcases.NewIssuer(t)
	d.Admin.Write(t, "sys/auth/kubernetes", map[string]any{"type": "kubernetes"})
	d.Admin.Write(t, "auth/kubernetes/config", map[string]any{"pem_keys": []string{issuer.PEM(t)}})
	d.Admin.Write(t, "auth/kubernetes/role/writ", map[string]any{
		"token_policies": []string{d.Policy}, "bound_service_account_names": []string{"broker"}, "token_ttl": "60s",
	})
	account := func(name string) string {
		return issuer.Sign(t, jwt.MapClaims{"kubernetes.io": map[string]any{"serviceaccount": map[string]string{"name": name}}})
	}
	cfg := d.Config
	cfg.Login = vault.Login{Method: vault.MethodKubernetes, Role: "writ", JWTFile: vaultcases.File(t, account("broker"))}
	if err := generate(vaultcases.Sealing(t, cfg)); err != nil {
		t.Error(err)
	}
	cfg.Login.JWTFile = vaultcases.File(t, account("stranger"))
	if err := generate(vaultcases.Sealing(t, cfg)); !errors.Is(err, vault.ErrLogin) {
		t.Errorf("another service account: %v", err)
	}
}

func TestCertLoginOverTLS(t *testing.T) {
	_, d := deploy(t, vaulttest.TLS())
	vaultcases.CertLogin(t, d)
}

// Of a login that is refused, not every call makes another.
func TestARefusedLoginIsNotRepeatedByEveryCall(t *testing.T) {
	s, d := deploy(t)
	cfg := d.Config
	cfg.Login.SecretIDFile = vaultcases.File(t, "wrong")
	now := time.Now()
	cfg.Now, cfg.ProbeEvery = func() time.Time { return now }, time.Minute
	custody := vaultcases.Sealing(t, cfg)
	for range 10 {
		if err := generate(custody); !errors.Is(err, vault.ErrLogin) {
			t.Fatalf("Generate = %v", err)
		}
	}
	if n := s.Count("/login"); n != 1 {
		t.Errorf("10 calls made %d logins", n)
	}
	now = now.Add(2 * time.Minute)
	if err := generate(custody); !errors.Is(err, vault.ErrLogin) || s.Count("/login") != 2 {
		t.Errorf("later: %v after %d logins", err, s.Count("/login"))
	}
}

func TestRunStartsBeforeVaultAndEndsWithItsContext(t *testing.T) {
	s, d := deploy(t)
	end := s.Inject(vaulttest.Fault{Drop: true})
	client := vaultcases.Client(t, d.Config)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	vaultcases.Eventually(t, func() error {
		if d.Count("login away") == 0 {
			return errors.New("no login was tried")
		}
		return nil
	})
	end()
	vaultcases.Eventually(t, func() error {
		if d.Count("login ok") == 0 {
			return errors.New("no login yet")
		}
		return nil
	})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestCloseGivesTheTokenBack(t *testing.T) {
	s, d := deploy(t)
	client, err := vault.New(d.Config)
	if err != nil {
		t.Fatal(err)
	}
	custody, err := client.Sealing()
	if err != nil {
		t.Fatal(err)
	}
	if err := generate(custody); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(t.Context()); err != nil || s.Count("revoke-self") != 1 {
		t.Errorf("Close = %v, and the token was given back %d times", err, s.Count("revoke-self"))
	}
	// A token that somebody else made is not ours to end.
	cfg := d.Config
	cfg.Login = vault.Login{Method: vault.MethodToken, TokenFile: vaultcases.File(t, d.Admin.NewToken(t, time.Hour, d.Policy))}
	if client, err = vault.New(cfg); err != nil {
		t.Fatal(err)
	}
	if custody, err = client.Sealing(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(generate(custody), client.Close(t.Context())); err != nil || s.Count("revoke-self") != 1 {
		t.Errorf("a token from a file: %v, given back %d times", err, s.Count("revoke-self")-1)
	}
}

// Everything that is logged and returned, through good and bad times, is searched.
func TestNoSecretIsLoggedOrReturned(t *testing.T) {
	t.Parallel()
	s, d := deploy(t)
	issuer := vaultcases.NewIssuer(t)
	d.Admin.Write(t, "sys/auth/jwt", map[string]any{"type": "jwt"})
	d.Admin.Write(t, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": []string{issuer.PEM(t)}})
	d.Admin.Write(t, "auth/jwt/role/writ", map[string]any{"token_policies": []string{d.Policy}, "token_ttl": "60s"})
	fileToken, proof := d.Admin.NewToken(t, time.Hour, d.Policy), issuer.Sign(t, jwt.MapClaims{"aud": "vault"})
	wrapping := d.Admin.Wrapped(t, "auth/"+d.Config.Login.Mount+"/role/"+d.Role+"/secret-id")
	logins := []vault.Login{
		d.Config.Login,
		{Method: vault.MethodToken, TokenFile: vaultcases.File(t, fileToken)},
		{Method: vault.MethodJWT, Role: "writ", JWTFile: vaultcases.File(t, proof)},
	}
	wrapped := d.Config.Login
	wrapped.Wrapped, wrapped.SecretIDFile = true, vaultcases.File(t, wrapping)
	logins = append(logins, wrapped)

	var mu sync.Mutex
	var shown bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&lockedWriter{&mu, &shown}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	show := func(values ...any) {
		mu.Lock()
		defer mu.Unlock()
		for _, v := range values {
			out, _ := json.Marshal(v)
			fmt.Fprintf(&shown, "%v %+v %#v %s\n", v, v, v, out)
		}
	}
	for _, login := range logins {
		cfg := d.Config
		cfg.Login, cfg.Logger, cfg.Timeout = login, log, 200*time.Millisecond
		client := vaultcases.Client(t, cfg)
		custody, err := client.Sealing()
		if err != nil {
			t.Fatal(err)
		}
		show(client, custody, generate(custody))
		for _, f := range []vaulttest.Fault{
			{Drop: true}, {Status: 403, Body: `{"errors":["permission denied"]}`}, {Status: 400, Body: `{"errors":["no"]}`},
			{Status: 503, Body: `{"errors":["Vault is sealed"]}`}, {Status: 200, Body: "<html>"}, {Delay: time.Hour},
		} {
			end := s.Inject(f)
			show(generate(custody), generate(vaultcases.Sealing(t, cfg)))
			end()
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		show(client.Run(ctx))
	}
	mu.Lock()
	defer mu.Unlock()
	text := shown.String()
	for name, secret := range map[string]string{
		"a secret id": d.SecretID, "a token from a file": fileToken, "a JWT": proof, "a wrapping token": wrapping,
		"the root token": s.RootToken, "a token from a login": "hvs.",
	} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is shown in\n%s", name, text)
		}
	}
	if !strings.Contains(text, "logged in to vault") || !strings.Contains(text, "vault is away") {
		t.Errorf("nothing was logged, so nothing was shown: %s", text)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

// Command vaultdev is a small real Vault for the end-to-end tests: Vault's own core
// and HTTP handler with Transit, KV v2, and the JWT, AppRole and TLS certificate
// logins, in memory, on one listener of the loopback interface. It leaves out
// Vault's command line, and with it every cloud's plugin.
//
// Once it serves it prints one line of JSON, and it ends with its standard input,
// so that it never outlives the test that started it. Nothing in it is safe to
// keep a real secret in.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	jwtauth "github.com/hashicorp/vault-plugin-auth-jwt"
	"github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/helper/testhelpers/corehelpers"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// ready is what is printed once the server answers.
type ready struct {
	Address   string `json:"address"`
	RootToken string `json:"root_token"`
	UnsealKey string `json:"unseal_key"` // base64, as sys/unseal takes it
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vaultdev:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	certFile := flag.String("tls-cert", "", "serve HTTPS with this certificate, and ask clients for theirs")
	keyFile := flag.String("tls-key", "", "the certificate's key")
	flag.Parse()

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	scheme := "http"
	if *certFile != "" {
		if listener, err = listenTLS(listener, *certFile, *keyFile); err != nil {
			return err
		}
		scheme = "https"
	}
	line := ready{Address: scheme + "://" + listener.Addr().String()}
	core, err := newCore(line.Address)
	if err != nil {
		return err
	}
	if err := initialize(core, &line); err != nil {
		return err
	}
	server := &http.Server{
		Handler:           vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		return err
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func newCore(address string) (*vault.Core, error) {
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr})
	storage, err := inmem.NewInmem(nil, log)
	if err != nil {
		return nil, err
	}
	return vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		Logger:             log,
		RedirectAddr:       address,
		DisableMlock:       true,
		BuiltinRegistry:    corehelpers.NewMockBuiltinRegistry(),
		LogicalBackends:    map[string]logical.Factory{"kv": kv.Factory, "transit": transit.Factory},
		CredentialBackends: map[string]logical.Factory{"jwt": jwtauth.Factory, "approle": approle.Factory, "cert": cert.Factory},
	})
}

// initialize makes the one unseal key and the root token, and unseals.
func initialize(core *vault.Core, line *ready) error {
	seal := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	made, err := core.Initialize(context.Background(), &vault.InitParams{BarrierConfig: seal, RecoveryConfig: seal})
	if err != nil {
		return fmt.Errorf("initializing: %w", err)
	}
	if len(made.SecretShares) != 1 {
		return fmt.Errorf("initializing made %d unseal keys", len(made.SecretShares))
	}
	line.RootToken, line.UnsealKey = made.RootToken, base64.StdEncoding.EncodeToString(made.SecretShares[0])
	// The core clears the key that it is given.
	if _, err := core.Unseal(append([]byte(nil), made.SecretShares[0]...)); err != nil {
		return fmt.Errorf("unsealing: %w", err)
	}
	// It becomes active in the background.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		standby, err := core.Standby()
		if err == nil && !core.Sealed() && !standby {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it did not become active: %w", errors.Join(err, errors.New("30 s have passed")))
		}
	}
}

package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/token"
)

const issuerURL = "https://cluster.example.com"

// issuer is the cluster whose workloads call the broker. It signs tokens in the shape of
// Kubernetes' projected ones, with ES256.
type issuer struct {
	key      *ecdsa.PrivateKey
	signer   token.Signer
	audience string
}

func newIssuer(audience string) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making key of issuer: %w", err)
	}
	signer, err := token.NewLocalSigner("cluster-1", token.ES256, key)
	if err != nil {
		return nil, fmt.Errorf("making signer of issuer: %w", err)
	}
	return &issuer{key: key, signer: signer, audience: audience}, nil
}

// writeJWKS writes the issuer's keys to a file in dir, for the broker to read.
func (i *issuer) writeJWKS(dir string) (string, error) {
	set, err := token.NewKeySet(token.Key{ID: i.signer.KeyID(), Algorithm: token.ES256, Public: i.key.Public(), Use: "sig"})
	if err != nil {
		return "", fmt.Errorf("publishing keys of issuer: %w", err)
	}
	data, err := json.Marshal(set)
	if err != nil {
		return "", fmt.Errorf("publishing keys of issuer: %w", err)
	}
	file := filepath.Join(dir, "cluster.jwks")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return "", fmt.Errorf("publishing keys of issuer: %w", err)
	}
	return file, nil
}

// token signs a new token of a workload, "namespace:account".
func (i *issuer) token(ctx context.Context, workload string) (string, error) {
	namespace, account, _ := strings.Cut(workload, ":")
	now := time.Now()
	object := func(name string) map[string]any { return map[string]any{"name": name, "uid": uuid.NewString()} }
	payload, err := json.Marshal(map[string]any{
		"aud": []string{i.audience}, "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "nbf": now.Unix(),
		"iss": issuerURL, "jti": uuid.NewString(), "sub": "system:serviceaccount:" + namespace + ":" + account,
		"kubernetes.io": map[string]any{
			"namespace": namespace, "node": object("node-1"), "pod": object(account + "-7d9f-x2x4q"),
			"serviceaccount": object(account), "warnafter": now.Add(50 * time.Minute).Unix(),
		},
	})
	if err != nil {
		return "", fmt.Errorf("encoding claims of workload: %w", err)
	}
	return token.Sign(ctx, "JWT", payload, i.signer)
}

// exchanges makes n requests for a token, each with a subject token of its own.
func (i *issuer) exchanges(ctx context.Context, n, agents int) ([][]byte, error) {
	bodies := make([][]byte, n)
	g, ctx := errgroup.WithContext(ctx)
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		g.Go(func() error {
			for k := w; k < n; k += workers {
				raw, err := i.token(ctx, agent(k%agents))
				if err != nil {
					return err
				}
				bodies[k] = []byte(url.Values{
					wire.ParamGrantType: {wire.GrantTokenExchange}, wire.ParamSubjectToken: {raw},
					wire.ParamSubjectTokenType: {wire.TokenTypeJWT}, wire.ParamAudience: {toolAudience},
					wire.ParamScope: {"warehouse:read:sales/eu/* warehouse:list:sales/eu/*"},
				}.Encode())
			}
			return nil
		})
	}
	return bodies, g.Wait()
}

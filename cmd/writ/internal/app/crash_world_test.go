package app_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/examples"
	"github.com/writbroker/writ/internal/porttest"
	"github.com/writbroker/writ/token"
)

const (
	clusterIssuer = "https://cluster.test"
	peopleIssuer  = "https://people.test"
)

// world is a configuration with all that it names, and what a broker that is killed cannot
// take with it: the issuers of its callers' tokens, and the witness of its audit log.
type world struct {
	dir, config   string
	issuer, admin string
	cluster       token.Signer
	people        token.Signer

	mu      sync.Mutex
	anchors []audit.Checkpoint // what the witness was sent
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	w.config = filepath.Join(w.dir, "writ.yaml")
	public, admin := porttest.Address(t), porttest.Address(t)
	w.issuer, w.admin = "http://"+public, "http://"+admin
	w.cluster = w.newIssuer(t, "cluster.json")
	w.people = w.newIssuer(t, "people.json")
	bundle, err := examples.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(w.dir, "bundle"), bundle); err != nil {
		t.Fatal(err)
	}
	witness := httptest.NewServer(http.HandlerFunc(w.witness))
	t.Cleanup(witness.Close)
	text := strings.NewReplacer("ISSUER", w.issuer, "PUBLIC", public, "ADMIN", admin, "DIR", w.dir, "WITNESS", witness.URL).Replace(`
issuer: ISSUER
public: {address: "PUBLIC"}
admin: {address: "ADMIN"}
data_dir: DIR/data
bundle: {dir: DIR/bundle}
identity:
  sources:
    - {name: cluster, preset: kubernetes, issuer: "` + clusterIssuer + `", jwks_file: DIR/cluster.json, algorithms: [ES256],
       audiences: ["ISSUER"], subject_prefix: "k8s:prod:"}
    - {name: people, preset: oidc-user, issuer: "` + peopleIssuer + `", jwks_file: DIR/people.json, audiences: [writ], subject_prefix: "user:"}
rate_limits:
  per_agent: {rate: 100000, burst: 100000}
  unauthenticated: {rate: 100000, burst: 100000}
audit:
  segment_size: 1MiB
  checkpoint_every: 100ms
  anchor: {log: false, every: 1s, webhook: {url: "WITNESS"}}
environment: {stage: prod, change_freeze: "false"}
log: {level: warn}
shutdown_grace: 100ms
`)
	if err := os.WriteFile(w.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) newIssuer(t *testing.T, file string) token.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewLocalSigner(file, token.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	set, err := token.NewKeySet(token.Key{ID: file, Algorithm: token.ES256, Public: key.Public(), Use: "sig"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, file), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return signer
}

// workload is the token of a service account of the namespace agents, as Kubernetes projects it.
func (w *world) workload(ctx context.Context, account string) (string, error) {
	now := time.Now()
	return sign(ctx, w.cluster, map[string]any{
		"iss": clusterIssuer, "aud": []string{w.issuer}, "sub": "system:serviceaccount:agents:" + account, "jti": uuid.NewString(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace": "agents", "serviceaccount": map[string]any{"name": account, "uid": "4a1d5f8e"},
			"pod": map[string]any{"name": account + "-0", "uid": "4a1d5f8f"},
		},
	})
}

// person is an ID token of somebody of security ops.
func (w *world) person(ctx context.Context) (string, error) {
	now := time.Now()
	return sign(ctx, w.people, map[string]any{
		"iss": peopleIssuer, "aud": "writ", "sub": "9b2d7c11", "jti": uuid.NewString(),
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "groups": []string{"security-ops"}, "email_verified": true,
	})
}

func sign(ctx context.Context, s token.Signer, claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return token.Sign(ctx, "JWT", payload, s)
}

// witness keeps the checkpoints that leave the broker.
func (w *world) witness(rw http.ResponseWriter, r *http.Request) {
	var c audit.Checkpoint
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.anchors = append(w.anchors, c)
}

func (w *world) witnessed() []audit.Checkpoint {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]audit.Checkpoint(nil), w.anchors...)
}

// ready waits until the broker says that it is fit for requests.
func (w *world) ready(t *testing.T, output fmt.Stringer) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if answers(t, w.admin+"/readyz") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the broker was not ready within a minute of its start:\n%s", output)
		}
	}
}

func answers(t *testing.T, url string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

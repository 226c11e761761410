package forgetting_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/internal/redistest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/token"
)

const (
	maxStaleness = 4 * time.Second
	audience     = "https://warehouse.example"
	scope        = "warehouse:read:sales/eu/orders"
	cluster      = "https://cluster.example"
	people       = "https://people.example"
	// issuer is never dialled: every caller has a transport that leads to one replica.
	issuer = "http://127.0.0.1:9"
)

const bundle = `
kind: catalog
tools:
  - {name: warehouse, audience: "https://warehouse.example", actions: [read]}
---
kind: roles
roles:
  - {name: team-a, grants: [{scopes: ["warehouse:read:sales/**"]}]}
  - {name: team-b, grants: [{scopes: ["warehouse:read:sales/**"]}]}
  - {name: team-c, grants: [{scopes: ["warehouse:read:sales/**"]}]}
  - {name: staff, grants: [{scopes: ["warehouse:read:sales/**"]}]}
  - {name: secops, grants: [{scopes: ["writ:revoke:**", "writ:lift:**", "writ:feed:**"]}]}
---
kind: bindings
bindings:
  - {name: team-a, principals: ["k8s:a-*"], roles: [team-a]}
  - {name: team-b, principals: ["k8s:b-*"], roles: [team-b]}
  - {name: team-c, principals: ["k8s:c-*"], roles: [team-c]}
  - {name: staff, principals: ["user:*"], roles: [staff]}
  - {name: security, principals: ["k8s:sentinel"], roles: [secops]}
---
kind: delegations
delegations:
  - {name: agents, agents: ["k8s:*"], subjects: ["user:*"], max_depth: 2, ceiling: ["warehouse:read:sales/**"]}
`

const configuration = `
issuer: ` + issuer + `
public: {address: "PUBLIC"}
admin: {address: "ADMIN"}
data_dir: DATA
root_key_file: DIR/root.key
store: {kind: redis, redis: {addresses: ["REDIS"], timeout: 400ms}}
bundle: {dir: DIR/bundle}
identity:
  sources:
    - {name: cluster, issuer: "` + cluster + `", jwks_file: DIR/cluster.json, algorithms: [ES256], audiences: [writ], subject_prefix: "k8s:", kind: workload}
    - {name: people, issuer: "` + people + `", jwks_file: DIR/people.json, algorithms: [ES256], audiences: [writ], subject_prefix: "user:", kind: user}
tokens: {skew: 1s}
revocation: {BOUNDS}
rate_limits:
  per_agent: {rate: 100000, burst: 100000}
  unauthenticated: {rate: 100000, burst: 100000}
audit: {anchor: {every: 1h}}
shutdown_grace: 200ms
`

// bounds are how fresh a replica and its resource servers have to be.
type bounds struct {
	staleness time.Duration
	absence   string // more of the configuration
}

var (
	// strictBounds are those of the tests in which nobody is given up.
	strictBounds = bounds{maxStaleness, "replica_absence: 10s"}
	// plainBounds leave replica_absence to be half of max_staleness.
	plainBounds = bounds{8 * time.Second, ""}
	// patientBounds leave time for what a test does before they are over, on a slow machine too.
	patientBounds = bounds{10 * time.Second, "replica_absence: 10s"}
)

func (b bounds) String() string {
	return fmt.Sprintf("max_staleness: %s, heartbeat: 200ms, %s", b.staleness, b.absence)
}

// world is what the replicas have in common, and what outlives them.
type world struct {
	t        *testing.T
	dir      string
	bounds   bounds
	cluster  token.Signer
	people   token.Signer
	primary  *redistest.Node
	spare    *redistest.Node // follows the primary; nil where nothing fails over
	replicas []*replica
	operator *client.Token // of security ops, and of the resource servers
}

// newWorld starts Redis and so many replicas, and waits until they are ready.
func newWorld(t *testing.T, replicas int, failover bool) *world {
	t.Helper()
	return newBoundedWorld(t, replicas, failover, strictBounds)
}

func newBoundedWorld(t *testing.T, replicas int, failover bool, b bounds) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), bounds: b}
	w.cluster, w.people = w.newIssuer("cluster.json"), w.newIssuer("people.json")
	w.write("bundle/bundle.yaml", bundle)
	if _, err := keys.LoadOrCreateRoot(filepath.Join(w.dir, "root.key")); err != nil {
		t.Fatal(err)
	}
	w.primary = redistest.Start(t)
	if failover {
		w.spare = redistest.Start(t)
		w.spare.Follow(t, w.primary)
	}
	for n := range replicas {
		w.replicas = append(w.replicas, newReplica(w, n))
	}
	for _, r := range w.replicas {
		r.start(t)
		redistest.Until(t, "replica is ready", r.ready)
	}
	var err error
	w.operator, err = w.replicas[0].client(w).Exchange(t.Context(), client.Request{
		SubjectToken: w.workload("sentinel"), Scopes: []string{"writ:revoke:**", "writ:lift:**", "writ:feed:read"}, TTL: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) newIssuer(file string) token.Signer {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	signer, err := token.NewLocalSigner(file, token.ES256, key)
	if err != nil {
		w.t.Fatal(err)
	}
	set, err := token.NewKeySet(token.Key{ID: file, Algorithm: token.ES256, Public: key.Public(), Use: "sig"})
	if err != nil {
		w.t.Fatal(err)
	}
	data, err := json.Marshal(set)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(file, string(data))
	return signer
}

func (w *world) workload(name string) string { return w.sign(w.cluster, cluster, name) }

func (w *world) person(name string) string { return w.sign(w.people, people, name) }

// sign makes a token for half an hour, issued well before now: a rule on its principal
// refuses it.
func (w *world) sign(s token.Signer, iss, sub string) string {
	now := time.Now()
	payload, err := json.Marshal(map[string]any{
		"iss": iss, "aud": "writ", "sub": sub, "jti": uuid.NewString(),
		"iat": now.Add(-time.Second).Unix(), "exp": now.Add(30 * time.Minute).Unix(),
	})
	if err != nil {
		panic(err)
	}
	raw, err := token.Sign(context.Background(), "JWT", payload, s)
	if err != nil {
		panic(err)
	}
	return raw
}

// Token and Discard make a world the source of the resource servers' own token.
func (w *world) Token(context.Context) (*client.Token, error) { return w.operator, nil }

func (w *world) Discard(*client.Token) {}

// road leads every request to one replica, whatever its URL says.
type road struct {
	*http.Transport
	host string
}

func newRoad(t *testing.T, host string) *road {
	r := &road{client.NewTransport(nil), host}
	t.Cleanup(r.CloseIdleConnections)
	return r
}

func (r *road) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Host = r.host
	return r.Transport.RoundTrip(req)
}

// claimsOf reads a token without asking anybody.
func claimsOf(raw string) (*token.Claims, error) {
	unverified, err := token.Parse(raw)
	if err != nil {
		return nil, err
	}
	return token.DecodeClaims(unverified.UnverifiedPayload())
}

func fill(text string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(text) }

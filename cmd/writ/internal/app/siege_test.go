package app_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/porttest"
	"github.com/writbroker/writ/internal/redistest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
	"github.com/writbroker/writ/verifier"
)

const (
	ringCell  = "{writ}:cell:signing-keys"
	logStream = "{writ}:log:revocations"
)

// siege is two brokers on a Redis that an attacker may write to as he likes, and all that he
// would gain by it: tokens that are revoked, tokens of a key that leaked, an agent in quarantine,
// and tokens that he signed himself.
type siege struct {
	*replicas
	sides     [2]*side
	verifiers []*verifier.Verifier

	begun  map[string]string // Redis as it was before anything was revoked
	leaked string            // kid of the key that leaked
	policy string            // version in force
	dead   map[string]string // tokens that nobody may accept, by what is wrong with them
	rules  []string          // ids
	own    token.Signer      // the attacker's key,
	sealer *store.Sealer     // and his idea of the key that authenticates records
}

// side is a replica that can be started again.
type side struct {
	name, config  string
	public, admin string
	log           *journalOf
	end           func()
}

// journalOf is what a replica logs.
type journalOf struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journalOf) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journalOf) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func newSiege(t *testing.T) *siege {
	t.Helper()
	s := &siege{replicas: &replicas{world: newWorld(t), redis: redistest.Start(t)}, dead: map[string]string{}}
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.LoadOrCreateRoot(filepath.Join(s.dir, "root.key")); err != nil {
		t.Fatal(err)
	}
	var targets [2]*url.URL
	balancer := balance(t, &targets)
	old := s.issuer
	s.issuer = balancer.URL
	for i, name := range []string{"a", "b"} {
		public, admin := porttest.Address(t), porttest.Address(t)
		targets[i] = &url.URL{Scheme: "http", Host: public}
		r := &side{name: name, public: "http://" + public, admin: "http://" + admin, config: filepath.Join(s.dir, name+".yaml"), log: &journalOf{}}
		s.sides[i] = r
		text := strings.NewReplacer(
			`"`+strings.TrimPrefix(old, "http://")+`"`, `"`+public+`"`, old, s.issuer,
			`"`+strings.TrimPrefix(s.admin, "http://")+`"`, `"`+admin+`"`, s.dir+"/data", s.dir+"/"+name,
		).Replace(string(text)) + `
root_key_file: ` + s.dir + `/root.key
store: {kind: redis, redis: {addresses: ["` + s.redis.Addr + `"], timeout: 300ms}}
revocation: {max_staleness: 6s, heartbeat: 500ms}
`
		if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.raise(t, r)
	}
	for _, name := range []string{"one", "two"} {
		s.verifiers = append(s.verifiers, s.resourceServer(t, name))
	}
	s.begin(t)
	return s
}

// tryRaise starts a replica. It may refuse to start on what is in the store; then it says why.
func (s *siege) tryRaise(t *testing.T, r *side) error {
	t.Helper()
	cfg, err := config.Load(r.config)
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Start(t.Context(), cfg, app.Options{Logger: slog.New(slog.NewJSONHandler(r.log, nil))})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	r.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("replica %s: %v", r.name, err)
		}
	})
	t.Cleanup(r.end)
	return nil
}

func (s *siege) raise(t *testing.T, r *side) {
	t.Helper()
	if err := s.tryRaise(t, r); err != nil {
		t.Fatal(err)
	}
	(&world{admin: r.admin}).ready(t, r.log)
}

// begin revokes what the attacker would have back.
func (s *siege) begin(t *testing.T) {
	t.Helper()
	for _, v := range s.verifiers {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := v.Wait(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.begun = s.dump(t)
	c := s.agent(t)
	revoked, _, err := s.issue(t.Context(), c, "analyst", "warehouse:read:sales/eu/*", "task-1")
	must(t, err)
	leaked, _, err := s.issue(t.Context(), c, "analyst", "warehouse:read:sales/eu/*", "task-2")
	must(t, err)
	s.dead["revoked"], s.dead["of the leaked key"] = revoked, leaked
	unverified, err := token.Parse(leaked)
	must(t, err)
	claims, err := token.DecodeClaims(unverified.UnverifiedPayload())
	must(t, err)
	s.leaked, s.policy = unverified.Header().KeyID, claims.Policy
	s.forge(t, unverified.UnverifiedPayload())
	for name, raw := range s.dead {
		if _, err := s.verifiers[0].Verify(t.Context(), raw); (err == nil) != (raw == revoked || raw == leaked) {
			t.Fatalf("before anything is revoked, the token %s: %v", name, err)
		}
	}
	admin := s.security(t, s.sides[0])
	for _, order := range []wire.RevokeRequest{
		{Selector: "task", Value: "task-1"},
		{Selector: "agent", Value: "k8s:prod:agents:suspect"},
	} {
		order.Apply, order.Reason, order.WaitSeconds = true, "siege", 60
		got, err := admin.Revoke(t.Context(), order)
		must(t, err)
		s.rules = append(s.rules, got.Rule.ID)
		if got.Quarantine != nil {
			s.rules = append(s.rules, got.Quarantine.ID)
		}
	}
	if len(s.rules) != 3 {
		t.Fatalf("rules: %v", s.rules)
	}
	rotated, err := admin.Rotate(t.Context(), wire.RotateRequest{RevokeKID: s.leaked, Apply: true, Reason: "siege"})
	must(t, err)
	s.rules = append(s.rules, rotated.Revocation.Rule.ID)
	s.settle(t)
}

// forge signs what a good token says with the attacker's own key, which he will plant.
func (s *siege) forge(t *testing.T, payload []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	kid, err := keys.KeyID(key.Public())
	must(t, err)
	s.own, err = token.NewLocalSigner(kid, token.ES256, key)
	must(t, err)
	s.sealer, err = store.NewSealer(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	s.dead["forged"], err = token.Sign(t.Context(), token.TypeAccessToken, payload, s.own)
	must(t, err)
	public, err := token.Key{ID: kid, Algorithm: token.ES256, Public: key.Public()}.MarshalJSON()
	must(t, err)
	state, err := json.Marshal(keys.State{Version: 99, Keys: []keys.KeyInfo{{
		ID: kid, Algorithm: token.ES256, Stage: keys.StageActive, Public: public, Sealed: []byte("x"), Custody: "file",
		Published: time.Now().Add(-time.Hour), Activated: time.Now().Add(-time.Hour),
	}}})
	must(t, err)
	s.dead["ring"] = string(state) // not a token: nobody may accept that either
}

// settle waits until both replicas serve the ring without the leaked key.
func (s *siege) settle(t *testing.T) {
	t.Helper()
	for _, r := range s.sides {
		eventually(t, "replica "+r.name+" publishes the ring without the leaked key", func() bool {
			jwks, ok := r.jwks(t)
			return ok && !strings.Contains(jwks, s.leaked)
		})
	}
	for _, v := range s.verifiers {
		eventually(t, "a verifier refuses the leaked key", func() bool {
			_, err := v.Verify(t.Context(), s.dead["of the leaked key"])
			return err != nil
		})
	}
}

// agent is a client with connections of its own, so that those to a replica that ended are not used again.
func (s *siege) agent(t *testing.T) *client.Client {
	t.Helper()
	c, err := s.once()
	must(t, err)
	return c
}

func (s *siege) security(t *testing.T, r *side) *client.Admin {
	t.Helper()
	a, err := (&world{issuer: s.issuer, admin: r.admin, cluster: s.cluster, people: s.people}).operator()
	must(t, err)
	return a
}

func get(t *testing.T, url string) (string, int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return err.Error(), 0
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(body), resp.StatusCode
}

func (r *side) jwks(t *testing.T) (string, bool) {
	t.Helper()
	body, status := get(t, r.public+"/.well-known/jwks.json")
	return body, status == http.StatusOK
}

// holds looks whether the attacker has got anything of what he wants.
func (s *siege) holds(t *testing.T) {
	t.Helper()
	for name, raw := range s.dead {
		for _, v := range s.verifiers {
			if _, err := v.Verify(t.Context(), raw); err == nil {
				t.Errorf("a verifier accepts a token %s", name)
			}
		}
	}
	if _, _, err := s.issue(t.Context(), s.agent(t), "suspect", "warehouse:read:sales/eu/*", "t"); err == nil {
		t.Error("an agent in quarantine got a token")
	}
	if raw, _, err := s.issue(t.Context(), s.agent(t), "analyst", "warehouse:read:sales/eu/*", "task-3"); err == nil {
		unverified, err := token.Parse(raw)
		must(t, err)
		claims, err := token.DecodeClaims(unverified.UnverifiedPayload())
		must(t, err)
		if kid := unverified.Header().KeyID; kid == s.leaked || kid == s.own.KeyID() || claims.Policy != s.policy {
			t.Errorf("the broker signs with %s, under policy %s", kid, claims.Policy)
		}
	}
	for _, r := range s.sides {
		if jwks, ok := r.jwks(t); ok && (strings.Contains(jwks, s.leaked) || strings.Contains(jwks, s.own.KeyID())) {
			t.Errorf("replica %s publishes %s", r.name, jwks)
		}
		for _, id := range s.rules {
			_, err := s.security(t, r).Rule(t.Context(), id)
			if refused := (*client.ResponseError)(nil); errors.As(err, &refused) && refused.Status == http.StatusNotFound {
				t.Errorf("replica %s forgot rule %s", r.name, id)
			}
		}
	}
}

// alarmed waits until a replica has alarmed of something, in its log and in its metrics.
func (s *siege) alarmed(t *testing.T, what string, during func()) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		during()
		for _, r := range s.sides {
			if r.alarmed(t, what) {
				return
			}
		}
		if time.Now().After(end) || t.Failed() {
			t.Errorf("no alarm of %s; the logs:\n%s\n%s", what, s.sides[0].log, s.sides[1].log)
			return
		}
	}
}

func (r *side) alarmed(t *testing.T, what string) bool {
	t.Helper()
	logged := false
	for line := range strings.Lines(r.log.String()) {
		var record struct{ Level, Alarm string }
		if json.Unmarshal([]byte(line), &record) == nil && record.Level == "ERROR" && record.Alarm == what {
			logged = true
		}
	}
	metrics, _ := get(t, r.admin+"/metrics")
	counted := 0
	for line := range strings.Lines(metrics) {
		if n, ok := strings.CutPrefix(line, fmt.Sprintf("writ_store_alarms_total{what=%q} ", what)); ok {
			_, err := fmt.Sscan(n, &counted)
			must(t, err)
		}
	}
	return logged && counted > 0
}

// dump is everything in Redis, as RESTORE takes it.
func (s *siege) dump(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	names, err := s.redis.Client().Keys(t.Context(), "*").Result()
	must(t, err)
	for _, name := range names {
		if data, err := s.redis.Client().Dump(t.Context(), name).Result(); err == nil {
			out[name] = data
		}
	}
	return out
}

func (s *siege) put(t *testing.T, name, dump string) {
	t.Helper()
	must(t, s.redis.Client().RestoreReplace(t.Context(), name, 0, dump).Err())
}

// putAll makes Redis what it was.
func (s *siege) putAll(t *testing.T, dump map[string]string) {
	t.Helper()
	s.redis.FlushAll(t)
	for name, data := range dump {
		s.put(t, name, data)
	}
}

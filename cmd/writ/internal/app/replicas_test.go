package app_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/porttest"
	"github.com/writbroker/writ/internal/redistest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/verifier"
)

// replicas are two brokers on one Redis, behind a load balancer that takes turns.
type replicas struct {
	*world
	redis  *redistest.Node
	admins [2]*client.Admin
}

func startReplicas(t *testing.T) *replicas {
	t.Helper()
	r := &replicas{world: newWorld(t), redis: redistest.Start(t)}
	text, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.LoadOrCreateRoot(filepath.Join(r.dir, "root.key")); err != nil {
		t.Fatal(err)
	}
	var targets [2]*url.URL
	balancer := balance(t, &targets)
	old := r.issuer
	r.issuer = balancer.URL
	for i, name := range []string{"a", "b"} {
		public, admin := porttest.Address(t), porttest.Address(t)
		targets[i] = &url.URL{Scheme: "http", Host: public}
		config := strings.NewReplacer(
			`"`+strings.TrimPrefix(old, "http://")+`"`, `"`+public+`"`, old, r.issuer,
			`"`+strings.TrimPrefix(r.admin, "http://")+`"`, `"`+admin+`"`, r.dir+"/data", r.dir+"/"+name,
		).Replace(string(text)) + `
root_key_file: ` + r.dir + `/root.key
store: {kind: redis, redis: {addresses: ["` + r.redis.Addr + `"], timeout: 300ms}}
revocation: {max_staleness: 10s, heartbeat: 500ms}
`
		r.admins[i] = r.start(t, name, config, "http://"+admin)
	}
	return r
}

// start runs one replica until the test ends.
func (r *replicas) start(t *testing.T, name, text, admin string) *client.Admin {
	t.Helper()
	path := filepath.Join(r.dir, name+".yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Start(t.Context(), cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Errorf("replica %s: %v", name, err)
		}
	})
	w := &world{issuer: r.issuer, admin: admin, cluster: r.cluster, people: r.people}
	w.ready(t, logOf{r.redis})
	op, err := w.operator()
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// logOf is what is worth reading when a replica does not come up.
type logOf struct{ *redistest.Node }

func (l logOf) String() string { return l.Log() }

func balance(t *testing.T, targets *[2]*url.URL) *httptest.Server {
	t.Helper()
	var streams, others atomic.Int64
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			// Streams take turns among themselves, so that each replica has some; and an
			// acknowledgement meets another replica than its verifier's stream often.
			turn := &others
			if p.In.URL.Path == "/revocations/feed" {
				turn = &streams
			}
			p.SetURL(targets[turn.Add(1)%2])
		},
	}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute}}
	s.Start()
	t.Cleanup(s.CloseClientConnections)
	return s
}

// resourceServer runs a verifier.
func (w *world) resourceServer(t *testing.T, name string, change ...func(*verifier.Config)) *verifier.Verifier {
	t.Helper()
	c, err := client.New(client.Config{Issuer: w.issuer})
	if err != nil {
		t.Fatal(err)
	}
	source, err := client.NewSource(client.SourceConfig{
		Client: c, Request: client.Request{Scopes: []string{"writ:feed:read"}},
		Subject: func(ctx context.Context) (string, error) {
			now := time.Now()
			return sign(ctx, w.cluster, map[string]any{
				"iss": clusterIssuer, "aud": []string{w.issuer}, "sub": "system:serviceaccount:data:warehouse-api", "jti": uuid.NewString(),
				"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
				"kubernetes.io": map[string]any{"namespace": "data", "serviceaccount": map[string]any{"name": "warehouse-api", "uid": "1"}},
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(source.Close)
	cfg := verifier.Config{
		Issuer: w.issuer, Audience: []string{"https://warehouse.example.com"}, FeedToken: source, Name: name, MaxStaleness: 10 * time.Second,
	}
	for _, c := range change {
		c(&cfg)
	}
	v, err := verifier.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- v.Run(context.WithoutCancel(t.Context())) }()
	t.Cleanup(func() { v.Close(); <-done })
	return v
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// TestReplicasOnRedis: whichever replica is asked, it speaks for all of them; and with Redis
// down it says what it knows, and makes it known when Redis is back.
func TestReplicasOnRedis(t *testing.T) {
	r := startReplicas(t)
	const servers, tokens = 6, 10
	var verifiers []*verifier.Verifier
	for range servers {
		verifiers = append(verifiers, r.resourceServer(t, "warehouse"))
	}
	for _, v := range verifiers {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := v.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	for i, admin := range r.admins {
		eventually(t, "every replica lists every verifier", func() bool {
			list, err := admin.Verifiers(t.Context())
			return err == nil && len(list.Verifiers) == servers
		})
		list, err := admin.Verifiers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		homes := map[string]int{}
		for _, v := range list.Verifiers {
			homes[v.Replica]++
		}
		if len(homes) != 2 {
			t.Errorf("replica %d knows of verifiers on %v", i, homes)
		}
	}

	c, err := r.once()
	if err != nil {
		t.Fatal(err)
	}
	var raw string
	for range tokens {
		if raw, _, err = r.issue(t.Context(), c, "analyst", "warehouse:read:sales/eu/*", "task-1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range verifiers {
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	order := wire.RevokeRequest{Selector: "task", Value: "task-1", Reason: "test"}
	for _, admin := range r.admins { // the other replica writes behind the exchange
		eventually(t, "the preview covers both replicas", func() bool {
			got, err := admin.Revoke(t.Context(), order)
			return err == nil && got.Preview.Tokens == tokens && got.Preview.Agents == 1 && got.Preview.LongestExpiry != nil
		})
	}

	order.Apply, order.WaitSeconds = true, 60
	got, err := r.admins[0].Revoke(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	if got.Durability != wire.DurabilityLog || got.Ack == nil || !got.Ack.Complete || got.Ack.Verifiers != servers {
		t.Fatalf("revoked: %s, %+v", got.Durability, got.Ack)
	}
	t.Logf("acknowledged by %d verifiers of two replicas: p50 %.1f ms, p99 %.1f ms", got.Ack.Acknowledged, got.Ack.P50MS, got.Ack.P99MS)
	for _, v := range verifiers {
		if _, err := v.Verify(t.Context(), raw); err == nil {
			t.Error("a verifier accepts what every verifier has acknowledged as revoked")
		}
	}
	eventually(t, "the other replica knows what was refused", func() bool {
		st, err := r.admins[1].Rule(t.Context(), got.Rule.ID)
		return err == nil && st.Refusals != nil && st.Refusals.Tokens >= servers && len(st.Refusals.By) == servers
	})
	r.redisDown(t, c, verifiers)
}

func (r *replicas) redisDown(t *testing.T, c *client.Client, verifiers []*verifier.Verifier) {
	t.Helper()
	r.redis.Kill(t)
	time.Sleep(time.Second) // longer than a replica takes to notice
	raw, _, err := r.issue(t.Context(), c, "analyst", "warehouse:read:sales/eu/*", "task-2")
	if err != nil {
		t.Errorf("an exchange without Redis: %v", err)
	}
	began := time.Now()
	got, err := r.admins[0].Revoke(t.Context(), wire.RevokeRequest{Selector: "task", Value: "task-2", Apply: true, Reason: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Durability != wire.DurabilityLocal || got.Ack == nil || len(got.Ack.AppliedBy) == 0 || len(got.Ack.Lagging) == 0 ||
		got.Ack.Verifiers != len(verifiers) {
		t.Errorf("without Redis: %s, %+v", got.Durability, got.Ack)
	}
	t.Logf("without Redis: %s after %v, %d of %d verifiers have it", got.Durability, time.Since(began), got.Ack.Acknowledged, got.Ack.Verifiers)
	refusing := 0
	for _, v := range verifiers {
		if _, err := v.Verify(t.Context(), raw); err != nil {
			refusing++
		}
	}
	if refusing < got.Ack.Acknowledged {
		t.Errorf("%d verifiers refuse, %d have acknowledged", refusing, got.Ack.Acknowledged)
	}
	eventually(t, "issuance stops when the list is stale, and says for how long", func() bool {
		_, _, err := r.issue(t.Context(), c, "analyst", "warehouse:read:sales/eu/*", "task-3")
		var refused *client.ResponseError
		return errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable && refused.RetryAfter > 0
	})
	r.redis.Restart(t)
	for _, admin := range r.admins {
		eventually(t, "every replica has the rule in its log", func() bool {
			st, err := admin.Rule(t.Context(), got.Rule.ID)
			return err == nil && len(st.Rule.Positions) > 0 && st.Ack.Complete && st.Ack.Verifiers == len(verifiers)
		})
	}
	for _, v := range verifiers {
		if _, err := v.Verify(t.Context(), raw); err == nil {
			t.Error("a verifier accepts what was revoked while Redis was down")
		}
	}
}

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/token"
	"github.com/writbroker/writ/verifier"
)

const (
	remembered = 200                   // tokens that are shown again
	margin     = 5 * time.Second       // of a token's life that is left when it is shown last
	showEvery  = time.Millisecond      // of one verifier
	mintEvery  = 15 * time.Millisecond // of one agent
)

// check is one that verifies tokens.
type check func(ctx context.Context, raw string) error

// traffic is agents that get tokens, and resource servers that are shown each of them again and again
// while it lives.
type traffic struct {
	client *client.Client

	mu   sync.Mutex
	live []shown

	verified, refused      atomic.Int64
	minted, failed, turned atomic.Int64           // turned: answered 503 with Retry-After
	refusal, failure       atomic.Pointer[string] // the first of each
	kids                   sync.Map               // that signed what was minted
}

type shown struct {
	raw   string
	until time.Time
}

// newTraffic begins it; end stops it. Each check is a resource server of its own.
func (s *system) newTraffic(t *testing.T, checks ...check) (f *traffic, end func()) {
	t.Helper()
	c, err := client.New(client.Config{Issuer: s.issuer, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	f = &traffic{client: c}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	const agents = 2
	for range agents {
		running.Go(func() { f.mint(ctx, s) })
	}
	for _, check := range checks {
		running.Go(func() { f.show(ctx, check) })
	}
	end = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(end)
	return f, end
}

func (f *traffic) mint(ctx context.Context, s *system) {
	for sleep(ctx, mintEvery) {
		subject, err := s.workload(ctx, "agents", "analyst")
		if err != nil {
			panic(err) // a local signature
		}
		got, err := f.client.Exchange(ctx, client.Request{
			SubjectToken: subject, Scopes: []string{"warehouse:read:sales/eu/*"}, Audience: []string{warehouse},
		})
		var answered *client.ResponseError
		switch {
		case ctx.Err() != nil:
			return
		case errors.As(err, &answered) && answered.Status == http.StatusServiceUnavailable && answered.RetryAfter > 0:
			f.turned.Add(1)
			continue
		case err != nil:
			text := err.Error()
			f.failure.CompareAndSwap(nil, &text)
			f.failed.Add(1)
			continue
		}
		f.minted.Add(1)
		raw := got.Secret.Reveal()
		unverified, err := token.Parse(raw)
		if err != nil {
			panic(err) // the verifiers will say more
		}
		f.kids.Store(unverified.Header().KeyID, true)
		f.mu.Lock()
		f.live = append(f.live, shown{raw: raw, until: got.Expiry.Add(-margin)})
		if len(f.live) > remembered {
			f.live = f.live[len(f.live)-remembered:]
		}
		f.mu.Unlock()
	}
}

func (f *traffic) show(ctx context.Context, check check) {
	for sleep(ctx, showEvery) {
		raw := f.any()
		if raw == "" {
			continue
		}
		err := check(ctx, raw)
		if ctx.Err() != nil {
			return
		}
		f.verified.Add(1)
		if err != nil {
			text := err.Error()
			f.refusal.CompareAndSwap(nil, &text)
			f.refused.Add(1)
		}
	}
}

// any is a token that is alive: the newest, or one of the last.
func (f *traffic) any() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.live) == 0 {
		return ""
	}
	at := len(f.live) - 1
	if rand.IntN(2) == 0 {
		at = rand.IntN(len(f.live))
	}
	if time.Now().After(f.live[at].until) {
		return ""
	}
	return f.live[at].raw
}

// grows waits until a count has gone up by n.
func grows(t *testing.T, what string, count *atomic.Int64, n int64) {
	t.Helper()
	want := count.Load() + n
	for deadline := time.Now().Add(time.Minute); count.Load() < want; {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d are missing", what, want-count.Load())
		}
		sleep(t.Context(), 10*time.Millisecond)
	}
}

// unnoticed prints what was seen, and fails the test if anything was refused.
func (f *traffic) unnoticed(t *testing.T, least int64) {
	t.Helper()
	signers := 0
	f.kids.Range(func(any, any) bool { signers++; return true })
	t.Logf("%d verifications, %d refused; %d tokens by %d keys, %d exchanges were told to come again, %d failed",
		f.verified.Load(), f.refused.Load(), f.minted.Load(), signers, f.turned.Load(), f.failed.Load())
	if f.refused.Load() > 0 {
		t.Errorf("%d tokens were refused, the first: %s", f.refused.Load(), *f.refusal.Load())
	}
	if f.failed.Load() > 0 {
		t.Errorf("%d exchanges failed, the first: %s", f.failed.Load(), *f.failure.Load())
	}
	if f.verified.Load() < least {
		t.Errorf("%d verifications are fewer than %d", f.verified.Load(), least)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// server runs a verifier of package verifier, connected to the feed, until the test ends.
func (s *system) server(t *testing.T, name string, feed *client.Source) *verifier.Verifier {
	t.Helper()
	v, err := verifier.New(t.Context(), verifier.Config{
		Issuer: s.issuer, Audience: []string{warehouse}, Tool: "warehouse", FeedToken: feed, Name: name,
		MaxStaleness: 10 * time.Second, Leeway: time.Second, CacheSize: 64,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return v
}

// feedToken is what resource servers follow the feed with.
func (s *system) feedToken(t *testing.T) *client.Source {
	t.Helper()
	c, err := client.New(client.Config{Issuer: s.issuer})
	if err != nil {
		t.Fatal(err)
	}
	source, err := client.NewSource(client.SourceConfig{
		Client: c, Request: client.Request{Scopes: []string{"writ:feed:read"}},
		Subject: func(ctx context.Context) (string, error) { return s.workload(ctx, "data", "warehouse-api") },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(source.Close)
	return source
}

// connected runs n verifiers, and waits until each has followed the feed to its end.
func (s *system) connected(t *testing.T, n int) []*verifier.Verifier {
	t.Helper()
	feed := s.feedToken(t)
	all := make([]*verifier.Verifier, n)
	for i := range all {
		all[i] = s.server(t, fmt.Sprintf("server-%d", i), feed)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, v := range all {
		if err := v.Wait(ctx); err != nil {
			t.Fatalf("a resource server does not connect: %v", err)
		}
	}
	return all
}

func checkOf(v *verifier.Verifier) check {
	return func(ctx context.Context, raw string) error {
		_, err := v.Verify(ctx, raw)
		return err
	}
}

// keeper is a resource server that knows nothing of Writ: it fetches the key set when max-age has
// passed, and never before, and checks signatures. It is for one caller.
type keeper struct {
	url   string
	keys  *token.KeySet
	until time.Time
}

func (k *keeper) check(ctx context.Context, raw string) error {
	if !time.Now().Before(k.until) {
		if err := k.fetch(ctx); err != nil {
			return err
		}
	}
	unverified, err := token.Parse(raw)
	if err != nil {
		return err
	}
	key, ok := k.keys.Key(unverified.Header().KeyID)
	if !ok {
		return fmt.Errorf("the set that may be kept until %s lacks %s", k.until.Format(time.StampMilli), unverified.Header().KeyID)
	}
	_, err = unverified.Verify(key)
	return err
}

func (k *keeper) fetch(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the key set is answered with %s: %w", resp.Status, err)
	}
	_, age, _ := strings.Cut(resp.Header.Get("Cache-Control"), "max-age=")
	age, _, _ = strings.Cut(age, ",")
	seconds, err := strconv.Atoi(age)
	if err != nil {
		return fmt.Errorf("Cache-Control is %q: %w", resp.Header.Get("Cache-Control"), err)
	}
	if k.keys, err = token.ParseJWKS(data, token.JWKSOptions{}); err != nil {
		return err
	}
	k.until = time.Now().Add(time.Duration(seconds) * time.Second)
	return nil
}

// checks are n verifiers that are connected, and as many that only keep the key set for its max-age.
func (s *system) checks(t *testing.T, n int) []check {
	t.Helper()
	var out []check
	for _, v := range s.connected(t, n) {
		out = append(out, checkOf(v), (&keeper{url: s.issuer + wire.PathJWKS}).check)
	}
	return out
}

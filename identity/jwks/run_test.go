package jwks_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/identity/jwks"
)

// script answers each fetch with the next of its answers (the last one for ever) and notes the times.
type script struct {
	mu      sync.Mutex
	answers [][]byte // nil = the issuer is down
	at      []time.Time
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Now())
	answer := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	if answer == nil {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(answer)), Request: r}, nil
}

func (s *script) times() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.at...)
}

func scripted(s *script, sources ...identity.Source) jwks.Config {
	return jwks.Config{
		Sources: sources, Now: time.Now, Logger: slog.New(slog.DiscardHandler), InsecureTransport: s,
		OnAuthorities: func(string, []*x509.Certificate) error { return nil },
	}
}

func remote() identity.Source {
	return identity.Source{Name: "s", Issuer: "https://issuer.example", JWKSURI: "https://issuer.example/keys"}
}

// run starts a Cache's loop, and returns what ends it and waits.
func run(t *testing.T, cache *jwks.Cache) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- cache.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	}
}

func TestRunRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: [][]byte{set(t, "a"), set(t, "a", "b")}}
		cache := open(t, scripted(s, remote()))
		stop := run(t, cache)
		defer stop()
		synctest.Wait()
		if cache.Generation("s") != 1 {
			t.Error("the first round did not begin at once")
		}
		time.Sleep(time.Hour)
		if cache.Generation("s") != 2 {
			t.Error("a new key was not picked up, or an equal document made a new generation")
		}
		at := s.times()
		if len(at) < 10 || len(at) > 16 {
			t.Errorf("%d fetches in an hour at 5 min each", len(at))
		}
		for n := range at[1:] {
			if gap := at[n+1].Sub(at[n]); gap < 4*time.Minute || gap > 6*time.Minute {
				t.Errorf("fetch %d came after %v", n+1, gap)
			}
		}
	})
}

func TestRunRetriesSoonerAndSlower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: [][]byte{nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, set(t, "a")}}
		cache := open(t, scripted(s, remote()))
		stop := run(t, cache)
		defer stop()
		time.Sleep(10 * time.Minute)
		if cache.Generation("s") != 1 {
			t.Fatal("the issuer came up and was not noticed")
		}
		at := s.times()
		if first := at[1].Sub(at[0]); first > 2*time.Second {
			t.Errorf("the first retry came after %v", first)
		}
		for n := range at[:10] {
			if gap := at[n+1].Sub(at[n]); gap > 72*time.Second {
				t.Errorf("retry %d came after %v", n+1, gap)
			}
		}
	})
}

func TestRunKeepsTheLastKnownGoodForMaxStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: [][]byte{set(t, "a"), nil}}
		cache := open(t, scripted(s, remote()))
		stop := run(t, cache)
		defer stop()
		time.Sleep(time.Hour)
		if _, _, err := cache.Keys(t.Context(), "s", "a"); err != nil {
			t.Errorf("after an hour: %v", err)
		}
		time.Sleep(time.Second)
		if _, _, err := cache.Keys(t.Context(), "s", "a"); !errors.Is(err, identity.ErrKeysUnavailable) {
			t.Errorf("after more than an hour: %v", err)
		}
	})
}

// Authorities go where TLS verification looks, are told only when they change, and are withdrawn in time.
func TestRunTellsAuthorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bundle := spiffeBundle(t, newCA(t, "prod.example.org").cert)
		s := &script{answers: [][]byte{bundle, bundle, nil}}
		source := identity.Source{
			Name: "mesh", TrustDomain: "prod.example.org", X509: &identity.X509Config{BundleURI: "https://spire.example/bundle"},
		}
		var mu sync.Mutex
		var heard []int
		told := func() []int {
			mu.Lock()
			defer mu.Unlock()
			return append([]int(nil), heard...)
		}
		conf := scripted(s, source)
		conf.OnAuthorities = func(name string, authorities []*x509.Certificate) error {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, len(authorities))
			if name != "mesh" {
				t.Errorf("told about %s", name)
			}
			return nil
		}
		cache := open(t, conf)
		stop := run(t, cache)
		defer stop()
		time.Sleep(6 * time.Minute) // the second fetch succeeds, no other does
		synctest.Wait()
		begun := s.times()[1]
		time.Sleep(time.Until(begun.Add(time.Hour)))
		synctest.Wait()
		if got := told(); len(got) != 1 || got[0] != 1 {
			t.Errorf("told %v while the bundle stayed the same", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := told(); len(got) != 2 || got[1] != 0 {
			t.Errorf("told %v after the bundle became too old", got)
		}
		s.mu.Lock()
		s.answers = [][]byte{bundle}
		s.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := told(); len(got) != 3 || got[2] != 1 {
			t.Errorf("told %v after the same bundle came back", got)
		}
	})
}

// hanging answers as its script does, but where that says nothing, not until the caller gives up.
type hanging struct{ script }

func (h *hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := h.script.RoundTrip(r)
	if err != nil {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return response, nil
}

// The moment in which authorities become too old comes while a fetch is under way that comes to nothing,
// and the next ones come to nothing too.
func TestAuthoritiesBecomeTooOldDuringAFetch(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"that ends soon after": 56 * time.Minute, "that goes on": 3 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bundle := spiffeBundle(t, newCA(t, "prod.example.org").cert)
				h := &hanging{script{answers: [][]byte{bundle, nil}}}
				conf := scripted(&h.script, identity.Source{
					Name: "mesh", TrustDomain: "prod.example.org", X509: &identity.X509Config{BundleURI: "https://spire.example/bundle"},
				})
				conf.InsecureTransport, conf.Timeout, conf.RefreshEvery = h, timeout, 5*time.Minute
				heard := make(chan int, 10)
				conf.OnAuthorities = func(_ string, authorities []*x509.Certificate) error {
					heard <- len(authorities)
					return nil
				}
				want := func(when string, want ...int) {
					t.Helper()
					synctest.Wait()
					var got []int
					for len(heard) > 0 {
						got = append(got, <-heard)
					}
					if !slices.Equal(got, want) {
						t.Errorf("%s: told %v, want %v", when, got, want)
					}
				}
				stop := run(t, open(t, conf))
				defer stop()
				want("at first", 1)
				time.Sleep(time.Hour)
				want("after an hour")
				time.Sleep(time.Second)
				want("after more than an hour", 0)
				time.Sleep(time.Hour)
				want("after two hours")
				h.mu.Lock()
				h.answers = [][]byte{bundle}
				h.mu.Unlock()
				time.Sleep(3 * time.Hour)
				want("when they are there again", 1)
			})
		})
	}
}

package vault_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/vaulttest"
	"github.com/writbroker/writ/internal/vaulttest/vaultcases"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/vault"
	"github.com/writbroker/writ/token"
)

// opened is a signer in Vault and the key that verifies it.
func opened(t testing.TB, cfg vault.Config, alg string) (token.Signer, token.Key) {
	t.Helper()
	custody := vaultcases.Signing(t, cfg)
	m, err := custody.Generate(t.Context(), ring, alg, 1)
	if err != nil {
		t.Fatal(err)
	}
	key := token.Key{ID: m.ID, Algorithm: alg, Public: m.Public}
	public, err := key.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := custody.Open(t.Context(), ring, keys.KeyInfo{ID: m.ID, Algorithm: alg, Public: public, Sealed: m.Sealed, Born: 1})
	if err != nil {
		t.Fatal(err)
	}
	return signer, key
}

// hold keeps a first signature under way until let go, so that what comes meanwhile
// waits for the next call.
func hold(t *testing.T, s *vaulttest.Server, signer token.Signer) (letGo func()) {
	t.Helper()
	end := s.Inject(vaulttest.Fault{Path: "/sign/", Delay: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = signer.Sign(ctx, []byte("the first"))
	}()
	until(t, func() bool { return s.Count("FAULT") > 0 })
	t.Cleanup(func() {
		cancel()
		end()
		<-done
	})
	return end
}

func until(t *testing.T, it func() bool) {
	t.Helper()
	vaultcases.Eventually(t, func() error {
		if !it() {
			return errors.New("not yet")
		}
		return nil
	})
}

func TestConcurrentSignaturesTravelTogether(t *testing.T) {
	for _, alg := range []string{token.ES256, token.RS256, token.Ed25519} {
		t.Run(alg, func(t *testing.T) {
			s, d := deploy(t)
			cfg := d.Config
			cfg.Flights, cfg.BatchSize = 1, 16
			signer, key := opened(t, cfg, alg)
			letGo := hold(t, s, signer)
			const n = 64
			var wait sync.WaitGroup
			for i := range n {
				wait.Go(func() {
					raw, err := token.Sign(t.Context(), "JWT", []byte{byte(i)}, signer)
					if err != nil {
						t.Error(err)
						return
					}
					// Each must get its own signature, and not its neighbour's.
					u, err := token.Parse(raw)
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := u.Verify(key); err != nil {
						t.Error(err)
					}
				})
			}
			until(t, func() bool { return vault.Waiting(signer) == n })
			letGo()
			wait.Wait()
			if calls := s.Count("PUT " + cfg.Transit + "/sign/"); calls != 1+n/16 {
				t.Errorf("%d signatures took %d calls, and one", n, calls-1)
			}
		})
	}
}

// Two that travel together, and what Vault may answer.
func TestAnswersOfAnotherBatchAreRefused(t *testing.T) {
	good := `{"signature":"vault:v1:` + strings.Repeat("A", 86) + `"}`
	for name, c := range map[string]struct {
		results string
		want    []error // of the two, in any order
	}{
		"one is missing":        {good, []error{vault.ErrAway, vault.ErrAway}},
		"none at all":           {``, []error{vault.ErrAway, vault.ErrAway}},
		"one too many":          {good + "," + good + "," + good, []error{vault.ErrAway, vault.ErrAway}},
		"one is refused":        {good + `,{"error":"not this one"}`, []error{nil, vault.ErrRefused}},
		"one is of another key": {`{"signature":"vault:v2:` + strings.Repeat("A", 86) + `"},` + good, []error{nil, vault.ErrAway}},
	} {
		t.Run(name, func(t *testing.T) {
			s, d := deploy(t)
			cfg := d.Config
			cfg.Flights = 1
			signer, _ := opened(t, cfg, token.ES256)
			letGo := hold(t, s, signer)
			var wait sync.WaitGroup
			errs := make(chan error, 2)
			for range 2 {
				wait.Go(func() { _, err := signer.Sign(t.Context(), []byte("x")); errs <- err })
			}
			until(t, func() bool { return vault.Waiting(signer) == 2 })
			defer s.Inject(vaulttest.Fault{Path: "/sign/", Status: 200, Body: `{"data":{"batch_results":[` + c.results + `]}}`})()
			letGo()
			wait.Wait()
			for range 2 {
				err := <-errs
				i := slices.IndexFunc(c.want, func(want error) bool { return errors.Is(err, want) })
				if i < 0 {
					t.Fatalf("got %v, want one of %v", err, c.want)
				}
				c.want = slices.Delete(c.want, i, i+1)
			}
		})
	}
}

func TestAFullQueueRefusesAtOnce(t *testing.T) {
	s, d := deploy(t)
	cfg := d.Config
	cfg.Flights, cfg.QueueSize, cfg.BatchSize = 1, 4, 2
	signer, _ := opened(t, cfg, token.ES256)
	letGo := hold(t, s, signer)
	var wait sync.WaitGroup
	for range cfg.QueueSize {
		wait.Go(func() {
			if _, err := signer.Sign(t.Context(), []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, func() bool { return vault.Waiting(signer) == cfg.QueueSize })
	if _, err := signer.Sign(t.Context(), []byte("x")); !errors.Is(err, vault.ErrQueueFull) || !errors.Is(err, keys.ErrUnavailable) || vault.What(err) != "queue_full" {
		t.Errorf("one too many: %v", err)
	}
	if d.Count("sign queue_full") != 1 {
		t.Error("the metric missed it")
	}
	letGo()
	wait.Wait() // those that waited get theirs
}

// The one whose call it is may give up; those that ride along may not suffer.
func TestOneThatGivesUpTakesNobodyWithIt(t *testing.T) {
	s, d := deploy(t)
	cfg := d.Config
	cfg.Flights = 1
	signer, _ := opened(t, cfg, token.ES256)
	letGo := hold(t, s, signer)
	impatient, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := signer.Sign(impatient, []byte("x")); first <- err }()
	until(t, func() bool { return vault.Waiting(signer) == 1 })
	go func() { _, err := signer.Sign(t.Context(), []byte("x")); second <- err }()
	until(t, func() bool { return vault.Waiting(signer) == 2 })
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	letGo()
	if err := <-second; err != nil {
		t.Errorf("the second: %v", err)
	}
	if _, err := signer.Sign(impatient, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("one that had given up before: %v", err)
	}
}

// BenchmarkSign shows what batches are worth; the stand-in's own work is in both.
func BenchmarkSign(b *testing.B) {
	for name, size := range map[string]int{"alone": 1, "batched": 64} {
		b.Run(name, func(b *testing.B) {
			d := vaultcases.Fake(vaulttest.Start(b)).Deploy(b)
			cfg := d.Config
			cfg.BatchSize = size
			signer, _ := opened(b, cfg, token.ES256)
			b.ReportAllocs()
			b.SetParallelism(16)
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := signer.Sign(context.Background(), []byte("signing input")); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

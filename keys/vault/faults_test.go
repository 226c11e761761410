package vault_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/vaulttest"
	"github.com/writbroker/writ/internal/vaulttest/vaultcases"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/vault"
	"github.com/writbroker/writ/token"
)

const ring = "tokens"

// deploy is a broker's place in a stand-in of its own.
func deploy(t *testing.T, options ...vaulttest.Option) (*vaulttest.Server, *vaultcases.Deployment) {
	t.Helper()
	s := vaulttest.Start(t, options...)
	return s, vaultcases.Fake(s).Deploy(t)
}

func generate(c keys.Custody) error {
	_, err := c.Generate(context.Background(), ring, token.ES256, 1)
	return err
}

func TestWhatVaultAnswersHasAName(t *testing.T) {
	const elsewhere, inTime = "http://127.0.0.1:1", "no answer in time"
	for name, c := range map[string]struct {
		spoil   func(*vaulttest.Server)
		want    error
		what    string
		passing bool
	}{
		"a standby that knows the active node": {func(s *vaulttest.Server) { s.Standby(elsewhere) }, vault.ErrStandby, "standby", true},
		"a standby that does not":              {func(s *vaulttest.Server) { s.Standby("") }, vault.ErrStandby, "standby", true},
		"a cut connection":                     {func(s *vaulttest.Server) { s.Inject(vaulttest.Fault{Drop: true}) }, vault.ErrAway, "away", true},
		inTime:                                 {func(s *vaulttest.Server) { s.Inject(vaulttest.Fault{Delay: time.Hour}) }, vault.ErrAway, "away", true},
		"a fault of its own":                   {func(s *vaulttest.Server) { s.Inject(vaulttest.Fault{Status: 500, Body: `{"errors":["boom"]}`}) }, vault.ErrAway, "away", true},
		"a proxy's page":                       {func(s *vaulttest.Server) { s.Inject(vaulttest.Fault{Status: 502, Body: "<html>bad gateway"}) }, vault.ErrAway, "away", true},
		"a page that is not Vault's":           {func(s *vaulttest.Server) { s.Inject(vaulttest.Fault{Status: 200, Body: "<html>hello"}) }, vault.ErrAway, "away", true},
		"a rate limit":                         {func(s *vaulttest.Server) { s.Inject(vaulttest.Fault{Status: 429, Body: `{"errors":["quota"]}`}) }, vault.ErrLimited, "limited", true},
		"no ciphertext": {func(s *vaulttest.Server) {
			s.Inject(vaulttest.Fault{Path: "/encrypt/", Status: 200, Body: `{"data":{}}`})
		}, vault.ErrAway, "away", true},
		"a refusal": {func(s *vaulttest.Server) {
			s.Inject(vaulttest.Fault{Path: "/encrypt/", Status: 400, Body: `{"errors":["no"]}`})
		}, vault.ErrRefused, "refused", false},
	} {
		t.Run(name, func(t *testing.T) {
			s, d := deploy(t)
			cfg := d.Config
			if name == inTime {
				cfg.Timeout = 100 * time.Millisecond
			}
			custody := vaultcases.Sealing(t, cfg)
			// Before it is spoiled a slow machine may need more than one try.
			vaultcases.Eventually(t, func() error { return generate(custody) })
			before := d.Count("encrypt " + c.what)
			c.spoil(s)
			err := generate(custody)
			if !errors.Is(err, c.want) || vault.What(err) != c.what || errors.Is(err, keys.ErrUnavailable) != c.passing {
				t.Errorf("Generate = %v (%s)", err, vault.What(err))
			}
			if failed, ok := errors.AsType[*vault.CallError](err); !ok || failed.Op == "" || failed.Path == "" {
				t.Errorf("%v does not say where", err)
			}
			if d.Count("encrypt "+c.what)-before != 1 {
				t.Error("the metric missed it")
			}
		})
	}
}

// A redirect would take the token to whomever the answer names.
func TestNoRedirectIsFollowed(t *testing.T) {
	var asked atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer thief.Close()
	s, d := deploy(t)
	custody := vaultcases.Sealing(t, d.Config)
	s.Standby(thief.URL)
	if err := generate(custody); !errors.Is(err, vault.ErrStandby) || asked.Load() != 0 {
		t.Errorf("Generate = %v, and the other server was asked %d times", err, asked.Load())
	}
	s.Activate()
	vaultcases.Eventually(t, func() error { return generate(custody) })
}

// Each of these would hide what is wrong, or hang, if it were waited for without a bound.
func TestNothingWaitsLongerThanItsContext(t *testing.T) {
	t.Parallel()
	s, d := deploy(t)
	custody := vaultcases.Signing(t, d.Config)
	m, err := custody.Generate(t.Context(), ring, token.ES256, 1)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := custody.Open(t.Context(), ring, info(t, m))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Inject(vaulttest.Fault{Delay: time.Hour})()
	for name, call := range map[string]func(context.Context) error{
		"Sign":     func(ctx context.Context) error { _, err := signer.Sign(ctx, []byte("x")); return err },
		"Generate": func(ctx context.Context) error { _, err := custody.Generate(ctx, ring, token.ES256, 1); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		done, asked := make(chan error, 1), s.Count("FAULT")
		go func() { done <- call(ctx) }()
		vaultcases.Eventually(t, func() error {
			if s.Count("FAULT") == asked {
				return errors.New("not asked yet")
			}
			return nil
		})
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v", name, err)
		}
	}
}

func info(t *testing.T, m keys.Material) keys.KeyInfo {
	t.Helper()
	public, err := token.Key{ID: m.ID, Algorithm: token.ES256, Public: m.Public}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return keys.KeyInfo{ID: m.ID, Algorithm: token.ES256, Public: public, Sealed: m.Sealed, Born: 1}
}

func TestAVaultThatIsAwayIsNotAskedByEveryCall(t *testing.T) {
	s, d := deploy(t)
	cfg := d.Config
	cfg.BreakAfter, cfg.ProbeEvery = 3, time.Minute
	now := time.Now()
	cfg.Now = func() time.Time { return now }
	custody := vaultcases.Sealing(t, cfg)
	if err := generate(custody); err != nil {
		t.Fatal(err)
	}
	end := s.Inject(vaulttest.Fault{Status: 500, Body: `{"errors":["boom"]}`})
	for range 20 {
		if err := generate(custody); !errors.Is(err, vault.ErrAway) {
			t.Fatalf("Generate = %v", err)
		}
	}
	if n := s.Count("FAULT"); n != 3 {
		t.Errorf("20 calls asked it %d times, want 3", n)
	}
	// A probe that fails leaves it as it is.
	now = now.Add(2 * time.Minute)
	for range 5 {
		if err := generate(custody); !errors.Is(err, vault.ErrAway) {
			t.Fatalf("Generate = %v", err)
		}
	}
	if n := s.Count("FAULT"); n != 4 {
		t.Errorf("5 calls after the pause asked it %d times, want 1", n-3)
	}
	end()
	if err := generate(custody); !errors.Is(err, vault.ErrAway) {
		t.Errorf("before the next probe: %v", err)
	}
	now = now.Add(2 * time.Minute)
	for range 5 {
		if err := generate(custody); err != nil {
			t.Errorf("after one that succeeded: %v", err)
		}
	}
}

// What Vault refuses shows that it is there.
func TestRefusalsDoNotOpenTheBreaker(t *testing.T) {
	s, d := deploy(t)
	custody := vaultcases.Sealing(t, d.Config)
	m, err := custody.Generate(t.Context(), ring, token.ES256, 1)
	if err != nil {
		t.Fatal(err)
	}
	spoiled := info(t, m)
	spoiled.Born = 2
	for range 20 {
		if _, err := custody.Open(t.Context(), ring, spoiled); !errors.Is(err, vault.ErrBinding) {
			t.Fatalf("Open = %v", err)
		}
	}
	if n := s.Count("/decrypt/"); n != 20 {
		t.Errorf("it was asked %d times of 20", n)
	}
}

// A Vault that lies about a key must not get it into a ring, nor a signature out.
func TestAnswersOfAnotherKeyAreRefused(t *testing.T) {
	s, d := deploy(t)
	custody := vaultcases.Signing(t, d.Config)
	m, err := custody.Generate(t.Context(), ring, token.ES256, 1)
	if err != nil {
		t.Fatal(err)
	}
	k := info(t, m)
	signer, err := custody.Open(t.Context(), ring, k)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"a signature of another version": `"signature":"vault:v2:` + strings.Repeat("A", 86) + `"`,
		"a signature that is too short":  `"signature":"vault:v1:AAAA"`,
		"no signature":                   `"signature":""`,
		"something else":                 `"ciphertext":"vault:v1:AAAA"`,
	} {
		end := s.Inject(vaulttest.Fault{Path: "/sign/", Status: 200, Body: `{"data":{` + data + `}}`})
		if signature, err := signer.Sign(t.Context(), []byte("x")); !errors.Is(err, vault.ErrAway) || signature != nil {
			t.Errorf("%s: Sign = %x, %v", name, signature, err)
		}
		end()
	}
	// The ring publishes another key than Vault has.
	other, err := custody.Generate(t.Context(), ring, token.ES256, 1)
	if err != nil {
		t.Fatal(err)
	}
	k.Public = info(t, other).Public
	if _, err := custody.Open(t.Context(), ring, k); !errors.Is(err, vault.ErrBinding) {
		t.Errorf("Open = %v", err)
	}
}

func TestTheNamespaceGoesWithEveryCall(t *testing.T) {
	var got atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got.Store(r.Header.Get("X-Vault-Namespace") + " " + r.Header.Get("X-Vault-Token") + " " + r.Header.Get("X-Extra"))
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	// Settings of another program's Vault are not ours.
	t.Setenv("VAULT_TOKEN", "stray")
	t.Setenv("VAULT_NAMESPACE", "stray")
	t.Setenv("VAULT_HEADERS", `{"X-Extra":"stray"}`)
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	_, d := deploy(t)
	cfg := d.Config
	cfg.Address, cfg.Namespace = server.URL, "team/agents"
	if err := generate(vaultcases.Sealing(t, cfg)); !errors.Is(err, vault.ErrLogin) {
		t.Errorf("Generate = %v", err)
	}
	if got.Load() != "team/agents  " {
		t.Errorf("it sent %q", got.Load())
	}
}

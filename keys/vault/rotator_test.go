package vault_test

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/vaulttest"
	"github.com/writbroker/writ/internal/vaulttest/vaultcases"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/vault"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
	"github.com/writbroker/writ/token"
)

// replicas is a fleet on one embedded store and one Vault, on a clock of the test's.
type replicas struct {
	t      *testing.T
	cells  keys.Cell
	client *vault.Client
	now    time.Time
}

func newReplicas(t *testing.T, cfg vault.Config) *replicas {
	t.Helper()
	sealer, err := store.NewSealer(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(t.Context(), bolt.Config{Path: filepath.Join(t.TempDir(), "store"), Sealer: sealer, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &replicas{t: t, cells: db.Cells(), client: vaultcases.Client(t, cfg), now: time.Unix(1_790_000_000, 0)}
}

func (r *replicas) start(custody keys.Custody) (*keys.Rotator, error) {
	r.t.Helper()
	anchor, err := r.client.Anchor()
	if err != nil {
		r.t.Fatal(err)
	}
	return keys.New(r.t.Context(), keys.Config{
		Ring: ring, Cell: r.cells, MACKey: bytes.Repeat([]byte{2}, 32), Custody: custody, Anchor: anchor,
		Schedule: keys.Schedule{RotateEvery: time.Hour, JWKSMaxAge: time.Minute, MaxTTL: 10 * time.Minute, MaxLag: 30 * time.Second},
		Now:      func() time.Time { return r.now }, Logger: slog.New(slog.DiscardHandler),
	})
}

func signed(t *testing.T, r *keys.Rotator) error {
	t.Helper()
	raw, err := token.Sign(t.Context(), token.TypeAccessToken, []byte("{}"), r.Ring().Active())
	if err != nil {
		return err
	}
	u, err := token.Parse(raw)
	if err != nil {
		return err
	}
	key, ok := r.Ring().Public().Key(u.Header().KeyID)
	if !ok {
		return errors.New("the key that signed is not published")
	}
	_, err = u.Verify(key)
	return err
}

func has(r *keys.Rotator, stage keys.Stage) bool {
	_, ok := keys.State{Keys: r.List()}.Find(stage)
	return ok
}

func custodies(t *testing.T, c *vault.Client) map[string]keys.Custody {
	t.Helper()
	sealing, err := c.Sealing()
	if err != nil {
		t.Fatal(err)
	}
	signing, err := c.Signing()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]keys.Custody{sealing.Name(): sealing, signing.Name(): signing}
}

func TestARingRotatesInVaultsCustody(t *testing.T) {
	for _, name := range []string{vault.SealingName, vault.SigningName} {
		t.Run(name, func(t *testing.T) {
			_, d := deploy(t)
			fleet := newReplicas(t, d.Config)
			custody := custodies(t, fleet.client)[name]
			first, err := fleet.start(custody)
			if err != nil {
				t.Fatal(err)
			}
			second, err := fleet.start(custody)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for range 4 {
				for _, r := range []*keys.Rotator{first, second} {
					if err := errors.Join(r.Refresh(t.Context()), signed(t, r)); err != nil {
						t.Fatal(err)
					}
				}
				if !bytes.Equal(first.Ring().JWKS(), second.Ring().JWKS()) {
					t.Errorf("the replicas publish %s and %s", first.Ring().JWKS(), second.Ring().JWKS())
				}
				seen[first.Ring().Active().KeyID()] = true
				fleet.now = fleet.now.Add(time.Hour)
			}
			if len(seen) != 4 {
				t.Errorf("%d keys were active in 4 hours", len(seen))
			}
		})
	}
}

// An hour without Vault, in the middle of which a rotation is due.
func TestAnHourWithoutVault(t *testing.T) {
	for _, name := range []string{vault.SealingName, vault.SigningName} {
		t.Run(name, func(t *testing.T) {
			s, d := deploy(t)
			fleet := newReplicas(t, d.Config)
			r, err := fleet.start(custodies(t, fleet.client)[name])
			if err != nil {
				t.Fatal(err)
			}
			first := r.Ring().Active().KeyID()
			end := s.Inject(vaulttest.Fault{Drop: true})
			for range 6 {
				fleet.now = fleet.now.Add(12 * time.Minute)
				if err := r.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
				switch err := signed(t, r); {
				case name == vault.SealingName && err != nil:
					t.Errorf("an opened key does not sign: %v", err)
				case name == vault.SigningName && !errors.Is(err, keys.ErrUnavailable):
					t.Errorf("Sign = %v, want ErrUnavailable", err)
				}
			}
			// The published next key was open, so the rotation took place.
			if now := r.Ring().Active().KeyID(); now == first || has(r, keys.StageNext) {
				t.Errorf("key %s is active, and was; next: %t", now, has(r, keys.StageNext))
			}
			if _, err := fleet.start(custodies(t, fleet.client)[name]); !errors.Is(err, keys.ErrUnavailable) {
				t.Errorf("a replica that starts meanwhile: %v", err)
			}
			end()
			vaultcases.Eventually(t, func() error { return errors.Join(r.Refresh(t.Context()), signed(t, r)) })
			vaultcases.Eventually(t, func() error {
				if err := r.Refresh(t.Context()); err != nil || !has(r, keys.StageNext) {
					return errors.Join(err, errors.New("the next key is not made yet"))
				}
				return nil
			})
			anchor, err := fleet.client.Anchor()
			if err != nil {
				t.Fatal(err)
			}
			if at, err := anchor.Version(t.Context(), ring); err != nil || at != r.Ring().Version() {
				t.Errorf("version %d is in force and %d anchored, %v", r.Ring().Version(), at, err)
			}
		})
	}
}

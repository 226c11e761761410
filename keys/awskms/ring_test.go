package awskms_test

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/kmstest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/awskms"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
	"github.com/writbroker/writ/token"
)

// wall is a clock that the test moves.
type wall struct {
	mu  sync.Mutex
	now time.Time
}

func (w *wall) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *wall) add(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// replicas makes rotators over one store.
func replicas(t *testing.T, clock *wall, alg string) func(keys.Custody) (*keys.Rotator, error) {
	t.Helper()
	mac := bytes.Repeat([]byte("m"), 32)
	sealer, err := store.NewSealer(mac)
	must(t, err)
	db, err := bolt.Open(t.Context(), bolt.Config{Path: filepath.Join(t.TempDir(), "db"), Sealer: sealer, Now: clock.Now})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return func(c keys.Custody) (*keys.Rotator, error) {
		return keys.New(t.Context(), keys.Config{
			Ring: ring, Cell: db.Cells(), MACKey: mac, Custody: c, Now: clock.Now, Logger: slog.New(slog.DiscardHandler),
			Schedule: keys.Schedule{RotateEvery: time.Hour, JWKSMaxAge: 5 * time.Minute, MaxTTL: 15 * time.Minute, Algorithm: alg},
		})
	}
}

// verified has a ring sign, and verifies it as somebody who has only its JWKS.
func verified(t *testing.T, signs, publishes *keys.Ring) error {
	t.Helper()
	raw, err := token.Sign(t.Context(), token.TypeAccessToken, []byte(`{"sub":"agent"}`), signs.Active())
	if err != nil {
		return err
	}
	unverified, err := token.Parse(raw)
	if err != nil {
		return err
	}
	for _, key := range publishes.Public().Keys() {
		if key.ID == signs.Active().KeyID() {
			_, err := unverified.Verify(key)
			return err
		}
	}
	return errors.New("the key is not published")
}

func TestARingRotates(t *testing.T) {
	for name, row := range map[string]struct {
		custody func(*awskms.Client) keys.Custody
		remote  bool
	}{
		"sealed": {func(c *awskms.Client) keys.Custody { return c.Sealing() }, false},
		"signed": {func(c *awskms.Client) keys.Custody { return c.Signing() }, true},
	} {
		for _, alg := range []string{token.ES256, token.RS256} {
			t.Run(name+" "+alg, func(t *testing.T) {
				w, clock := newWorld(t), &wall{now: time.Now()}
				replica := replicas(t, clock, alg)
				one, err := replica(row.custody(w.client(t)))
				must(t, err)
				other, err := replica(row.custody(w.client(t)))
				must(t, err)
				first := one.Ring().Active().KeyID()
				for range 3 {
					clock.add(time.Hour)
					must(t, one.Refresh(t.Context()))
					must(t, other.Refresh(t.Context()))
					must(t, verified(t, one.Ring(), other.Ring()))
				}
				if one.Ring().Active().KeyID() == first {
					t.Error("it did not rotate")
				}

				// An emergency needs a key that is published, and no KMS.
				w.Break(drop)
				leaked := one.Ring().Active().KeyID()
				done, err := one.RotateNow(t.Context(), leaked)
				if row.remote {
					want(t, verified(t, one.Ring(), one.Ring()), keys.ErrUnavailable)
				} else {
					must(t, verified(t, one.Ring(), one.Ring()))
				}
				w.Break(nil)
				must(t, err)
				if done.Active == leaked || done.Revoked != leaked {
					t.Errorf("the emergency did %+v", done)
				}
				restarted, err := replica(row.custody(w.client(t)))
				must(t, err)
				must(t, verified(t, restarted.Ring(), restarted.Ring()))
			})
		}
	}
}

// A ring whose keys are not what it says is no reason to make other keys.
func TestARingOfExchangedKeysDoesNotStart(t *testing.T) {
	w, clock := newWorld(t), &wall{now: time.Now()}
	replica := replicas(t, clock, token.ES256)
	_, err := replica(w.client(t).Signing())
	must(t, err)
	before := w.Keys(kmstest.SignVerify)
	for _, k := range before {
		w.Replace(t, k.ARN)
	}
	_, err = replica(w.client(t).Signing())
	want(t, err, awskms.ErrBinding)
	if n := len(w.Keys(kmstest.SignVerify)); n != len(before) {
		t.Errorf("%d keys were made", n-len(before))
	}
}

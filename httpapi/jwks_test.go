package httpapi_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/writbroker/writ/httpapi"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/file"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
	"github.com/writbroker/writ/token"
)

type brokenCell struct {
	keys.Cell
	broken bool
}

func (c *brokenCell) Get(ctx context.Context, name string) (store.Versioned, error) {
	if c.broken {
		return store.Versioned{}, store.ErrUnavailable
	}
	return c.Cell.Get(ctx, name)
}

// halfCustody opens no next key.
type halfCustody struct{ keys.Custody }

func (c halfCustody) Open(ctx context.Context, ring string, k keys.KeyInfo) (token.Signer, error) {
	if k.Stage == keys.StageNext {
		return nil, errors.New("custody is away")
	}
	return c.Custody.Open(ctx, ring, k)
}

// ringConfig is for replicas on one store, whose clock is now.
func ringConfig(t *testing.T, now *time.Time) keys.Config {
	t.Helper()
	secret := make([]byte, 32)
	secret[0] = 1
	sealer, err := store.NewSealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(t.Context(), bolt.Config{Path: filepath.Join(t.TempDir(), "store.db"), Sealer: sealer, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	custody, err := file.New(secret)
	if err != nil {
		t.Fatal(err)
	}
	return keys.Config{
		Ring: "ring", Cell: db.Cells(), MACKey: secret, Custody: custody, Now: func() time.Time { return *now }, Logger: slog.New(slog.DiscardHandler),
		Schedule: keys.Schedule{RotateEvery: time.Hour, JWKSMaxAge: time.Minute, MaxTTL: time.Minute},
	}
}

func newRotator(t *testing.T, cfg keys.Config) *keys.Rotator {
	t.Helper()
	r, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Verifiers would keep a set without the next key, and refuse what another replica signs with it.
func TestAJWKSThatLacksTheNextKeyIsNotServed(t *testing.T) {
	now := time.Now()
	cfg := ringConfig(t, &now)
	whole := newRotator(t, cfg)
	cfg.Custody = halfCustody{cfg.Custody}
	half := newRotator(t, cfg)
	for name, want := range map[string]struct {
		ring   *keys.Rotator
		status int
	}{"every key opens": {whole, 200}, "the next one does not": {half, 503}} {
		s := serve(t, options{config: func(c *httpapi.Config) { c.Keys = want.ring }})
		a := s.send(s.public, "GET", "/.well-known/jwks.json", nil, nil)
		if a.status != want.status || want.status == 503 && (a.header.Get("Retry-After") == "" || a.header.Get("Cache-Control") != "no-store") {
			t.Errorf("%s: %d %v", name, a.status, a.header)
		}
	}
}

// A replica that has been cut off from the store for hours hands out the set of then, for max-age.
func TestAnUnconfirmedJWKSIsNotKept(t *testing.T) {
	now := time.Now()
	cfg := ringConfig(t, &now)
	cut := &brokenCell{Cell: cfg.Cell}
	there := newRotator(t, cfg)
	cfg.Cell = cut
	away := newRotator(t, cfg)
	cut.broken = true
	for range 2 { // two rotations that the other does not hear of
		now = now.Add(time.Hour + time.Second)
		if err := there.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := away.Refresh(t.Context()); err == nil {
		t.Fatal("not cut off")
	}
	s := serve(t, options{config: func(c *httpapi.Config) { c.Keys = away }})
	a := s.send(s.public, "GET", "/.well-known/jwks.json", nil, nil)
	_, has := away.Ring().Public().Key(there.Ring().Active().KeyID())
	if a.status == 200 && !has && a.header.Get("Cache-Control") != "public, max-age=0" {
		t.Errorf("stale for %v, without the key that signs, and to be kept: %s", away.Staleness(now), a.header.Get("Cache-Control"))
	}
}

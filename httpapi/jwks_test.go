package httpapi_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/writbroker/writ/httpapi"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/file"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
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

// A replica that has been cut off from the store for hours hands out the set of then, for max-age.
func TestAnUnconfirmedJWKSIsNotKept(t *testing.T) {
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
	now := time.Now()
	cut := &brokenCell{Cell: db.Cells()}
	cfg := keys.Config{
		Ring: "ring", Cell: db.Cells(), MACKey: secret, Custody: custody, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
		Schedule: keys.Schedule{RotateEvery: time.Hour, JWKSMaxAge: time.Minute, MaxTTL: time.Minute},
	}
	there, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Cell = cut
	away, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
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

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

// halfCustody opens no next key.
type halfCustody struct{ keys.Custody }

func (c halfCustody) Open(ctx context.Context, ring string, k keys.KeyInfo) (token.Signer, error) {
	if k.Stage == keys.StageNext {
		return nil, errors.New("custody is away")
	}
	return c.Custody.Open(ctx, ring, k)
}

// Verifiers would keep a set without the next key, and refuse what another replica signs with it.
func TestAJWKSThatLacksTheNextKeyIsNotServed(t *testing.T) {
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
	cfg := keys.Config{
		Ring: "ring", Cell: db.Cells(), MACKey: secret, Custody: custody, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		Schedule: keys.Schedule{RotateEvery: time.Hour, JWKSMaxAge: time.Minute, MaxTTL: time.Minute},
	}
	whole, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Custody = halfCustody{custody}
	half, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
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

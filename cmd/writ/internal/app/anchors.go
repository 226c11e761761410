package app

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
)

// AuditAnchors gives the key that signs the checkpoints of a broker's audit log, and those
// that were anchored in its store. While a broker has the store open there are none to read:
// then only the checkpoints in the log itself, and those kept elsewhere, can be held
// against it.
func AuditAnchors(ctx context.Context, cfg *config.Config) (ed25519.PublicKey, []audit.Checkpoint, error) {
	if _, err := os.Stat(cfg.RootKeyFile); err != nil {
		return nil, nil, fmt.Errorf("opening root key: %w", err) // never make one here
	}
	root, err := keys.LoadOrCreateRoot(cfg.RootKeyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("opening root key: %w", err)
	}
	pub, _ := root.RecordsKey().Public().(ed25519.PublicKey)
	sealer, err := store.NewSealer(root.StoreMACKey())
	if err != nil {
		return nil, nil, fmt.Errorf("opening store: %w", err)
	}
	db, err := bolt.Open(ctx, bolt.Config{Path: cfg.Store.Path, Sealer: sealer, Now: time.Now})
	if errors.Is(err, store.ErrUnavailable) {
		return pub, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("opening store: %w", err)
	}
	anchor, err := storedAnchor(ctx, db)
	return pub, anchor, errors.Join(err, db.Close())
}

func storedAnchor(ctx context.Context, db *bolt.DB) ([]audit.Checkpoint, error) {
	v, err := db.Cells().Get(ctx, cellAnchor)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading audit anchor: %w", err)
	}
	var c audit.Checkpoint
	if err := json.Unmarshal(v.Value, &c); err != nil {
		return nil, fmt.Errorf("reading audit anchor: %w", err)
	}
	return []audit.Checkpoint{c}, nil
}

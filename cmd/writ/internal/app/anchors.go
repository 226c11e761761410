package app

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
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
	replica := "" // the embedded store has one anchor, and this call makes no files
	if cfg.Store.Kind == config.StoreRedis {
		if replica, err = replicaID(cfg.DataDir); err != nil {
			return nil, nil, err
		}
	}
	reader := &App{cfg: cfg, logger: slog.New(slog.DiscardHandler), now: time.Now}
	db, err := reader.openStore(ctx, root)
	if errors.Is(err, store.ErrUnavailable) {
		return pub, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	anchor, err := storedAnchor(ctx, db.Cells(), anchorCell(cfg, replica))
	if errors.Is(err, store.ErrUnavailable) {
		err = nil
	}
	return pub, anchor, errors.Join(err, db.Close())
}

func storedAnchor(ctx context.Context, cells store.Cell, name string) ([]audit.Checkpoint, error) {
	v, err := cells.Get(ctx, name)
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

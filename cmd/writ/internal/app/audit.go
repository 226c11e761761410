package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/store"
)

// auditReader looks records up in the files of this replica.
type auditReader struct {
	log *audit.Log
}

// Decision returns the newest record of a decision.
func (r auditReader) Decision(ctx context.Context, id string) (audit.Record, error) {
	return r.log.Decision(ctx, id)
}

// Query returns the newest records that the filter selects, newest first.
func (r auditReader) Query(ctx context.Context, f audit.Filter) ([]audit.Record, error) {
	f.NewestFirst = true
	var out []audit.Record
	for rec, err := range audit.Query(r.log.Files(), f) {
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out = append(out, rec)
	}
	return out, nil
}

// anchor keeps signed checkpoints where whoever can write the audit folder cannot change
// them unseen: in the store each time, and outside this machine at the configured interval.
func (a *App) anchor(ctx context.Context, c audit.Checkpoint) error {
	a.outside.put(c)
	return a.anchorInStore(ctx, c)
}

// anchorOutside writes a checkpoint to the broker's log and to the webhook, as configured.
func (a *App) anchorOutside(ctx context.Context, c audit.Checkpoint) error {
	if a.cfg.Audit.Anchor.Log {
		a.logger.InfoContext(ctx, "audit checkpoint", "log", c.Log, "seq", c.Seq, "hash", c.Hash, "signature", c.Signature)
	}
	return a.anchorByWebhook(ctx, c)
}

func (a *App) anchorInStore(ctx context.Context, c audit.Checkpoint) error {
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encoding audit anchor: %w", err)
	}
	// The cell is of this store, not of this log: a log that was removed and begun anew does
	// not match its anchor.
	cells, name := a.store.Cells(), anchorCell(a.cfg, a.replica)
	v, err := cells.Get(ctx, name)
	switch {
	case err != nil && store.IsIntegrity(err):
		// The store lost the anchor, or it was changed. This replica has the newer one.
		a.logger.ErrorContext(ctx, "audit anchor in the store is not what was put there", store.AlarmKey, "audit_anchor", "error", err)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("anchoring audit checkpoint: %w", err)
	}
	if _, err := cells.Swap(ctx, name, v.Version, body); err != nil {
		return fmt.Errorf("anchoring audit checkpoint: %w", err)
	}
	return nil
}

func (a *App) anchorByWebhook(ctx context.Context, c audit.Checkpoint) error {
	hook := a.cfg.Audit.Anchor.Webhook
	if hook.URL == "" {
		return nil
	}
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encoding audit anchor: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, hook.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("anchoring audit checkpoint: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if hook.TokenFile != "" {
		secret, err := os.ReadFile(hook.TokenFile)
		if err != nil {
			return fmt.Errorf("reading token of audit webhook: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(secret)))
	}
	resp, err := webhookClient().Do(req)
	if err != nil {
		return fmt.Errorf("anchoring audit checkpoint: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("anchoring audit checkpoint: webhook answered %d", resp.StatusCode)
	}
	return nil
}

// webhookClient follows no redirect: the checkpoint's bearer token is for one host.
func webhookClient() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// trim keeps the revocation log bounded, until ctx ends.
func (a *App) trim(ctx context.Context) error {
	log := a.store.Log(logRevocations)
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			now := a.now().Add(-2 * a.cfg.Tokens.Skew)
			a.index.Sweep(now)
			if _, err := log.Trim(ctx, now, a.tokenLife()); err != nil && ctx.Err() == nil {
				a.logger.WarnContext(ctx, "revocation log not trimmed", "error", err)
			}
		}
	}
}

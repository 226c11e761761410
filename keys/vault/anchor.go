package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Anchor implements keys.Anchor: one entry of a KV v2 for each ring. A ring's entry
// that was deleted anchors nothing: whoever may delete it in Vault may lower it. It is
// safe for concurrent use.
type Anchor struct{ client *Client }

// Anchor is the anchor at Config.KV and Config.KVPath.
func (c *Client) Anchor() (*Anchor, error) {
	if c.cfg.KV == "" {
		return nil, errors.New("vault: no mount of the anchor is configured")
	}
	return &Anchor{client: c}, nil
}

// anchored is an entry: what is kept, and KV's own count of writes to it, which its
// compare-and-set compares.
type anchored struct {
	Data struct {
		Version uint64 `json:"version"`
	} `json:"data"`
	Metadata struct {
		Version uint64 `json:"version"`
	} `json:"metadata"`
}

// Version implements keys.Anchor.
func (a *Anchor) Version(ctx context.Context, ring string) (uint64, error) {
	entry, err := a.read(ctx, ring)
	return entry.Data.Version, err
}

// Raise implements keys.Anchor.
func (a *Anchor) Raise(ctx context.Context, ring string, version uint64) error {
	const attempts = 5
	for range attempts {
		entry, err := a.read(ctx, ring)
		if err != nil || entry.Data.Version >= version {
			return err
		}
		done, err := a.write(ctx, ring, version, entry.Metadata.Version)
		if done || err != nil {
			return err
		}
		if !pause(ctx, upTo(20*time.Millisecond)) {
			return ctx.Err()
		}
	}
	return &CallError{Kind: ErrRefused, Op: "anchor", Path: a.path(ring), Detail: "others write it all the time"}
}

func (a *Anchor) path(ring string) string {
	return a.client.cfg.KV + "/data/" + a.client.cfg.KVPath + "/" + ring
}

func (a *Anchor) read(ctx context.Context, ring string) (anchored, error) {
	if !slices.Contains(a.client.cfg.Rings, ring) {
		return anchored{}, fmt.Errorf("reading anchor: %w", a.client.otherRing("anchor", ring))
	}
	var out answer[anchored]
	r := request{op: "anchor", path: a.path(ring)}
	err := a.client.call(ctx, r, &out, func() error {
		if out.Data.Metadata.Version == 0 {
			return r.fault(ErrMount, "it is no KV of version 2", nil)
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		// KV's count goes on where the value was deleted.
		return anchored{Metadata: out.Data.Metadata}, nil
	}
	if err != nil {
		return anchored{}, fmt.Errorf("reading anchor: %w", err)
	}
	return out.Data, nil
}

// write is done unless another write came first.
func (a *Anchor) write(ctx context.Context, ring string, version, count uint64) (done bool, err error) {
	var out answer[struct {
		Version uint64 `json:"version"`
	}]
	body := map[string]map[string]uint64{"data": {"version": version}, "options": {"cas": count}}
	r := request{op: "anchor", path: a.path(ring), body: body}
	err = a.client.call(ctx, r, &out, func() error {
		if out.Data.Version <= count {
			return r.fault(ErrMount, "it is no KV of version 2", nil)
		}
		return nil
	})
	if errors.Is(err, ErrRefused) {
		// A compare-and-set that failed; if it is anything else, the attempts end.
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("raising anchor: %w", err)
	}
	return true, nil
}

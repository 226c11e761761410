package verifier

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// loadTimeout bounds the download of a whole revocation list.
const loadTimeout = 2 * time.Minute

// errNoDownload: an older broker.
var errNoDownload = errors.New("the broker's metadata names no snapshot")

// load gets the whole revocation list in compact form, so that the feed need not bring it
// event by event. It says nothing of how fresh the list is: heartbeats of the feed do.
// Without it, or after it failed, the feed begins with a snapshot of its own.
func (v *Verifier) load(ctx context.Context) error {
	at := v.ring.Load()
	if at.snapshot == "" {
		return errNoDownload
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	auth, err := v.cfg.FeedToken.Token(ctx)
	if err != nil {
		return fmt.Errorf("getting a token for the snapshot: %w", err)
	}
	body, err := v.client.Snapshot(ctx, at.snapshot, token.Rev{}, auth.Secret.Reveal())
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = revocation.ReadBulk(bufio.NewReaderSize(body, 256<<10), v.verifyBulk, func(part revocation.Snapshot) error {
		defer v.applied.Add(1) // after an error too: a part of it may have been applied
		return v.index.Merge(part)
	})
	if err != nil {
		return fmt.Errorf("loading the revocation list: %w", err)
	}
	v.acks.add(v.index.Position(), "")
	return nil
}

func (v *Verifier) verifyBulk(head string) ([]byte, error) {
	return v.verifyRecord(head, revocation.MaxBulkHead, revocation.TypeBulk)
}

// verifyRecord checks a record of the broker's and returns its payload.
func (v *Verifier) verifyRecord(raw string, limit int, typ string) ([]byte, error) {
	unverified, err := token.ParseRecord(raw, limit)
	if err != nil {
		return nil, fmt.Errorf("reading snapshot: %w", err)
	}
	if err := token.CheckType(unverified.Header(), typ); err != nil {
		return nil, fmt.Errorf("reading snapshot: %w", err)
	}
	records := v.ring.Load().records
	if records == nil {
		return nil, errors.New("reading snapshot: no records keys to verify it with")
	}
	key, ok := records.Key(unverified.Header().KeyID)
	if !ok {
		return nil, fmt.Errorf("reading snapshot: %w", ErrUnknownKey)
	}
	payload, err := unverified.Verify(key)
	if err != nil {
		return nil, fmt.Errorf("verifying snapshot: %w", err)
	}
	return payload, nil
}

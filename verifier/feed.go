package verifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

const (
	maxSnapshotPart = 16 << 20
	steadyStream    = 10 * time.Second // a stream that lasted this long was no failure
	maxFeedPause    = 5 * time.Second
	sweepEvery      = time.Minute
)

// errGap means that events are missing: the next reading begins with a snapshot.
var errGap = errors.New("the feed skipped a part of the log")

// follow keeps one stream of the feed open, for as long as ctx lives.
func (v *Verifier) follow(ctx context.Context) {
	select {
	case <-v.described:
	case <-ctx.Done():
		return
	}
	failures, after := 0, v.index.Position()
	for {
		began := v.now()
		err := v.read(ctx, after)
		if ctx.Err() != nil {
			return
		}
		failures++
		if v.now().Sub(began) >= steadyStream {
			failures = 1
		}
		after = v.index.Position()
		if errors.Is(err, errGap) {
			after = token.Rev{}
		}
		wait := feedPause(err, failures)
		v.log.WarnContext(ctx, "revocation feed ended, will reconnect", "wait", wait, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// feedPause spreads readers that lost the same replica, and obeys Retry-After.
func feedPause(err error, failures int) time.Duration {
	wait := backoff(failures, 100*time.Millisecond, maxFeedPause)
	var refused *client.ResponseError
	if errors.As(err, &refused) && refused.RetryAfter > 0 {
		wait = max(wait, min(refused.RetryAfter, time.Minute)+spread(time.Second))
	}
	return wait
}

// read follows the feed until it ends; the error is never nil.
func (v *Verifier) read(ctx context.Context, after token.Rev) error {
	at := v.ring.Load()
	if at.feed == "" {
		return errors.New("the broker's metadata names no revocation feed")
	}
	auth, err := v.cfg.FeedToken.Token(ctx)
	if err != nil {
		return fmt.Errorf("getting a token for the feed: %w", err)
	}
	err = v.client.Watch(ctx, client.Watch{
		URL: at.feed, After: after, Verifier: v.id, Name: v.cfg.Name,
		Idle:   max(v.cfg.MaxStaleness/2, time.Second),
		Handle: func(e client.FeedEvent) error { return v.handle(e) },
	}, auth.Secret.Reveal())
	var refused *client.ResponseError
	if errors.As(err, &refused) && refused.Status == http.StatusUnauthorized {
		v.cfg.FeedToken.Discard(auth)
	}
	return err
}

// handle applies one event. An error ends the stream.
func (v *Verifier) handle(e client.FeedEvent) error {
	switch e.Type {
	case revocation.EventSnapshot:
		if err := v.merge(e.Snapshot); err != nil {
			return err
		}
	case revocation.EventRule, revocation.EventLift, revocation.EventLineage:
		if err := v.index.Apply(e.Event); err != nil {
			return fmt.Errorf("%w: %w", errGap, err)
		}
		v.applied.Add(1)
		v.acks.add(v.index.Position(), localID(e.Event))
		return nil
	case revocation.EventKeys:
		v.wantKeys(rotated)
		return nil
	case revocation.EventHeartbeat:
		return v.beat(e)
	default:
		return nil // a newer broker's; what it means for tokens comes as rules
	}
	v.acks.add(v.index.Position(), "")
	return nil
}

// localID names a rule or lift that has no place in the log yet, so that
// whoever waits for it sees that it was applied.
func localID(e revocation.Event) string {
	switch {
	case !e.Position.IsZero():
		return ""
	case e.Rule != nil:
		return e.Rule.ID
	case e.Lift != nil:
		return e.Lift.ID
	}
	return ""
}

// beat takes a heartbeat: the replica has confirmed the log up to a position.
// It counts only if this verifier has reached that position.
func (v *Verifier) beat(e client.FeedEvent) error {
	if e.Heartbeat == nil || e.Confirmed.IsZero() || e.Heartbeat.Position.IsZero() {
		return nil
	}
	if !v.index.Covers(v.index.Position(), e.Heartbeat.Position) {
		return errGap
	}
	v.advance(&v.confirmed, e.Confirmed)
	v.syncOnce.Do(func() { close(v.synced) })
	v.acks.touch(v.index.Position())
	return nil
}

// merge verifies a part of a snapshot and adds it to the index.
func (v *Verifier) merge(raw string) error {
	unverified, err := token.ParseRecord(raw, maxSnapshotPart)
	if err != nil {
		return fmt.Errorf("reading snapshot: %w", err)
	}
	if err := token.CheckType(unverified.Header(), revocation.TypeSnapshot); err != nil {
		return fmt.Errorf("reading snapshot: %w", err)
	}
	records := v.ring.Load().records
	if records == nil {
		return errors.New("reading snapshot: no records keys to verify it with")
	}
	key, ok := records.Key(unverified.Header().KeyID)
	if !ok {
		return fmt.Errorf("reading snapshot: %w", ErrUnknownKey)
	}
	payload, err := unverified.Verify(key)
	if err != nil {
		return fmt.Errorf("verifying snapshot: %w", err)
	}
	var part revocation.Snapshot
	if err := json.Unmarshal(payload, &part); err != nil {
		return fmt.Errorf("reading snapshot: %w", err)
	}
	if err := v.index.Merge(part); err != nil {
		return fmt.Errorf("merging snapshot: %w", err)
	}
	v.applied.Add(1)
	return nil
}

// sweep drops rules that no live token can match any more. It waits out the
// leeway that Verify gives tokens.
func (v *Verifier) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			v.index.Sweep(v.now().Add(-v.cfg.Leeway - sweepEvery))
		}
	}
}

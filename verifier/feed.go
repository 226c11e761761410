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
	regroup         = time.Second
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
		if after.IsZero() {
			if err := v.load(ctx); err == nil {
				after = v.index.Position()
			} else if ctx.Err() == nil {
				v.log.InfoContext(ctx, "revocation list not loaded, the feed will bring it", "error", err)
			}
		}
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
		if failures == 1 {
			wait += spread(regroup) // those that lost a replica together come back one after the other
		}
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
		Handle: (&reading{Verifier: v}).handle,
	}, auth.Secret.Reveal())
	var refused *client.ResponseError
	if errors.As(err, &refused) && refused.Status == http.StatusUnauthorized {
		v.cfg.FeedToken.Discard(auth)
	}
	return err
}

// reading is one stream of the feed, used by the goroutine that reads it.
type reading struct {
	*Verifier
	// ahead is a heartbeat that confirmed more than was read: its events are
	// still to come on this stream. Zero where there is none.
	ahead client.FeedEvent
	// told: the broker at the other end has been told of what is here. It may be another than before,
	// and has forgotten whose last stream has ended.
	told bool
}

// handle applies one event. An error ends the stream.
func (r *reading) handle(e client.FeedEvent) (err error) {
	switch e.Type {
	case revocation.EventHeartbeat:
		return r.beat(e)
	case revocation.EventKeys:
		r.takeKeys(e.Keys)
		return nil
	case revocation.EventSnapshot:
		err = r.merge(e.Snapshot)
	case revocation.EventRule, revocation.EventLift, revocation.EventLineage:
		if err = r.index.Apply(e.Event); err != nil {
			err = fmt.Errorf("%w: %w", errGap, err)
		}
	default:
		return nil // a newer broker's; what it means for tokens comes as rules
	}
	r.applied.Add(1) // after an error too: a part may have been applied
	if err != nil {
		return err
	}
	r.acks.add(r.index.Position(), localID(e.Event))
	if r.ahead.Heartbeat != nil && r.confirm(r.ahead) {
		r.ahead = client.FeedEvent{}
	}
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
// The replica may have got there while the events were still on their way; if
// they are not here by the next heartbeat, they never will be.
func (r *reading) beat(e client.FeedEvent) error {
	if e.Heartbeat == nil || e.Confirmed.IsZero() || e.Heartbeat.Position.IsZero() {
		return nil
	}
	if r.confirm(e) {
		return nil
	}
	if r.ahead.Heartbeat != nil {
		return errGap
	}
	r.ahead = e
	return nil
}

// confirm takes a heartbeat for true if everything up to its position was
// applied here.
func (r *reading) confirm(e client.FeedEvent) bool {
	position := r.index.Position()
	if !r.index.Covers(position, e.Heartbeat.Position) {
		return false
	}
	r.advance(&r.confirmed, e.Confirmed)
	r.syncOnce.Do(func() { close(r.synced) })
	r.acks.touch(position)
	if !r.told {
		r.told = true
		r.acks.again()
	}
	return true
}

// merge verifies a part of a snapshot and adds it to the index.
func (v *Verifier) merge(raw string) error {
	payload, err := v.verifyRecord(raw, maxSnapshotPart, revocation.TypeSnapshot)
	if err != nil {
		return err
	}
	var part revocation.Snapshot
	if err := json.Unmarshal(payload, &part); err != nil {
		return fmt.Errorf("reading snapshot: %w", err)
	}
	if err := v.index.Merge(part); err != nil {
		return fmt.Errorf("merging snapshot: %w", err)
	}
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

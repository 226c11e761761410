package verifier

import (
	"context"
	"sync"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

const (
	maxLocalAcks = 1024
	ackAnyway    = 15 * time.Second // an acknowledgement is repeated after this, should one have been lost
	ackTimeout   = 5 * time.Second
)

// ackQueue holds what is still to be acknowledged: only the last position
// matters, so a burst of rules costs one call or two. The keys that are held are told with
// each: they are few, and whoever takes an acknowledgement may be another replica.
type ackQueue struct {
	wake   chan struct{}
	anyway time.Duration // ackAnyway

	mu       sync.Mutex // guards what follows
	position token.Rev
	local    []string
	pending  bool
}

// add notes that position was reached, and a rule applied that has none.
func (q *ackQueue) add(position token.Rev, local string) {
	q.mu.Lock()
	q.position, q.pending = position, true
	if local != "" && len(q.local) < maxLocalAcks {
		q.local = append(q.local, local)
	}
	q.mu.Unlock()
	q.signal()
}

// touch notes that position still holds.
func (q *ackQueue) touch(position token.Rev) {
	q.mu.Lock()
	changed := q.position != position
	q.position = position
	q.pending = q.pending || changed
	q.mu.Unlock()
	if changed {
		q.signal()
	}
}

// again has the last position acknowledged once more: something else has changed that an
// acknowledgement tells. Before the first position there is nobody to tell yet.
func (q *ackQueue) again() {
	q.mu.Lock()
	known := !q.position.IsZero()
	q.pending = q.pending || known
	q.mu.Unlock()
	if known {
		q.signal()
	}
}

func (q *ackQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns what to send; false where there is nothing.
func (q *ackQueue) take(repeat bool) (token.Rev, []string, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.pending && (!repeat || q.position.IsZero()) {
		return token.Rev{}, nil, false
	}
	position, local := q.position, q.local
	q.local, q.pending = nil, false
	return position, local, true
}

// putBack returns what could not be sent, behind nothing that came since.
func (q *ackQueue) putBack(local []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pending = true
	if len(q.local)+len(local) <= maxLocalAcks {
		q.local = append(local, q.local...)
	}
}

// acknowledge sends positions as they are reached. A failure costs nothing but
// the operator's certainty, so it is tried again and not reported further.
func (v *Verifier) acknowledge(ctx context.Context) {
	timer := time.NewTimer(v.acks.anyway)
	defer timer.Stop()
	failures := 0
	for {
		repeat := false
		select {
		case <-ctx.Done():
			return
		case <-v.acks.wake:
			if failures > 0 {
				continue // the timer is set to the next attempt
			}
		case <-timer.C:
			repeat = true
		}
		wait := v.acks.anyway/2 + spread(v.acks.anyway/2)
		if position, local, ok := v.acks.take(repeat); ok {
			if err := v.sendAck(ctx, position, local); err != nil {
				failures++
				v.acks.putBack(local)
				wait = backoff(failures, 100*time.Millisecond, v.acks.anyway)
				v.log.DebugContext(ctx, "position not acknowledged", "failures", failures, "error", err)
			} else {
				failures = 0
			}
		}
		timer.Reset(wait)
	}
}

func (v *Verifier) sendAck(ctx context.Context, position token.Rev, local []string) error {
	at := v.ring.Load()
	if at == nil || at.ack == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	auth, err := v.cfg.FeedToken.Token(ctx)
	if err != nil {
		return err
	}
	return v.client.Ack(ctx, at.ack, revocation.Ack{Verifier: v.id, Name: v.cfg.Name, Position: position, Local: local, Keys: at.kids}, auth.Secret.Reveal())
}

package verifier

import (
	"context"
	"sync"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
)

const (
	maxRefused    = 2048             // that wait, about 100 bytes each
	refusedPause  = 5 * time.Second  // between two reports, spread over its second half
	refusedMost   = time.Minute      // … after failures
	refusedRepeat = 30 * time.Second // a token that is tried again and again is told once in this
)

// refusalQueue holds what was refused because of a rule, until the broker was told. It
// serves the record, never a decision: where it is full, refusals are counted and dropped.
type refusalQueue struct {
	mu      sync.Mutex
	waiting []wire.Refusal
	dropped int64
	told    map[refusalKey]time.Time // bounded by maxRefused, and emptied then
}

type refusalKey struct{ rule, token string }

// add notes a refusal. It costs a lock, on a path that no good token takes.
func (q *refusalQueue) add(hit *revocation.Hit, tokenID string, now time.Time) {
	key := refusalKey{hit.RuleID, tokenID}
	q.mu.Lock()
	defer q.mu.Unlock()
	if at, ok := q.told[key]; ok && now.Sub(at) < refusedRepeat {
		return
	}
	if len(q.waiting) >= maxRefused {
		q.dropped++
		return
	}
	if q.told == nil || len(q.told) >= maxRefused {
		q.told = map[refusalKey]time.Time{}
	}
	q.told[key] = now
	q.waiting = append(q.waiting, wire.Refusal{RuleID: hit.RuleID, TokenID: tokenID, At: now})
}

// take returns a report's worth, and how many more were dropped before it.
func (q *refusalQueue) take() ([]wire.Refusal, int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), wire.MaxRefusals)
	out, dropped := q.waiting[:n:n], q.dropped
	q.waiting, q.dropped = append([]wire.Refusal(nil), q.waiting[n:]...), 0
	return out, dropped
}

// putBack returns what could not be told, as far as there is room.
func (q *refusalQueue) putBack(refusals []wire.Refusal, dropped int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	room := min(maxRefused-len(q.waiting), len(refusals))
	q.dropped += dropped + int64(len(refusals)-room)
	q.waiting = append(refusals[:room:room], q.waiting...)
}

// report tells the broker what was refused, until ctx ends.
func (v *Verifier) report(ctx context.Context) {
	timer := time.NewTimer(refusedPause/2 + spread(refusedPause/2))
	defer timer.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait := refusedPause/2 + spread(refusedPause/2)
		if refusals, dropped := v.refused.take(); len(refusals) > 0 || dropped > 0 {
			if err := v.sendRefusals(ctx, refusals, dropped); err != nil {
				failures++
				v.refused.putBack(refusals, dropped)
				wait = backoff(failures, refusedPause, refusedMost)
				v.log.DebugContext(ctx, "refusals not reported", "failures", failures, "error", err)
			} else {
				failures = 0
			}
		}
		timer.Reset(wait)
	}
}

func (v *Verifier) sendRefusals(ctx context.Context, refusals []wire.Refusal, dropped int64) error {
	at := v.ring.Load()
	if at == nil || at.refusals == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	auth, err := v.cfg.FeedToken.Token(ctx)
	if err != nil {
		return err
	}
	report := wire.RefusalReport{Verifier: v.id, Name: v.cfg.Name, Refusals: refusals, Dropped: dropped}
	return v.client.Refusals(ctx, at.refusals, report, auth.Secret.Reveal())
}

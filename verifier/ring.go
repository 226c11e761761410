package verifier

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/token"
)

const (
	defaultMaxTTL = time.Hour
	minKeysAge    = 30 * time.Second // a max-age below this is taken as this
	maxKeysAge    = 15 * time.Minute
	keysSpread    = 3 * time.Second  // verifiers told of a rotation together ask within this
	unknownPause  = 10 * time.Second // at most one fetch in this for key ids that nobody published
)

// ring is what the broker published about its keys. It is immutable.
type ring struct {
	generation uint64
	keys       map[string]*signingKey
	records    *token.KeySet
	maxTTL     time.Duration

	feed, ack, snapshot, refusals string // addresses; empty where the broker has none
}

// signingKey is the same pointer in successive rings while the key is the same.
type signingKey struct{ token.Key }

// nudge is a reason to fetch the keys before their time.
type nudge int

const (
	unknownKey nudge = iota // a token names a key id that is not in the ring
	rotated                 // the feed says that the keys changed
)

// wantKeys asks for a fetch without waiting. A rotation is never lost behind an
// unknown key id: those may be a stranger's invention.
func (v *Verifier) wantKeys(n nudge) {
	select {
	case v.nudge <- n:
		return
	default:
	}
	if n == unknownKey {
		return
	}
	select {
	case <-v.nudge:
	default:
	}
	select {
	case v.nudge <- n:
	default:
	}
}

// keepKeys fetches the broker's metadata and keys when they age, when the feed
// says that they changed, and, within a budget, when a token names an unknown
// one. What it cannot fetch, it keeps.
func (v *Verifier) keepKeys(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	due, last := v.now(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-v.nudge:
			now := v.now()
			at := now.Add(spread(keysSpread))
			if n == unknownKey {
				at = latest(now, last.Add(unknownPause)).Add(spread(keysSpread / 10))
			}
			if at.Before(due) {
				due = at
				timer.Reset(due.Sub(now))
			}
			continue
		case <-timer.C:
		}
		last = v.now()
		wait, err := v.fetch(ctx)
		if err != nil {
			failures++
			wait = backoff(failures, 200*time.Millisecond, time.Minute)
			if ctx.Err() == nil {
				v.log.WarnContext(ctx, "broker keys not fetched", "failures", failures, "error", err)
			}
		} else {
			failures = 0
		}
		due = v.now().Add(wait)
		timer.Reset(wait)
	}
}

// fetch replaces the ring and says when to come back: before max-age runs out.
func (v *Verifier) fetch(ctx context.Context) (time.Duration, error) {
	began := v.now()
	m, err := v.client.Metadata(ctx)
	if err != nil {
		return 0, err
	}
	data, age, err := v.client.JWKS(ctx, m.JWKSURI)
	if err != nil {
		return 0, err
	}
	next, err := v.newRing(m, data)
	if err != nil {
		return 0, err
	}
	first := v.ring.Swap(next) == nil
	v.advance(&v.fetched, began)
	if first {
		close(v.described)
	}
	age = min(max(age, minKeysAge), maxKeysAge)
	return age*6/10 + spread(age*3/10), nil
}

// newRing reads the broker's answers. keepKeys is its only caller, so rings
// are made one after the other.
func (v *Verifier) newRing(m *wire.Metadata, jwks []byte) (*ring, error) {
	set, err := token.ParseJWKS(jwks, token.JWKSOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	r := &ring{generation: 1, keys: map[string]*signingKey{}, records: v.cfg.RecordsKeys, maxTTL: v.cfg.MaxTTL,
		feed: m.RevocationFeed, ack: m.RevocationAck, snapshot: m.RevocationSnapshot, refusals: m.RevocationRefusals}
	old := v.ring.Load()
	if old != nil {
		r.generation = old.generation + 1
	}
	for _, k := range set.Keys() {
		if _, unique := set.Key(k.ID); k.ID == "" || !unique {
			continue
		}
		r.keys[k.ID] = &signingKey{k}
		if old != nil && same(old.keys[k.ID], k) {
			r.keys[k.ID] = old.keys[k.ID]
		}
	}
	if len(r.keys) == 0 {
		return nil, errors.New("the broker publishes no usable key")
	}
	if r.maxTTL == 0 {
		r.maxTTL = time.Duration(min(max(m.MaxTokenTTL, 0), 7*86400)) * time.Second
	}
	if r.maxTTL == 0 {
		r.maxTTL = defaultMaxTTL
	}
	if r.records == nil && len(m.RecordsJWKS) > 0 {
		if r.records, err = token.ParseJWKS(m.RecordsJWKS, token.JWKSOptions{}); err != nil {
			return nil, fmt.Errorf("reading records keys: %w", err)
		}
	}
	return r, nil
}

func same(old *signingKey, k token.Key) bool {
	if old == nil || old.Algorithm != k.Algorithm || old.Use != k.Use {
		return false
	}
	public, ok := old.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(k.Public)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// spread returns a duration in [0, d].
func spread(d time.Duration) time.Duration {
	return rand.N(d + 1) // #nosec G404 -- spreads load, guards nothing
}

// backoff grows with each failure and is spread over its upper half.
func backoff(failures int, first, most time.Duration) time.Duration {
	d := min(most, first<<min(failures-1, 20))
	return d/2 + spread(d/2)
}

package verifier

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/token"
)

const (
	defaultMaxTTL = time.Hour
	minKeysAge    = 30 * time.Second // a max-age below this is taken as this
	maxKeysAge    = 15 * time.Minute
	keysSpread    = 10 * time.Second // verifiers told of a rotation together, that have to ask, ask within this
	unknownSpread = 300 * time.Millisecond
	unknownPause  = 10 * time.Second // at most one fetch in this for key ids that nobody published
)

// ring is what the broker published about its keys. It is immutable.
type ring struct {
	generation uint64
	keys       map[string]*signingKey
	kids       []string // of keys, sorted
	records    *token.KeySet
	maxTTL     time.Duration

	feed, ack, snapshot, refusals string // addresses; empty where the broker has none
	// feedKeys: the feed comes from where the keys do, so that what it says of them is as good.
	feedKeys bool
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
	for {
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
	}
}

// keepKeys fetches the broker's metadata and keys when they age, when the feed
// says that they changed, and, within a budget, when a token names an unknown
// one. What it cannot fetch, it keeps.
func (v *Verifier) keepKeys(ctx context.Context) {
	for failures := 0; ; {
		last := v.now()
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
		if !v.keysDue(ctx, wait, last) {
			return
		}
	}
}

// keysDue waits until keys are to be fetched again, which were last fetched at last: after
// wait, or sooner where somebody asks for them. It is false when ctx ends.
func (v *Verifier) keysDue(ctx context.Context, wait time.Duration, last time.Time) bool {
	due := v.now().Add(wait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case n := <-v.nudge:
			now := v.now()
			at := now.Add(spread(keysSpread))
			if n == unknownKey {
				at = latest(now, last.Add(unknownPause)).Add(spread(unknownSpread))
			}
			if at.Before(due) {
				due = at
				timer.Reset(due.Sub(now))
			}
		}
	}
}

// fetch replaces the ring and says when to come back: before max-age runs out.
func (v *Verifier) fetch(ctx context.Context) (time.Duration, error) {
	began, before := v.now(), v.ring.Load()
	m, err := v.client.Metadata(ctx)
	if err != nil {
		return 0, err
	}
	data, age, err := v.client.JWKS(ctx, m.JWKSURI)
	if err != nil {
		return 0, err
	}
	err = v.replace(func(old *ring) (*ring, error) {
		next, err := v.newRing(old, m, data)
		if err == nil && old != before { // the feed brought newer keys while the answer was on its way
			next.keys, next.kids = old.keys, old.kids
		}
		return next, err
	})
	if err != nil {
		return 0, err
	}
	v.advance(&v.fetched, began)
	age = min(max(age, minKeysAge), maxKeysAge)
	return age*6/10 + spread(age*3/10), nil
}

// replace puts a new ring in the place of the old one, which is nil at first, and has the
// broker told if the keys are others. It makes rings one after the other.
func (v *Verifier) replace(build func(old *ring) (*ring, error)) error {
	v.ringMu.Lock()
	defer v.ringMu.Unlock()
	old := v.ring.Load()
	next, err := build(old)
	if err != nil {
		return err
	}
	v.ring.Store(next)
	switch {
	case old == nil:
		close(v.described)
	case !slices.Equal(old.kids, next.kids):
		v.acks.again()
	}
	return nil
}

// takeKeys takes the key set that the feed brought, so that thousands of verifiers need not
// ask for it together. When keys have to be fetched does not change: the feed does not say how
// old its word is. What it cannot use, it fetches.
func (v *Verifier) takeKeys(jwks []byte) {
	if !v.ring.Load().feedKeys {
		v.wantKeys(rotated)
		return
	}
	err := v.replace(func(old *ring) (*ring, error) {
		next := *old
		return &next, next.read(old, jwks)
	})
	if err != nil {
		v.log.Warn("keys of the feed not taken, will fetch them", "error", err)
		v.wantKeys(rotated)
	}
}

// read puts the keys of a set into the ring, which follows old; nil is none.
func (r *ring) read(old *ring, jwks []byte) error {
	set, err := token.ParseJWKS(jwks, token.JWKSOptions{})
	if err != nil {
		return fmt.Errorf("reading keys: %w", err)
	}
	r.generation, r.keys = 1, map[string]*signingKey{}
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
		return errors.New("the broker publishes no usable key")
	}
	r.kids = slices.Sorted(maps.Keys(r.keys))
	return nil
}

// newRing reads the broker's answers.
func (v *Verifier) newRing(old *ring, m *wire.Metadata, jwks []byte) (*ring, error) {
	r := &ring{records: v.cfg.RecordsKeys, maxTTL: v.cfg.MaxTTL, feedKeys: sameOrigin(m.RevocationFeed, m.JWKSURI),
		feed: m.RevocationFeed, ack: m.RevocationAck, snapshot: m.RevocationSnapshot, refusals: m.RevocationRefusals}
	err := r.read(old, jwks)
	if err != nil {
		return nil, err
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

// sameOrigin reports whether two addresses lie on one server (RFC 6454 section 5).
func sameOrigin(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	return errX == nil && errY == nil && x.Host != "" && x.Scheme == y.Scheme && x.Host == y.Host
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

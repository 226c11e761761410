package identity

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/writbroker/writ/token"
)

// cacheShards keeps callers apart; a power of two.
const cacheShards = 16

// Cache remembers the tokens that a Registry verified, for workloads that present the same one again. It is safe
// for concurrent use and bounded.
//
// A token is known by the SHA-256 of its text, signature included. What was said of it holds until its exp (without
// leeway) or its maximum age, as long as the source's keys are still those it was verified
// with. After any change of the keys, it is verified anew, so a key that the issuer removed takes its
// tokens with it. Refusals are not remembered. Whether a token is revoked is the caller's to check, every time.
type Cache struct {
	registry *Registry
	keys     KeyFinder
	shards   [cacheShards]shard
	half     int // entries per generation of a shard
	// buffers hold a token while it is hashed, so that a hit allocates nothing.
	buffers sync.Pool
}

type digest [sha256.Size]byte

// shard holds two generations: a full young one becomes the old one, and what the old one held and
// nobody asked for is forgotten.
type shard struct {
	mu    sync.RWMutex
	young map[digest]*entry
	old   map[digest]*entry
}

type entry struct {
	principal *Principal
	keys      uint64 // generation of the source's keys
	from      int64  // when it was verified: a clock that went back sees it anew
	until     int64  // Unix nanoseconds, exclusive
}

// NewCache returns a cache of at most size tokens (at least one for each of its parts). Size 0 or
// less remembers nothing.
func NewCache(reg *Registry, keys KeyFinder, size int) *Cache {
	c := &Cache{registry: reg, keys: keys}
	if size > 0 {
		c.half = max(1, size/cacheShards/2)
	}
	return c
}

// Authenticate is Registry.Authenticate, or what it said of this very token before. The Principal is
// shared: read-only.
func (c *Cache) Authenticate(ctx context.Context, raw string, now time.Time) (*Principal, error) {
	if c.half == 0 {
		return c.registry.Authenticate(ctx, raw, now, c.keys)
	}
	if len(raw) > token.MaxBytes {
		return nil, fmt.Errorf("%w: over %d bytes", ErrMalformed, token.MaxBytes)
	}
	sum := c.sum(raw)
	at := &c.shards[sum[0]%cacheShards]
	if e := at.find(sum, c.half); e != nil && e.holds(now, c.keys) {
		return e.principal, nil
	}
	p, generation, err := c.registry.authenticate(ctx, raw, now, c.keys)
	if err != nil {
		return nil, err
	}
	e := &entry{principal: p, keys: generation, from: now.UnixNano(), until: c.registry.until(p).UnixNano()}
	if generation != 0 && e.from < e.until {
		at.mu.Lock()
		at.keep(sum, e, c.half)
		at.mu.Unlock()
	}
	return p, nil
}

func (c *Cache) sum(raw string) digest {
	buffer, ok := c.buffers.Get().(*[]byte)
	if !ok {
		buffer = new(make([]byte, 0, 2048))
	}
	*buffer = append((*buffer)[:0], raw...)
	sum := digest(sha256.Sum256(*buffer))
	c.buffers.Put(buffer)
	return sum
}

// until is the end of a token's life without any leeway.
func (r *Registry) until(p *Principal) time.Time {
	oldest := p.IssuedAt.Add(r.byName[p.Source].MaxAge)
	if oldest.Before(p.Expires) {
		return oldest
	}
	return p.Expires
}

func (e *entry) holds(now time.Time, keys KeyFinder) bool {
	at := now.UnixNano()
	return e.from <= at && at < e.until && keys.Generation(e.principal.Source) == e.keys
}

func (s *shard) find(sum digest, half int) *entry {
	s.mu.RLock()
	e, ok := s.young[sum]
	if ok {
		s.mu.RUnlock()
		return e
	}
	e, ok = s.old[sum]
	s.mu.RUnlock()
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if newer, ok := s.young[sum]; ok {
		return newer
	}
	s.keep(sum, e, half)
	return e
}

// keep puts an entry into the young generation. The caller holds the lock.
func (s *shard) keep(sum digest, e *entry, half int) {
	if _, known := s.young[sum]; !known && len(s.young) >= half {
		s.old, s.young = s.young, nil
	}
	if s.young == nil {
		s.young = make(map[digest]*entry, min(half, 64))
	}
	s.young[sum] = e
}

// AuthenticateX509 is Registry.AuthenticateX509; nothing of it is remembered.
func (c *Cache) AuthenticateX509(chain []*x509.Certificate, now time.Time) (*Principal, error) {
	return c.registry.AuthenticateX509(chain, now)
}

// SourceOf is Registry.SourceOf.
func (c *Cache) SourceOf(id string) (Source, bool) { return c.registry.SourceOf(id) }

// Sources is Registry.Sources.
func (c *Cache) Sources() []Source { return c.registry.Sources() }

package verifier

import (
	"sync"
	"sync/atomic"
)

const cacheShards = 16

// digest is the SHA-256 of a raw token: the cache never holds the token.
type digest [32]byte

// entry is a token that passed every check but revocation, which is asked
// again. All but the two generations is immutable.
type entry struct {
	claims              *Claims
	key                 *signingKey
	notBefore, notAfter int64 // Unix seconds, leeway included

	keys    atomic.Uint64 // generation of the key set in which key was last found
	applied atomic.Uint64 // generation of the revocation index that last let it pass
}

// cache is a bounded map of verified tokens, usable concurrently. Eviction is
// second chance in order of arrival: a flood of one-time tokens passes through
// without driving out the tokens in use.
type cache struct {
	shards [cacheShards]shard
}

type shard struct {
	mu      sync.RWMutex
	entries map[digest]*slot
	ring    []digest // order of arrival; next is the oldest once it is full
	next    int
	size    int
}

type slot struct {
	entry *entry
	used  atomic.Bool
}

func newCache(size int) *cache {
	c := &cache{}
	per := max(1, (size+cacheShards-1)/cacheShards)
	for i := range c.shards {
		c.shards[i] = shard{entries: map[digest]*slot{}, size: per}
	}
	return c
}

func (c *cache) shard(d digest) *shard { return &c.shards[d[0]%cacheShards] }

func (c *cache) get(d digest) *entry {
	s := c.shard(d)
	s.mu.RLock()
	held := s.entries[d]
	s.mu.RUnlock()
	if held == nil {
		return nil
	}
	if !held.used.Load() { // spare the cache line where it is set already
		held.used.Store(true)
	}
	return held.entry
}

func (c *cache) put(d digest, e *entry) {
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.entries[d]; held != nil {
		s.entries[d] = &slot{entry: e}
		return
	}
	if len(s.ring) < s.size {
		s.ring = append(s.ring, d)
	} else {
		s.evict()
		s.ring[s.next] = d
		s.next = (s.next + 1) % s.size
	}
	s.entries[d] = &slot{entry: e}
}

// evict frees the place s.next: it moves on past entries used since they were
// last looked at, at most once around.
func (s *shard) evict() {
	for range s.size {
		held := s.entries[s.ring[s.next]]
		if held == nil || !held.used.CompareAndSwap(true, false) {
			break
		}
		s.next = (s.next + 1) % s.size
	}
	delete(s.entries, s.ring[s.next])
}

// remove drops e, if it is still what d leads to. Its place in the ring stays
// until its turn comes.
func (c *cache) remove(d digest, e *entry) {
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.entries[d]; held != nil && held.entry == e {
		delete(s.entries, d)
	}
}

package broker

import (
	"hash/maphash"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter is a set of token buckets, one for each key, in bounded memory. A nil limiter
// limits nothing.
type limiter struct {
	rate   rate.Limit
	burst  int
	seed   maphash.Seed
	shards [limiterShards]limiterShard
}

type limiterShard struct {
	mu      sync.Mutex
	buckets map[string]*bucket // guarded by mu, with all that they hold
}

type bucket struct {
	*rate.Limiter

	last time.Time // the latest that one was taken at
}

const (
	limiterShards   = 16
	limiterPerShard = 8192 // about 2 MB a shard

	longestWay = time.Minute // more than a request takes until its proofs are checked
)

// newLimiter returns nil, no limit, for a rate of 0.
func newLimiter(perSecond float64, burst int) *limiter {
	if perSecond <= 0 {
		return nil
	}
	l := &limiter{rate: rate.Limit(perSecond), burst: max(burst, 1), seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].buckets = map[string]*bucket{}
	}
	return l
}

// take uses one token of key's bucket. It returns 0, or how long until there is one. Callers bring
// the time at which their requests came, which may be long ago, and in any order.
func (l *limiter) take(key string, now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	s := l.shard(key)
	// Held until a token that was not there is given back: of several at once, each would lose it to
	// the next.
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bucket(key, now, l)
	// A bucket that went back in time would be filled twice for the time between. What lies far
	// ahead was taken before the clock went back.
	if late := b.last.Sub(now); late > 0 && late <= longestWay {
		now = b.last
	}
	b.last = now
	r := b.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

func (l *limiter) shard(key string) *limiterShard {
	return &l.shards[maphash.String(l.seed, key)%limiterShards]
}

// bucket is guarded by mu.
func (s *limiterShard) bucket(key string, now time.Time, l *limiter) *bucket {
	b, ok := s.buckets[key]
	if !ok {
		if len(s.buckets) >= limiterPerShard {
			s.evict(now, l.burst)
		}
		b = &bucket{Limiter: rate.NewLimiter(l.rate, l.burst)}
		s.buckets[key] = b
	}
	return b
}

// evict drops the buckets that are full again, since a new one is the same. If none is,
// it drops any one: memory stays bounded, and the key concerned starts afresh.
func (s *limiterShard) evict(now time.Time, burst int) {
	for k, b := range s.buckets {
		if b.TokensAt(now) >= float64(burst) {
			delete(s.buckets, k)
		}
	}
	for k := range s.buckets {
		if len(s.buckets) < limiterPerShard {
			return
		}
		delete(s.buckets, k)
	}
}

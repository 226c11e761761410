package broker

import "time"

// Limiter is what bounds callers.
type Limiter = limiter

// NewLimiter is newLimiter.
func NewLimiter(perSecond float64, burst int) *Limiter { return newLimiter(perSecond, burst) }

// Take is what a request does at its time.
func (l *Limiter) Take(key string, now time.Time) time.Duration { return l.take(key, now) }

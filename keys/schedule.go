package keys

import (
	"errors"
	"fmt"
	"time"

	"github.com/writbroker/writ/token"
)

// ErrSchedule is a schedule under which a token could outlive its key, or a key
// sign before verifiers can have it.
var ErrSchedule = errors.New("key schedule is not safe")

// Schedule says when keys change. A zero Prepublish, RetireAfter or Algorithm
// takes its least safe value, resp. ES256; the other fields are required, but
// for ActivateWithin, Jitter, Skew and MaxLag.
type Schedule struct {
	// RotateEvery is how long a key signs.
	RotateEvery time.Duration
	// Prepublish is how long a key is published before it signs: at least
	// JWKSMaxAge + 1¼·MaxLag + 2·Skew.
	Prepublish time.Duration
	// ActivateWithin is how long after its time a scheduled activation waits for connected
	// verifiers that have not reported the key, at most RotateEvery. Zero is 10 min, or
	// Prepublish or RotateEvery where that is less.
	ActivateWithin time.Duration
	// RetireAfter is how long a key is published after it last signed: at least
	// MaxTTL + 1¼·MaxLag + 5·Skew.
	RetireAfter time.Duration
	// Jitter spreads the replicas' attempts at a rotation: each is late by up to
	// this much.
	Jitter time.Duration
	// Algorithm is what the next key to be made will sign with: token.ES256,
	// token.RS256 or token.Ed25519. Changing it does not touch keys that exist.
	Algorithm string

	// JWKSMaxAge is how long verifiers may keep the published set.
	JWKSMaxAge time.Duration
	// MaxTTL is the longest life of a token, ever.
	MaxTTL time.Duration
	// Skew is how far the clock of a replica or a verifier may be off, and the
	// leeway that verifiers grant.
	Skew time.Duration
	// MaxLag is how long a replica may go on signing without having confirmed the
	// shared state; past it, signing fails with ErrStale. Zero is 30 s.
	MaxLag time.Duration
}

const (
	defaultMaxLag         = 30 * time.Second
	defaultActivateWithin = 10 * time.Minute
)

// complete fills in defaults.
func (s Schedule) complete() Schedule {
	if s.MaxLag == 0 {
		s.MaxLag = defaultMaxLag
	}
	if s.Prepublish == 0 {
		s.Prepublish = s.leastPrepublish()
	}
	if s.RetireAfter == 0 {
		s.RetireAfter = s.leastRetireAfter()
	}
	if s.ActivateWithin == 0 {
		s.ActivateWithin = min(defaultActivateWithin, s.Prepublish, s.RotateEvery)
	}
	if s.Algorithm == "" {
		s.Algorithm = token.ES256
	}
	return s
}

// lag is how far behind the shared state a replica may be, and how late a write may be that
// is not made good (see slip).
func (s Schedule) lag() time.Duration { return s.MaxLag + s.MaxLag/lateShare }

// leastPrepublish: a replica may serve the old set for MaxLag, a verifier keep it
// for JWKSMaxAge after, and the clocks of who published and who activates differ.
func (s Schedule) leastPrepublish() time.Duration { return s.JWKSMaxAge + s.lag() + 2*s.Skew }

// leastRetireAfter: a replica may sign with the retired key for MaxLag; who retires it may
// be slow, who mints and who drops it fast, the verifier slow, and it grants leeway: one
// Skew each.
func (s Schedule) leastRetireAfter() time.Duration { return s.MaxTTL + s.lag() + 5*s.Skew }

// Validate reports every fault of the schedule, its defaults filled in.
func (s Schedule) Validate() error {
	s = s.complete()
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrSchedule}, args...)...))
		}
	}
	fault(s.RotateEvery <= 0, "rotate_every is not positive")
	fault(s.JWKSMaxAge <= 0, "jwks max-age is not positive")
	fault(s.MaxTTL <= 0, "the maximum token life is not positive")
	fault(s.Skew < 0 || s.Jitter < 0 || s.MaxLag < 0, "a duration is negative")
	fault(s.ActivateWithin < 0 || s.RotateEvery > 0 && s.ActivateWithin > s.RotateEvery, "activate_within %v is negative, or longer than a key signs", s.ActivateWithin)
	fault(s.Prepublish < s.leastPrepublish(), "a key would sign before every verifier can have it: prepublish %v is below jwks max-age + lag + skew = %v", s.Prepublish, s.leastPrepublish())
	fault(s.RetireAfter < s.leastRetireAfter(), "a key would go while its tokens live: retire_after %v is below the maximum token life + lag + skew = %v", s.RetireAfter, s.leastRetireAfter())
	fault(s.RotateEvery > 0 && s.keysNeeded() > MaxKeys, "rotating every %v and keeping keys for %v needs more than %d keys", s.RotateEvery, s.RetireAfter, MaxKeys)
	switch s.Algorithm {
	case token.ES256, token.RS256, token.Ed25519:
	default:
		fault(true, "algorithm %q is none of ES256, RS256, Ed25519", s.Algorithm)
	}
	return errors.Join(faults...)
}

// keysNeeded is the most keys that scheduled rotation alone can lead to: one
// active, one next, and those that retired within RetireAfter, with the clocks
// of who retires and who drops apart.
func (s Schedule) keysNeeded() int {
	between := max(s.RotateEvery, s.Prepublish) - 2*s.Skew
	if between <= 0 {
		return MaxKeys + 1
	}
	return 2 + 1 + int((s.RetireAfter+4*s.Skew)/between)
}

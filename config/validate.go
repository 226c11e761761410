package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// maxTokenTTL is the longest life that any token may be configured to have: a
	// rule of the revocation log is kept for as long.
	maxTokenTTL = 24 * time.Hour
	maxSkew     = 5 * time.Minute
	// smallestToken and largestToken bound tokens.max_bytes: below the first a plain
	// token does not fit, above the second no verifier of ours reads it.
	smallestToken, largestToken = 1 << 10, 16 << 10
	// replicaLag is how long a replica may go on with the key set that it knows, with what a
	// write of it may be late, and
	// publishedKeys how many keys the set may hold; both are package keys' own.
	replicaLag    = 30*time.Second + 30*time.Second/4
	publishedKeys = 16
	// heartbeats is how many heartbeats fit in max_staleness, so that one that is
	// lost or late does not stop a verifier.
	heartbeats = 3
)

// Validate checks the values against each other, without touching disk or
// network. The error is a *FaultsError that holds every fault. Load has called it
// already; it is there for a Config that was made by hand.
func (c *Config) Validate() error { return asError(c.faults()) }

func (c *Config) faults() []Fault {
	k := &checker{config: c}
	k.issuer()
	k.listeners()
	k.places()
	k.sources()
	k.tokens()
	k.keys()
	k.revocation()
	k.rates()
	k.proxies()
	k.aws()
	k.audit()
	k.rest()
	return k.faults
}

// checker collects faults. Its methods take the dotted key of what they check.
type checker struct {
	config *Config
	faults []Fault
}

func (k *checker) fault(key, message, hint string) {
	k.faults = append(k.faults, Fault{
		File: k.config.file, Line: k.line(key), Key: key, Message: message, Hint: hint,
	})
}

// line is where key stands, or the nearest key that holds it.
func (k *checker) line(key string) int {
	for key != "" {
		if n, ok := k.config.lines[key]; ok {
			return n
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			return 0
		}
		key = key[:cut]
	}
	return 0
}

// require reports an empty value.
func (k *checker) require(key, value, hint string) bool {
	if value == "" {
		k.fault(key, "is missing", hint)
	}
	return value != ""
}

func (k *checker) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		k.fault(key, fmt.Sprintf("%q is not known", value), "use "+strings.Join(allowed, ", "))
	}
}

// between holds for durations from low to high, both included.
func (k *checker) between(key string, value, low, high time.Duration) bool {
	if value >= low && value <= high {
		return true
	}
	k.fault(key, fmt.Sprintf("%s is out of range", value), fmt.Sprintf("use %s to %s", low, high))
	return false
}

func (k *checker) count(key string, value, low, high int64) {
	if value < low || value > high {
		k.fault(key, fmt.Sprintf("%d is out of range", value), fmt.Sprintf("use %d to %d", low, high))
	}
}

func (k *checker) tokens() {
	t := k.config.Tokens
	k.between("tokens.max_ttl", t.MaxTTL, time.Second, maxTokenTTL)
	if t.DefaultTTL > t.MaxTTL {
		k.fault("tokens.default_ttl", fmt.Sprintf("%s is longer than tokens.max_ttl (%s)", t.DefaultTTL, t.MaxTTL), "lower it")
	} else {
		k.between("tokens.default_ttl", t.DefaultTTL, time.Second, maxTokenTTL)
	}
	k.between("tokens.skew", t.Skew, 0, maxSkew)
	k.count("tokens.max_depth", int64(t.MaxDepth), 1, 16)
	k.count("tokens.max_bytes", int64(t.MaxBytes), smallestToken, largestToken)
}

// keys holds the order of a rotation: whoever fetched the key set just before a
// key appeared must fetch it again before that key signs, and no key may vanish
// while a token that it signed is alive.
func (k *checker) keys() {
	y, t, skew := k.config.Keys, k.config.Tokens, k.config.Skew()
	k.custody()
	k.oneOf("keys.algorithm", y.Algorithm, "ES256", "RS256", "Ed25519")
	k.between("keys.jwks_max_age", y.JWKSMaxAge, time.Second, 24*time.Hour)
	k.between("keys.clock_skew", y.ClockSkew, 0, maxSkew)
	if y.ActivateWithin < 0 || y.ActivateWithin > y.RotateEvery {
		k.fault("keys.activate_within",
			fmt.Sprintf("%s is negative, or longer than keys.rotate_every (%s)", y.ActivateWithin, y.RotateEvery), "lower it")
	}
	if need := y.JWKSMaxAge + replicaLag + 2*skew; y.Prepublish < need {
		k.fault("keys.prepublish",
			fmt.Sprintf("%s is shorter than keys.jwks_max_age + %s + 2 × keys.clock_skew (%s): a key would sign before verifiers have fetched it", y.Prepublish, replicaLag, need),
			"raise it to at least "+need.String()+", or lower keys.jwks_max_age or keys.clock_skew")
	}
	if need := t.MaxTTL + replicaLag + 5*skew; y.RetireAfter < need {
		k.fault("keys.retire_after",
			fmt.Sprintf("%s is shorter than tokens.max_ttl + %s + 5 × keys.clock_skew (%s): live tokens would stop verifying", y.RetireAfter, replicaLag, need),
			"raise it to at least "+need.String()+", or lower keys.clock_skew")
	}
	between := y.RotateEvery - 2*skew
	switch {
	case y.RotateEvery <= y.Prepublish:
		k.fault("keys.rotate_every",
			fmt.Sprintf("%s is not longer than keys.prepublish (%s): the next key would be due before it is published", y.RotateEvery, y.Prepublish),
			"raise it")
	case between <= 0 || 3+(y.RetireAfter+4*skew)/between > publishedKeys:
		k.fault("keys.rotate_every",
			fmt.Sprintf("%s is too short for keys.retire_after (%s): more than %d keys would be published", y.RotateEvery, y.RetireAfter, publishedKeys),
			"raise it, or lower keys.retire_after")
	}
}

func (k *checker) revocation() {
	r := k.config.Revocation
	if !k.between("revocation.max_staleness", r.MaxStaleness, time.Second, 10*time.Minute) {
		return
	}
	if r.Heartbeat <= 0 || r.Heartbeat*heartbeats > r.MaxStaleness {
		k.fault("revocation.heartbeat",
			fmt.Sprintf("%s does not fit %d times in revocation.max_staleness (%s): one lost heartbeat would stop verifiers", r.Heartbeat, heartbeats, r.MaxStaleness),
			fmt.Sprintf("use at most %s", r.MaxStaleness/heartbeats))
	}
	if r.ReplicaAbsence != 0 { // less than a few rounds of confirmations would find everybody silent
		k.between("revocation.replica_absence", r.ReplicaAbsence, min(4*time.Second, r.MaxStaleness/2), 30*24*time.Hour)
	}
}

func (k *checker) rates() {
	for key, r := range map[string]Rate{
		"rate_limits.per_agent":       k.config.RateLimits.PerAgent,
		"rate_limits.unauthenticated": k.config.RateLimits.Unauthenticated,
	} {
		if !(r.Rate > 0) || r.Rate > 1e9 {
			k.fault(key+".rate", fmt.Sprintf("%v is out of range", r.Rate), "use a number above 0: requests a second")
		}
		if r.Burst < 1 {
			k.fault(key+".burst", fmt.Sprintf("%d is out of range", r.Burst), "use 1 or more: requests at once")
		}
	}
}

func (k *checker) audit() {
	a := k.config.Audit
	k.count("audit.segment_size", int64(a.SegmentSize), 1<<20, 4<<30)
	k.between("audit.checkpoint_every", a.CheckpointEvery, 100*time.Millisecond, time.Minute)
	k.between("audit.anchor.every", a.Anchor.Every, time.Second, time.Hour)
	w := a.Anchor.Webhook
	if w.URL != "" {
		k.url("audit.anchor.webhook.url", w.URL)
		k.between("audit.anchor.webhook.timeout", w.Timeout, 100*time.Millisecond, time.Minute)
	}
	if w.TokenFile != "" && w.URL == "" {
		k.fault("audit.anchor.webhook.token_file", "is set, but there is no url to send it to", "set audit.anchor.webhook.url, or remove it")
	}
	if !a.Anchor.Log && w.URL == "" {
		k.fault("audit.anchor", "checkpoints would be kept nowhere outside the audit directory, and a cut tail could not be found",
			"set log: true, or a webhook")
	}
}

func (k *checker) rest() {
	c := k.config
	k.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, "json", "text")
	k.between("shutdown_grace", c.ShutdownGrace, 0, 10*time.Minute)
	for name := range c.Environment {
		if name == "" {
			k.fault("environment", "holds a name that is empty", "name it")
		}
	}
}

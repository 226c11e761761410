package awskms

import "time"

// JOSE is what is fuzzed.
var JOSE = jose

// SetBackoff has a call repeated soon, however long it may take in all.
func (c *Config) SetBackoff(d time.Duration) { c.backoff = d }

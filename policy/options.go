package policy

import (
	"time"

	"github.com/writbroker/writ/identity"
)

// Limits of a decision. What is over a limit is refused, never cut.
const (
	// MaxParts bounds the parts of one request: for each scope and action, the regions of
	// different tags that it reaches.
	MaxParts = 512
	// MaxDepth is the longest chain of agents.
	MaxDepth = 8
	// MaxActions is how many actions a tool may have.
	MaxActions = 64
)

// Defaults of Options.
const (
	DefaultMaxTTL = time.Hour
	DefaultTTL    = 15 * time.Minute
	DefaultIssuer = "urn:writ:broker"
)

// Options are what a bundle's meaning depends on besides its files.
type Options struct {
	// MaxTTL bounds every grant; DefaultTTL is used where a request asks for none. Zero means
	// DefaultMaxTTL and DefaultTTL of this package.
	MaxTTL     time.Duration
	DefaultTTL time.Duration
	// Issuer is the broker's own identifier: the audience of the built-in tool writ. Empty means
	// DefaultIssuer.
	Issuer string
	// Environment is what conditions see as env.
	Environment map[string]string
	// Sources, if any, are the identity sources: a principal pattern that none of them can ever
	// produce is a fault. Tests take a principal's source, issuer and kind from them.
	Sources []identity.Source
}

func (o Options) withDefaults() Options {
	if o.MaxTTL <= 0 {
		o.MaxTTL = DefaultMaxTTL
	}
	if o.DefaultTTL <= 0 {
		o.DefaultTTL = min(DefaultTTL, o.MaxTTL)
	}
	if o.Issuer == "" {
		o.Issuer = DefaultIssuer
	}
	return o
}

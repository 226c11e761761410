package identity

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/writbroker/writ/token"
)

// KeyFinder finds the keys of a source. Its methods are called concurrently.
type KeyFinder interface {
	// Keys returns the keys of the source that kid names, or all of them if kid is empty, and the
	// generation they belong to. The error matches ErrKeyNotFound or ErrKeysUnavailable, or is the context's.
	Keys(ctx context.Context, source, kid string) ([]token.Key, uint64, error)
	// Generation names the set of keys that is in force: it changes whenever the set does, and is 0
	// while the keys are unavailable (never fetched, or too old). It must be fast and must not block.
	Generation(source string) uint64
}

// Registry is the compiled set of identity sources. It is safe for concurrent use.
type Registry struct{ sources []Source }

// Compile checks the sources, applies their presets and compiles them. It reports every fault at
// once: the error joins one *SourceError each.
func Compile(sources []Source) (*Registry, error) { return &Registry{sources: sources}, nil }

// Sources returns the sources, presets and defaults applied, in the order given.
func (r *Registry) Sources() []Source { return r.sources }

// SourceOf returns the source that a principal's id belongs to, found by its prefix.
func (r *Registry) SourceOf(id string) (Source, bool) { return Source{}, false }

// Authenticate verifies a JWT.
func (r *Registry) Authenticate(ctx context.Context, raw string, now time.Time, keys KeyFinder) (*Principal, error) {
	return nil, ErrUnknownIssuer
}

// SetAuthorities replaces the X.509 authorities of a source.
func (r *Registry) SetAuthorities(source string, authorities []*x509.Certificate) error { return nil }

// AuthenticateX509 verifies an X.509-SVID, leaf first.
func (r *Registry) AuthenticateX509(chain []*x509.Certificate, now time.Time) (*Principal, error) {
	return nil, ErrUnknownIssuer
}

// Cache remembers verified tokens.
type Cache struct {
	registry *Registry
	keys     KeyFinder
}

// NewCache returns a cache of at most size tokens.
func NewCache(reg *Registry, keys KeyFinder, size int) *Cache {
	return &Cache{registry: reg, keys: keys}
}

// Authenticate is Registry.Authenticate, or what it said before.
func (c *Cache) Authenticate(ctx context.Context, raw string, now time.Time) (*Principal, error) {
	return c.registry.Authenticate(ctx, raw, now, c.keys)
}

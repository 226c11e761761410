package identity

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

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

// Registry is the compiled set of identity sources. It is safe for concurrent use; all but the X.509
// authorities is immutable.
type Registry struct {
	ordered []*source
	// Where a JWT belongs: by its iss, or without one by the trust domain of its sub.
	byIssuer      map[string]*source
	byTrustDomain map[string]*source
	// x509 is by trust domain, too.
	x509     map[string]*source
	byName   map[string]*source
	prefixes []*source // sorted by prefix
}

// newRegistry indexes the sources and reports those that conflict.
func newRegistry(compiled []*source) (*Registry, []error) {
	r := &Registry{
		ordered:       compiled,
		byIssuer:      map[string]*source{},
		byTrustDomain: map[string]*source{},
		x509:          map[string]*source{},
		byName:        map[string]*source{},
	}
	var conflicts []error
	claim := func(index map[string]*source, key, field string, s *source) {
		if other, taken := index[key]; taken {
			conflicts = append(conflicts, &SourceError{
				Source: s.Name, Field: field,
				Message: fmt.Sprintf("%q is used by source %q already; one of them would never be asked", key, other.Name),
			})
			return
		}
		index[key] = s
	}
	for _, s := range compiled {
		claim(r.byName, s.Name, "name", s)
		switch {
		case s.jwt && s.Issuer != "":
			claim(r.byIssuer, s.Issuer, "issuer", s)
		case s.jwt:
			claim(r.byTrustDomain, s.TrustDomain, "trust_domain", s)
		}
		if s.X509 != nil {
			claim(r.x509, s.TrustDomain, "x509.trust_domain", s)
		}
	}
	r.prefixes = slices.SortedFunc(slices.Values(compiled), func(a, b *source) int {
		return cmp.Compare(a.SubjectPrefix, b.SubjectPrefix)
	})
	return r, append(conflicts, r.prefixConflicts()...)
}

// prefixConflicts finds prefixes that begin another. Sorted, whatever a prefix begins follows it
// without a gap, so comparing with the last one that begins nothing finds them all.
func (r *Registry) prefixConflicts() []error {
	var conflicts []error
	for i, shorter := range r.prefixes {
		for _, longer := range r.prefixes[i+1:] {
			if shorter.SubjectPrefix == "" || !strings.HasPrefix(longer.SubjectPrefix, shorter.SubjectPrefix) {
				break
			}
			conflicts = append(conflicts, &SourceError{
				Source: longer.Name, Field: "subject_prefix",
				Message: fmt.Sprintf("%q begins with the prefix %q of source %q, which could then name principals of this one",
					longer.SubjectPrefix, shorter.SubjectPrefix, shorter.Name),
			})
		}
	}
	return conflicts
}

// Sources returns the sources, presets and defaults applied, in the order given to Compile. The
// slice and what it holds are the caller's.
func (r *Registry) Sources() []Source {
	out := make([]Source, len(r.ordered))
	for i, s := range r.ordered {
		out[i] = s.clone()
	}
	return out
}

// SourceOf returns the source whose prefix begins a principal's id. There is at most one. It takes
// time logarithmic in the number of sources, and allocates nothing: what the Source holds is shared
// and read-only.
func (r *Registry) SourceOf(id string) (Source, bool) {
	// No prefix begins another, so the last one that sorts before the id is the only candidate.
	i := sort.Search(len(r.prefixes), func(i int) bool { return r.prefixes[i].SubjectPrefix > id }) - 1
	if i < 0 || !strings.HasPrefix(id, r.prefixes[i].SubjectPrefix) {
		return Source{}, false
	}
	return r.prefixes[i].Source, true
}

// SetAuthorities replaces the X.509 authorities of a source, from the next AuthenticateX509 on. None means that its
// SVIDs are refused with ErrKeysUnavailable, as they are before the first call. The error says that
// there is no such source, or that it takes no X.509-SVIDs.
func (r *Registry) SetAuthorities(source string, authorities []*x509.Certificate) error {
	s, ok := r.byName[source]
	if !ok || s.X509 == nil {
		return &SourceError{Source: source, Field: "x509", Message: "there is no such source of X.509-SVIDs"}
	}
	if len(authorities) == 0 {
		s.authorities.Store(nil)
		return nil
	}
	pool := x509.NewCertPool()
	for _, authority := range authorities {
		pool.AddCert(authority)
	}
	s.authorities.Store(pool)
	return nil
}

// clone copies what the caller could otherwise change under the registry.
func (s *source) clone() Source {
	out := s.Source
	out.Audiences = slices.Clone(out.Audiences)
	out.Algorithms = slices.Clone(out.Algorithms)
	out.Types = slices.Clone(out.Types)
	out.Require = slices.Clone(out.Require)
	out.Claims = maps.Clone(out.Claims)
	if out.X509 != nil {
		own := *out.X509
		out.X509 = &own
	}
	return out
}

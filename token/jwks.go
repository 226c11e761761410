package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
)

const (
	// MaxJWKSBytes is the size of the largest JWK Set that ParseJWKS reads.
	MaxJWKSBytes = 1 << 20
	// MaxKeys is the greatest number of keys in a set, skipped ones counted.
	MaxKeys = 256
)

// KeySet is an immutable JWK Set.
type KeySet struct {
	keys    []Key
	skipped []string
}

// JWKSOptions choose the rules under which a key set is read.
type JWKSOptions struct {
	// SPIFFE reads a SPIFFE trust bundle: jwt-svid keys must have a kid,
	// x509-svid keys must have one x5c certificate and no kid, every other use,
	// none too, is skipped.
	SPIFFE bool
}

// ParseJWKS reads a JWK Set (RFC 7517 §5). A set that is too large, is not
// strict JSON, or shows any private or symmetric key material is ErrKeySet as a
// whole. A single key that cannot verify tokens here (unknown kty, curve, alg or
// use, use=enc, key_ops without verify, RSA below 2048 bits, a point off its
// curve) is skipped, as the RFC asks; Skipped says why.
func ParseJWKS(data []byte, opt JWKSOptions) (*KeySet, error) {
	if len(data) > MaxJWKSBytes {
		return nil, fmt.Errorf("%w: over %d bytes", ErrKeySet, MaxJWKSBytes)
	}
	object, err := DecodeObject(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeySet, err)
	}
	list, ok := object["keys"].([]any)
	if !ok {
		return nil, fmt.Errorf("%w: no array \"keys\"", ErrKeySet)
	}
	if len(list) > MaxKeys {
		return nil, fmt.Errorf("%w: over %d keys", ErrKeySet, MaxKeys)
	}
	set := &KeySet{}
	for i, item := range list {
		jwk, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%w: key %d is not an object", ErrKeySet, i)
		}
		if err := refusePrivate(jwk); err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		key, err := parseKey(jwk, opt)
		if err != nil {
			set.skipped = append(set.skipped, fmt.Sprintf("key %d: %v", i, err))
			continue
		}
		set.keys = append(set.keys, key)
	}
	return set, nil
}

// NewKeySet makes a set of keys that all have a public half of a known type and
// sufficient strength, and that all have different kids.
func NewKeySet(keys ...Key) (*KeySet, error) {
	set := &KeySet{keys: slices.Clone(keys)}
	for i, k := range set.keys {
		if k.ID == "" {
			return nil, fmt.Errorf("%w: key %d has no kid", ErrKeySet, i)
		}
		if len(set.Lookup(k.ID)) > 1 {
			return nil, fmt.Errorf("%w: two keys have the kid %q", ErrKeySet, k.ID)
		}
		if err := checkKeyAlgorithm(k.Public, k.Algorithm); err != nil {
			return nil, fmt.Errorf("key %q: %w", k.ID, err)
		}
	}
	return set, nil
}

// Key returns the one key with this kid; false where there is none, or more than
// one: guessing among them is the caller's decision (Lookup).
func (s *KeySet) Key(kid string) (Key, bool) {
	var found Key
	n := 0
	for i := range s.keys {
		if s.keys[i].ID == kid {
			found = s.keys[i]
			n++
		}
	}
	if n != 1 {
		return Key{}, false
	}
	return found, true
}

// Lookup returns every key with this kid, in the set's order.
func (s *KeySet) Lookup(kid string) []Key {
	var found []Key
	for _, k := range s.keys {
		if k.ID == kid {
			found = append(found, k)
		}
	}
	return found
}

// Keys returns the keys in their order. The slice is the caller's.
func (s *KeySet) Keys() []Key { return slices.Clone(s.keys) }

// Len is the number of keys.
func (s *KeySet) Len() int { return len(s.keys) }

// Skipped says, for each key of the source that is not in the set, why.
func (s *KeySet) Skipped() []string { return slices.Clone(s.skipped) }

// X509Authorities returns the certificates of a SPIFFE bundle's x509-svid keys.
func (s *KeySet) X509Authorities() []*x509.Certificate {
	var certs []*x509.Certificate
	for _, k := range s.keys {
		if k.Use == UseX509SVID {
			certs = append(certs, k.X5C...)
		}
	}
	return certs
}

// MarshalJSON writes the set as a JWK Set: the same keys give the same bytes.
func (s *KeySet) MarshalJSON() ([]byte, error) {
	out := []byte(`{"keys":[`)
	for i, k := range s.keys {
		jwk, err := k.MarshalJSON()
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, jwk...)
	}
	return append(out, ']', '}'), nil
}

// refusePrivate fails for key material that must never be in a public document.
func refusePrivate(jwk map[string]any) error {
	for _, name := range [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, found := jwk[name]; found {
			return fmt.Errorf("%w: it shows private key material (%q)", ErrKeySet, name)
		}
	}
	return nil
}

func parseKey(jwk map[string]any, opt JWKSOptions) (Key, error) {
	var k Key
	var m jwkMembers
	for _, member := range [...]struct {
		name string
		into *string
	}{
		{"kty", &m.kty}, {"crv", &m.crv}, {"x", &m.x}, {"y", &m.y}, {"n", &m.n}, {"e", &m.e},
		{"kid", &k.ID}, {"alg", &k.Algorithm}, {"use", &k.Use},
	} {
		value, found := jwk[member.name]
		text, isText := value.(string)
		if found && !isText {
			return Key{}, fmt.Errorf("%w: %q is not a string", ErrKeySet, member.name)
		}
		*member.into = text
	}
	var err error
	if k.Public, err = m.publicKey(); err != nil {
		return Key{}, err
	}
	k.Algorithm = canonicalAlgorithm(k.Algorithm)
	if err := checkKeyAlgorithm(k.Public, k.Algorithm); err != nil {
		return Key{}, err
	}
	if err := checkKeyOps(jwk); err != nil {
		return Key{}, err
	}
	if opt.SPIFFE {
		return spiffeKey(k, jwk)
	}
	if k.Use != "" && k.Use != UseSignature {
		return Key{}, fmt.Errorf("%w: its use is not sig", ErrKeySet)
	}
	return k, nil
}

// checkKeyAlgorithm holds a key to the algorithm it names; without a name, to
// the first of its type.
func checkKeyAlgorithm(pub crypto.PublicKey, alg string) error {
	if alg == "" {
		for _, alg := range [...]string{ES256, algES384, algES512, RS256, Ed25519} {
			if a, _ := findAlgorithm(alg); a.accepts(pub) == nil {
				return nil
			}
		}
		return fmt.Errorf("%w: no algorithm fits the key", ErrKeySet)
	}
	a, ok := findAlgorithm(alg)
	if !ok {
		return fmt.Errorf("%w: %w", ErrKeySet, ErrAlgorithm)
	}
	if err := a.accepts(pub); err != nil {
		return fmt.Errorf("%w: %w", ErrKeySet, err)
	}
	return nil
}

func checkKeyOps(jwk map[string]any) error {
	value, found := jwk["key_ops"]
	if !found {
		return nil
	}
	ops, ok := value.([]any)
	if !ok || !slices.Contains(ops, any("verify")) {
		return fmt.Errorf("%w: its key_ops do not allow verify", ErrKeySet)
	}
	return nil
}

func spiffeKey(k Key, jwk map[string]any) (Key, error) {
	switch {
	case k.Use == UseJWTSVID && k.ID != "":
		return k, nil
	case k.Use != UseX509SVID || k.ID != "":
		return Key{}, fmt.Errorf("%w: not a jwt-svid key with kid, nor an x509-svid key without", ErrKeySet)
	}
	chain, ok := jwk["x5c"].([]any)
	if !ok || len(chain) != 1 {
		return Key{}, fmt.Errorf("%w: x5c does not hold exactly one certificate", ErrKeySet)
	}
	text, ok := chain[0].(string)
	if !ok {
		return Key{}, fmt.Errorf("%w: x5c does not hold a string", ErrKeySet)
	}
	der, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return Key{}, fmt.Errorf("%w: x5c is not base64", ErrKeySet)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Key{}, fmt.Errorf("%w: x5c is not a certificate", ErrKeySet)
	}
	if !sameKey(cert.PublicKey, k.Public) {
		return Key{}, fmt.Errorf("%w: x5c holds another key", ErrKeySet)
	}
	k.X5C = []*x509.Certificate{cert}
	return k, nil
}

func sameKey(a, b crypto.PublicKey) bool {
	if e, ok := a.(*ecdsa.PublicKey); ok {
		return e.Equal(b)
	}
	am, errA := x509.MarshalPKIXPublicKey(a)
	bm, errB := x509.MarshalPKIXPublicKey(b)
	return errA == nil && errB == nil && bytes.Equal(am, bm)
}

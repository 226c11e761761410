package token

import (
	"crypto"
	"crypto/x509"
)

// Key is a public key that verifies tokens.
type Key struct {
	ID        string // kid; when set, a token must name it
	Algorithm string // the one algorithm of the key; "" is every algorithm of its type
	Public    crypto.PublicKey
	Use       string // "" or "sig" ("jwt-svid", "x509-svid" in a SPIFFE bundle)
	X5C       []*x509.Certificate
}

// KeySet is an immutable JWK Set.
type KeySet struct{ keys []Key }

// JWKSOptions choose the rules under which a key set is read.
type JWKSOptions struct {
	SPIFFE bool // the rules of a SPIFFE bundle
}

// ParseJWKS reads a JWK Set (RFC 7517 §5).
func ParseJWKS(data []byte, opt JWKSOptions) (*KeySet, error) { return nil, ErrKeySet }

// NewKeySet makes a set of the given keys.
func NewKeySet(keys ...Key) (*KeySet, error) { return nil, ErrKeySet }

// Key returns the one key with this kid; false where there is none or more than one.
func (s *KeySet) Key(kid string) (Key, bool) { return Key{}, false }

// Keys returns the keys in their order. The slice is the caller's.
func (s *KeySet) Keys() []Key { return nil }

// X509Authorities returns the certificates of a SPIFFE bundle's x509-svid keys.
func (s *KeySet) X509Authorities() []*x509.Certificate { return nil }

// MarshalJSON writes the set as a JWK Set.
func (s *KeySet) MarshalJSON() ([]byte, error) { return nil, ErrKeySet }

// MarshalJSON writes the key as a JWK.
func (k Key) MarshalJSON() ([]byte, error) { return nil, ErrKeySet }

// ParseJWK reads one public JWK.
func ParseJWK(data []byte) (Key, error) { return Key{}, ErrKeySet }

// Thumbprint is the RFC 7638 SHA-256 thumbprint, base64url.
func Thumbprint(pub crypto.PublicKey) (string, error) { return "", ErrKeySet }

package keys

import (
	"bytes"
	"slices"

	"github.com/writbroker/writ/token"
)

// Ring is an immutable snapshot of the keys.
type Ring struct {
	version  uint64
	active   token.Signer
	public   *token.KeySet
	jwks     []byte
	keys     []KeyInfo
	complete bool // every key opened; if not, opening is tried again
}

// Active returns the signer of the active key. It fails with ErrStale once this
// replica has not confirmed the shared state for the schedule's MaxLag.
func (r *Ring) Active() token.Signer { return r.active }

// Public returns what verifiers may use: next, active and retired keys whose
// private halves opened here.
func (r *Ring) Public() *token.KeySet { return r.public }

// JWKS is Public as a JWK Set. The bytes must not be changed.
func (r *Ring) JWKS() []byte { return r.jwks }

// Lacks reports whether a key did not open here, and so is not in JWKS. Another replica may come
// to sign with it, or tokens of it live: verifiers must not keep this set.
func (r *Ring) Lacks() bool { return !r.complete }

// Version is the version of the shared state that the ring was made of.
func (r *Ring) Version() uint64 { return r.version }

// Keys lists the keys of the state, without what is sealed. The slice is the caller's.
func (r *Ring) Keys() []KeyInfo { return slices.Clone(r.keys) }

// equal reports whether two rings sign and publish the same.
func (r *Ring) equal(other *Ring) bool {
	return other != nil && r.version == other.version && r.active.KeyID() == other.active.KeyID() && bytes.Equal(r.jwks, other.jwks)
}

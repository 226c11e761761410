// Package file keeps signing keys sealed at rest by a secret of this deployment:
// XChaCha20-Poly1305 under a key derived from the root secret. What it seals may
// lie in a store that nobody trusts; without the root it is noise, and with it a
// sealed key opens only as the key, in the ring and for the algorithm that it was
// made for. Opened keys live in this process's memory alone.
//
// It also keeps a replica's backup of its key ring. It never writes a key in the
// clear and never logs one. cmd/writ wires it into keys.Rotator.
package file

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/token"
)

// Name is how a ring names this custody.
const Name = "file"

// ErrSealed is a sealed key that does not open: it was altered, belongs to
// another kid, ring or algorithm, or was sealed under another root secret.
var ErrSealed = errors.New("sealed key does not open under this root secret")

const (
	// The first byte of everything sealed here says what it is bound to: unborn, that
	// of keys from before keys had a birth, only to ring, kid and algorithm.
	unborn, born = 1, 2
)

// Custody implements keys.Custody. It is safe for concurrent use.
type Custody struct{ aead cipher.AEAD }

// New makes a custody over the 32-byte sealing key (keys.Root.SealKey).
func New(sealKey []byte) (*Custody, error) {
	aead, err := chacha20poly1305.NewX(sealKey)
	if err != nil {
		return nil, fmt.Errorf("opening file custody: %w", err)
	}
	return &Custody{aead: aead}, nil
}

// Name implements keys.Custody.
func (*Custody) Name() string { return Name }

// String redacts.
func (*Custody) String() string { return "[file custody]" }

// GoString redacts.
func (*Custody) GoString() string { return "[file custody]" }

// Generate implements keys.Custody for ES256, RS256 and Ed25519.
func (c *Custody) Generate(_ context.Context, ring, alg string, birth uint64) (keys.Material, error) {
	made, plain, err := keys.MakeLocal(alg)
	if err != nil {
		return keys.Material{}, err
	}
	defer clear(plain)
	// A random nonce of 24 bytes never repeats in practice (XChaCha20).
	sealed := make([]byte, 1+chacha20poly1305.NonceSizeX, 1+chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	sealed[0] = born
	if _, err := rand.Read(sealed[1:]); err != nil {
		return keys.Material{}, fmt.Errorf("sealing key: %w", err)
	}
	made.Sealed = c.aead.Seal(sealed, sealed[1:], plain, binding(born, ring, made.ID, alg, birth))
	return made, nil
}

// Open implements keys.Custody.
func (c *Custody) Open(_ context.Context, ring string, k keys.KeyInfo) (token.Signer, error) {
	if len(k.Sealed) < 1+chacha20poly1305.NonceSizeX {
		return nil, ErrSealed
	}
	form := k.Sealed[0]
	if form != born && (form != unborn || k.Born != 0) {
		return nil, ErrSealed
	}
	nonce, sealed := k.Sealed[1:1+chacha20poly1305.NonceSizeX], k.Sealed[1+chacha20poly1305.NonceSizeX:]
	plain, err := c.aead.Open(nil, nonce, sealed, binding(form, ring, k.ID, k.Algorithm, k.Born))
	if err != nil {
		return nil, ErrSealed
	}
	defer clear(plain)
	signer, err := keys.OpenLocal(k, plain)
	if errors.Is(err, keys.ErrNotKey) {
		return nil, ErrSealed
	}
	return signer, err
}

// binding is the associated data: each part with its length, so that nothing else
// gives the same bytes.
func binding(form byte, ring, kid, alg string, birth uint64) []byte {
	parts := []string{"writ/keys/file/v1", ring, kid, alg}
	if form == born {
		parts = []string{"writ/keys/file/v2", ring, kid, alg, strconv.FormatUint(birth, 10)}
	}
	var aad []byte
	for _, part := range parts {
		aad = binary.BigEndian.AppendUint32(aad, uint32(len(part)))
		aad = append(aad, part...)
	}
	return aad
}

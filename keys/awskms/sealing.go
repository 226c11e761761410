package awskms

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/token"
)

// SealingName is how a ring names the custody that seals.
const SealingName = "aws-kms"

// rsaBits is the size of the RSA keys made here.
const rsaBits = 2048

// Sealing implements keys.Custody: keys are made and used in this process, and sealed
// by a key that never leaves KMS. It is safe for concurrent use.
type Sealing struct{ client *Client }

// Sealing is the custody that seals with Config.SealKey.
func (c *Client) Sealing() *Sealing { return &Sealing{client: c} }

// Name implements keys.Custody.
func (*Sealing) Name() string { return SealingName }

// String redacts.
func (*Sealing) String() string { return "[aws-kms custody]" }

// GoString redacts.
func (*Sealing) GoString() string { return "[aws-kms custody]" }

// Generate implements keys.Custody for ES256, RS256 and Ed25519.
func (s *Sealing) Generate(ctx context.Context, ring, alg string, born uint64) (keys.Material, error) {
	key, err := makeKey(alg)
	if err != nil {
		return keys.Material{}, err
	}
	id, err := keys.KeyID(key.Public())
	if err != nil {
		return keys.Material{}, err
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return keys.Material{}, fmt.Errorf("sealing key: %w", err)
	}
	defer clear(plain)
	sealed, err := s.client.seal(ctx, binding{SealingName, ring, id, alg, born}, plain)
	if err != nil {
		return keys.Material{}, err
	}
	return keys.Material{ID: id, Public: key.Public(), Sealed: sealed}, nil
}

// Open implements keys.Custody. The signer needs KMS no more.
func (s *Sealing) Open(ctx context.Context, ring string, k keys.KeyInfo) (token.Signer, error) {
	b := binding{SealingName, ring, k.ID, k.Algorithm, k.Born}
	plain, err := s.client.unseal(ctx, b, k.Sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, s.client.refused(b) // the parser's error may quote what it read
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, s.client.refused(b)
	}
	if id, err := keys.KeyID(signer.Public()); err != nil || id != k.ID {
		return nil, s.client.refused(b)
	}
	return token.NewLocalSigner(k.ID, k.Algorithm, signer)
}

func makeKey(alg string) (crypto.Signer, error) {
	switch alg {
	case token.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case token.RS256:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	case token.Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	default:
		return nil, fmt.Errorf("%w: %q", token.ErrAlgorithm, alg)
	}
}

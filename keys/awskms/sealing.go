package awskms

import (
	"context"
	"errors"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/token"
)

// SealingName is how a ring names the custody that seals.
const SealingName = "aws-kms"

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
	made, plain, err := keys.MakeLocal(alg)
	if err != nil {
		return keys.Material{}, err
	}
	defer clear(plain)
	made.Sealed, err = s.client.seal(ctx, binding{SealingName, ring, made.ID, alg, born}, plain)
	if err != nil {
		return keys.Material{}, err
	}
	return made, nil
}

// Open implements keys.Custody. The signer needs KMS no more.
func (s *Sealing) Open(ctx context.Context, ring string, k keys.KeyInfo) (token.Signer, error) {
	b := binding{SealingName, ring, k.ID, k.Algorithm, k.Born}
	plain, err := s.client.unseal(ctx, b, k.Sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	signer, err := keys.OpenLocal(k, plain)
	if errors.Is(err, keys.ErrNotKey) {
		return nil, s.client.refused(b)
	}
	return signer, err
}

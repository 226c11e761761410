package keys

import (
	"context"
	"crypto"

	"github.com/writbroker/writ/token"
)

// Material is a key that custody has just made.
type Material struct {
	ID     string // KeyID of Public
	Public crypto.PublicKey
	Sealed []byte // opens under the same custody only, for the same ring, kid and algorithm; may be a reference
}

// Custody makes and opens private keys. It is safe for concurrent use, and it
// never gives a private key out, only signers.
type Custody interface {
	// Name says which custody sealed a key; a ring may hold keys of several.
	Name() string
	// Generate makes a key for a ring.
	Generate(ctx context.Context, ring, alg string) (Material, error)
	// Open returns a signer, or an error if Sealed was not sealed here for
	// exactly this ring, kid and algorithm.
	Open(ctx context.Context, ring string, key KeyInfo) (token.Signer, error)
}

package keys

import (
	"context"
	"crypto"
	"errors"

	"github.com/writbroker/writ/token"
)

// ErrUnavailable is a custody that cannot be reached, or cannot answer, now: the
// same call may succeed later. Where a custody signs, whoever mints gets it too.
var ErrUnavailable = errors.New("key custody is unavailable")

// Material is a key that custody has just made.
type Material struct {
	ID     string // KeyID of Public
	Public crypto.PublicKey
	// Sealed opens under the same custody only, for the same ring, kid, algorithm
	// and birth; it may be a reference.
	Sealed []byte
}

// Custody makes and opens private keys. It is safe for concurrent use, and it
// never gives a private key out, only signers. Package custodytest has what every
// implementation must show.
type Custody interface {
	// Name says which custody sealed a key; a ring may hold keys of several.
	Name() string
	// Generate makes a key for a ring, in whose state it will first stand at version born.
	Generate(ctx context.Context, ring, alg string, born uint64) (Material, error)
	// Open returns a signer, or an error if Sealed was not sealed here for exactly
	// this ring, kid, algorithm and birth: so a sealed key can neither be put in
	// another's place nor be brought back into a later state.
	Open(ctx context.Context, ring string, key KeyInfo) (token.Signer, error)
}

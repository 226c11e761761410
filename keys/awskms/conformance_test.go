package awskms_test

import (
	"testing"

	"github.com/writbroker/writ/internal/kmstest"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/awskms"
	"github.com/writbroker/writ/keys/custodytest"
	"github.com/writbroker/writ/token"
)

// drop is a KMS that is gone.
func drop(string) *kmstest.Fault { return &kmstest.Fault{Drop: true} }

func backend(t *testing.T, custody func(*awskms.Client) keys.Custody, algorithms ...string) *custodytest.Backend {
	w := newWorld(t)
	return &custodytest.Backend{
		Replica: func(t *testing.T) keys.Custody { return custody(w.client(t)) },
		Foreign: func(t *testing.T) keys.Custody {
			key := w.SymmetricKey(t)
			return custody(w.client(t, func(c *awskms.Config) { c.SealKey = key }))
		},
		Algorithms: algorithms,
		Secrets:    []string{w.login.SecretAccessKey, w.login.SessionToken},
		Refused:    awskms.ErrBinding,
		Outage: func(*testing.T) func() {
			w.Break(drop)
			return func() { w.Break(nil) }
		},
	}
}

func TestSealingConforms(t *testing.T) {
	custodytest.Run(t, func(t *testing.T) *custodytest.Backend {
		return backend(t, func(c *awskms.Client) keys.Custody { return c.Sealing() }, token.ES256, token.RS256, token.Ed25519)
	})
}

func TestSigningConforms(t *testing.T) {
	custodytest.Run(t, func(t *testing.T) *custodytest.Backend {
		b := backend(t, func(c *awskms.Client) keys.Custody { return c.Signing() }, token.ES256, token.RS256)
		b.SignsRemotely = true
		return b
	})
}

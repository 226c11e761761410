package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/writbroker/writ/token"
)

// ErrNotKey is what opened under custody, and is not the private half of the key it
// stands for. It says no more: what was opened must not be quoted.
var ErrNotKey = errors.New("what was sealed is not this private key")

const rsaBits = 2048

// MakeLocal makes a private key that signs in this process, for custodies that seal: the
// material, without Sealed, and what is to be sealed, PKCS #8 (RFC 5208). The caller
// clears that when it is sealed.
func MakeLocal(alg string) (m Material, secret []byte, err error) {
	key, err := generate(alg)
	if err != nil {
		return m, nil, err
	}
	if m.ID, err = KeyID(key.Public()); err != nil {
		return m, nil, err
	}
	m.Public = key.Public()
	if secret, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return m, nil, fmt.Errorf("sealing key: %w", err)
	}
	return m, secret, nil
}

func generate(alg string) (crypto.Signer, error) {
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

// OpenLocal makes a signer of what MakeLocal gave, or fails with ErrNotKey. It keeps no
// part of secret, which the caller clears.
func OpenLocal(k KeyInfo, secret []byte) (token.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(secret)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, ErrNotKey
	}
	if id, err := KeyID(signer.Public()); err != nil || id != k.ID {
		return nil, ErrNotKey
	}
	return token.NewLocalSigner(k.ID, k.Algorithm, signer)
}

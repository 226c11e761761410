package token

import (
	"context"
	"crypto"
)

// Signer makes JWS signatures with one key.
type Signer interface {
	KeyID() string
	Algorithm() string
	Sign(ctx context.Context, signingInput []byte) (signature []byte, err error)
}

// NewLocalSigner signs with a private key in this process.
func NewLocalSigner(kid, alg string, key crypto.Signer) (Signer, error) { return nil, ErrAlgorithm }

// Sign makes a compact JWS.
func Sign(ctx context.Context, typ string, payload []byte, s Signer) (string, error) {
	return "", ErrAlgorithm
}

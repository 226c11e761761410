package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Names of the other signature algorithms that Verify knows (RFC 7518 §3.1,
// RFC 8037). EdDSA is the old name of Ed25519 (RFC 9864): accepted, never written.
const (
	algES384 = "ES384"
	algES512 = "ES512"
	algRS384 = "RS384"
	algRS512 = "RS512"
	algPS256 = "PS256"
	algPS384 = "PS384"
	algPS512 = "PS512"
	algEdDSA = "EdDSA"
)

const (
	minRSABits = 2048
	// maxRSABits bounds what one verification may cost.
	maxRSABits = 8192
)

// family is a kind of key together with the way it signs.
type family int

const (
	familyECDSA family = iota + 1
	familyRSA
	familyPSS
	familyEd25519
)

// algorithm is one entry of the allow-list.
type algorithm struct {
	name   string
	family family
	hash   crypto.Hash
	curve  elliptic.Curve // ECDSA only: the one curve that belongs to the name
}

// findAlgorithm is the allow-list. What it does not name does not exist: none,
// HMAC, ECDH, secp256k1.
func findAlgorithm(name string) (algorithm, bool) {
	switch name {
	case ES256:
		return algorithm{ES256, familyECDSA, crypto.SHA256, elliptic.P256()}, true
	case algES384:
		return algorithm{algES384, familyECDSA, crypto.SHA384, elliptic.P384()}, true
	case algES512:
		return algorithm{algES512, familyECDSA, crypto.SHA512, elliptic.P521()}, true
	case RS256:
		return algorithm{RS256, familyRSA, crypto.SHA256, nil}, true
	case algRS384:
		return algorithm{algRS384, familyRSA, crypto.SHA384, nil}, true
	case algRS512:
		return algorithm{algRS512, familyRSA, crypto.SHA512, nil}, true
	case algPS256:
		return algorithm{algPS256, familyPSS, crypto.SHA256, nil}, true
	case algPS384:
		return algorithm{algPS384, familyPSS, crypto.SHA384, nil}, true
	case algPS512:
		return algorithm{algPS512, familyPSS, crypto.SHA512, nil}, true
	case Ed25519:
		return algorithm{Ed25519, familyEd25519, 0, nil}, true
	case algEdDSA:
		return algorithm{algEdDSA, familyEd25519, 0, nil}, true
	default:
		return algorithm{}, false
	}
}

// verify checks a signature by golang-jwt's methods; the key must have passed
// accepts. PSS gets methods of our own, since the library's take any salt length.
func (a algorithm) verify(input string, signature []byte, pub crypto.PublicKey) error {
	var method jwt.SigningMethod
	switch a.family {
	case familyECDSA:
		method = &jwt.SigningMethodECDSA{Name: a.name, Hash: a.hash, KeySize: a.coordinateBytes(), CurveBits: a.curve.Params().BitSize}
	case familyRSA:
		method = &jwt.SigningMethodRSA{Name: a.name, Hash: a.hash}
	case familyPSS:
		method = &jwt.SigningMethodRSAPSS{
			SigningMethodRSA: &jwt.SigningMethodRSA{Name: a.name, Hash: a.hash},
			VerifyOptions:    &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash},
		}
	case familyEd25519:
		method = jwt.SigningMethodEdDSA
	default:
		return ErrAlgorithm
	}
	if method.Verify(input, signature, pub) != nil {
		return ErrSignature
	}
	return nil
}

func (a algorithm) coordinateBytes() int { return (a.curve.Params().BitSize + 7) / 8 }

// accepts reports whether a public key is of the algorithm's type, curve and
// strength: the key decides what it may verify, never the header (RFC 8725 §3.1).
func (a algorithm) accepts(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if a.family != familyECDSA || k == nil || k.Curve != a.curve {
			return fmt.Errorf("%w: an ECDSA key cannot verify %s, or not on this curve", ErrKeyMismatch, a.name)
		}
	case *rsa.PublicKey:
		if a.family != familyRSA && a.family != familyPSS {
			return fmt.Errorf("%w: an RSA key cannot verify %s", ErrKeyMismatch, a.name)
		}
		return checkRSA(k)
	case ed25519.PublicKey:
		if a.family != familyEd25519 || len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("%w: an Ed25519 key cannot verify %s", ErrKeyMismatch, a.name)
		}
	default:
		return fmt.Errorf("%w: not a public key that verifies signatures", ErrKeyMismatch)
	}
	return nil
}

func checkRSA(k *rsa.PublicKey) error {
	if k == nil || k.N == nil {
		return fmt.Errorf("%w: RSA key without a modulus", ErrKeyMismatch)
	}
	if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return fmt.Errorf("%w: RSA modulus has %d bits, outside %d to %d", ErrKeyMismatch, bits, minRSABits, maxRSABits)
	}
	if k.E < 3 || k.E&1 == 0 {
		return fmt.Errorf("%w: RSA exponent is too small or even", ErrKeyMismatch)
	}
	return nil
}

// canonicalAlgorithm gives two names of one algorithm the same text.
func canonicalAlgorithm(name string) string {
	if name == algEdDSA {
		return Ed25519
	}
	return name
}

package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
)

// Uses of a key that mean something here (RFC 7517 §4.2, SPIFFE bundle).
const (
	UseSignature = "sig"
	UseJWTSVID   = "jwt-svid"
	UseX509SVID  = "x509-svid"
)

// Key is a public key that verifies tokens. It is a value; do not change what
// its fields point to.
type Key struct {
	ID        string              // kid; when set, a token must name it
	Algorithm string              // the one algorithm of the key; "" is every algorithm of its type and curve
	Public    crypto.PublicKey    // *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey
	Use       string              // "" or "sig"; "jwt-svid" or "x509-svid" in a SPIFFE bundle
	X5C       []*x509.Certificate // x509-svid only
}

// jwkMembers are the members that say what the key is: kty, crv, x, y, n, e.
type jwkMembers struct{ kty, crv, x, y, n, e string }

func membersOf(pub crypto.PublicKey) (jwkMembers, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			return jwkMembers{}, fmt.Errorf("%w: %w", ErrKeySet, err)
		}
		half := len(point) / 2 // one byte of form, then x and y at fixed width
		return jwkMembers{kty: "EC", crv: k.Params().Name, x: strict.EncodeToString(point[1 : half+1]), y: strict.EncodeToString(point[half+1:])}, nil
	case *rsa.PublicKey:
		e := big.NewInt(int64(k.E)).Bytes()
		return jwkMembers{kty: "RSA", n: strict.EncodeToString(k.N.Bytes()), e: strict.EncodeToString(e)}, nil
	case ed25519.PublicKey:
		return jwkMembers{kty: "OKP", crv: "Ed25519", x: strict.EncodeToString(k)}, nil
	default:
		return jwkMembers{}, fmt.Errorf("%w: not a public key that verifies signatures", ErrKeySet)
	}
}

// appendTo writes the members in lexicographic order, as RFC 7638 §3 wants them.
func (m jwkMembers) appendTo(e *encoder) {
	for _, member := range [...]struct{ name, value string }{
		{"crv", m.crv}, {"e", m.e}, {"kty", m.kty}, {"n", m.n}, {"x", m.x}, {"y", m.y},
	} {
		if member.value != "" {
			e.text(member.name, member.value)
		}
	}
}

// Thumbprint is the RFC 7638 SHA-256 thumbprint of a public key, base64url.
func Thumbprint(pub crypto.PublicKey) (string, error) {
	m, err := membersOf(pub)
	if err != nil {
		return "", err
	}
	e := encoder{out: []byte{'{'}}
	m.appendTo(&e)
	sum := sha256.Sum256(append(e.out, '}'))
	return strict.EncodeToString(sum[:]), nil
}

// MarshalJSON writes the key as a public JWK; an empty use is written as "sig".
func (k Key) MarshalJSON() ([]byte, error) {
	m, err := membersOf(k.Public)
	if err != nil {
		return nil, err
	}
	e := encoder{out: []byte{'{'}}
	m.appendTo(&e)
	if k.ID != "" {
		e.text("kid", k.ID)
	}
	if k.Algorithm != "" {
		e.text("alg", k.Algorithm)
	}
	use := k.Use
	if use == "" {
		use = UseSignature
	}
	e.text("use", use)
	if len(k.X5C) > 0 {
		e.name("x5c")
		chain := make([]string, len(k.X5C))
		for i, cert := range k.X5C {
			chain[i] = base64.StdEncoding.EncodeToString(cert.Raw)
		}
		e.list(chain)
	}
	if e.invalid {
		return nil, fmt.Errorf("%w: kid is not UTF-8", ErrKeySet)
	}
	return append(e.out, '}'), nil
}

// ParseJWK reads one public JWK under the rules of ParseJWKS, but refuses what
// that would skip.
func ParseJWK(data []byte) (Key, error) {
	object, err := DecodeObject(data)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrKeySet, err)
	}
	if err := refusePrivate(object); err != nil {
		return Key{}, err
	}
	return parseKey(object, JWKSOptions{})
}

// publicKey builds the key and checks that it is on its curve and strong enough.
func (m jwkMembers) publicKey() (crypto.PublicKey, error) {
	switch m.kty {
	case "EC":
		return m.ecdsaKey()
	case "RSA":
		n, errN := strict.DecodeString(m.n)
		e, errE := strict.DecodeString(m.e)
		exponent := new(big.Int).SetBytes(e)
		if errN != nil || errE != nil || exponent.BitLen() > 31 {
			return nil, fmt.Errorf("%w: RSA modulus or exponent", ErrKeySet)
		}
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}
		return key, checkRSA(key)
	case "OKP":
		x, err := strict.DecodeString(m.x)
		if m.crv != "Ed25519" || err != nil || len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%w: not an Ed25519 key", ErrKeySet)
		}
		return ed25519.PublicKey(x), nil
	default:
		return nil, fmt.Errorf("%w: unknown key type", ErrKeySet)
	}
}

func (m jwkMembers) ecdsaKey() (*ecdsa.PublicKey, error) {
	curves := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}
	curve, ok := curves[m.crv]
	if !ok {
		return nil, fmt.Errorf("%w: unknown curve", ErrKeySet)
	}
	x, errX := strict.DecodeString(m.x)
	y, errY := strict.DecodeString(m.y)
	size := (curve.Params().BitSize + 7) / 8
	if errX != nil || errY != nil || len(x) != size || len(y) != size {
		return nil, fmt.Errorf("%w: coordinates do not have the curve's width", ErrKeySet)
	}
	const uncompressed = 4
	key, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{uncompressed}, x...), y...))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeySet, err)
	}
	return key, nil
}

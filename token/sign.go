package token

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Signer makes JWS signatures with one key. Implementations are safe for
// concurrent use.
type Signer interface {
	// KeyID is the kid that verifiers find the public key by.
	KeyID() string
	// Algorithm is the JWS name of the one algorithm that the key signs with.
	Algorithm() string
	// Sign returns the signature of a JWS signing input, in JWS form (for ECDSA
	// that is r and s at fixed width, not ASN.1). It must not keep signingInput.
	Sign(ctx context.Context, signingInput []byte) (signature []byte, err error)
}

// NewLocalSigner signs with a private key in this process: an ECDSA key on the
// algorithm's curve, an RSA key of at least 2048 bits, or an Ed25519 key.
func NewLocalSigner(kid, alg string, key crypto.Signer) (Signer, error) {
	a, ok := findAlgorithm(alg)
	switch {
	case !ok || alg == algEdDSA:
		return nil, fmt.Errorf("making a signer: %w", ErrAlgorithm)
	case kid == "" || key == nil:
		return nil, fmt.Errorf("making a signer: %w: no kid or no key", ErrKeyMismatch)
	}
	if err := a.accepts(key.Public()); err != nil {
		return nil, fmt.Errorf("making a signer: %w", err)
	}
	return &localSigner{kid: kid, algorithm: a, key: key}, nil
}

type localSigner struct {
	kid       string
	algorithm algorithm
	key       crypto.Signer
}

func (s *localSigner) KeyID() string     { return s.kid }
func (s *localSigner) Algorithm() string { return s.algorithm.name }

// String names the key; it must never print the key itself.
func (s *localSigner) String() string { return "signer " + s.kid }

// GoString hides the private key from %#v.
func (s *localSigner) GoString() string { return s.String() }

// Sign goes through crypto.Signer instead of golang-jwt: that one wants private
// keys of the standard library's own types, and splits the signature by big.Int.
func (s *localSigner) Sign(_ context.Context, input []byte) ([]byte, error) {
	a := s.algorithm
	if a.family == familyEd25519 {
		return s.key.Sign(rand.Reader, input, crypto.Hash(0))
	}
	hash := a.hash.New()
	hash.Write(input)
	var digest [64]byte // SHA-512 at most
	sum := hash.Sum(digest[:0])
	switch a.family {
	case familyECDSA:
		der, err := s.key.Sign(rand.Reader, sum, a.hash)
		if err != nil {
			return nil, err
		}
		return fixedWidth(der, a.coordinateBytes())
	case familyPSS:
		return s.key.Sign(rand.Reader, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash})
	default:
		return s.key.Sign(rand.Reader, sum, a.hash)
	}
}

// fixedWidth turns an ASN.1 ECDSA signature into r‖s (RFC 7518 §3.4).
func fixedWidth(der []byte, width int) ([]byte, error) {
	var seq cryptobyte.String
	var r, s []byte
	input := cryptobyte.String(der)
	if !input.ReadASN1(&seq, asn1.SEQUENCE) || !input.Empty() ||
		!seq.ReadASN1Integer(&r) || !seq.ReadASN1Integer(&s) || !seq.Empty() ||
		len(r) > width || len(s) > width {
		return nil, errors.New("signer returned an ill-formed ECDSA signature")
	}
	out := make([]byte, 2*width)
	copy(out[width-len(r):], r)
	copy(out[2*width-len(s):], s)
	return out, nil
}

// Sign makes a compact JWS of the payload with alg, kid and the given typ in its
// header. It does not look into the payload, and it sets no limit on its size:
// who mints does.
func Sign(ctx context.Context, typ string, payload []byte, s Signer) (string, error) {
	a, ok := findAlgorithm(s.Algorithm())
	switch {
	case !ok || a.name == algEdDSA:
		return "", fmt.Errorf("signing token: %w", ErrAlgorithm)
	case typ == "" || s.KeyID() == "":
		return "", fmt.Errorf("signing token: %w: typ and kid are required", ErrMalformed)
	}
	var space [192]byte
	header, ok := appendHeader(space[:0], a.name, s.KeyID(), typ)
	if !ok {
		return "", fmt.Errorf("signing token: %w: header is not UTF-8", ErrMalformed)
	}
	const signatureRoom = 90 // ES256 and Ed25519; RSA grows once
	buf := make([]byte, 0, strict.EncodedLen(len(header))+strict.EncodedLen(len(payload))+signatureRoom)
	buf = append(strict.AppendEncode(buf, header), '.')
	buf = strict.AppendEncode(buf, payload)
	signature, err := s.Sign(ctx, buf)
	if err != nil {
		return "", fmt.Errorf("signing token with %s: %w", s.KeyID(), err)
	}
	return string(strict.AppendEncode(append(buf, '.'), signature)), nil
}

func appendHeader(dst []byte, alg, kid, typ string) ([]byte, bool) {
	dst = append(append(append(dst, `{"alg":"`...), alg...), `","kid":`...)
	dst, kidOK := appendString(dst, kid)
	dst, typOK := appendString(append(dst, `,"typ":`...), typ)
	return append(dst, '}'), kidOK && typOK
}

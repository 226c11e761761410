package token

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// MaxBytes is the size of the largest token that Parse accepts.
const MaxBytes = 16 << 10

// Signature algorithms that Writ signs with.
const (
	ES256   = "ES256"
	RS256   = "RS256"
	Ed25519 = "Ed25519"
)

// TypeAccessToken is the typ of an RFC 9068 access token.
const TypeAccessToken = "at+jwt"

// Header is what of a JWS header takes part in a decision. Algorithm is one of
// the allow-list; the others are empty where the header does not have them.
type Header struct{ Algorithm, KeyID, Type string }

// Unverified is a well-formed compact JWS whose signature nobody checked yet. It
// is immutable.
type Unverified struct {
	header    Header
	algorithm algorithm
	input     string // what the signature covers
	payload   []byte
	signature []byte
}

// strict is base64url without padding whose last character carries no stray bits.
var strict = base64.RawURLEncoding.Strict()

// Parse reads a compact JWS (RFC 7515 §3.1) of at most MaxBytes. There is exactly
// one text for one JWS: padding, line breaks and stray bits in base64url are
// ErrMalformed, and so is a header with a duplicate member. An algorithm outside
// the allow-list is ErrAlgorithm; a header that brings its own key is
// ErrEmbeddedKey; one that asks for an extension, even with crit empty, is
// ErrCritical. Other header parameters are ignored.
//
// Nothing is verified yet: the result carries what an attacker may have written.
func Parse(raw string) (*Unverified, error) {
	return ParseRecord(raw, MaxBytes)
}

// decodeParts decodes the three parts into one buffer. Each is cut to its own
// capacity, so that appending to one cannot write into the next.
func decodeParts(raw []byte, first, last int) (parts [3][]byte, err error) {
	buf := make([]byte, 0, strict.DecodedLen(len(raw)))
	for i, src := range [3][]byte{raw[:first], raw[first+1 : last], raw[last+1:]} {
		start := len(buf)
		if buf, err = strict.AppendDecode(buf, src); err != nil {
			return parts, fmt.Errorf("%w: part %d is not canonical base64url", ErrMalformed, i+1)
		}
		parts[i] = buf[start:len(buf):len(buf)]
	}
	return parts, nil
}

func (u *Unverified) parseHeader(data []byte) error {
	p := scanner{text: string(data)}
	if err := p.document(func(name string) error { return u.headerMember(&p, name) }); err != nil {
		return err
	}
	a, ok := findAlgorithm(u.header.Algorithm)
	if !ok {
		return ErrAlgorithm
	}
	// The scanned name would keep the header's text alive.
	u.header.Algorithm, u.algorithm = a.name, a
	return nil
}

func (u *Unverified) headerMember(p *scanner, name string) (err error) {
	switch name {
	case "alg":
		u.header.Algorithm, err = p.str()
	case "kid":
		u.header.KeyID, err = presentString(p)
	case "typ":
		u.header.Type, err = presentString(p)
	case "jwk", "jku", "x5u", "x5c":
		err = fmt.Errorf("%w: %s", ErrEmbeddedKey, name)
	case "crit", "b64", "zip", "enc":
		err = fmt.Errorf("%w: %s", ErrCritical, name)
	default:
		err = p.skip(2)
	}
	return err
}

// presentString refuses an empty value: it would look like an absent one.
func presentString(p *scanner) (string, error) {
	s, err := p.str()
	if err == nil && s == "" {
		return "", p.fail("empty header parameter")
	}
	return s, err
}

// Header returns the unverified header.
func (u *Unverified) Header() Header { return u.header }

// UnverifiedPayload returns the payload before any check of the signature: fit
// to find out which key to ask for, and for nothing else.
func (u *Unverified) UnverifiedPayload() []byte { return u.payload }

// Verify checks the signature under the key and returns the payload, which
// aliases what UnverifiedPayload returns. The key must fit first: same kid if the
// key has one, a use that permits verifying, its own algorithm if it names one,
// and the type, curve and strength that the algorithm demands; else
// ErrKeyMismatch. A signature that does not verify is ErrSignature.
//
// To verify a token that names no kid under a key that has one, clear Key.ID.
func (u *Unverified) Verify(k Key) ([]byte, error) {
	switch {
	case k.ID != "" && k.ID != u.header.KeyID:
		return nil, fmt.Errorf("%w: kid differs", ErrKeyMismatch)
	case k.Use != "" && k.Use != UseSignature && k.Use != UseJWTSVID:
		return nil, fmt.Errorf("%w: the key is not for verifying tokens", ErrKeyMismatch)
	case k.Algorithm != "" && canonicalAlgorithm(k.Algorithm) != canonicalAlgorithm(u.header.Algorithm):
		return nil, fmt.Errorf("%w: the key is for another algorithm than %s", ErrKeyMismatch, u.header.Algorithm)
	}
	if err := u.algorithm.accepts(k.Public); err != nil {
		return nil, err
	}
	if err := u.algorithm.verify(u.input, u.signature, k.Public); err != nil {
		return nil, err
	}
	return u.payload, nil
}

// CheckType reports ErrType unless the header's typ is one of allowed, compared
// as media types without case and without "application/" (RFC 7515 §4.1.9). An
// absent typ is allowed only by an "" among them; no allowed at all refuses.
func CheckType(h Header, allowed ...string) error {
	have := mediaType(h.Type)
	for _, want := range allowed {
		if strings.EqualFold(have, mediaType(want)) {
			return nil
		}
	}
	return ErrType
}

func mediaType(typ string) string {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		return typ[len(prefix):]
	}
	return typ
}

package verifier

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"time"
	"unsafe"

	"github.com/writbroker/writ/token"
)

// Presented is what a client proved besides the token itself.
type Presented struct {
	// Certificate is the client certificate of a TLS connection whose handshake
	// this server completed; nil where there is none.
	Certificate *x509.Certificate
}

// Verify checks raw and returns its claims: algorithm, signature, issuer,
// audience, times, revocation, in this order. It never touches the network and
// is usable concurrently. A token seen before costs a hash and a look-up;
// whether it is revoked is asked each time. A token that is bound to a key is
// ErrConfirmation: use VerifyPresented.
func (v *Verifier) Verify(ctx context.Context, raw string) (*Claims, error) {
	return v.VerifyPresented(ctx, raw, Presented{})
}

// VerifyPresented is Verify for a client that may have proved a key: a token
// with cnf.x5t#S256 (RFC 8705 section 3) needs that certificate. Any other
// confirmation is one that this version cannot check, so it is refused.
func (v *Verifier) VerifyPresented(_ context.Context, raw string, p Presented) (*Claims, error) {
	if len(raw) > token.MaxBytes {
		return nil, token.ErrTooLarge
	}
	now := v.now()
	id := sum(raw)
	e := v.cache.get(id)
	known := e != nil && v.stillGood(e, now)
	if !known {
		if e != nil {
			v.cache.remove(id, e)
		}
		var err error
		if e, err = v.check(raw, now); err != nil {
			return nil, err
		}
	}
	if err := v.unrevoked(e, now); err != nil {
		if known && err != ErrStale { //nolint:errorlint // unrevoked returns the sentinel itself
			v.cache.remove(id, e)
		}
		return nil, err
	}
	if c := e.claims.Confirmation; c != nil && !confirmed(c, p) {
		return nil, ErrConfirmation
	}
	if !known {
		v.cache.put(id, e)
	}
	return e.claims, nil
}

// sum hashes raw without copying it: the copy would be the only allocation of
// a call that finds the token in the cache.
func sum(raw string) digest {
	return sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), len(raw))) // #nosec G103 -- read only, and raw outlives the call
}

// stillGood asks again what time and key rotation can change about a token
// that was verified before.
func (v *Verifier) stillGood(e *entry, now time.Time) bool {
	if t := now.Unix(); t < e.notBefore || t >= e.notAfter {
		return false
	}
	ring := v.ring.Load()
	if e.keys.Load() == ring.generation {
		return true
	}
	if ring.keys[e.key.ID] != e.key || e.claims.Expiry-e.claims.IssuedAt > int64(ring.maxTTL/time.Second) {
		return false
	}
	e.keys.Store(ring.generation)
	return true
}

// check does everything but revocation.
func (v *Verifier) check(raw string, now time.Time) (*entry, error) {
	unverified, err := token.Parse(raw)
	if err != nil {
		return nil, err
	}
	header := unverified.Header()
	if !slices.Contains(v.cfg.Algorithms, header.Algorithm) {
		return nil, token.ErrAlgorithm
	}
	if err := token.CheckType(header, token.TypeAccessToken); err != nil {
		return nil, err
	}
	ring := v.ring.Load()
	if ring == nil {
		return nil, ErrStale
	}
	key := ring.keys[header.KeyID]
	if key == nil {
		v.wantKeys(unknownKey)
		return nil, ErrUnknownKey
	}
	payload, err := unverified.Verify(key.Key)
	if err != nil {
		return nil, err
	}
	claims, err := token.DecodeClaims(payload)
	if err != nil {
		return nil, err
	}
	err = claims.Validate(token.Expect{Issuer: v.cfg.Issuer, Audience: v.cfg.Audience, Now: now, Leeway: v.cfg.Leeway, MaxTTL: ring.maxTTL})
	if err != nil {
		return nil, err
	}
	leeway := int64(v.cfg.Leeway / time.Second)
	e := &entry{
		claims:    &Claims{Claims: claims, tool: v.cfg.Tool, fold: v.fold},
		key:       key,
		notBefore: max(claims.NotBefore, claims.IssuedAt) - leeway,
		notAfter:  claims.Expiry + leeway,
	}
	e.keys.Store(ring.generation)
	return e, nil
}

// unrevoked asks the revocation index, unless nothing was applied to it since
// it last let e pass. The generation is read before the question: a rule that
// lands in between makes the next call ask again.
func (v *Verifier) unrevoked(e *entry, now time.Time) error {
	if v.stale(now) {
		return ErrStale
	}
	generation := v.applied.Load()
	if e.applied.Load() == generation {
		return nil
	}
	if hit, revoked := v.index.Revoked(e.claims.Claims, e.key.ID); revoked {
		v.refused.add(hit, e.claims.ID, now)
		return &RevokedError{RuleID: hit.RuleID, Selector: string(hit.Selector)}
	}
	e.applied.Store(generation)
	return nil
}

func confirmed(c *token.Confirmation, p Presented) bool {
	if c.X5tS256 == "" || c.JKT != "" || p.Certificate == nil {
		return false
	}
	thumbprint := sha256.Sum256(p.Certificate.Raw)
	return base64.RawURLEncoding.EncodeToString(thumbprint[:]) == c.X5tS256
}

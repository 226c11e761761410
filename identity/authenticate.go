package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/writbroker/writ/token"
)

const (
	// maxCandidates is how many keys are tried for a token without kid.
	maxCandidates = 4
	// maxNumericDate is the end of the year 9999, in seconds.
	maxNumericDate = 253402300799
)

// Authenticate verifies a JWT of one of the sources and returns who it proves. The checks run in this order: form and
// algorithm, issuer, algorithm and type of the source, key, signature, audience, times, rules, mapping. No key is
// looked up for an issuer that is not configured. Errors match one of the package's sentinels.
func (r *Registry) Authenticate(ctx context.Context, raw string, now time.Time, keys KeyFinder) (*Principal, error) {
	p, _, err := r.authenticate(ctx, raw, now, keys)
	return p, err
}

// authenticate also returns the generation of the keys that the token was verified with.
func (r *Registry) authenticate(ctx context.Context, raw string, now time.Time, keys KeyFinder) (*Principal, uint64, error) {
	unverified, err := token.Parse(raw)
	if err != nil {
		return nil, 0, parseError(err)
	}
	unverifiedClaims, err := token.DecodeObject(unverified.UnverifiedPayload())
	if err != nil {
		return nil, 0, fmt.Errorf("%w: payload: %w", ErrMalformed, err)
	}
	src, err := r.route(unverifiedClaims)
	if err != nil {
		return nil, 0, err
	}
	if err := src.checkHeader(unverified.Header()); err != nil {
		return nil, 0, err
	}
	generation, err := src.verify(ctx, unverified, keys)
	if err != nil {
		return nil, 0, err
	}
	p, err := src.principal(unverifiedClaims, now) // verified by now: they are what was signed
	return p, generation, err
}

func parseError(err error) error {
	if errors.Is(err, token.ErrAlgorithm) {
		return fmt.Errorf("%w: %w", ErrAlgorithm, err)
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// route finds the source of a token by its exact issuer. Only a token without iss may belong to
// a SPIFFE source that is configured without one; a null or empty iss is not "without".
func (r *Registry) route(unverifiedClaims map[string]any) (*source, error) {
	iss, present := unverifiedClaims["iss"]
	if present {
		issuer, ok := iss.(string)
		if !ok {
			return nil, fmt.Errorf("%w: iss is not a string", ErrMalformed)
		}
		if src, ok := r.byIssuer[issuer]; ok {
			return src, nil
		}
		return nil, ErrUnknownIssuer
	}
	sub, ok := unverifiedClaims["sub"].(string)
	if !ok || len(r.byTrustDomain) == 0 {
		return nil, fmt.Errorf("%w: iss", ErrMissingClaim)
	}
	trustDomain, err := trustDomainOf(sub)
	if err != nil {
		return nil, fmt.Errorf("%w: iss", ErrMissingClaim)
	}
	if src, ok := r.byTrustDomain[trustDomain]; ok {
		return src, nil
	}
	return nil, ErrUnknownIssuer
}

func (s *source) checkHeader(h token.Header) error {
	if !slices.Contains(s.Algorithms, h.Algorithm) {
		return ErrAlgorithm
	}
	if err := token.CheckType(h, s.Types...); err != nil {
		return ErrType
	}
	return nil
}

// verify checks the signature with the key that kid names. Without kid, each key that fits the algorithm
// is tried, as long as they are few; a SPIFFE source demands a kid, as the specification does.
func (s *source) verify(ctx context.Context, unverified *token.Unverified, keys KeyFinder) (uint64, error) {
	kid := unverified.Header().KeyID
	if kid == "" && s.TrustDomain != "" {
		return 0, fmt.Errorf("%w: a JWT-SVID must have a kid", ErrKeyNotFound)
	}
	found, generation, err := keys.Keys(ctx, s.Name, kid)
	if err != nil {
		return 0, err
	}
	failure := ErrKeyNotFound
	tried := 0
	for _, key := range found {
		if kid == "" {
			key.ID = "" // the token names none: the signature alone tells
		}
		_, err := unverified.Verify(key)
		if err == nil {
			return generation, nil
		}
		if errors.Is(err, token.ErrKeyMismatch) || errors.Is(err, token.ErrAlgorithm) {
			if tried == 0 {
				failure = fmt.Errorf("%w: %w", ErrAlgorithm, err)
			}
			continue
		}
		failure = ErrSignature
		if tried++; tried == maxCandidates {
			break
		}
	}
	return 0, failure
}

// principal checks the verified claims and maps them.
func (s *source) principal(claims map[string]any, now time.Time) (*Principal, error) {
	if s.TrustDomain != "" {
		if err := s.checkTrustDomain(claims); err != nil {
			return nil, err
		}
	}
	if err := s.checkAudience(claims); err != nil {
		return nil, err
	}
	issued, expires, err := s.checkTimes(claims, now)
	if err != nil {
		return nil, err
	}
	p := &Principal{Source: s.Name, Prefix: s.SubjectPrefix, Kind: s.Kind, IssuedAt: issued, Expires: expires}
	p.Issuer, _ = claims["iss"].(string) // routed by it: a string, or absent
	if p.TokenID, err = text(claims, "jti"); err != nil {
		return nil, err
	}
	if err := s.describe(p, claims); err != nil {
		return nil, err
	}
	if p.Confirmation, err = confirmation(claims); err != nil {
		return nil, err
	}
	if p.Actor, err = s.actor(claims); err != nil {
		return nil, err
	}
	if p.MayAct, err = s.mayAct(claims); err != nil {
		return nil, err
	}
	return p, nil
}

// checkTrustDomain keeps an issuer that serves several trust domains to the configured one.
func (s *source) checkTrustDomain(claims map[string]any) error {
	sub, err := text(claims, "sub")
	if err != nil {
		return err
	}
	if sub == "" {
		return fmt.Errorf("%w: sub", ErrMissingClaim)
	}
	trustDomain, err := trustDomainOf(sub)
	if err != nil {
		return err
	}
	if trustDomain != s.TrustDomain {
		return fmt.Errorf("%w: another trust domain", ErrUnknownIssuer)
	}
	return nil
}

// checkAudience accepts aud as text or as a list of texts (RFC 7519 §4.1.3).
func (s *source) checkAudience(claims map[string]any) error {
	switch aud := claims["aud"].(type) {
	case nil:
		return fmt.Errorf("%w: aud", ErrMissingClaim)
	case string:
		if slices.Contains(s.Audiences, aud) {
			return nil
		}
		return ErrAudience
	case []any:
		matched := false
		for _, one := range aud {
			name, ok := one.(string)
			if !ok {
				return fmt.Errorf("%w: aud holds something that is no string", ErrMalformed)
			}
			matched = matched || slices.Contains(s.Audiences, name)
		}
		if matched {
			return nil
		}
		return ErrAudience
	default:
		return fmt.Errorf("%w: aud is neither text nor a list", ErrMalformed)
	}
}

// confirmation reads cnf (RFC 7800 §3.1). A token that is bound to a key is no bearer token: one whose binding is
// not that of a certificate could be checked by nobody here, so it is refused.
func confirmation(claims map[string]any) (string, error) {
	member, present := claims["cnf"]
	if !present {
		return "", nil
	}
	cnf, ok := member.(map[string]any)
	if !ok {
		return "", fmt.Errorf("%w: cnf is not an object", ErrMalformed)
	}
	thumbprint, ok := cnf["x5t#S256"].(string)
	if !ok || thumbprint == "" || len(cnf) != 1 {
		return "", ErrConfirmation
	}
	return thumbprint, nil
}

// checkTimes holds exp, nbf and iat against the clock. exp and iat are required: without them a token
// would live forever, or could not be told from one made before a revocation.
func (s *source) checkTimes(claims map[string]any, now time.Time) (issued, expires time.Time, err error) {
	if expires, err = date(claims, "exp"); err != nil {
		return issued, expires, err
	}
	if !now.Before(expires.Add(s.Leeway)) {
		return issued, expires, ErrExpired
	}
	if _, present := claims["nbf"]; present {
		notBefore, err := date(claims, "nbf")
		if err != nil {
			return issued, expires, err
		}
		if now.Add(s.Leeway).Before(notBefore) {
			return issued, expires, ErrNotYetValid
		}
	}
	if issued, err = date(claims, "iat"); err != nil {
		return issued, expires, err
	}
	if now.Add(s.Leeway).Before(issued) {
		return issued, expires, fmt.Errorf("%w: issued in the future", ErrNotYetValid)
	}
	return issued, expires, s.checkAge(issued, now)
}

func (s *source) checkAge(issued, now time.Time) error {
	if now.Sub(issued) > s.MaxAge+s.Leeway {
		return ErrTooOld
	}
	return nil
}

// date reads a NumericDate (RFC 7519 §2), which may have a fraction.
func date(claims map[string]any, name string) (time.Time, error) {
	value, present := claims[name]
	if !present {
		return time.Time{}, fmt.Errorf("%w: %s", ErrMissingClaim, name)
	}
	switch seconds := value.(type) {
	case int64:
		if seconds > 0 && seconds <= maxNumericDate {
			return time.Unix(seconds, 0), nil
		}
	case float64:
		if seconds > 0 && seconds <= maxNumericDate {
			return time.UnixMicro(int64(seconds * 1e6)), nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: %s is not a time", ErrMalformed, name)
}

// text reads an optional string.
func text(claims map[string]any, name string) (string, error) {
	value, present := claims[name]
	if !present {
		return "", nil
	}
	out, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("%w: %s is not a string", ErrMalformed, name)
	}
	return out, nil
}

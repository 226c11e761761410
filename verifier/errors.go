package verifier

import (
	"errors"

	"github.com/writbroker/writ/token"
)

// Why a token is refused. What package token finds (ErrMalformed, ErrExpired,
// ErrAudience and so on) is returned as its error, wrapped.
var (
	// ErrStale means that this verifier cannot know whether the token is good:
	// it has no keys, or the revocation feed is silent. The caller answers 503
	// and the client tries again.
	ErrStale = errors.New("verifier: the broker's keys or revocations are not up to date")
	// ErrRevoked is a token that a revocation rule hits; see RevokedError.
	ErrRevoked = errors.New("verifier: token is revoked")
	// ErrUnknownKey is a token signed by a key that the broker does not publish.
	ErrUnknownKey = errors.New("verifier: token is signed by an unknown key")
	// ErrConfirmation is a token bound to a key (cnf) that came without proof of it.
	ErrConfirmation = errors.New("verifier: token is bound to a key that was not presented")
	// ErrClosed is returned by Run after Close.
	ErrClosed = errors.New("verifier: closed")
)

// RevokedError says which rule revoked a token. It is for the server's log: a
// client learns no more than that its token is not valid.
type RevokedError struct {
	RuleID   string
	Selector string
}

// Error names the rule.
func (e *RevokedError) Error() string {
	return "verifier: token is revoked by " + e.Selector + " rule " + e.RuleID
}

// Is makes errors.Is(err, ErrRevoked) hold.
func (e *RevokedError) Is(target error) bool { return target == ErrRevoked }

// Reason is the text that a client may see for an error of Verify: constant,
// without any part of the token, of the keys or of a rule.
func Reason(err error) string {
	for _, known := range []struct {
		err  error
		text string
	}{
		{ErrStale, "the token cannot be checked now"},
		{ErrRevoked, "the token is revoked"},
		{ErrConfirmation, "the token is bound to a key that was not presented"},
		{token.ErrExpired, "the token has expired"},
		{token.ErrNotYetValid, "the token is not valid yet"},
		{token.ErrIssuer, "the token is of another issuer"},
		{token.ErrAudience, "the token is for another audience"},
		{token.ErrTTL, "the token's lifetime is out of bounds"},
		{token.ErrMissingClaim, "the token lacks a required claim"},
		{token.ErrType, "the token is not an access token"},
		{token.ErrAlgorithm, "the token's algorithm is not allowed"},
		{ErrUnknownKey, "the token's key is unknown"},
		{token.ErrSignature, "the token's signature does not verify"},
		{token.ErrTooLarge, "the token is too large"},
	} {
		if errors.Is(err, known.err) {
			return known.text
		}
	}
	return "the token is malformed"
}

package token

import "errors"

// What can be wrong with a token. Every error of this package wraps one of these.
var (
	// ErrMalformed is a token or JSON text that is not in its one canonical form.
	ErrMalformed = errors.New("token is malformed")
	// ErrDuplicateMember is a JSON object that names a member twice. It always
	// comes with ErrMalformed.
	ErrDuplicateMember = errors.New("duplicate JSON member")
	// ErrTooLarge is a token above MaxBytes, or JSON that nests above MaxDepth.
	ErrTooLarge = errors.New("token is too large")
	// ErrAlgorithm is a signature algorithm outside the allow-list; "none" and
	// every HMAC are outside it.
	ErrAlgorithm = errors.New("signature algorithm is not allowed")
	// ErrCritical is a header that asks for an extension: crit, b64 or zip.
	ErrCritical = errors.New("token header asks for an unsupported extension")
	// ErrEmbeddedKey is a header that brings its own key: jwk, jku, x5u or x5c.
	ErrEmbeddedKey = errors.New("token header carries or points to a key")
	// ErrType is a typ header that the caller does not accept.
	ErrType = errors.New("token type is not accepted")
	// ErrKeyMismatch is a key that must not be used for this token: another kid,
	// another algorithm, another use, or too weak.
	ErrKeyMismatch = errors.New("key does not fit the token")
	// ErrSignature is a signature that does not verify.
	ErrSignature = errors.New("signature does not verify")
	// ErrKeySet is a JWK Set that cannot be used.
	ErrKeySet = errors.New("key set is not usable")

	// ErrMissingClaim is a required claim that is absent or empty.
	ErrMissingClaim = errors.New("claim is missing")
	// ErrClaim is a claim that is present with a value outside its range.
	ErrClaim = errors.New("claim is not valid")
	// ErrIssuer is another issuer than the expected one.
	ErrIssuer = errors.New("issuer is not the expected one")
	// ErrAudience is a token for somebody else.
	ErrAudience = errors.New("audience does not match")
	// ErrExpired is a token past its exp.
	ErrExpired = errors.New("token has expired")
	// ErrNotYetValid is a token before its nbf, or issued in the future.
	ErrNotYetValid = errors.New("token is not valid yet")
	// ErrTTL is a token that lives longer than the maximum, or not at all.
	ErrTTL = errors.New("token lifetime is out of bounds")
)

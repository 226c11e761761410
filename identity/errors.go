package identity

import (
	"errors"
	"fmt"
)

// What is wrong with a proof. Every error of Authenticate and AuthenticateX509 matches exactly
// one of these with errors.Is.
var (
	// ErrMalformed: not a token, or a claim of the wrong type or an impossible value.
	ErrMalformed = errors.New("malformed token")
	// ErrUnknownIssuer: no source has this issuer or trust domain.
	ErrUnknownIssuer = errors.New("unknown issuer")
	// ErrAlgorithm: the algorithm is not one of the source's, or not the key's.
	ErrAlgorithm = errors.New("algorithm not accepted")
	// ErrType: the typ header is not one of the source's.
	ErrType = errors.New("token type not accepted")
	// ErrKeyNotFound: the issuer has no such key.
	ErrKeyNotFound = errors.New("key not found")
	// ErrKeysUnavailable: the issuer's keys are not known, or too old. This is the one that says
	// nothing about the token: it may be tried again.
	ErrKeysUnavailable = errors.New("keys of the issuer are unavailable")
	// ErrSignature: the signature, or the certificate chain, does not verify.
	ErrSignature = errors.New("signature does not verify")
	// ErrAudience: made for somebody else.
	ErrAudience = errors.New("audience not accepted")
	// ErrExpired: past its expiry and the leeway.
	ErrExpired = errors.New("expired")
	// ErrNotYetValid: its nbf or iat lies in the future, by more than the leeway.
	ErrNotYetValid = errors.New("not yet valid")
	// ErrTooOld: issued longer ago than the source accepts.
	ErrTooOld = errors.New("too old")
	// ErrMissingClaim: a claim that a check or a mapping needs is not there.
	ErrMissingClaim = errors.New("missing claim")
	// ErrConfirmation: bound to a key (cnf) in a way that nobody here can check.
	ErrConfirmation = errors.New("confirmation not supported")
	// ErrRequirement: a rule of the source does not hold. The error is a *RequirementError.
	ErrRequirement = errors.New("requirement not met")
)

// RequirementError is the rule that a proof did not meet. It matches ErrRequirement.
type RequirementError struct {
	// Message is the rule's, as configured.
	Message string
}

// Error gives the message of the rule.
func (e *RequirementError) Error() string { return "requirement not met: " + e.Message }

// Is makes a RequirementError match ErrRequirement.
func (e *RequirementError) Is(target error) bool { return target == ErrRequirement }

// SourceError is one fault of a source's configuration.
type SourceError struct {
	Source  string
	Field   string // as written in the configuration: "audiences", "require[2]"
	Message string // what is wrong, and what to do
}

// Error names the source, the field and what to do.
func (e *SourceError) Error() string {
	return fmt.Sprintf("identity source %q: %s: %s", e.Source, e.Field, e.Message)
}

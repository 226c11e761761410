package broker

import (
	"errors"
	"fmt"
	"time"

	"github.com/writbroker/writ/scopes"
)

// What a caller of the broker branches on; package httpapi maps each to the wire in one
// table. The text after the colon of a wrapped sentinel is meant for the caller's developer:
// it says what is wrong with what they sent, and nothing of the policy.
var (
	// ErrRequest: a parameter is missing, malformed, or does not go with another.
	ErrRequest = errors.New("invalid request")
	// ErrClient: the client's own authentication (assertion or certificate) failed.
	ErrClient = errors.New("client authentication failed")
	// ErrSubjectToken: the subject token is not acceptable (RFC 8693 section 2.2.2).
	ErrSubjectToken = errors.New("subject token not accepted")
	// ErrActorToken: the actor token is not acceptable.
	ErrActorToken = errors.New("actor token not accepted")
	// ErrTokenType: a token type that is unknown or that cannot be issued.
	ErrTokenType = errors.New("unsupported token type")
	// ErrTarget: the audience or resource is unknown, reserved, or not the scopes'.
	ErrTarget = errors.New("target not accepted")
	// ErrScope: a scope is malformed, unknown or not granted; see ScopeError.
	ErrScope = errors.New("scope not accepted")
	// ErrUnauthorized: no valid token of ours came with an administrative call.
	ErrUnauthorized = errors.New("authentication required")
	// ErrForbidden: the caller's token does not allow this call; see ForbiddenError.
	ErrForbidden = errors.New("not allowed")
	// ErrNotParty: a token was not issued to the client that gives it back.
	ErrNotParty = errors.New("token was not issued to this client")
	// ErrNotFound: no such rule, decision or key.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: the broker cannot answer safely now; see UnavailableError.
	ErrUnavailable = errors.New("temporarily unavailable")
	// ErrRateLimited: the agent asks too often; see RateLimitError.
	ErrRateLimited = errors.New("rate limit exceeded")
	// ErrAWS: the broker's set-up at AWS makes no sessions; see AWSError.
	ErrAWS = errors.New("AWS session not made")
)

// ScopeError is a refusal by policy, or scopes that cannot be parsed. It names the scopes
// and the decision, never the rules.
type ScopeError struct {
	DecisionID string
	Refused    []scopes.Scope
	Detail     string // for malformed scopes
}

// Error is safe to show to the caller.
func (e *ScopeError) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return "one or more requested scopes are not granted"
}

// Is makes a ScopeError match ErrScope.
func (e *ScopeError) Is(target error) bool { return target == ErrScope }

// DecisionError is a refusal by policy that is not about scopes: the target, or the pair of
// subject and agent. It wraps the sentinel that says which.
type DecisionError struct {
	Sentinel   error
	DecisionID string
	Detail     string
}

// Error is safe to show to the caller.
func (e *DecisionError) Error() string { return e.Detail }

// Unwrap gives the sentinel.
func (e *DecisionError) Unwrap() error { return e.Sentinel }

// AWSError says by name why no AWS session was made. It wraps the sentinel that says whose
// matter it is: ErrScope, ErrTarget, ErrRequest, ErrUnavailable or ErrAWS.
type AWSError struct {
	Sentinel   error
	Reason     string // a fixed name, the same in the audit
	DecisionID string
	Detail     string
	RetryAfter time.Duration // with ErrUnavailable
	Cause      error
}

// Error is safe to show to the caller.
func (e *AWSError) Error() string { return e.Reason + ": " + e.Detail }

// Is makes an AWSError match its sentinel.
func (e *AWSError) Is(target error) bool { return target == e.Sentinel }

// Unwrap gives the cause.
func (e *AWSError) Unwrap() error { return e.Cause }

// ForbiddenError names the scope that an administrative call needs.
type ForbiddenError struct{ Need scopes.Scope }

// Error is safe to show to the caller.
func (e *ForbiddenError) Error() string { return "needs scope " + e.Need.String() }

// Is makes a ForbiddenError match ErrForbidden.
func (e *ForbiddenError) Is(target error) bool { return target == ErrForbidden }

// UnavailableError says when to try again. Cause is for the log, not for the caller.
type UnavailableError struct {
	RetryAfter time.Duration
	Detail     string
	Cause      error
}

// Error is safe to show to the caller.
func (e *UnavailableError) Error() string { return e.Detail }

// Is makes an UnavailableError match ErrUnavailable.
func (e *UnavailableError) Is(target error) bool { return target == ErrUnavailable }

// Unwrap gives the cause.
func (e *UnavailableError) Unwrap() error { return e.Cause }

// RateLimitError says when the next request would pass.
type RateLimitError struct{ RetryAfter time.Duration }

// Error is safe to show to the caller.
func (e *RateLimitError) Error() string { return "too many requests from this agent" }

// Is makes a RateLimitError match ErrRateLimited.
func (e *RateLimitError) Is(target error) bool { return target == ErrRateLimited }

func requestError(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrRequest}, args...)...)
}

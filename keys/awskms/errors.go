package awskms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/writbroker/writ/keys"
)

// What can be wrong with KMS. Each comes in a CallError that says where. The first four
// also match keys.ErrUnavailable: the same call may succeed later.
var (
	// ErrAway: KMS does not answer, not in time, or not for now.
	ErrAway = errors.New("aws kms is away")
	// ErrThrottled: the account's request quota was exceeded.
	ErrThrottled = errors.New("aws kms throttles: the account's request quota is exceeded")
	// ErrQueueFull: too many signatures are waiting for KMS already.
	ErrQueueFull = errors.New("too many signatures are waiting for aws kms")
	// ErrNoCredentials: the source of the broker's credentials has none, or none now.
	ErrNoCredentials = errors.New("no aws credentials could be had")

	// ErrCredentials: AWS refuses the broker's credentials, and the source has no others.
	ErrCredentials = errors.New("aws refuses the credentials: they are expired, revoked or wrong")
	// ErrClock: AWS finds the request's time too far from its own, and says no better one.
	ErrClock = errors.New("aws refuses the time of the request: set this machine's clock")
	// ErrDenied: the credentials are good, and no policy allows Action.
	ErrDenied = errors.New("aws denies it: let the key's policy, or that of the broker's role, allow it")
	// ErrNotFound: there is no such key in this account and region.
	ErrNotFound = errors.New("no such key in aws kms: look at account and region")
	// ErrKeyUsage: the key is for something else.
	ErrKeyUsage = errors.New("aws kms key is of the wrong usage")
	// ErrKeySpec: the key is of another kind than the algorithm needs.
	ErrKeySpec = errors.New("aws kms key is of the wrong spec")
	// ErrKeyState: the key is disabled, waits for its deletion or has no material.
	ErrKeyState = errors.New("aws kms key cannot be used in its state")
	// ErrKeyLimit: the account may have no more KMS keys.
	ErrKeyLimit = errors.New("aws kms makes no more keys: the account's quota of keys is full")
	// ErrBinding: a sealed key that is not what it stands for: it was altered, or is that
	// of another kid, ring, algorithm, state or KMS key.
	ErrBinding = errors.New("sealed key does not open here")
	// ErrRefused: KMS refuses the request for a reason of its own, which Detail has.
	ErrRefused = errors.New("aws kms refuses the request")
)

// CallError is a call of KMS that failed.
type CallError struct {
	Kind   error  // one of the errors above
	Action string // as IAM names it: "kms:Decrypt"
	Key    string // id, alias or ARN; "" where there is none
	Detail string // what AWS says; no secret
	Cause  error  // optional

	expired bool // the credentials: the source may have newer ones
}

// Error names action and key, and what to do where that is known.
func (e *CallError) Error() string {
	text := e.Action
	if e.Key != "" {
		text += " of " + e.Key
	}
	text = fmt.Sprintf("%s: %v", text, e.Kind)
	if e.Detail != "" {
		text += " (" + e.Detail + ")"
	}
	return text
}

// Unwrap gives the kind, keys.ErrUnavailable where it may pass by itself, and the cause.
func (e *CallError) Unwrap() []error {
	out := []error{e.Kind}
	if e.passing() {
		out = append(out, keys.ErrUnavailable)
	}
	if e.Cause != nil {
		out = append(out, e.Cause)
	}
	return out
}

func (e *CallError) passing() bool {
	return e.is(ErrAway, ErrThrottled, ErrQueueFull, ErrNoCredentials)
}

// is says that it is of one of some kinds.
func (e *CallError) is(kinds ...error) bool { return slices.Contains(kinds, e.Kind) }

// What is a short constant name of what is wrong, for a metric's label: "ok" for nil,
// "ended" for a context that ended, "other" for what is not from here.
func What(err error) string {
	for _, known := range []struct {
		err  error
		what string
	}{
		{ErrAway, "away"}, {ErrThrottled, "throttled"}, {ErrQueueFull, "queue_full"}, {ErrNoCredentials, "no_credentials"},
		{ErrCredentials, "credentials"}, {ErrClock, "clock"}, {ErrDenied, "denied"}, {ErrBinding, "binding"}, {ErrNotFound, "not_found"},
		{ErrKeyUsage, "key_usage"}, {ErrKeySpec, "key_spec"}, {ErrKeyState, "key_state"}, {ErrKeyLimit, "key_limit"}, {ErrRefused, "refused"},
		{context.Canceled, "ended"}, {context.DeadlineExceeded, "ended"},
	} {
		if errors.Is(err, known.err) {
			return known.what
		}
	}
	if err == nil {
		return "ok"
	}
	return "other"
}

// classify names what went wrong in one call, its repetitions included.
func classify(action, key string, err error) *CallError {
	out := &CallError{Kind: ErrAway, Action: action, Key: key}
	if source, ok := errors.AsType[*sourceError](err); ok {
		out.Kind, out.Detail = ErrNoCredentials, source.detail()
		return out
	}
	answer, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		// The SDK's own error holds request and answer: credentials, and what was unsealed.
		out.Detail = "no answer: " + short(innermost(err).Error())
		return out
	}
	status := 0
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		status = response.HTTPStatusCode()
	}
	code := answer.ErrorCode()
	out.Detail = short(code + ": " + answer.ErrorMessage())
	out.expired = strings.HasPrefix(code, "ExpiredToken")
	out.Kind = kindOf(code, answer.ErrorMessage(), status)
	return out
}

// kindOf names an answer that is an error (KMS API reference, Common Errors and those of
// each action).
func kindOf(code, message string, status int) error {
	// KMS says this of a ciphertext that is another account's or region's, and must not
	// say more.
	if code == "AccessDeniedException" && strings.HasPrefix(message, "The ciphertext refers to") {
		return ErrBinding
	}
	for _, known := range []struct {
		kind  error
		codes []string
	}{
		{ErrThrottled, []string{"ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException"}},
		{ErrAway, []string{"KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException", "InternalFailure", "ServiceUnavailable"}},
		{ErrCredentials, []string{"ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "IncompleteSignature", "IncompleteSignatureException"}},
		{ErrClock, []string{"RequestExpired", "RequestTimeTooSkewed"}},
		{ErrDenied, []string{"AccessDeniedException", "AccessDenied", "NotAuthorized", "OptInRequired"}},
		{ErrNotFound, []string{"NotFoundException", "InvalidArnException"}},
		{ErrKeyUsage, []string{"InvalidKeyUsageException"}},
		{ErrKeyState, []string{"DisabledException", "KMSInvalidStateException"}},
		{ErrKeyLimit, []string{"LimitExceededException"}},
		{ErrBinding, []string{"InvalidCiphertextException", "IncorrectKeyException"}},
	} {
		if slices.Contains(known.codes, code) {
			return known.kind
		}
	}
	switch {
	case (code == "InvalidSignatureException" || code == "SignatureDoesNotMatch") && aboutTime(message):
		return ErrClock
	case code == "InvalidSignatureException", code == "SignatureDoesNotMatch":
		return ErrCredentials
	case status >= http.StatusInternalServerError, status < http.StatusBadRequest:
		return ErrAway
	case status == http.StatusTooManyRequests:
		return ErrThrottled
	}
	return ErrRefused
}

// aboutTime tells a signature of the wrong time from one of the wrong key, for which AWS
// has one code: "Signature expired: … is now earlier than …", "Signature not yet current".
func aboutTime(message string) bool {
	return strings.HasPrefix(message, "Signature expired") || strings.HasPrefix(message, "Signature not yet current")
}

// innermost is what went wrong on the way, without the SDK's words around it.
func innermost(err error) error {
	if way, ok := errors.AsType[*url.Error](err); ok {
		return way.Err
	}
	return err
}

// short is what AWS said, on one line and not too long of it.
func short(text string) string {
	const most = 240
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "")
}

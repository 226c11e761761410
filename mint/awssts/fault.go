package awssts

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/writbroker/writ/mint"
)

// The reasons of a *mint.SessionError: fixed names, for callers and for the audit.
const (
	ReasonScope           = "aws_scope"                   // IAM cannot say a scope as narrowly as it is meant
	ReasonRole            = "aws_role"                    // the scopes lead to no role, or to several
	ReasonPolicySize      = "aws_policy_too_large"        // more than 2,048 characters
	ReasonPackedSize      = "aws_packed_policy_too_large" // policy and tags together, as AWS packs them
	ReasonMalformedPolicy = "aws_malformed_policy"        // the target does not take the policy
	ReasonMalformedARN    = "aws_malformed_arn"           // of the role, in the catalog
	ReasonUntrusted       = "aws_role_untrusted"          // the role does not trust the broker, or is not there
	ReasonRoleDuration    = "aws_role_duration"           // longer than the role's own limit
	ReasonChaining        = "aws_role_chaining"           // longer than an hour by a role's credentials
	ReasonRegion          = "aws_wrong_region"            // STS is off there, or the endpoint is another's
	ReasonClockSkew       = "aws_clock_skew"              // between the broker and STS
	ReasonExpired         = "aws_broker_credentials_expired"
	ReasonNoCredentials   = "aws_broker_credentials_missing" //nolint:gosec // a name, not a credential
	ReasonCredentials     = "aws_broker_credentials_refused" //nolint:gosec // a name, not a credential
	ReasonProof           = "aws_web_identity_refused"       // STS does not take the broker's JWT
	ReasonNoKey           = "signing_unavailable"
	ReasonCatalog         = "aws_catalog" // the bundle's mapping to AWS is broken
	ReasonDown            = "sts_unavailable"
	ReasonSlow            = "sts_timeout"
	ReasonThrottled       = "sts_throttled"
	ReasonBusy            = "sts_busy"    // too many calls in flight
	ReasonPaused          = "sts_paused"  // after many failures
	ReasonSTS             = "sts_refused" // anything else that STS says
	ReasonGone            = "request_ended"
)

const (
	retrySoon = 2 * time.Second
	retryLate = 30 * time.Second // for what somebody has to mend, or the SDK to renew
)

func fault(whose mint.SessionFault, reason, detail string, cause error) *mint.SessionError {
	return &mint.SessionError{Fault: whose, Reason: reason, Detail: detail, Cause: cause}
}

func later(reason, detail string, after time.Duration, cause error) *mint.SessionError {
	return &mint.SessionError{Fault: mint.FaultUnavailable, Reason: reason, Detail: detail, RetryAfter: after, Cause: cause}
}

// asFault names what went wrong; ctx is that of the call. What STS says is for the log: it may
// name accounts and roles.
func asFault(ctx context.Context, err error) *mint.SessionError {
	if err == nil {
		return nil
	}
	if named, ok := errors.AsType[*mint.SessionError](err); ok {
		return named
	}
	if named := compileFault(err); named != nil {
		return named
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return apiFault(api, err)
	}
	return callFault(ctx, err)
}

// compileFault names what the compiler and the catalog say, which is meant for the caller.
func compileFault(err error) *mint.SessionError {
	if _, ok := errors.AsType[*SizeError](err); ok {
		return fault(mint.FaultScope, ReasonPolicySize, err.Error(), nil)
	}
	if _, ok := errors.AsType[*ScopeError](err); ok {
		return fault(mint.FaultScope, ReasonScope, err.Error(), nil)
	}
	if _, ok := errors.AsType[*RoleError](err); ok {
		return fault(mint.FaultTarget, ReasonRole, err.Error(), nil)
	}
	switch {
	case errors.Is(err, ErrNothing), errors.Is(err, mint.ErrGrant):
		return fault(mint.FaultScope, ReasonScope, "nothing is left to be granted", err)
	case errors.Is(err, ErrTags):
		return fault(mint.FaultBroker, ReasonSTS, "AWS would not take the session's tags", err)
	}
	return nil
}

// callFault is for what never was an answer.
func callFault(ctx context.Context, err error) *mint.SessionError {
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return later(ReasonGone, "the request ended before its session was made", retrySoon, err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return later(ReasonSlow, "STS did not answer in time; try again", retrySoon, err)
	case isUnsigned(err):
		return later(ReasonNoCredentials, "the broker has no AWS credentials of its own", retryLate, err)
	}
	return later(ReasonDown, "STS cannot be reached; try again", retrySoon, err)
}

// isUnsigned reports whether the broker's own credentials could not be had: the SDK fails
// before it sends anything.
func isUnsigned(err error) bool {
	if _, sent := errors.AsType[*smithyhttp.RequestSendError](err); sent {
		return false
	}
	if _, answered := errors.AsType[*smithyhttp.ResponseError](err); answered {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "get identity") || strings.Contains(text, "failed to refresh cached credentials") ||
		strings.Contains(text, "failed to retrieve credentials") || strings.Contains(text, "static credentials are empty")
}

// named are the codes of STS that mean one thing.
var named = []struct {
	codes  []string
	whose  mint.SessionFault
	reason string
	detail string
	after  time.Duration
}{
	{[]string{"ExpiredToken", "ExpiredTokenException", "RequestExpiredToken"}, mint.FaultUnavailable, ReasonExpired, "the broker's own AWS credentials have expired", retryLate},
	{[]string{"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "MissingAuthenticationToken", "IncompleteSignature"}, mint.FaultUnavailable, ReasonCredentials, "AWS does not accept the broker's own credentials", retryLate},
	{[]string{"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}, mint.FaultUnavailable, ReasonClockSkew, "the broker's clock and that of AWS differ too much", retryLate},
	{[]string{"RegionDisabledException", "OptInRequired"}, mint.FaultBroker, ReasonRegion, "STS is not active in the configured region", 0},
	{[]string{"AccessDenied", "AccessDeniedException"}, mint.FaultTarget, ReasonUntrusted, "the role does not trust the broker, or is not there; its owner can compare it with the output of writ aws trust-policy", 0},
	{[]string{"PackedPolicyTooLarge", "PackedPolicyTooLargeException"}, mint.FaultScope, ReasonPackedSize, "session policy and tags are larger than AWS takes, as it packs them; ask for fewer scopes at once", 0},
	{[]string{"MalformedPolicyDocument", "MalformedPolicyDocumentException"}, mint.FaultBroker, ReasonMalformedPolicy, "the target does not take the session policy", 0},
	{[]string{"InvalidIdentityToken", "InvalidIdentityTokenException", "IDPRejectedClaim", "IDPRejectedClaimException"}, mint.FaultBroker, ReasonProof, "STS does not accept the broker as an identity provider", 0},
	{[]string{"IDPCommunicationError", "IDPCommunicationErrorException"}, mint.FaultUnavailable, ReasonProof, "STS could not fetch the broker's published keys", retryLate},
}

// apiFault names what STS answered. Some codes mean several things, which only the message
// tells apart.
func apiFault(api smithy.APIError, err error) *mint.SessionError {
	code, message := api.ErrorCode(), strings.ToLower(api.ErrorMessage())
	for i := range named {
		n := &named[i]
		if slices.Contains(n.codes, code) {
			return &mint.SessionError{Fault: n.whose, Reason: n.reason, Detail: n.detail, RetryAfter: n.after, Cause: err}
		}
	}
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(message, p) {
				return true
			}
		}
		return false
	}
	switch {
	case throttles(code):
		return later(ReasonThrottled, "AWS slows the broker down; try again", retrySoon, err)
	case code == "SignatureDoesNotMatch" && has("signature expired", "not yet current"):
		return later(ReasonClockSkew, "the broker's clock and that of AWS differ too much", retryLate, err)
	case code == "SignatureDoesNotMatch" && has("credential should be scoped to a valid region", "valid region"):
		return fault(mint.FaultBroker, ReasonRegion, "the endpoint is not that of the configured region", err)
	case code == "SignatureDoesNotMatch":
		return later(ReasonCredentials, "AWS does not accept the broker's own credentials", retryLate, err)
	case has("role chaining"):
		return fault(mint.FaultRequest, ReasonChaining, "the broker's own credentials are a role's, and AWS ends sessions made with them after an hour; ask for a requested_ttl of at most 3600", err)
	case has("maxsessionduration"):
		return fault(mint.FaultRequest, ReasonRoleDuration, "the role does not give sessions that long; ask for a shorter requested_ttl, or raise the role's MaxSessionDuration", err)
	case has("arn"):
		return fault(mint.FaultTarget, ReasonMalformedARN, "AWS does not take the role's ARN, which the catalog has", err)
	case has("policy"):
		return fault(mint.FaultBroker, ReasonMalformedPolicy, "the target does not take the session policy", err)
	}
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && response.HTTPStatusCode() >= 500 {
		return later(ReasonDown, "STS fails; try again", retrySoon, err)
	}
	return fault(mint.FaultBroker, ReasonSTS, "STS refused the session; the broker's log has its answer", err)
}

func throttles(code string) bool {
	return strings.HasPrefix(code, "Throttl") || code == "RequestLimitExceeded" || code == "TooManyRequestsException" || code == "SlowDown" || code == "RequestThrottled"
}

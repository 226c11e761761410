package revoker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aws/smithy-go"

	"github.com/writbroker/writ/internal/breaker"
	"github.com/writbroker/writ/mint/awssts/denylist"
)

// What a look at a role can fail with. The causes are for the log: they may name principals.
var (
	ErrNoEntity  = errors.New("the role, or its policy, is not in the account")
	ErrAccount   = errors.New("the role is in another account than the revoker's credentials")
	ErrDenied    = errors.New("the revoker's credentials may not do this")
	ErrThrottled = errors.New("IAM throttles the revoker")
	ErrAway      = errors.New("IAM does not answer")
	ErrLimit     = errors.New("the role's inline policies are over IAM's limit")
	ErrRefused   = errors.New("IAM refuses the policy")
)

// codes are what IAM and the services before it say.
func codes() map[error][]string {
	return map[error][]string{
		ErrNoEntity:  {"NoSuchEntity"},
		ErrDenied:    {"AccessDenied", "AccessDeniedException", "InvalidClientTokenId", "UnrecognizedClientException", "ExpiredToken", "SignatureDoesNotMatch", "OptInRequired"},
		ErrThrottled: {"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"},
		ErrLimit:     {"LimitExceeded"},
		ErrAway:      {"ServiceFailure", "InternalFailure", "ServiceUnavailable", "InternalError"},
	}
}

func nameFault(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	for named, list := range codes() {
		if slices.Contains(list, api.ErrorCode()) {
			return fmt.Errorf("%w: %w", named, err)
		}
	}
	if api.ErrorFault() == smithy.FaultServer {
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	return fmt.Errorf("%w: %w", ErrRefused, err)
}

// outcomeOf is what a call has shown of IAM. Throttling counts as being away: more calls make
// it worse.
func outcomeOf(ctx context.Context, err error) breaker.Outcome {
	switch {
	case errors.Is(err, ErrAway), errors.Is(err, ErrThrottled):
		return breaker.Away
	case err != nil && ctx.Err() != nil:
		return breaker.Inconclusive
	}
	return breaker.Answered
}

// detailOf is what an answer may say of a fault: none of its causes.
func detailOf(err error) string {
	for _, hint := range []struct {
		err  error
		text string
	}{
		{ErrAccount, "; deny its sessions there by hand"},
		{ErrDenied, "; see the policy that writ aws setup prints for the revoker"},
		{ErrNoEntity, "; if the role was removed, its sessions can do nothing any more"},
		{ErrThrottled, "; it is tried again"},
		{ErrAway, "; it is tried again"},
		{ErrLimit, "; it is tried again"},
		{denylist.ErrForeign, "; remove it, and it is written again"},
		{denylist.ErrNoRoom, "; remove other inline policies of the role, or make managed ones of them"},
		{ErrRefused, "; see the log"},
	} {
		if errors.Is(err, hint.err) {
			return hint.err.Error() + hint.text
		}
	}
	return "it failed, and is tried again; see the log"
}

// backoff is how long to wait before another attempt: anything up to a bound that doubles, so
// that replicas which failed together do not come back together.
func backoff(attempt int, _ error) (time.Duration, error) {
	bound := min(firstBackoff<<min(max(attempt, 0), 8), maxBackoff)
	return rand.N(bound) + 1, nil //nolint:gosec // jitter, not a secret
}

// about spreads what replicas do at the same pace.
func about(d time.Duration) time.Duration {
	d = max(d, time.Millisecond)
	return d/2 + rand.N(d) //nolint:gosec // jitter, not a secret
}

package broker

import (
	"errors"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/token"
)

// publicReason says in fixed words why a proof failed. Errors of lower packages may carry
// data of the token; only these words, and the message that an operator wrote for a rule of a
// source, ever reach the caller.
func publicReason(err error) string {
	if rule, ok := errors.AsType[*identity.RequirementError](err); ok {
		return rule.Message
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.text
		}
	}
	return "it does not verify"
}

// reasons is ordered: the first that matches speaks.
var reasons = []struct {
	err  error
	text string
}{
	{errUnknownKey, "it is signed by an unknown key"},
	{token.ErrTooLarge, "it is larger than 16 KiB"},
	{token.ErrCritical, "its header lists critical extensions"},
	{token.ErrEmbeddedKey, "its header carries or points to a key"},
	{token.ErrAlgorithm, "its algorithm is not accepted"},
	{token.ErrType, "its typ is not accepted"},
	{token.ErrSignature, "its signature does not verify"},
	{token.ErrKeyMismatch, "its algorithm does not belong to its key"},
	{token.ErrIssuer, "it has another issuer"},
	{token.ErrAudience, "it is for another audience"},
	{token.ErrExpired, "it has expired"},
	{token.ErrNotYetValid, "it is not valid yet"},
	{token.ErrTTL, "it lives longer than tokens may"},
	{token.ErrMissingClaim, "a required claim is missing"},
	{token.ErrClaim, "a claim has the wrong type or an impossible value"},
	{token.ErrMalformed, "it is malformed"},
	{identity.ErrUnknownIssuer, "its issuer is not configured"},
	{identity.ErrAlgorithm, "its algorithm is not accepted"},
	{identity.ErrType, "its typ is not accepted"},
	{identity.ErrKeyNotFound, "it is signed by an unknown key"},
	{identity.ErrSignature, "its signature does not verify"},
	{identity.ErrAudience, "it is for another audience"},
	{identity.ErrExpired, "it has expired"},
	{identity.ErrNotYetValid, "it is not valid yet"},
	{identity.ErrTooOld, "it was issued too long ago"},
	{identity.ErrConfirmation, "it is bound to a key in a way that is not supported here"},
	{identity.ErrMissingClaim, "a required claim is missing"},
	{identity.ErrMalformed, "it is malformed"},
}

package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/writbroker/writ/keys"
)

// What can be wrong with Vault. Each comes in a CallError that says where. The first
// five also match keys.ErrUnavailable: the same call may succeed later.
var (
	// ErrAway: Vault does not answer, not in time, or not with what Vault says.
	ErrAway = errors.New("vault is away")
	// ErrSealed: Vault answers, and has no access to its own data.
	ErrSealed = errors.New("vault is sealed: it must be unsealed before it can answer")
	// ErrStandby: this node is not the active one, and does not forward.
	ErrStandby = errors.New("vault node is a standby: let the address be that of the active node or of the load balancer")
	// ErrLimited: Vault's rate limit was exceeded.
	ErrLimited = errors.New("vault refuses for now: its rate limit is exceeded")
	// ErrQueueFull: too many signatures are waiting for Vault already.
	ErrQueueFull = errors.New("too many signatures are waiting for vault")

	// ErrMount: nothing is mounted where the configuration says, or another engine.
	ErrMount = errors.New("wrong vault mount: nothing, or another engine, is mounted there")
	// ErrToken: the broker's token is expired or revoked, and no other could be had.
	ErrToken = errors.New("vault token is expired or revoked")
	// ErrLogin: Vault refuses the broker's credentials.
	ErrLogin = errors.New("vault refuses the login")
	// ErrUnwrap: a response-wrapped secret id was unwrapped before, has expired, or is
	// no secret id. Somebody else may have it.
	ErrUnwrap = errors.New("wrapped secret id cannot be unwrapped: it has expired, or somebody else has unwrapped it")
	// ErrDenied: the token is good, and its policies do not allow the path.
	ErrDenied = errors.New("vault denies permission: `writ keys vault-policy` prints what the broker needs")
	// ErrNotFound: there is no such key or entry in a mount that exists.
	ErrNotFound = errors.New("not found in vault")
	// ErrKeyType: the key in Vault cannot do what it is for.
	ErrKeyType = errors.New("key in vault does not fit")
	// ErrBinding: a sealed key that is not what it stands for: it was altered, or is
	// that of another kid, ring, algorithm, state or Vault.
	ErrBinding = errors.New("sealed key does not open here")
	// ErrRefused: Vault refuses the request for a reason of its own, which Detail has.
	ErrRefused = errors.New("vault refuses the request")
)

// CallError is a call of Vault that failed.
type CallError struct {
	Kind   error  // one of the errors above
	Op     string // "login", "sign", …
	Path   string // in Vault, without /v1/
	Detail string // what Vault says; no secret
	Cause  error  // optional
}

// Error names the path, and what to do where that is known.
func (e *CallError) Error() string {
	text := fmt.Sprintf("vault %s at %s: %v", e.Op, e.Path, e.Kind)
	if e.Detail != "" {
		text += " (" + e.Detail + ")"
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
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

// of says whether it is of one of these kinds.
func (e *CallError) of(kinds ...error) bool {
	return slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(e.Kind, kind) })
}

func (e *CallError) passing() bool {
	return e.of(ErrAway, ErrSealed, ErrStandby, ErrLimited, ErrQueueFull)
}

// What is a short constant name of what is wrong, for a metric's label: "ok" for nil,
// "ended" for a context that ended, "other" for what is not from here.
func What(err error) string {
	for _, known := range []struct {
		err  error
		what string
	}{
		{ErrAway, "away"}, {ErrSealed, "sealed"}, {ErrStandby, "standby"}, {ErrLimited, "limited"}, {ErrQueueFull, "queue_full"},
		{ErrBinding, "binding"}, {ErrMount, "mount"}, {ErrToken, "token"}, {ErrUnwrap, "unwrap"}, {ErrLogin, "login"},
		{ErrDenied, "denied"}, {ErrKeyType, "key_type"}, {ErrNotFound, "not_found"}, {ErrRefused, "refused"},
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

// classify names what went wrong in one round trip.
func classify(r request, err error) *CallError {
	out := r.fault(ErrAway, "no answer", err)
	answer, ok := errors.AsType[*api.ResponseError](err)
	if !ok {
		return out
	}
	// Cause would bring the whole answer into a log.
	out.Detail, out.Cause = detail(answer), nil
	has := func(text string) bool { return strings.Contains(out.Detail, text) }
	switch code := answer.StatusCode; {
	case has("Vault is sealed"):
		out.Kind = ErrSealed
	case code == http.StatusTooManyRequests:
		out.Kind = ErrLimited
	case has("standby"), has("active cluster node not found"), has("node not active"):
		out.Kind = ErrStandby
	case code >= http.StatusInternalServerError:
	case code == http.StatusForbidden:
		out.Kind = ErrDenied
	case has("no handler for route"), has("unsupported path"), has("unsupported operation"):
		out.Kind = ErrMount
	case code == http.StatusNotFound, has("key not found"):
		out.Kind = ErrNotFound
	case r.refusal != nil:
		out.Kind = r.refusal
	default:
		out.Kind = ErrRefused
	}
	return out
}

// detail is what Vault said, on one line and not too long of it.
func detail(answer *api.ResponseError) string {
	const most = 200
	text := strings.Join(strings.Fields(strings.Join(answer.Errors, "; ")), " ")
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "")
}

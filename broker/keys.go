package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/revocation"
)

// RotateOrder asks for a rotation of the signing key: the published next key is activated at
// once.
type RotateOrder struct {
	// Revoke is the kid of a key that leaked: it leaves the JWKS, and its tokens and their
	// descendants are refused for good. Empty: a planned rotation, which no token notices.
	Revoke string
	// Now is an emergency without a key that leaked: the next key signs even if it was published
	// a moment ago, and verifiers have to fetch it first.
	Now    bool
	Reason string
}

// RotateKeys rotates. The rule on a revoked key is in force before the ring changes, so
// that there is no moment in which the key is neither published nor refused.
func (b *Broker) RotateKeys(ctx context.Context, op *Operator, order RotateOrder) (*Revocation, error) {
	var out *Revocation
	if order.Revoke != "" {
		if err := b.knownKey(order.Revoke); err != nil {
			return nil, err
		}
		r, err := b.Revoke(ctx, op, RevokeOrder{
			Selector: revocation.SelectKey, Value: order.Revoke, Reason: order.Reason, Apply: true,
		})
		if err != nil {
			return nil, err
		}
		out = r
	}
	if err := b.rotate(ctx, order); err != nil {
		return out, rotationError(err, out != nil)
	}
	_, err := b.cfg.Audit.Append(context.WithoutCancel(ctx), audit.Event{
		Time: b.cfg.Now(), Kind: audit.KindKeys, Outcome: audit.Allow, Subject: op.ID, ClientID: op.Agent, RemoteIP: op.IP,
		Detail: map[string]string{"revoked": order.Revoke, "reason": order.Reason, "operator_token": op.TokenID},
	})
	if err != nil && !op.breakGlass {
		return out, b.mustRecord(err)
	}
	return out, nil
}

func (b *Broker) rotate(ctx context.Context, order RotateOrder) (err error) {
	if order.Now || order.Revoke != "" {
		_, err = b.cfg.Keys.RotateNow(ctx, order.Revoke)
	} else {
		_, err = b.cfg.Keys.Rotate(ctx)
	}
	if order.Revoke != "" && errors.Is(err, keys.ErrUnknownKey) {
		return nil // it was there a moment ago: another's order was first
	}
	return err
}

// rotationError tells what the caller can do something about from what it cannot. A rule on the
// key that is in force by now stays so: nothing is minted until another key signs.
func rotationError(err error, revoked bool) error {
	if revoked {
		return &UnavailableError{
			RetryAfter: retryKeys, Detail: "the key is revoked, but no other key could take over yet; rotate again", Cause: err,
		}
	}
	switch {
	case errors.Is(err, keys.ErrUnknownKey):
		return fmt.Errorf("%w: no such key in the ring; writ keys list shows them", ErrNotFound)
	case errors.Is(err, keys.ErrNoNextKey):
		return requestError("there is no published next key to activate yet")
	case errors.Is(err, keys.ErrTooSoon):
		return requestError("the next key was published a moment ago, and verifiers may lack it; ask again after keys.prepublish, or say that it cannot wait")
	case errors.Is(err, keys.ErrTooManyKeys):
		return requestError("the ring is full of retired keys whose tokens live; revoke one of them")
	}
	return &UnavailableError{RetryAfter: retryKeys, Detail: "the key ring could not be changed", Cause: err}
}

func (b *Broker) knownKey(kid string) error {
	// One that does not open here, and so is not published, may leak like any other.
	if slices.ContainsFunc(b.cfg.Keys.Ring().Keys(), func(k keys.KeyInfo) bool { return k.ID == kid }) {
		return nil
	}
	return fmt.Errorf("%w: no key %q in the ring; writ keys list shows them", ErrNotFound, kid)
}

// errorCode is the code under which an error is recorded: the sentinel's own words.
func errorCode(err error) string {
	for _, s := range []struct {
		err  error
		code string
	}{
		{ErrRequest, "invalid_request"}, {ErrClient, "invalid_client"}, {ErrSubjectToken, "invalid_subject_token"},
		{ErrActorToken, "invalid_actor_token"}, {ErrTokenType, "unsupported_token_type"}, {ErrTarget, "invalid_target"},
		{ErrScope, "invalid_scope"}, {ErrUnauthorized, "unauthorized"}, {ErrForbidden, "forbidden"},
		{ErrNotFound, "not_found"}, {ErrUnavailable, "unavailable"}, {ErrRateLimited, "rate_limited"},
		{ErrAWS, "aws"},
	} {
		if errors.Is(err, s.err) {
			return s.code
		}
	}
	return "server_error"
}

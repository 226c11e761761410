package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// authenticate verifies every proof of the request and binds the parties together. The
// binding follows what the tokens say (act, may_act, cnf), never what the request left out.
func (b *Broker) authenticate(ctx context.Context, req *ExchangeRequest, v view) (*parties, error) {
	client, err := b.client(ctx, req, v)
	if err != nil {
		return nil, err
	}
	if req.ClientCredentials {
		if client == nil {
			return nil, fmt.Errorf("%w: send client_assertion, or a client certificate", ErrClient)
		}
		p := &parties{subject: *client, thumbprint: cmp.Or(client.Thumbprint, client.Confirmation)}
		return p, b.bind(p, nil, client.Actor, client.MayAct, v)
	}
	if client != nil && (client.Actor != nil || client.MayAct != nil) {
		return nil, fmt.Errorf("%w: it carries act or may_act", ErrClient)
	}
	p, act, mayAct, err := b.subjectToken(ctx, req, v)
	if err != nil {
		return nil, err
	}
	if client != nil {
		p.thumbprint = client.Thumbprint
	}
	if err := b.confirm(p); err != nil {
		return nil, err
	}
	actor, err := b.actor(ctx, req, client, p, v)
	if err != nil {
		return nil, err
	}
	// What a bound proof buys is bound likewise: the exchange must not shed it.
	p.thumbprint = cmp.Or(p.thumbprint, p.subject.Confirmation)
	if actor != nil {
		p.thumbprint = cmp.Or(p.thumbprint, actor.Confirmation)
	}
	return p, b.bind(p, actor, act, mayAct, v)
}

// client authenticates the client itself: by certificate, by assertion, or by both if they
// name the same principal. Nil means that the request carries neither.
func (b *Broker) client(ctx context.Context, req *ExchangeRequest, v view) (*identity.Principal, error) {
	var byCert, byJWT *identity.Principal
	if len(req.Caller.Certificates) > 0 && b.takesCertificates() {
		p, err := b.cfg.Identity.AuthenticateX509(req.Caller.Certificates, v.now)
		if err != nil {
			return nil, proofError(ErrClient, err)
		}
		if err := b.refusesForeign(p, ErrClient); err != nil {
			return nil, err
		}
		byCert = p
	}
	if req.ClientAssertion != "" {
		p, err := b.foreign(ctx, req.ClientAssertion, ErrClient, req, v)
		if err != nil {
			return nil, err
		}
		byJWT = p
	}
	switch {
	case byCert == nil:
		return byJWT, nil
	case byJWT == nil:
		return byCert, nil
	case byCert.ID != byJWT.ID:
		return nil, fmt.Errorf("%w: certificate and client assertion name different principals", ErrClient)
	}
	both := *byJWT
	both.Thumbprint = byCert.Thumbprint
	return &both, nil
}

func (b *Broker) takesCertificates() bool {
	for _, s := range b.cfg.Identity.Sources() {
		if s.X509 != nil {
			return true
		}
	}
	return false
}

// subjectToken verifies the subject token: a broker token of ours, or a token of a configured
// identity source. It also returns the act and may_act that the token carries.
func (b *Broker) subjectToken(ctx context.Context, req *ExchangeRequest, v view) (*parties, *token.Actor, *token.Actor, error) {
	raw := req.SubjectToken
	if b.isOurs(raw, v) {
		if req.SubjectTokenType == TokenTypeIDToken {
			return nil, nil, nil, fmt.Errorf("%w: it is an access token, not an id_token", ErrSubjectToken)
		}
		parent, err := b.ownToken(raw, v, ErrSubjectToken)
		if err != nil {
			return nil, nil, nil, err
		}
		subject, err := b.known(parent.Subject, parent.Claims, v, ErrSubjectToken)
		if err != nil {
			return nil, nil, nil, err
		}
		return &parties{subject: subject, parent: parent, own: []*ownProof{parent}}, parent.Actor, parent.MayAct, nil
	}
	p, err := b.foreign(ctx, raw, ErrSubjectToken, req, v)
	if err != nil {
		return nil, nil, nil, err
	}
	return &parties{subject: *p}, p.Actor, p.MayAct, nil
}

// actor verifies who acts: the actor token, or the authenticated client. A token that
// itself says act is somebody acting for another, and is nobody's own proof.
func (b *Broker) actor(ctx context.Context, req *ExchangeRequest, client *identity.Principal, p *parties, v view) (*identity.Principal, error) {
	if req.ActorToken == "" {
		return client, nil
	}
	actor, err := b.actorToken(ctx, req, p, v)
	if err != nil {
		return nil, err
	}
	if client != nil && client.ID != actor.ID {
		return nil, fmt.Errorf("%w: the authenticated client is another principal", ErrActorToken)
	}
	return actor, nil
}

func (b *Broker) actorToken(ctx context.Context, req *ExchangeRequest, p *parties, v view) (*identity.Principal, error) {
	if !b.isOurs(req.ActorToken, v) {
		actor, err := b.foreign(ctx, req.ActorToken, ErrActorToken, req, v)
		if err != nil {
			return nil, err
		}
		if actor.Actor != nil || actor.MayAct != nil {
			return nil, fmt.Errorf("%w: it carries act or may_act; send the actor's own token", ErrActorToken)
		}
		return actor, nil
	}
	if req.ActorTokenType == TokenTypeIDToken {
		return nil, fmt.Errorf("%w: it is an access token, not an id_token", ErrActorToken)
	}
	proof, err := b.ownToken(req.ActorToken, v, ErrActorToken)
	if err != nil {
		return nil, err
	}
	if proof.Actor != nil || proof.MayAct != nil || proof.ClientID != proof.Subject {
		return nil, fmt.Errorf("%w: it is a delegated token; send the actor's own token", ErrActorToken)
	}
	if proof.Confirmation != nil && !confirmed(proof.Confirmation, p.thumbprint) {
		return nil, fmt.Errorf("%w: it is bound to a key that was not presented", ErrActorToken)
	}
	p.own = append(p.own, proof)
	actor, err := b.known(proof.Subject, proof.Claims, v, ErrActorToken)
	return &actor, err
}

// thumbprintOf gives the thumbprint of the client's certificate if it verifies.
func thumbprintOf(req *ExchangeRequest, b *Broker, v view) string {
	if len(req.Caller.Certificates) == 0 || !b.takesCertificates() {
		return ""
	}
	p, err := b.cfg.Identity.AuthenticateX509(req.Caller.Certificates, v.now)
	if err != nil {
		return ""
	}
	return p.Thumbprint
}

// confirm holds a certificate-bound subject token to the certificate. A binding that this
// broker cannot check is a refusal.
func (b *Broker) confirm(p *parties) error {
	if p.parent == nil || p.parent.Confirmation == nil {
		return nil
	}
	if !confirmed(p.parent.Confirmation, p.thumbprint) {
		return fmt.Errorf("%w: it is bound to a key that was not presented", ErrSubjectToken)
	}
	return nil
}

func confirmed(c *token.Confirmation, thumbprint string) bool {
	return c.JKT == "" && c.X5tS256 != "" && c.X5tS256 == thumbprint
}

// foreign verifies a token of an identity source, and refuses one that a rule hits, or that is
// bound to another certificate than the one that its sender has shown.
func (b *Broker) foreign(ctx context.Context, raw string, sentinel error, req *ExchangeRequest, v view) (*identity.Principal, error) {
	p, err := b.cfg.Identity.Authenticate(ctx, raw, v.now)
	if errors.Is(err, identity.ErrUnknownIssuer) && b.saysOurs(raw) {
		err = errUnknownKey
	}
	if err != nil {
		return nil, proofError(sentinel, err)
	}
	if p.Confirmation != "" && p.Confirmation != req.Caller.thumbprint() {
		return nil, fmt.Errorf("%w: it is bound to a key that was not presented", sentinel)
	}
	return p, b.refusesForeign(p, sentinel)
}

// saysOurs reports whether a token that was refused says that it is ours: then its key is gone
// from the ring, and that is what its holder needs to hear.
func (b *Broker) saysOurs(raw string) bool {
	unverified, err := token.Parse(raw)
	if err != nil {
		return false
	}
	unverifiedClaims, err := token.DecodeObject(unverified.UnverifiedPayload())
	return err == nil && unverifiedClaims["iss"] == b.cfg.Issuer
}

func (b *Broker) refusesForeign(p *identity.Principal, sentinel error) error {
	if _, hit := b.cfg.Index.RefusesForeign(revocation.ForeignToken{
		Subject: p.ID, Actors: p.Actor.Chain(), IssuedAt: p.IssuedAt, TokenID: p.TokenID,
	}); hit {
		return fmt.Errorf("%w: it was issued before its principal was revoked", sentinel)
	}
	return nil
}

// isOurs routes a token by its unverified header: one whose kid is in our ring can only
// be verified by that key, so a wrong guess fails closed.
func (b *Broker) isOurs(raw string, v view) bool {
	unverified, err := token.Parse(raw)
	if err != nil {
		return false
	}
	_, ok := v.ring.Public().Key(unverified.Header().KeyID)
	return ok
}

// ownToken verifies a broker token, its revocation included.
func (b *Broker) ownToken(raw string, v view, sentinel error) (*ownProof, error) {
	c, kid, err := b.verifyOwn(raw, v)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", sentinel, publicReason(err))
	}
	if _, hit := b.cfg.Index.Revoked(c, kid); hit {
		return nil, fmt.Errorf("%w: it is revoked", sentinel)
	}
	return &ownProof{c, kid}, nil
}

// verifyOwn checks a broker token in the order algorithm, signature, claims. Its audience is
// any that is not reserved: whom it was made for is for resource servers to check, and the
// broker issued it. What is for a cloud was never given to anybody.
func (b *Broker) verifyOwn(raw string, v view) (*token.Claims, string, error) {
	unverified, err := token.Parse(raw)
	if err != nil {
		return nil, "", err
	}
	h := unverified.Header()
	if err := token.CheckType(h, token.TypeAccessToken); err != nil {
		return nil, "", err
	}
	key, ok := v.ring.Public().Key(h.KeyID)
	if !ok {
		return nil, "", errUnknownKey
	}
	payload, err := unverified.Verify(key)
	if err != nil {
		return nil, "", err
	}
	c, err := token.DecodeClaims(payload)
	if err != nil {
		return nil, "", err
	}
	if slices.ContainsFunc(c.Audience, b.isReserved) {
		return nil, "", token.ErrAudience
	}
	return c, h.KeyID, c.Validate(token.Expect{
		Issuer: b.cfg.Issuer, Audience: c.Audience, Now: v.now,
		Leeway: b.cfg.Limits.Skew, MaxTTL: b.cfg.Limits.MaxTTL,
	})
}

var errUnknownKey = errors.New("signed by an unknown key")

// proofError wraps a failed proof for the caller: the sentinel, and why, in words that hold
// nothing of the token. Keys that cannot be had are nobody's fault.
func proofError(sentinel, err error) error {
	switch {
	case errors.Is(err, identity.ErrKeysUnavailable):
		return &UnavailableError{RetryAfter: retryKeys, Detail: "the issuer's keys are unavailable; try again", Cause: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &UnavailableError{RetryAfter: retryKeys, Detail: "the request ended before its proof was checked", Cause: err}
	}
	return fmt.Errorf("%w: %s", sentinel, publicReason(err))
}

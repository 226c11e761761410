package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/token"
)

// takesAWS refuses a request for what this broker does not issue. Before one that it does,
// sessions that a rule has hit since are dropped, whether or not this one would have got them.
func (b *Broker) takesAWS(req *ExchangeRequest) error {
	if req.RequestedTokenType != TokenTypeAWSCredentials {
		return nil
	}
	if b.cfg.AWS == nil {
		return fmt.Errorf("%w: this broker issues no AWS credentials", ErrTokenType)
	}
	b.dropSessions()
	return nil
}

// dropSessions drops the kept AWS sessions that a rule or a quarantine hits, and has the revoker
// look: what another replica denies for a rule is to be known here. It costs nothing while no
// rule changes.
func (b *Broker) dropSessions() {
	if b.cfg.AWS == nil {
		return
	}
	// Read first: a rule that comes while sessions are looked at has them looked at again.
	if now := b.cfg.Index.Changes(); b.swept.Swap(now) != now {
		b.forgetDead()
		b.wakeRevoker()
	}
}

func (b *Broker) wakeRevoker() {
	if b.cfg.Revoker != nil {
		b.cfg.Revoker.Wake()
	}
}

func (b *Broker) forgetDead() {
	b.cfg.AWS.Forget(func(s *mint.Session) bool { return !b.alive(s) })
}

// alive reports whether no rule hits a session, none of its principals is quarantined, and AWS
// denies it for no rule that does not hit it.
func (b *Broker) alive(s *mint.Session) bool {
	c := s.Claims
	if _, hit := b.cfg.Index.Revoked(c, s.KeyID); hit {
		return false
	}
	ids := append([]string{c.Subject, c.ClientID}, c.Actor.Chain()...)
	_, hit := b.cfg.Index.Quarantined(ids...)
	return !hit && !s.Issued.Before(b.deniedBefore(s.Role, s.SourceIdentity))
}

// deniedBefore is the time before which AWS denies all sessions of a role, or those of a source
// identity in it, whatever they are hit by: the zero time for never.
func (b *Broker) deniedBefore(role, sourceIdentity string) time.Time {
	if b.cfg.Revoker == nil {
		return time.Time{}
	}
	return b.cfg.Revoker.Cutoff(role, sourceIdentity)
}

// session is run's way on for AWS credentials: the same checks, then a session instead of a
// token.
func (x *exchange) session(ctx context.Context) (*Issued, error) {
	if x.boundProof() {
		return nil, x.decisionError(ErrSubjectToken, "a proof that is bound to a key buys no AWS credentials, which cannot be bound")
	}
	order, err := x.cfg.Minter.SessionOrder(x.decision.Grant, mint.Input{
		Signer: x.ring.Active(), Rev: x.rev, IssuedAt: x.now, ClientID: x.agent().ID, Ancestors: x.ancestors(),
	})
	if err != nil {
		return nil, fmt.Errorf("ordering AWS session: %w", err)
	}
	order.Bundle, order.Role, order.RequestedTTL, order.Alive = x.bundle, x.req.Role, x.req.RequestedTTL, x.Broker.alive
	order.Allow = func(role, sourceIdentity string) error {
		return cmp.Or(x.unseen(order.Claims(), order.IssuedAt()), x.deniedAtAWS(role, sourceIdentity, order.IssuedAt()))
	}
	order.Note = x.ledger.Session // before anything can fail: from here on it opens doors, whoever gets it
	if err := x.stillborn(order.Claims(), ""); err != nil {
		return nil, err
	}
	s, fresh, err := x.cfg.AWS.Session(ctx, order)
	if err != nil {
		return nil, x.awsError(err)
	}
	if err := cmp.Or(x.stillGranted(s), x.unseen(s.Claims, s.Issued), x.deniedAtAWS(s.Role, s.SourceIdentity, s.Issued)); err != nil {
		x.forgetDead() // it was kept after the rule had others dropped
		return nil, err
	}
	if err := x.recordSession(ctx, s, fresh); err != nil {
		return nil, err
	}
	return &Issued{
		Session: s, TokenType: TokenTypeAWSCredentials, Scope: s.Claims.Scope.String(), DecisionID: x.id,
		ExpiresIn: s.Expires.Sub(x.now),
	}, nil
}

// boundProof reports whether the request stands on a token that works only together with a
// key. A session works without it, so that whoever may use one could shed the binding. A client
// certificate alone is no such token: there is nothing to shed.
func (x *exchange) boundProof() bool {
	for _, o := range x.own {
		if o.Confirmation != nil {
			return true
		}
	}
	bound := x.subject.Confirmation != ""
	for i := range x.actors {
		bound = bound || x.actors[i].Confirmation != ""
	}
	return bound
}

// stillGranted looks again at what may have changed while AWS was asked, which can take
// seconds.
func (x *exchange) stillGranted(s *mint.Session) error {
	if err := x.quarantined(x.parties); err != nil {
		return err
	}
	if err := x.fresh(x.cfg.Now()); err != nil {
		return err
	}
	return x.stillborn(s.Claims, s.KeyID)
}

// deniedAtAWS refuses to make or give out a session that AWS denies already, until one can be made that
// it does not: for as long after a rule as another replica might not have applied it.
func (x *exchange) deniedAtAWS(role, sourceIdentity string, issued time.Time) error {
	cutoff := x.deniedBefore(role, sourceIdentity)
	if !issued.Before(cutoff) {
		return nil
	}
	return &UnavailableError{
		RetryAfter: max(cutoff.Sub(x.cfg.Now()), 0) + time.Second,
		Detail:     fmt.Sprintf("AWS denies sessions of this role that are made before %s, for a revocation; try again then", cutoff.UTC().Format(time.RFC3339)),
	}
}

// unseen refuses a session where a rule may have just had AWS deny it, at another replica, and this
// one has not looked yet at the sessions that the rule hits: for the moment that a look takes.
func (x *exchange) unseen(c *token.Claims, issued time.Time) error {
	if x.cfg.Revoker == nil || x.due.sawAll(x.cfg.Index.Changes()) {
		return nil
	}
	earlier := *c
	earlier.Rev = token.Rev{}
	hit, ok := x.cfg.Index.Revoked(&earlier, "")
	if !ok {
		return nil
	}
	if r, ok := x.cfg.Index.Rule(hit.RuleID); !ok || !issued.Before(x.cutoff(&r)) {
		return nil
	}
	x.wakeRevoker()
	return &UnavailableError{
		RetryAfter: time.Second, Detail: "what AWS denies for a revocation is looked up; try again then",
	}
}

// awsError turns what the minter says into what a caller branches on.
func (x *exchange) awsError(err error) error {
	if denied, ok := errors.AsType[*UnavailableError](err); ok {
		return denied
	}
	named, ok := errors.AsType[*mint.SessionError](err)
	if !ok {
		return fmt.Errorf("making AWS session: %w", err)
	}
	out := &AWSError{Sentinel: ErrAWS, Reason: named.Reason, DecisionID: x.id, Detail: named.Detail, Cause: named}
	switch named.Fault {
	case mint.FaultScope:
		out.Sentinel = ErrScope
	case mint.FaultTarget:
		out.Sentinel = ErrTarget
	case mint.FaultRequest:
		out.Sentinel = ErrRequest
	case mint.FaultUnavailable:
		out.Sentinel, out.RetryAfter = ErrUnavailable, named.RetryAfter
	case mint.FaultBroker:
	}
	return out
}

// percent is empty for what is not known.
func percent(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// recordSession makes an issuance durable, with all that joins it to CloudTrail's events: the
// access key id, the session's name (the decision that it was made for), the source identity.
// Only when it returns nil may the credentials leave.
func (x *exchange) recordSession(ctx context.Context, s *mint.Session, fresh bool) error {
	e := x.event(audit.KindExchange, audit.Allow)
	c := s.Claims
	e.TokenID, e.Expires, e.Scopes, e.Audience, e.Task = c.ID, s.Expires, scopeTexts(c.Scope.All()), c.Audience, c.Task
	e.Detail = map[string]string{
		"type": TokenTypeAWSCredentials, "access_key_id": s.Credentials.ID(), "session": s.Name, "role": s.Role,
		"source_identity": s.SourceIdentity, "policy_digest": s.PolicyDigest, "fresh": strconv.FormatBool(fresh), "rev": c.Rev.String(),
	}
	for name, value := range map[string]string{"user_id": s.UserID, "kid": s.KeyID, "used_percent": percent(s.UsedPercent)} {
		if value != "" {
			e.Detail[name] = value
		}
	}
	if x.parent != nil {
		e.Detail["parent"] = x.parent.ID
	}
	return x.append(ctx, e)
}

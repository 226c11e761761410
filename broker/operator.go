package broker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// Credentials is what came with a call that is not an exchange: a token of ours, or a
// workload's own proof.
type Credentials struct {
	Caller          Caller
	Bearer          string // a Writ token whose audience is the broker itself
	ClientAssertion string
}

// Operator is a caller whose right to one administrative call was checked. Only Authorize and
// BreakGlass make one.
type Operator struct {
	// ID is the principal; TokenID is the jti of its token, if it came with one.
	ID      string
	TokenID string
	// Agent is the principal that used the token; it differs from ID in a delegated one.
	Agent      string
	IP         string
	breakGlass bool
	scopes     scopes.Set
	until      time.Time
}

// Until is when the operator's right ends: a long call, such as the feed, ends with it.
func (o *Operator) Until() time.Time { return o.until }

// BreakGlass reports whether the operator came through the break-glass socket.
func (o *Operator) BreakGlass() bool { return o.breakGlass }

// Freshness says whether a call may be answered from a revocation list that could not be
// confirmed in time.
type Freshness bool

// Taking access away is always answered; all else needs a confirmed list.
const (
	NeedFresh  Freshness = true
	AllowStale Freshness = false
)

// BreakGlass gives the operator of the break-glass socket, whose peer's uid the socket
// has checked. It is allowed everything that only takes access away.
func BreakGlass(uid int) *Operator {
	id := "break-glass:uid:" + strconv.Itoa(uid)
	return &Operator{ID: id, Agent: id, breakGlass: true}
}

// Authorize checks that the caller may do what need names, e.g. writ:revoke:agent/x: by a
// token of ours whose scopes cover it, or by policy for a proven workload. It fails with
// ErrUnauthorized, a ForbiddenError, or ErrUnavailable.
func (b *Broker) Authorize(ctx context.Context, cred Credentials, need scopes.Scope, fresh Freshness) (*Operator, error) {
	op, err := b.Identify(ctx, cred, []scopes.Scope{need}, fresh)
	if err != nil {
		return nil, err
	}
	if !op.scopes.Covers(need, b.cfg.Policy().Catalog().Actions) {
		return nil, &ForbiddenError{Need: need}
	}
	return op, nil
}

// Identify verifies the caller and finds which of the wanted scopes it has. The caller of
// Identify must check what it needs with Operator.Allows.
func (b *Broker) Identify(ctx context.Context, cred Credentials, wanted []scopes.Scope, fresh Freshness) (*Operator, error) {
	v := b.view()
	if fresh == NeedFresh {
		if err := b.fresh(v.now); err != nil {
			return nil, err
		}
	}
	if cred.Bearer != "" {
		return b.byToken(cred, v)
	}
	req := &ExchangeRequest{Caller: cred.Caller, ClientAssertion: cred.ClientAssertion}
	p, err := b.client(ctx, req, v)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, fmt.Errorf("%w: send a Writ token as Bearer", ErrUnauthorized)
	}
	return b.byPolicy(p, cred, wanted, v)
}

// Allows reports whether the operator's scopes hold one concrete access.
func (o *Operator) Allows(action, resource string) bool {
	return o.scopes.Allows(policy.BuiltinTool, action, resource)
}

func (b *Broker) byToken(cred Credentials, v view) (*Operator, error) {
	c, err := b.ownToken(cred.Bearer, v, ErrUnauthorized)
	if err != nil {
		return nil, err
	}
	if err := b.forBroker(c.Claims, v); err != nil {
		return nil, err
	}
	if c.Confirmation != nil {
		thumb := thumbprintOf(&ExchangeRequest{Caller: cred.Caller}, b, v)
		if !confirmed(c.Confirmation, thumb) {
			return nil, fmt.Errorf("%w: the token is bound to a key that was not presented", ErrUnauthorized)
		}
	}
	if _, hit := b.cfg.Index.Quarantined(append(c.Actor.Chain(), c.Subject, c.ClientID)...); hit {
		return nil, fmt.Errorf("%w: its principal is quarantined", ErrUnauthorized)
	}
	return &Operator{
		ID: c.Subject, TokenID: c.ID, Agent: c.ClientID, IP: ipText(cred.Caller.IP),
		scopes: c.Scope, until: time.Unix(c.Expiry, 0),
	}, nil
}

// forBroker holds a token to the broker's own audience: one made for another resource
// server, and seen there, is not accepted here.
func (b *Broker) forBroker(c *token.Claims, v view) error {
	err := c.Validate(token.Expect{
		Issuer: b.cfg.Issuer, Audience: []string{b.cfg.Issuer}, Now: v.now,
		Leeway: b.cfg.Limits.Skew, MaxTTL: b.cfg.Limits.MaxTTL,
	})
	if err != nil {
		return fmt.Errorf("%w: %s", ErrUnauthorized, publicReason(err))
	}
	return nil
}

// byPolicy gives a proven workload those of the wanted scopes that policy allows it.
func (b *Broker) byPolicy(p *identity.Principal, cred Credentials, wanted []scopes.Scope, v view) (*Operator, error) {
	if p.Actor != nil || p.MayAct != nil {
		return nil, fmt.Errorf("%w: it carries act or may_act", ErrClient)
	}
	if _, hit := b.cfg.Index.Quarantined(p.ID); hit {
		return nil, fmt.Errorf("%w: its principal is quarantined", ErrUnauthorized)
	}
	op := &Operator{ID: p.ID, Agent: p.ID, IP: ipText(cred.Caller.IP), until: p.Expires}
	var have []scopes.Scope
	for _, s := range wanted {
		d := v.bundle.Authorize(policy.Request{
			ID: newDecisionID(), Subject: *p, Scopes: []scopes.Scope{s},
			Time: v.now, SourceIP: cred.Caller.IP,
		})
		if d.Allowed {
			have = append(have, s)
			if end := v.now.Add(d.Grant.TTL()); end.Before(op.until) {
				op.until = end
			}
		}
	}
	set, err := scopes.NewSet(have...)
	if err != nil {
		return nil, fmt.Errorf("collecting scopes of operator: %w", err)
	}
	op.scopes = set
	return op, nil
}

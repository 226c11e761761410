package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// Exchange turns verified identity into a credential, or says why not. The error is one of
// the package's sentinels; every refusal of an authenticated caller, and every credential,
// is durable in the audit log before Exchange returns. When the audit log cannot be
// written the answer is ErrUnavailable, whatever the decision was.
func (b *Broker) Exchange(ctx context.Context, req ExchangeRequest) (*Issued, error) {
	v := b.view()
	if err := b.fresh(v.now); err != nil {
		return nil, err
	}
	asked, err := parseRequest(&req)
	if err != nil {
		return nil, err
	}
	if err := b.takesAWS(&req); err != nil {
		return nil, err
	}
	p, err := b.authenticate(ctx, &req, v)
	if err != nil {
		return nil, b.unauthenticated(&req, v, err)
	}
	if wait := b.agents.take(p.agent().ID, v.now); wait > 0 {
		return nil, &RateLimitError{RetryAfter: wait}
	}
	x := &exchange{Broker: b, view: v, req: &req, parties: p, asked: asked, id: newDecisionID()}
	issued, err := x.run(ctx)
	if err != nil {
		return nil, x.refuse(ctx, err)
	}
	return issued, nil
}

// unauthenticated counts a caller that proved nothing, and gives back what it is told. It is
// not written durably, so that strangers cannot fill the disk. Who fails too often learns no
// more than that; whoever shares the address and proves itself is not held up.
func (b *Broker) unauthenticated(req *ExchangeRequest, v view, err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	ip := ipText(req.Caller.IP)
	b.cfg.Audit.Unauthenticated(audit.KindExchange, errorCode(err), ip)
	if wait := b.failures.take(ip, v.now); wait > 0 {
		return &RateLimitError{RetryAfter: wait}
	}
	return err
}

// exchange is one request whose parties are known.
type exchange struct {
	*Broker
	view
	*parties

	req      *ExchangeRequest
	asked    []scopes.Scope
	id       string // of the decision
	decision policy.Decision
}

func (x *exchange) run(ctx context.Context) (*Issued, error) {
	if err := x.quarantined(x.parties); err != nil {
		return nil, err
	}
	if x.req.Self && len(x.actors) > 0 {
		return nil, fmt.Errorf("%w: it acts for another; send the workload's own token", ErrSubjectToken)
	}
	if err := x.reservedTargets(); err != nil {
		return nil, err
	}
	question, err := x.policyRequest()
	if err != nil {
		return nil, err
	}
	x.decision = x.bundle.Authorize(question)
	if err := x.allowed(); err != nil {
		return nil, err
	}
	if x.req.RequestedTokenType == TokenTypeAWSCredentials {
		return x.session(ctx)
	}
	raw, claims, kid, err := x.token(ctx)
	if err != nil {
		return nil, err
	}
	if err := x.stillborn(claims, kid); err != nil {
		return nil, err
	}
	if err := x.record(ctx, claims, kid); err != nil {
		return nil, err
	}
	x.ledger.Issued(claims, kid)
	typ := x.req.RequestedTokenType
	if typ == "" {
		typ = TokenTypeAccessToken
	}
	return &Issued{
		Token: raw, TokenType: typ, Scope: claims.Scope.String(), DecisionID: x.id,
		ExpiresIn: time.Duration(claims.Expiry-claims.IssuedAt) * time.Second,
		Bound:     claims.Confirmation != nil,
	}, nil
}

// stillborn fails where a rule hits what would be minted.
func (x *exchange) stillborn(claims *token.Claims, kid string) error {
	hit, dead := x.cfg.Index.Revoked(claims, kid)
	if !dead {
		return nil
	}
	return &UnavailableError{
		RetryAfter: retryRule,
		Detail:     "a revocation in force would refuse this token at once",
		Cause:      fmt.Errorf("rule %s hits what would be minted", hit.RuleID),
	}
}

// reservedTargets refuses the audiences that clouds trust; whether the others exist is for
// policy.
func (x *exchange) reservedTargets() error {
	for _, a := range x.req.targets() {
		if x.isReserved(a) {
			return fmt.Errorf("%w: %q is reserved", ErrTarget, a)
		}
	}
	return nil
}

// isReserved reports whether a is an audience that a cloud trusts.
func (b *Broker) isReserved(a string) bool {
	a = strings.TrimRight(strings.ToLower(a), "/")
	return b.reserved[a] || isCloud(a)
}

// isCloud knows the names that clouds give by pattern: a security token service for each
// region, an audience for each identity pool.
func isCloud(lower string) bool {
	_, host, ok := strings.Cut(lower, "//")
	if !ok {
		host = lower
	}
	host, _, _ = strings.Cut(host, "/")
	return host == "iam.googleapis.com" || strings.HasPrefix(host, "sts.") &&
		(strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn"))
}

func (x *exchange) policyRequest() (policy.Request, error) {
	r := policy.Request{
		ID: x.id, Subject: x.subject, Actors: x.actors, Scopes: x.asked,
		TTL: x.req.RequestedTTL, Time: x.now, SourceIP: x.req.Caller.IP,
	}
	r.Audiences = x.req.targets()
	var err error
	if r.Task, err = x.task(x.req.Task); err != nil {
		return r, err
	}
	if r.Parent, err = x.limits(x.now); err != nil {
		return r, &ScopeError{DecisionID: x.id, Detail: "subject and actor token together hold too many scopes; use narrower tokens"}
	}
	return r, nil
}

// allowed turns a decision into the error that its caller may see.
func (x *exchange) allowed() error {
	d := &x.decision
	if d.Allowed {
		if slices.ContainsFunc(d.Grant.Audience(), x.isReserved) {
			return x.decisionError(ErrTarget, "the target's audience is reserved")
		}
		return x.personal()
	}
	switch d.Reason {
	case policy.ReasonTarget:
		return x.decisionError(ErrTarget, "the audience or resource is unknown, or is not that of the scopes")
	case policy.ReasonDelegation:
		return x.decisionError(ErrActorToken, "this agent may not act for this subject")
	case policy.ReasonProfile:
		return &ScopeError{DecisionID: x.id, Detail: "no scope was requested, and no default is configured"}
	case policy.ReasonParts:
		return &ScopeError{DecisionID: x.id, Detail: "the request is too large to decide; ask for fewer or narrower scopes"}
	case policy.ReasonTTL:
		return x.decisionError(ErrSubjectToken, "no life is left for a token")
	case policy.ReasonNone, policy.ReasonScope:
	}
	return &ScopeError{DecisionID: x.id, Refused: d.Refused}
}

func (x *exchange) decisionError(sentinel error, detail string) error {
	return &DecisionError{Sentinel: sentinel, DecisionID: x.id, Detail: detail}
}

// personal holds a person's token without an agent to administration, whichever grant it
// comes in: an agent that holds a person's token cannot shed its own limits by leaving itself
// out of the request.
func (x *exchange) personal() error {
	if x.subject.Kind != identity.KindUser || len(x.actors) > 0 {
		return nil
	}
	if src, ok := x.cfg.Identity.SourceOf(x.subject.ID); ok && src.SelfExchange {
		return nil
	}
	var refused []scopes.Scope
	for s := range x.decision.Grant.Scopes().All() {
		if s.Tool() != policy.BuiltinTool {
			refused = append(refused, s)
		}
	}
	if refused == nil {
		return nil
	}
	return &ScopeError{DecisionID: x.id, Refused: refused}
}

func (x *exchange) token(ctx context.Context) (string, *token.Claims, string, error) {
	in := mint.Input{
		Signer: x.ring.Active(), Rev: x.rev, IssuedAt: x.now,
		ClientID: x.agent().ID, Ancestors: x.ancestors(), Attributes: x.carried(),
	}
	if in.Signer == nil {
		return "", nil, "", &UnavailableError{RetryAfter: retryKeys, Detail: "no signing key is active"}
	}
	if x.thumbprint != "" {
		in.Confirmation = &token.Confirmation{X5tS256: x.thumbprint}
	}
	raw, claims, err := x.cfg.Minter.JWT(ctx, x.decision.Grant, in)
	switch {
	case errors.Is(err, mint.ErrTooLarge):
		return "", nil, "", &ScopeError{DecisionID: x.id, Detail: "the token would be too large; ask for fewer scopes"}
	case errors.Is(err, token.ErrTooLarge), errors.Is(err, token.ErrClaim):
		return "", nil, "", x.decisionError(ErrSubjectToken, "what the policy reads of its principals does not fit into a token")
	case err != nil:
		return "", nil, "", &UnavailableError{RetryAfter: retryKeys, Detail: "signing failed; try again", Cause: err}
	}
	return raw, claims, in.Signer.KeyID(), nil
}

// carried are the attributes that an exchange of this token will be decided on. Those of a
// principal that a token has no room for are left out as a whole: then conditions that read them
// fail for the token's descendants, which get no more than the token in any case.
func (x *exchange) carried() token.Attributes {
	var out token.Attributes
	carry := func(p *identity.Principal) {
		if a := x.bundle.Carry(p); a != nil {
			if out == nil {
				out = token.Attributes{}
			}
			if out[p.ID] = a; !out.Fit() {
				delete(out, p.ID)
			}
		}
	}
	carry(&x.subject)
	for i := range x.actors {
		carry(&x.actors[i])
	}
	return out
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

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
	if wait := b.failures.peek(ipText(req.Caller.IP), v.now); wait > 0 {
		return nil, &RateLimitError{RetryAfter: wait}
	}
	p, err := b.authenticate(ctx, &req, v)
	if err != nil {
		b.unauthenticated(&req, v, err)
		return nil, err
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

// unauthenticated counts a caller that proved nothing. It is not written durably, so that
// strangers cannot fill the disk.
func (b *Broker) unauthenticated(req *ExchangeRequest, v view, err error) {
	if errors.Is(err, ErrUnavailable) {
		return
	}
	ip := ipText(req.Caller.IP)
	b.failures.take(ip, v.now)
	b.cfg.Audit.Unauthenticated("exchange", errorCode(err), ip)
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
	if err := x.targets(); err != nil {
		return nil, err
	}
	x.decision = x.bundle.Authorize(x.policyRequest())
	if err := x.allowed(); err != nil {
		return nil, err
	}
	raw, claims, kid, err := x.token(ctx)
	if err != nil {
		return nil, err
	}
	if hit, dead := x.cfg.Index.Revoked(claims, kid); dead {
		return nil, &UnavailableError{
			RetryAfter: retryRule,
			Detail:     "a revocation in force would refuse this token at once",
			Cause:      fmt.Errorf("rule %s hits what would be minted", hit.RuleID),
		}
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
		ExpiresIn: time.Unix(claims.Expiry, 0).Sub(x.now).Truncate(time.Second),
		Bound:     claims.Confirmation != nil,
	}, nil
}

// targets refuses the audiences that clouds trust; whether the others exist is for policy.
func (x *exchange) targets() error {
	if x.parent != nil && x.parent.Task != "" && x.req.Task != "" && x.req.Task != x.parent.Task {
		return requestError("task differs from that of the subject token")
	}
	for _, a := range x.req.Audiences {
		if x.isReserved(a) {
			return fmt.Errorf("%w: %q is reserved", ErrTarget, a)
		}
	}
	for _, a := range x.req.Resources {
		if x.isReserved(a) {
			return fmt.Errorf("%w: %q is reserved", ErrTarget, a)
		}
	}
	return nil
}

// isReserved reports whether a is an audience that a cloud trusts. Google's names each
// identity pool, so the whole name space is reserved.
func (b *Broker) isReserved(a string) bool {
	return b.reserved[strings.TrimSuffix(a, "/")] ||
		strings.HasPrefix(a, "//iam.googleapis.com/") || strings.HasPrefix(a, "https://iam.googleapis.com/")
}

func (x *exchange) policyRequest() policy.Request {
	r := policy.Request{
		ID: x.id, Subject: x.subject, Actors: x.actors, Scopes: x.asked,
		Task: x.task(), TTL: x.req.RequestedTTL, Time: x.now, SourceIP: x.req.Caller.IP,
	}
	r.Audiences = append(append(r.Audiences, x.req.Audiences...), x.req.Resources...)
	if x.parent != nil {
		r.Parent = &policy.Parent{
			Scopes: x.parent.Scope, Remaining: x.remaining(x.now),
			Roles: x.parent.Roles, Depth: x.parent.Actor.Depth(),
		}
	}
	return r
}

// task is the task of the token: the parent's cannot be changed, since a rule on the
// parent's task has to hit every descendant.
func (x *exchange) task() string {
	if x.parent != nil && x.parent.Task != "" {
		return x.parent.Task
	}
	return x.req.Task
}

// allowed turns a decision into the error that its caller may see.
func (x *exchange) allowed() error {
	d := &x.decision
	if d.Allowed {
		for _, a := range d.Grant.Audience() {
			if x.isReserved(a) {
				return x.decisionError(ErrTarget, "the target's audience is reserved")
			}
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

// personal holds a person's token without an agent to administration: an agent that holds
// a person's token cannot shed its own limits by leaving itself out of the request.
func (x *exchange) personal() error {
	if x.subject.Kind != identity.KindUser || len(x.actors) > 0 || x.req.ClientCredentials {
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
		ClientID: x.agent().ID, Attributes: x.carried(),
	}
	if in.Signer == nil {
		return "", nil, "", &UnavailableError{RetryAfter: retryKeys, Detail: "no signing key is active"}
	}
	if x.parent != nil {
		in.Ancestors = append([]token.Ancestor{{ID: x.parent.ID, KeyID: x.parentKey}}, x.parent.Ancestors...)
	}
	if x.thumbprint != "" {
		in.Confirmation = &token.Confirmation{X5tS256: x.thumbprint}
	}
	raw, claims, err := x.cfg.Minter.JWT(ctx, x.decision.Grant, in)
	switch {
	case errors.Is(err, mint.ErrTooLarge), errors.Is(err, token.ErrTooLarge):
		return "", nil, "", &ScopeError{DecisionID: x.id, Detail: "the token would be too large; ask for fewer scopes"}
	case err != nil:
		return "", nil, "", &UnavailableError{RetryAfter: retryKeys, Detail: "signing failed; try again", Cause: err}
	}
	return raw, claims, in.Signer.KeyID(), nil
}

// carried are the attributes that an exchange of this token will be decided on.
func (x *exchange) carried() token.Attributes {
	var out token.Attributes
	carry := func(p *identity.Principal) {
		if a := x.bundle.Carry(p); a != nil {
			if out == nil {
				out = token.Attributes{}
			}
			out[p.ID] = a
		}
	}
	carry(&x.subject)
	for i := range x.actors {
		carry(&x.actors[i])
	}
	return out
}

// parseRequest checks what can be checked without knowing anybody: the parameters' shape
// and how they go together (RFC 8693 section 2.1).
func parseRequest(req *ExchangeRequest) ([]scopes.Scope, error) {
	if err := checkParameters(req); err != nil {
		return nil, err
	}
	for _, r := range req.Resources {
		u, err := url.Parse(r)
		if err != nil || !u.IsAbs() || u.Fragment != "" || strings.Contains(r, "#") {
			return nil, fmt.Errorf("%w: resource must be an absolute URI without fragment", ErrTarget)
		}
	}
	if len(req.Task) > maxTask {
		return nil, requestError("task is longer than %d bytes", maxTask)
	}
	if strings.ContainsFunc(req.Task, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return nil, requestError("task contains control characters")
	}
	return parseScopes(req.Scope)
}

const maxTask = 128

func checkParameters(req *ExchangeRequest) error {
	switch req.RequestedTokenType {
	case "", TokenTypeAccessToken, TokenTypeJWT:
	default:
		return fmt.Errorf("%w: requested_token_type must be %s or %s", ErrTokenType, TokenTypeAccessToken, TokenTypeJWT)
	}
	if req.RequestedTTL < 0 {
		return requestError("requested_ttl must be a positive number of seconds")
	}
	if req.ClientCredentials {
		if req.SubjectToken != "" || req.ActorToken != "" {
			return requestError("subject_token and actor_token do not go with client_credentials")
		}
		return nil
	}
	switch {
	case req.SubjectToken == "":
		return requestError("subject_token is missing")
	case req.SubjectTokenType == "":
		return requestError("subject_token_type is missing")
	case req.ActorToken != "" && req.ActorTokenType == "":
		return requestError("actor_token_type is missing")
	case req.ActorToken == "" && req.ActorTokenType != "":
		return requestError("actor_token_type must not be sent without actor_token")
	case !acceptedType(req.SubjectTokenType):
		return fmt.Errorf("%w: subject_token_type must be a JWT, access_token or id_token type", ErrTokenType)
	case req.ActorToken != "" && !acceptedType(req.ActorTokenType):
		return fmt.Errorf("%w: actor_token_type must be a JWT, access_token or id_token type", ErrTokenType)
	}
	return nil
}

func acceptedType(t string) bool {
	return t == TokenTypeJWT || t == TokenTypeAccessToken || t == TokenTypeIDToken
}

// parseScopes reads the scope parameter; each scope is checked on its own so that the error
// can name it.
func parseScopes(text string) ([]scopes.Scope, error) {
	var out []scopes.Scope
	for part := range strings.FieldsSeq(text) {
		s, err := scopes.Parse(part)
		if err != nil {
			return nil, &ScopeError{Detail: err.Error()}
		}
		out = append(out, s)
	}
	if len(out) > scopes.MaxSetScopes {
		return nil, &ScopeError{Detail: fmt.Sprintf("%d scopes were requested, the limit is %d", len(out), scopes.MaxSetScopes)}
	}
	return out, nil
}

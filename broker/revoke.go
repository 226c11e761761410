package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// RevokeOrder asks for one rule.
type RevokeOrder struct {
	Selector     revocation.Selector
	Value        string
	Reason       string
	Apply        bool // without it, only the preview is made
	AllowReissue bool // no quarantine with subject, agent or issuer
	Wait         time.Duration
}

// Revocation is what became of an order.
type Revocation struct {
	Rule       revocation.Rule
	Quarantine *revocation.Rule
	Preview    Preview
	Applied    bool
	Result     journal.Result
	Ack        *revocation.AckSummary
	Since      time.Time // when it was durable: what Ack's durations count from
	// AuditFault is why the audit log has no record of it, or nil. The journal has one.
	AuditFault error
	// AWS is what becomes of the AWS sessions that the rule hits; nil if it hits none.
	AWS *TakenBack
}

// RevokeNeed is the scope that an order needs: writ:revoke:<selector>/<value>, or, for a value
// that fits into no scope, that of every value of the selector.
func RevokeNeed(sel revocation.Selector, value string) (scopes.Scope, error) {
	segments := []string{string(sel)}
	if value != "" {
		segments = append(segments, value)
	}
	if resource, err := scopes.Resource(segments...); err == nil {
		if s, err := scopes.Make(policy.BuiltinTool, "revoke", resource); err == nil {
			return s, nil
		}
	}
	s, err := scopes.Make(policy.BuiltinTool, "revoke", string(sel)+"/*")
	if err != nil {
		return scopes.Scope{}, requestError("selector: %s", err)
	}
	return s, nil
}

// RevokeNeed is the scope that an order needs here: RevokeNeed of its value in the form in which
// tokens are compared, so that one thing has one name, whatever alias the caller knows it by.
func (b *Broker) RevokeNeed(sel revocation.Selector, value string) (scopes.Scope, error) {
	if canonical, err := b.ruleValue(sel, value); err == nil {
		value = canonical
	} // else Revoke says what is wrong with it, to a caller who may revoke
	return RevokeNeed(sel, value)
}

// Revoke previews an order, and applies it if asked to. The rule is durable in this replica's
// journal, and in force here, when Revoke returns; Result says whether the shared log has it.
// Nothing but the journal can make it fail: not a stale list, nor the audit log.
func (b *Broker) Revoke(ctx context.Context, op *Operator, order RevokeOrder) (*Revocation, error) {
	now := b.cfg.Now()
	rule, err := b.rule(op, order, now)
	if err != nil {
		return nil, err
	}
	out := &Revocation{Rule: rule}
	if !order.Apply {
		out.Preview = b.preview(ctx, rule)
		out.AWS, _ = b.takenBack(&rule, out.Preview.hit)
		return out, nil
	}
	rules := []revocation.Rule{rule}
	if quarantines(rule.Selector) && !order.AllowReissue {
		q := rule
		q.ID, q.Quarantine, q.ExpiresAt = newRuleID(), true, time.Time{}
		rules = append(rules, q)
		out.Quarantine = &q
	}
	out.Result, err = b.cfg.Recorder.Append(ctx, rules, nil)
	if err != nil {
		return nil, &UnavailableError{RetryAfter: retryRule, Detail: "the revocation could not be made durable", Cause: err}
	}
	out.Applied, out.Since = true, b.cfg.Now()
	b.dropSessions()
	out.AuditFault = b.recordRule(ctx, op, audit.KindRevocation, &rule, out.Result)
	out.Preview = b.preview(ctx, rule) // now: nothing that can be slow comes before the rule
	var denies []mint.Deny
	out.AWS, denies = b.denyAtAWS(ctx, &rule, out.Preview.hit)
	b.await(ctx, out, order.Wait, denies)
	return out, nil
}

// await fills in who has applied the rule, and what AWS denies, when all have and it does, or
// after so long.
func (b *Broker) await(ctx context.Context, out *Revocation, patience time.Duration, denies []mint.Deny) {
	if out.Result.Durability == journal.DurableLocal && patience == 0 {
		// In force here and nowhere else yet: the answer says which verifiers have it.
		patience = localWait
	}
	if patience == 0 {
		b.stateAtAWS(atOnce(), out.AWS, denies)
		return
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	report := b.cfg.Acks.Wait(wait, out.Result.Position, out.Rule.ID, out.Since)
	out.Ack = &report
	b.stateAtAWS(wait, out.AWS, denies)
}

// previewTimeout bounds the look at shared counts.
const previewTimeout = time.Second

func (b *Broker) preview(ctx context.Context, r revocation.Rule) Preview {
	ctx, cancel := context.WithTimeout(ctx, previewTimeout)
	defer cancel()
	return b.ledger.PreviewAll(ctx, r)
}

// localWait is how long the answer to a revocation that is only local waits for the
// verifiers of this replica.
const localWait = 250 * time.Millisecond

// quarantines reports whether revoking by this selector also stops issuance.
func quarantines(s revocation.Selector) bool {
	return s == revocation.SelectSubject || s == revocation.SelectAgent || s == revocation.SelectIssuer
}

func newRuleID() string { return uuid.Must(uuid.NewV7()).String() }

// rule makes the rule of an order: its value in the form in which tokens are compared.
func (b *Broker) rule(op *Operator, order RevokeOrder, now time.Time) (revocation.Rule, error) {
	if token.Holds(order.Value) {
		// It would hit nothing, and lie in the store and on every feed.
		return revocation.Rule{}, requestError("the value looks like a token: name it by its jti, and send the token itself nowhere")
	}
	value, err := b.ruleValue(order.Selector, order.Value)
	if err != nil {
		return revocation.Rule{}, err
	}
	if len(order.Reason) > maxReason {
		return revocation.Rule{}, requestError("reason is longer than %d bytes", maxReason)
	}
	r := revocation.Rule{
		ID: newRuleID(), Selector: order.Selector, Value: value, CreatedAt: now,
		ExpiresAt: now.Add(b.cfg.Limits.ruleLife()), Reason: token.Redact(order.Reason), By: op.ID,
	}
	if err := r.Validate(); err != nil {
		return revocation.Rule{}, requestError("%s", err)
	}
	return r, nil
}

const maxReason = 512

// ruleLife is how long a rule can still hit a token: the greatest life of one, with the
// skew of the clock that stamped it and of the one that checks it.
func (l *Limits) ruleLife() time.Duration {
	return max(l.MaxTTL, l.GreatestTTL) + 2*l.Skew
}

func (b *Broker) ruleValue(sel revocation.Selector, value string) (string, error) {
	switch sel {
	case revocation.SelectIssuer:
		return b.issuerPrefix(value)
	case revocation.SelectPolicy:
		if len(value) == 64 {
			value = value[:16]
		}
	case revocation.SelectScope:
		s, err := scopes.Parse(value)
		if err != nil {
			return "", requestError("%s", err)
		}
		if tool, ok := b.cfg.Policy().Catalog().Tool(s.Tool()); ok && tool.CaseInsensitive {
			if s, err = s.Fold(); err != nil {
				return "", requestError("%s", err)
			}
		}
		return s.String(), nil
	case revocation.SelectToken, revocation.SelectSubject, revocation.SelectAgent, revocation.SelectTask,
		revocation.SelectRole, revocation.SelectAudience, revocation.SelectKey, revocation.SelectAll:
	}
	return value, nil
}

// issuerPrefix takes an identity source by its name, its issuer or its subject prefix.
func (b *Broker) issuerPrefix(value string) (string, error) {
	var names []string
	for _, s := range b.cfg.Identity.Sources() {
		if value == s.Name || value == s.SubjectPrefix || (s.Issuer != "" && value == s.Issuer) {
			return s.SubjectPrefix, nil
		}
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return "", requestError("no identity source %q; there are: %s", value, strings.Join(names, ", "))
}

func (b *Broker) recordRule(ctx context.Context, op *Operator, kind audit.Kind, r *revocation.Rule, res journal.Result) error {
	// Who gave the order may have gone: it was carried out, and has its record.
	_, err := b.cfg.Audit.Append(context.WithoutCancel(ctx), audit.Event{
		Time: b.cfg.Now(), Kind: kind, Outcome: audit.Allow, Subject: op.ID, ClientID: op.Agent, RemoteIP: op.IP,
		Detail: map[string]string{
			"rule": r.ID, "selector": string(r.Selector), "value": r.Value, "reason": r.Reason,
			"durability": string(res.Durability), "position": res.Position.String(), "operator_token": op.TokenID,
			"replica": b.cfg.Component,
		},
	})
	if err != nil {
		b.cfg.Logger.ErrorContext(ctx, "revocation not in audit log", "rule", r.ID, "error", err)
	}
	return err
}

// Lift ends a rule or a quarantine before its time. key and policy rules are never lifted:
// what they revoke cannot be trusted again.
func (b *Broker) Lift(ctx context.Context, op *Operator, id, reason string, apply bool) (revocation.Rule, journal.Result, error) {
	r, ok := b.cfg.Index.Rule(id)
	if !ok {
		return revocation.Rule{}, journal.Result{}, fmt.Errorf("%w: no live rule has this id", ErrNotFound)
	}
	if r.Selector == revocation.SelectKey || r.Selector == revocation.SelectPolicy {
		return r, journal.Result{}, requestError("%s rules are never lifted", r.Selector)
	}
	if !apply {
		return r, journal.Result{}, nil
	}
	lift := revocation.Lift{ID: newRuleID(), RuleID: id, At: b.cfg.Now(), ExpiresAt: r.ExpiresAt, Reason: token.Redact(reason), By: op.ID}
	res, err := b.cfg.Recorder.Append(ctx, nil, []revocation.Lift{lift})
	if err != nil {
		return r, res, &UnavailableError{RetryAfter: retryRule, Detail: "the lift could not be made durable", Cause: err}
	}
	b.wakeRevoker()
	return r, res, b.mustRecord(b.recordRule(ctx, op, audit.KindLift, &r, res))
}

// mustRecord turns a missing audit record into an error: giving access back, unlike taking
// it away, does not go unrecorded.
func (b *Broker) mustRecord(err error) error {
	if err == nil {
		return nil
	}
	return &UnavailableError{RetryAfter: retryAudit, Detail: "done, but the audit log could not be written", Cause: err}
}

// RevokeToken is RFC 7009: a client gives back a token that was issued to it, and its
// descendants die with it. A token that is unknown, expired or not ours is no error.
func (b *Broker) RevokeToken(ctx context.Context, cred Credentials, raw string) error {
	v := b.view()
	c, kid, fault := b.verifyOwn(raw, v)
	op, err := b.Identify(ctx, cred, nil, AllowStale)
	if err != nil {
		b.cfg.Audit.Unauthenticated(audit.KindRevocation, errorCode(err), ipText(cred.Caller.IP))
		if errors.Is(err, ErrUnauthorized) {
			return fmt.Errorf("%w: send client_assertion, a client certificate or a Bearer token", ErrClient)
		}
		return err
	}
	if fault != nil {
		return nil //nolint:nilerr // RFC 7009, section 2.2: what is no live token needs no revoking
	}
	if !isParty(c, op) {
		return ErrNotParty
	}
	if hit, ok := b.cfg.Index.Revoked(c, kid); ok && hit.Selector == revocation.SelectToken && hit.Value == c.ID {
		return nil // a rule for each call would let a client fill the list
	}
	order := RevokeOrder{Selector: revocation.SelectToken, Value: c.ID, Reason: "revoked by its client", Apply: true}
	_, err = b.Revoke(ctx, op, order)
	return err
}

// isParty reports whether a token is the caller's to give back: it acts through it, or for it.
func isParty(c *token.Claims, op *Operator) bool {
	return op.Agent == c.Subject || op.Agent == c.ClientID || slices.Contains(c.Actor.Chain(), op.Agent)
}

package broker

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// record makes an issuance durable. Only when it returns nil may the token leave.
func (x *exchange) record(ctx context.Context, c *token.Claims, kid string) error {
	e := x.event(audit.KindExchange, audit.Allow)
	e.TokenID = c.ID
	e.Expires = time.Unix(c.Expiry, 0)
	e.Scopes = scopeTexts(c.Scope.All())
	e.Audience = c.Audience
	e.Task = c.Task
	e.Detail = map[string]string{"kid": kid, "rev": c.Rev.String()}
	if x.parent != nil {
		e.Detail["parent"] = x.parent.ID
	}
	return x.append(ctx, e)
}

// refuse makes a refusal durable and gives back the error for the caller. A refusal that
// cannot be recorded is still a refusal, but then the caller is told to come back: the log
// is what the owner of the policy reads.
func (x *exchange) refuse(ctx context.Context, err error) error {
	e := x.event(audit.KindRefusal, audit.Deny)
	e.Error = errorCode(err)
	e.Scopes = scopeTextsOf(x.asked)
	e.Refused = scopeTextsOf(x.decision.Refused)
	e.Audience = x.req.targets()
	e.Task = x.req.Task
	// What the caller is told: a refusal that policy did not make is explained by nothing else.
	e.Detail = map[string]string{"answer": err.Error()}
	if scope := (*ScopeError)(nil); errors.As(err, &scope) {
		e.Refused = scopeTextsOf(scope.Refused)
	}
	if session := (*AWSError)(nil); errors.As(err, &session) {
		e.Error, e.Detail["type"] = session.Reason, TokenTypeAWSCredentials
	}
	if x.req.Role != "" {
		e.Detail["role"] = x.req.Role
	}
	if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrAWS) {
		if fault := x.append(ctx, e); fault != nil {
			return fault
		}
		return err
	}
	x.cfg.Logger.WarnContext(ctx, "exchange unavailable", "decision_id", x.id, "cause", errors.Unwrap(err))
	if !errors.Is(err, audit.ErrUnavailable) {
		e.Outcome = audit.Failure
		_ = x.append(ctx, e) // the answer is the same without the record
	}
	return err
}

func (x *exchange) event(kind audit.Kind, outcome audit.Outcome) audit.Event {
	e := audit.Event{
		Time: x.now, Kind: kind, Outcome: outcome, DecisionID: x.id,
		Subject: x.subject.ID, Source: x.subject.Source, ClientID: x.agent().ID,
		PolicyVersion: x.bundle.Version(), RemoteIP: ipText(x.req.Caller.IP),
		Attributes: x.attributes(),
	}
	for i := range x.actors {
		e.Actors = append(e.Actors, x.actors[i].ID)
	}
	if !x.decision.Trace.IsEmpty() {
		e.Trace = &x.decision.Trace
	}
	if g := x.decision.Grant; g != nil {
		e.Tags = mergeTags(g.Tags())
	}
	return e
}

// attributes are what proofs said of the parties and conditions of the policy read.
func (x *exchange) attributes() map[string]any {
	var out map[string]any
	for id, of := range x.carried() {
		if len(of) == 0 {
			continue
		}
		if out == nil {
			out = map[string]any{}
		}
		out[id] = of
	}
	return out
}

// append writes an event, or says that the audit log cannot be written.
func (b *Broker) append(ctx context.Context, e audit.Event) error {
	if _, err := b.cfg.Audit.Append(ctx, e); err != nil {
		b.cfg.Logger.ErrorContext(ctx, "audit record not written", "kind", e.Kind, "decision_id", e.DecisionID, "error", err)
		return &UnavailableError{RetryAfter: retryAudit, Detail: "the audit log cannot be written; try again", Cause: err}
	}
	return nil
}

// mergeTags joins the tag combinations of a grant: each key with its distinct values.
func mergeTags(all []map[string]string) map[string]string {
	var out map[string]string
	for _, tags := range all {
		if out == nil {
			out = maps.Clone(tags)
			continue
		}
		for k, v := range tags {
			if have, ok := out[k]; !ok {
				out[k] = v
			} else if have != v {
				out[k] = have + "," + v
			}
		}
	}
	return out
}

func scopeTexts(seq func(func(scopes.Scope) bool)) []string {
	var out []string
	for s := range seq {
		out = append(out, s.String())
	}
	return out
}

func scopeTextsOf(list []scopes.Scope) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, s.String())
	}
	return out
}

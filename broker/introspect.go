package broker

import (
	"context"
	"fmt"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// ActionIntrospect is the action of the built-in tool that introspection needs; its
// resource is the name of a tool: writ:introspect:warehouse.
const ActionIntrospect = "introspect"

// Introspect says whether a token is alive, to a caller that may introspect tokens of one
// of its audiences (RFC 7662), with the scopes of the tools that it may ask about. For any other token, and for one that is expired, revoked,
// foreign or malformed, it returns nil and no error: the caller learns only that it is not
// active.
func (b *Broker) Introspect(ctx context.Context, cred Credentials, raw string) (*token.Claims, error) {
	v := b.view()
	if err := b.fresh(v.now); err != nil {
		return nil, err
	}
	c, kid, fault := b.verifyOwn(raw, v)
	var wanted []scopes.Scope
	if fault == nil {
		wanted = introspectScopes(v.bundle, c.Audience)
	}
	op, err := b.Identify(ctx, cred, wanted, NeedFresh)
	if err != nil {
		b.cfg.Audit.Unauthenticated(audit.KindIntrospect, errorCode(err), ipText(cred.Caller.IP))
		return nil, err
	}
	if fault != nil {
		return nil, nil //nolint:nilerr // inactive is an answer of its own, and discloses nothing
	}
	if _, hit := b.cfg.Index.Revoked(c, kid); hit {
		return nil, nil //nolint:nilnil // as above
	}
	return op.view(c, wanted)
}

func introspectScopes(bundle *policy.Bundle, audiences []string) []scopes.Scope {
	var out []scopes.Scope
	for _, aud := range audiences {
		for _, tool := range bundle.Catalog().ToolsByAudience(aud) {
			if s, err := scopes.Make(policy.BuiltinTool, ActionIntrospect, tool); err == nil {
				out = append(out, s)
			}
		}
	}
	return out
}

// view is what the operator may see of a token: its scopes for other tools than those whose
// tokens it may introspect are nobody else's business (RFC 7662 section 2.2). Nil if it may
// see nothing.
func (o *Operator) view(c *token.Claims, wanted []scopes.Scope) (*token.Claims, error) {
	tools := map[string]bool{}
	for _, s := range wanted {
		if o.Allows(s.Action(), s.Resource()) {
			tools[s.Resource()] = true
		}
	}
	if len(tools) == 0 {
		return nil, nil //nolint:nilnil // as above
	}
	var seen []scopes.Scope
	for s := range c.Scope.All() {
		if tools[s.Tool()] {
			seen = append(seen, s)
		}
	}
	set, err := scopes.NewSet(seen...)
	if err != nil {
		return nil, fmt.Errorf("collecting scopes of an introspected token: %w", err)
	}
	out := *c
	out.Scope = set
	return &out, nil
}

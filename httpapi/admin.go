package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/scopes"
)

// operatorOf finds out who makes an administrative call, and holds them to the scope that it
// needs.
type operatorOf func(r *http.Request, need scopes.Scope, fresh broker.Freshness) (*broker.Operator, error)

func (a *API) byToken(r *http.Request, need scopes.Scope, fresh broker.Freshness) (*broker.Operator, error) {
	cred, err := a.bearerOf(r)
	if err != nil {
		return nil, err
	}
	return a.cfg.Broker.Authorize(r.Context(), cred, need, fresh)
}

// bearerOf demands a token of ours: a certificate that came with the connection binds one, and is
// none by itself.
func (a *API) bearerOf(r *http.Request) (broker.Credentials, error) {
	cred := broker.Credentials{Caller: a.caller(r)}
	var err error
	if cred.Bearer, err = bearer(r); err == nil && cred.Bearer == "" {
		err = fmt.Errorf("%w: send a Writ token as Bearer", broker.ErrUnauthorized)
	}
	return cred, err
}

// call is one administrative call: what it needs, and what it does. In is its JSON body;
// calls without one use none.
type call[In any] struct {
	need func(r *http.Request, in In) (scopes.Scope, error)
	// stale lets the call be answered from an unconfirmed revocation list: only those that take
	// access away.
	stale broker.Freshness
	do    func(ctx context.Context, op *broker.Operator, r *http.Request, in In) (status int, out any, err error)
}

type none struct{}

// serve makes a handler of a call: body, right, deed, answer, in this order.
func serve[In any](a *API, who operatorOf, c call[In]) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if _, empty := any(in).(none); !empty {
			if err := decode(w, r, &in); err != nil {
				a.writeError(w, r, err)
				return
			}
		}
		need, err := c.need(r, in)
		if err != nil {
			a.writeError(w, r, err)
			return
		}
		op, err := who(r, need, c.stale)
		if err != nil {
			a.writeError(w, r, err)
			return
		}
		status, out, err := c.do(r.Context(), op, r, in)
		if err != nil {
			a.writeError(w, r, err)
			return
		}
		writeJSON(w, status, out)
	}
}

func fixed[In any](action, resource string) func(*http.Request, In) (scopes.Scope, error) {
	s := adminScope(action, resource)
	return func(*http.Request, In) (scopes.Scope, error) { return s, nil }
}

func (a *API) adminRoutes(mux *http.ServeMux, who operatorOf) {
	a.revocationRoutes(mux, who)
	mux.HandleFunc("POST "+wire.PathAdminRule+"{id}/lift", serve(a, who, call[wire.LiftRequest]{
		need: a.liftNeed, stale: broker.NeedFresh, do: a.lift,
	}))
	mux.HandleFunc("GET "+wire.PathAdminFeed, a.adminFeed)
	mux.HandleFunc("GET "+wire.PathAdminVerifiers, serve(a, who, call[none]{
		need: fixed[none]("revoke", "read"), do: a.verifiers,
	}))
	mux.HandleFunc("GET "+wire.PathAdminPolicy, serve(a, who, call[none]{
		need: fixed[none]("policy", "read"), stale: broker.NeedFresh, do: a.policy,
	}))
	mux.HandleFunc("GET "+wire.PathAdminDecision+"{id}", serve(a, who, call[none]{
		need: fixed[none]("policy", "read"), stale: broker.NeedFresh, do: a.decision,
	}))
	mux.HandleFunc("GET "+wire.PathAdminAudit, serve(a, who, call[none]{
		need: fixed[none]("audit", "read"), stale: broker.NeedFresh, do: a.audit,
	}))
}

// revocationRoutes are the calls that break glass has too: taking access away, and seeing
// what is taken away.
func (a *API) revocationRoutes(mux *http.ServeMux, who operatorOf) {
	mux.HandleFunc("POST "+wire.PathAdminRevocations, serve(a, who, call[wire.RevokeRequest]{
		need: a.revokeNeed, do: a.revoke,
	}))
	mux.HandleFunc("GET "+wire.PathAdminRevocations, serve(a, who, call[none]{
		need: fixed[none]("revoke", "read"), do: a.rules,
	}))
	mux.HandleFunc("GET "+wire.PathAdminRule+"{id}", serve(a, who, call[none]{
		need: fixed[none]("revoke", "read"), do: a.rule,
	}))
	mux.HandleFunc("GET "+wire.PathAdminKeys, serve(a, who, call[none]{
		need: fixed[none]("keys", "read"), do: a.keys,
	}))
	mux.HandleFunc("POST "+wire.PathAdminRotate, serve(a, who, call[wire.RotateRequest]{
		need: fixed[wire.RotateRequest]("keys", "rotate"), do: a.rotate,
	}))
}

func (a *API) revokeNeed(_ *http.Request, in wire.RevokeRequest) (scopes.Scope, error) {
	return a.cfg.Broker.RevokeNeed(revocation.Selector(in.Selector), in.Value)
}

// liftNeed is writ:lift:<selector>/<value> of the rule to be lifted.
func (a *API) liftNeed(r *http.Request, _ wire.LiftRequest) (scopes.Scope, error) {
	rule, ok := a.cfg.Index.Rule(r.PathValue("id"))
	if !ok {
		return adminScope("lift", "**"), nil // whoever may lift everything learns that it is not there
	}
	need, err := broker.RevokeNeed(rule.Selector, rule.Value)
	if err != nil {
		return need, err
	}
	lift, err := scopes.Make(need.Tool(), "lift", need.Resource())
	if err != nil {
		return lift, fmt.Errorf("%w: %w", broker.ErrRequest, err)
	}
	return lift, nil
}

// BreakGlass serves the Unix socket, for the operator that peer gives: the one whose uid
// the socket has checked. Each call is recorded in the journal, since the audit log may be
// what is broken.
func (a *API) BreakGlass(peer func(*http.Request) (*broker.Operator, error)) http.Handler {
	who := func(r *http.Request, need scopes.Scope, _ broker.Freshness) (*broker.Operator, error) {
		op, err := peer(r)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", broker.ErrUnauthorized, err)
		}
		if r.Method != http.MethodGet {
			a.recordBreakGlass(op, r, need)
		}
		return op, nil
	}
	mux := http.NewServeMux()
	a.revocationRoutes(mux, who)
	a.health(mux)
	return a.guard(mux)
}

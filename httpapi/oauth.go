package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/token"
)

// token serves POST /token: RFC 8693, and client_credentials as an exchange of the
// client's own identity.
func (a *API) token(w http.ResponseWriter, r *http.Request) {
	f, err := form(w, r)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	req, err := exchangeRequest(f)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	req.Caller = a.caller(r)
	issued, err := a.cfg.Broker.Exchange(r.Context(), req)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, tokenResponse(issued, req.ClientCredentials))
}

func tokenResponse(issued *broker.Issued, clientCredentials bool) wire.TokenResponse {
	resp := wire.TokenResponse{
		AccessToken: issued.Token, TokenType: wire.Bearer, ExpiresIn: int64(issued.ExpiresIn / time.Second),
		Scope: issued.Scope, DecisionID: issued.DecisionID,
	}
	if issued.Session != nil {
		resp.AccessToken, resp.TokenType = processCredentials(issued.Session), wire.NotApplicable
	}
	if !clientCredentials || issued.Session != nil {
		resp.IssuedTokenType = issued.TokenType
	}
	return resp
}

// exchangeRequest reads the parameters of /token. Ones that are unknown are ignored, as
// RFC 6749 section 3.2 says; client_id too, since it proves nothing.
func exchangeRequest(f url.Values) (broker.ExchangeRequest, error) {
	req := broker.ExchangeRequest{
		SubjectToken: f.Get(wire.ParamSubjectToken), SubjectTokenType: f.Get(wire.ParamSubjectTokenType),
		ActorToken: f.Get(wire.ParamActorToken), ActorTokenType: f.Get(wire.ParamActorTokenType),
		RequestedTokenType: f.Get(wire.ParamRequestedTokenType),
		Audiences:          values(f, wire.ParamAudience), Resources: values(f, wire.ParamResource),
		Scope: f.Get(wire.ParamScope), Task: f.Get(wire.ParamTask), Role: f.Get(wire.ParamRole),
	}
	switch f.Get(wire.ParamGrantType) {
	case wire.GrantTokenExchange:
	case wire.GrantClientCredentials:
		req.ClientCredentials = true
	case "":
		return req, fmt.Errorf("%w: grant_type is missing", broker.ErrRequest)
	default:
		return req, errGrantType
	}
	var err error
	if req.ClientAssertion, err = clientAssertion(f); err != nil {
		return req, err
	}
	req.RequestedTTL, err = requestedTTL(f)
	return req, err
}

// requestedTTL is zero where nothing is asked for.
func requestedTTL(f url.Values) (time.Duration, error) {
	ttl := f.Get(wire.ParamRequestedTTL)
	if ttl == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(ttl, 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%w: requested_ttl must be a positive number of seconds", broker.ErrRequest)
	}
	return time.Duration(n) * time.Second, nil
}

func clientAssertion(f url.Values) (string, error) {
	assertion, typ := f.Get(wire.ParamClientAssertion), f.Get(wire.ParamClientAssertionType)
	switch {
	case assertion == "" && typ == "":
		return "", nil
	case typ != wire.AssertionJWTBearer:
		return "", fmt.Errorf("%w: client_assertion_type must be %s", broker.ErrRequest, wire.AssertionJWTBearer)
	case assertion == "":
		return "", fmt.Errorf("%w: client_assertion is missing", broker.ErrRequest)
	}
	return assertion, nil
}

// credentials are those of a form endpoint: Bearer, client assertion, or certificate.
func (a *API) credentials(r *http.Request, f url.Values) (broker.Credentials, error) {
	cred := broker.Credentials{Caller: a.caller(r)}
	var err error
	if cred.Bearer, err = bearer(r); err != nil {
		return cred, err
	}
	cred.ClientAssertion, err = clientAssertion(f)
	return cred, err
}

// presented reads a form with a token in it, and who sends it.
func (a *API) presented(w http.ResponseWriter, r *http.Request) (string, broker.Credentials, error) {
	f, err := form(w, r)
	if err != nil {
		return "", broker.Credentials{}, err
	}
	cred, err := a.credentials(r, f)
	if err != nil {
		return "", cred, err
	}
	raw := f.Get(wire.ParamToken)
	if raw == "" {
		return "", cred, fmt.Errorf("%w: token is missing", broker.ErrRequest)
	}
	return raw, cred, nil
}

// revokeToken serves RFC 7009: 200 for what was revoked and for what never was a token.
func (a *API) revokeToken(w http.ResponseWriter, r *http.Request) {
	raw, cred, err := a.presented(w, r)
	if err == nil {
		err = a.cfg.Broker.RevokeToken(r.Context(), cred, raw)
	}
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

// introspect serves RFC 7662.
func (a *API) introspect(w http.ResponseWriter, r *http.Request) {
	raw, cred, err := a.presented(w, r)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	c, err := a.cfg.Broker.Introspect(r.Context(), cred, raw)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, introspection(c))
}

func introspection(c *token.Claims) wire.Introspection {
	if c == nil {
		return wire.Introspection{}
	}
	out := wire.Introspection{
		Active: true, Scope: c.Scope.String(), ClientID: c.ClientID, TokenType: wire.Bearer,
		Expiry: c.Expiry, IssuedAt: c.IssuedAt, NotBefore: c.NotBefore, Subject: c.Subject,
		Audience: c.Audience, Issuer: c.Issuer, ID: c.ID, Roles: c.Roles, Task: c.Task,
		Policy: c.Policy, Rev: c.Rev.String(), Actor: actorJSON(c.Actor), MayAct: actorJSON(c.MayAct),
	}
	if cnf := c.Confirmation; cnf != nil && cnf.X5tS256 != "" {
		out.Confirm, _ = json.Marshal(map[string]string{"x5t#S256": cnf.X5tS256})
	}
	return out
}

// actorJSON writes an act claim: {"sub":…,"act":{…}}.
func actorJSON(a *token.Actor) json.RawMessage {
	if a == nil {
		return nil
	}
	type actor struct {
		Subject string          `json:"sub"`
		Actor   json.RawMessage `json:"act,omitempty"`
	}
	out, _ := json.Marshal(actor{a.Subject, actorJSON(a.Actor)})
	return out
}

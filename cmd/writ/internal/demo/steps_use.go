package demo

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

// read: discovery, an exchange, a read; and no read without a token.
func read(ctx context.Context, s *story) error {
	if err := s.discover(ctx); err != nil {
		return err
	}
	agent := s.sample(dev.SampleAgent)
	g, err := s.exchange(ctx, ask{subject: agent, scope: readEU})
	if err != nil {
		return err
	}
	s.own = g
	if err := firstOf(
		g.whose(agent.Audience, agent.ID), equal("roles", g.Roles, []string{roleReader}),
		that(len(g.Ancestor) == 0, "a first token descends from others"), equal("seconds of life", g.life(), 900),
	); err != nil {
		return err
	}
	if _, err := s.reads(ctx, g); err != nil {
		return err
	}
	r, err := s.get(ctx, nil, pathOrders)
	if err != nil {
		return err
	}
	return firstOf(r.is(http.StatusUnauthorized), r.challenge(s.metadata()))
}

// discover finds the broker's endpoints and keys by its issuer (RFC 8414).
func (s *story) discover(ctx context.Context) error {
	r, err := s.send(ctx, call{
		method: http.MethodGet, url: s.world.Issuer() + "/.well-known/oauth-authorization-server",
		tell: []string{"issuer", "token_endpoint", "jwks_uri"},
	})
	if err != nil {
		return err
	}
	iss := s.world.Issuer()
	if err := r.is(http.StatusOK, "issuer", iss, "token_endpoint", iss+"/token", "jwks_uri", iss+pathKeys); err != nil {
		return err
	}
	return s.fetchKeys(ctx)
}

const pathKeys = "/.well-known/jwks.json"

func (s *story) fetchKeys(ctx context.Context) error {
	r, err := s.send(ctx, call{method: http.MethodGet, url: s.world.Issuer() + pathKeys})
	if err != nil {
		return err
	}
	if err := firstOf(
		r.is(http.StatusOK),
		that(strings.HasPrefix(r.header.Get("Cache-Control"), "public, max-age="), "%s does not say how long keys may be kept", r.what),
	); err != nil {
		return err
	}
	keys, err := parseKeys(r.body)
	if err == nil && len(keys) == 0 {
		err = errNoKeys
	}
	s.keys = keys
	return err
}

// write: what the token does not say is refused and changes nothing; the token that says it
// lives five minutes, and works.
func write(ctx context.Context, s *story) error {
	before, err := s.reads(ctx, s.own)
	if err != nil {
		return err
	}
	r, err := s.put(ctx, s.own)
	if err != nil {
		return err
	}
	if err := s.insufficient(r, writeEU); err != nil {
		return err
	}
	after, err := s.reads(ctx, s.own)
	if err != nil {
		return err
	}
	if err := equal("what the refused write left", string(after.body), string(before.body)); err != nil {
		return err
	}
	agent := s.sample(dev.SampleAgent)
	if s.writer, err = s.exchange(ctx, ask{subject: agent, scope: writeEU}); err != nil {
		return err
	}
	if err := firstOf(
		s.writer.whose(agent.Audience, agent.ID), equal("roles", s.writer.Roles, []string{roleWriter}),
		equal("seconds of life", s.writer.life(), 300),
	); err != nil {
		return err
	}
	return s.writes(ctx, s.writer)
}

func (s *story) put(ctx context.Context, g *granted) (*reply, error) {
	rows := []json.RawMessage{json.RawMessage(`{"id":1,"eur":121}`), json.RawMessage(`{"id":2,"eur":80}`)}
	return s.send(ctx, call{method: http.MethodPut, url: s.world.Resource() + pathOrders, bearer: g.raw, json: rows})
}

func (s *story) writes(ctx context.Context, g *granted) error {
	r, err := s.put(ctx, g)
	if err != nil {
		return err
	}
	return r.is(http.StatusOK, "resource", "sales/eu/orders", "written", "2")
}

// restricted: a request for a pattern is one for all that it can match. The caller learns
// that it was refused; the owner of the policy, why.
func restricted(ctx context.Context, s *story) error {
	agent := s.sample(dev.SampleAgent)
	decision, err := s.refusal(ctx, ask{subject: agent, scope: readAll})
	if err != nil {
		return err
	}
	ops, err := s.operator(ctx, "writ:policy:read")
	if err != nil {
		return err
	}
	path := s.world.Admin() + "/admin/v1/decisions/" + decision
	stranger, err := s.send(ctx, call{method: http.MethodGet, url: path, bearer: s.own.raw})
	if err != nil {
		return err
	}
	if err := firstOf(stranger.is(http.StatusUnauthorized, "error", "invalid_token"), discreet(stranger)); err != nil {
		return err
	}
	r, err := s.send(ctx, call{method: http.MethodGet, url: path, bearer: ops.raw, tell: []string{"text"}})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusOK, "record.decision_id", decision, "record.outcome", "deny", "record.error", "invalid_scope",
		"record.sub", agent.ID, "record.refused_scopes", readAll); err != nil {
		return err
	}
	return explains(r)
}

// explains is an error unless an opened decision names the rules that gave no access to the
// restricted part, each with its place in the bundle.
func explains(r *reply) error {
	var decision struct {
		Record struct {
			Trace []struct {
				Kind   string `json:"kind"`
				Rule   string `json:"rule"`
				File   string `json:"file"`
				Line   int    `json:"line"`
				Part   string `json:"part"`
				Effect string `json:"effect"`
				Detail string `json:"detail"`
			} `json:"trace"`
		} `json:"record"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(r.body, &decision); err != nil {
		return err
	}
	part, rules := "", map[string]bool{} // the roles that stop before that part
	for _, e := range decision.Record.Trace {
		if e.Kind == "part" && strings.HasPrefix(e.Detail, "warehouse:read:sales/pii/**") {
			part = e.Part
			if err := that(e.Effect == "refused", "the restricted part is %s", e.Effect); err != nil {
				return err
			}
		}
	}
	for _, e := range decision.Record.Trace {
		if e.Kind == "grant" && e.File == "roles.yaml" && e.Line > 0 && part != "" && strings.Contains(" "+e.Part+" ", " "+part+" ") {
			role, _, _ := strings.Cut(e.Rule, " grant ")
			rules[role] = rules[role] || e.Effect == "its condition does not hold"
		}
	}
	return firstOf(
		that(part != "", "the decision shows no part of the request under warehouse:read:sales/pii/**"),
		that(rules[roleReader] && rules["pii-reader"], "the decision does not name the roles that stop before the restricted part"),
		that(strings.Contains(decision.Text, roleReader), "the text of the decision does not name %s", roleReader),
	)
}

package demo

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

const pathRevocations = "/admin/v1/revocations"

// order is the body of POST /admin/v1/revocations.
type order struct {
	Selector    string `json:"selector"`
	Value       string `json:"value"`
	Reason      string `json:"reason"`
	Apply       bool   `json:"apply"`
	WaitSeconds int    `json:"wait_seconds,omitempty"`
}

func (s *story) order(ctx context.Context, ops *granted, o order) (*reply, error) {
	return s.send(ctx, call{
		method: http.MethodPost, url: s.world.Admin() + pathRevocations, bearer: ops.raw, json: o,
		tell: []string{
			"applied", "preview.tokens", "rule.id", "rule.selector", "rule.value", "durability", "position",
			"ack.verifiers", "ack.acknowledged", "ack.p99_ms",
		},
	})
}

// revoke applies a rule and waits until every verifier has said that it applies it, too.
func (s *story) revoke(ctx context.Context, ops *granted, selector, value, reason string) error {
	r, err := s.order(ctx, ops, order{selector, value, reason, true, 5})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusOK, "applied", "true", "rule.selector", selector, "rule.value", value,
		"rule.reason", reason, "rule.by", s.sample(dev.SampleSecurity).ID, "durability", "log",
		"ack.complete", "true", "ack.verifiers", "1", "ack.acknowledged", "1"); err != nil {
		return err
	}
	id, _ := r.member("rule.id")
	at, _ := r.member("position")
	s.rules = append(s.rules, text(id))
	return firstOf(
		that(uuid7.MatchString(text(id)), "the rule has no id"),
		that(position.MatchString(text(at)), "the rule has no position in the log"),
	)
}

// revokeParent: a dry run changes nothing; the order kills the token and all that descends
// from it, and nothing else.
func revokeParent(ctx context.Context, s *story) error {
	ops, err := s.operator(ctx, "writ:revoke:token/*")
	if err != nil {
		return err
	}
	r, err := s.order(ctx, ops, order{"token", s.parent.ID, "the laptop was stolen", false, 0})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusOK, "applied", "false", "preview.tokens", "2"); err != nil {
		return err
	}
	for _, alive := range []*granted{s.child, s.parent} {
		if _, err := s.reads(ctx, alive); err != nil {
			return fmt.Errorf("after a dry run: %w", err)
		}
	}
	server, err := s.exchange(ctx, ask{subject: s.sample(dev.SampleServer), scope: "writ:introspect:warehouse"})
	if err != nil {
		return err
	}
	if err := s.introspected(ctx, server, s.child, true); err != nil {
		return err
	}
	if err := s.revoke(ctx, ops, "token", s.parent.ID, "the laptop was stolen"); err != nil {
		return err
	}
	for _, dead := range []*granted{s.child, s.parent} {
		if err := s.killed(ctx, dead); err != nil {
			return err
		}
	}
	if err := s.introspected(ctx, server, s.child, false); err != nil {
		return err
	}
	r, err = s.post(ctx, ask{from: s.parent, actor: dev.SampleSubAgent, scope: readOrders})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusBadRequest, "error", "invalid_request"); err != nil {
		return err
	}
	_, err = s.reads(ctx, s.own)
	return err
}

// introspected asks the broker about a token (RFC 7662). A dead one discloses nothing more.
func (s *story) introspected(ctx context.Context, server, g *granted, alive bool) error {
	r, err := s.send(ctx, call{
		method: http.MethodPost, url: s.world.Issuer() + "/introspect", bearer: server.raw, form: url.Values{"token": {g.raw}},
	})
	if err != nil {
		return err
	}
	if !alive {
		return firstOf(r.is(http.StatusOK), equal(r.what+": the answer", string(r.body), `{"active":false}`))
	}
	return firstOf(
		r.is(http.StatusOK, "active", "true", "sub", g.Subject, "client_id", g.ClientID, "scope", g.Scope, "jti", g.ID),
		r.uncached(),
	)
}

// revokeRole: one rule for any number of tokens. It hits no token that was minted by somebody
// who knew of it.
func revokeRole(ctx context.Context, s *story) error {
	narrow, err := s.operator(ctx, "writ:revoke:token/*")
	if err != nil {
		return err
	}
	r, err := s.order(ctx, narrow, order{"role", roleReader, "", true, 0})
	if err != nil {
		return err
	}
	if err := firstOf(
		r.is(http.StatusForbidden, "error", "insufficient_scope"),
		equal(r.what+": the challenge", r.header.Get("WWW-Authenticate"),
			`Bearer realm="writ", error="insufficient_scope", scope="writ:revoke:role/`+roleReader+`"`),
	); err != nil {
		return err
	}
	ops, err := s.operator(ctx, "writ:revoke:read writ:revoke:role/*")
	if err != nil {
		return err
	}
	before, err := s.total(ctx, ops)
	if err != nil {
		return err
	}
	if _, err := s.reads(ctx, s.own); err != nil {
		return err
	}
	if err := s.revoke(ctx, ops, "role", roleReader, "the role was too wide"); err != nil {
		return err
	}
	if err := s.killed(ctx, s.own); err != nil {
		return err
	}
	if err := s.writes(ctx, s.writer); err != nil {
		return fmt.Errorf("a token of another role: %w", err)
	}
	after, err := s.total(ctx, ops)
	if err != nil {
		return err
	}
	if err := equal("the number of rules that the role took", after-before, 1); err != nil {
		return err
	}
	return s.afterRole(ctx)
}

// total is the number of rules in force.
func (s *story) total(ctx context.Context, ops *granted) (int, error) {
	r, err := s.send(ctx, call{
		method: http.MethodGet, url: s.world.Admin() + pathRevocations, bearer: ops.raw, tell: []string{"total", "position"},
	})
	if err != nil {
		return 0, err
	}
	n, _ := r.member("total")
	total, err := strconv.Atoi(text(n))
	return total, firstOf(r.is(http.StatusOK), err)
}

// afterRole: the agent comes back, and has the role as before.
func (s *story) afterRole(ctx context.Context) error {
	var err error
	agent := s.sample(dev.SampleAgent)
	if s.own, err = s.exchange(ctx, ask{subject: agent, scope: readEU}); err != nil {
		return err
	}
	if err := firstOf(s.own.whose(agent.Audience, agent.ID), equal("roles", s.own.Roles, []string{roleReader})); err != nil {
		return err
	}
	if _, err := s.reads(ctx, s.own); err != nil {
		return fmt.Errorf("a token minted after the rule: %w", err)
	}
	return nil
}

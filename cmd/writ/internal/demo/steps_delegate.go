package demo

import (
	"context"
	"net/http"

	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

// parentTTL is shorter than what anybody gets by default, so that a child that outlives its
// parent shows.
const parentTTL = 600

// delegation: the token says who it is for and who acts; and an agent lends nobody its own
// rights.
func delegation(ctx context.Context, s *story) error {
	user, agent := s.sample(dev.SampleUser), s.sample(dev.SampleAgent)
	g, err := s.exchange(ctx, ask{subject: user, actor: dev.SampleAgent, scope: readEU, task: task, ttl: parentTTL})
	if err != nil {
		return err
	}
	s.parent = g
	if err := firstOf(
		g.whose(agent.Audience, user.ID, agent.ID), equal("seconds of life", g.life(), parentTTL),
		equal("roles", g.Roles, []string{roleReader}),
	); err != nil {
		return err
	}
	if _, err := s.reads(ctx, g); err != nil {
		return err
	}
	// The agent may read this; the person may not.
	if _, err := s.refusal(ctx, ask{subject: s.sample(dev.SampleOutsider), actor: dev.SampleAgent, scope: readOrders}); err != nil {
		return err
	}
	// No delegation lets this workload act for anybody.
	r, err := s.post(ctx, ask{subject: user, actor: dev.SampleServer, scope: readOrders})
	if err != nil {
		return err
	}
	id, _ := r.member("decision_id")
	s.refused = append(s.refused, text(id))
	return firstOf(
		r.is(http.StatusBadRequest, "error", "invalid_request"), r.uncached(), discreet(r),
		that(uuidAny.MatchString(text(id)), "the refusal names no decision"),
	)
}

// subAgent: narrower, nested, no longer-lived, and traceable to its parent.
func subAgent(ctx context.Context, s *story) error {
	user, agent, second := s.sample(dev.SampleUser), s.sample(dev.SampleAgent), s.sample(dev.SampleSubAgent)
	g, err := s.exchange(ctx, ask{from: s.parent, actor: dev.SampleSubAgent, scope: readOrders, ttl: 2 * parentTTL})
	if err != nil {
		return err
	}
	s.child = g
	if err := firstOf(
		g.whose(second.Audience, user.ID, second.ID, agent.ID),
		equal("anc", g.Ancestor, []ancestor{{s.parent.ID, s.parent.KeyID}}),
		that(g.Expiry <= s.parent.Expiry, "the child outlives its parent by %d s", g.Expiry-s.parent.Expiry),
		equal("roles", g.Roles, []string{roleReader}),
	); err != nil {
		return err
	}
	if _, err := s.reads(ctx, g); err != nil {
		return err
	}
	r, err := s.get(ctx, g, pathRefunds)
	if err != nil {
		return err
	}
	if err := s.insufficient(r, "warehouse:read:sales/eu/refunds"); err != nil {
		return err
	}
	// Everybody concerned may read this, but the parent token does not say so.
	_, err = s.refusal(ctx, ask{from: s.parent, actor: dev.SampleSubAgent, scope: readUS})
	return err
}

package demo

import (
	"context"
	"fmt"
	"net/http"

	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

// rotate: the key that takes over was published before; the one that retires still is, so
// that a token which nobody has seen yet verifies afterwards.
func rotate(ctx context.Context, s *story) error {
	agent := s.sample(dev.SampleAgent)
	unseen, err := s.exchange(ctx, ask{subject: agent, scope: readOrders})
	if err != nil {
		return err
	}
	ops, err := s.operator(ctx, "writ:keys:*")
	if err != nil {
		return err
	}
	if err := s.fetchKeys(ctx); err != nil {
		return err
	}
	before := s.keys
	s.oldKey = unseen.KeyID
	r, err := s.send(ctx, call{
		method: http.MethodPost, url: s.world.Admin() + "/admin/v1/keys/rotate", bearer: ops.raw,
		// It may have rotated a minute ago, and those who verify here fetch the keys.
		json: map[string]any{"apply": true, "now": true, "reason": "rehearsal"}, tell: []string{"retired_kid", "activated_kid"},
	})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusOK, "applied", "true", "retired_kid", s.oldKey); err != nil {
		return err
	}
	kid, _ := r.member("activated_kid")
	newKey := text(kid)
	if err := firstOf(
		that(newKey != s.oldKey, "the key that signs is the same as before"),
		that(before[newKey] != nil, "the key that signs was not published before it did"),
		s.fetchKeys(ctx),
		that(s.keys[s.oldKey] != nil, "the key that retired is not published any more, though its tokens live"),
		that(s.keys[newKey] != nil, "the key that signs is not published"),
		that(len(s.keys) == len(before)+1, "%d keys are published after the rotation, %d were before: there is no next one", len(s.keys), len(before)),
		s.keys.verify(unseen),
	); err != nil {
		return err
	}
	return s.afterRotation(ctx, unseen, newKey)
}

func (s *story) afterRotation(ctx context.Context, old *granted, newKey string) error {
	agent := s.sample(dev.SampleAgent)
	fresh, err := s.exchange(ctx, ask{subject: agent, scope: readOrders})
	if err != nil {
		return err
	}
	if err := equal("kid of a token minted now", fresh.KeyID, newKey); err != nil {
		return err
	}
	for _, g := range []*granted{old, s.own, fresh} {
		if _, err := s.reads(ctx, g); err != nil {
			return fmt.Errorf("with a token of key %s: %w", g.KeyID, err)
		}
	}
	server, err := s.exchange(ctx, ask{subject: s.sample(dev.SampleServer), scope: "writ:introspect:warehouse"})
	if err != nil {
		return err
	}
	return s.introspected(ctx, server, old, true)
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/verifier"
)

const (
	// rotationRounds are as many as a ring has room for: each leaves a key that has retired.
	rotationRounds = 11
	// besideRounds are few, so that the ring that verifiers are sent stays of a usual size.
	besideRounds = 4
	// rotationShare is of a part's time: the stretch in which there is one rotation. It is short, so
	// that what the rotation does to those that come then counts in its p99.
	rotationShare = 80
	leastStretch  = 50 * time.Millisecond
)

// rotation measures what a rotation does to exchanges under way. Vault seals the keys.
type rotation struct {
	world  *custodyWorld
	broker *broker
	glass  *client.Admin
	bodies [][]byte

	quiet, rotating []*sample // one a round
	calls           []time.Duration
}

// rotates starts a broker whose keys Vault seals. A token for administration would be one of the key
// that an emergency takes out of use: operators come by the socket.
func (w *custodyWorld) rotates(ctx context.Context, name, more string) (*rotation, error) {
	b, err := w.startConfigured(ctx, name, nil, w.vault.keys(config.CustodyVault)+more)
	if err != nil {
		return nil, err
	}
	r := &rotation{world: w, broker: b}
	r.glass, err = client.NewAdmin(client.AdminConfig{Socket: b.socket})
	if err == nil {
		n := agents(w.sizes.Bindings)
		r.bodies, err = b.issuer.exchanges(ctx, min(repeated, n), n)
	}
	if err != nil {
		return nil, errors.Join(err, stopAll(b))
	}
	return r, nil
}

func (w *custodyWorld) rotation(ctx context.Context) error {
	r, err := w.rotates(ctx, "vault-rotates", "")
	if err != nil {
		return err
	}
	if err := errors.Join(r.underLoad(ctx, rotationRounds), stopAll(r.broker)); err != nil {
		return err
	}
	w.figure("rotation_p99_ratio", ratio(r.rotating, r.quiet, p99Of), AtMost(1.2), "p99 of exchange in a stretch with a rotation over one without, custody vault")
	w.figure("rotation_p99_ms", middle(r.rotating, p99Of), Goal{}, "of exchange, with a rotation")
	w.figure("rotation_quiet_p99_ms", middle(r.quiet, p99Of), Goal{}, "without")
	w.figure("rotation_call_ms", milliseconds(median(r.calls)), Goal{}, "a planned rotation under load, the making of the next key included")
	return nil
}

func (r *rotation) post(ctx context.Context, d time.Duration) (*sample, error) {
	return r.world.load.post(ctx, r.broker.url+wire.PathToken, r.bodies, false, d)
}

// underLoad compares exchanges during a rotation with those without.
func (r *rotation) underLoad(ctx context.Context, rounds int) error {
	d := max(r.world.cfg.Duration/rotationShare, leastStretch)
	if _, err := r.post(ctx, 4*d); err != nil {
		return err
	}
	for round := range rounds {
		stretches := []func(context.Context, time.Duration) error{r.quietly, r.rotate}
		for i := range stretches {
			if err := pause(ctx, d); err != nil { // what the rotation before had others do is over
				return err
			}
			runtime.GC()
			if err := stretches[(i+round)%len(stretches)](ctx, d); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rotation) quietly(ctx context.Context, d time.Duration) error {
	s, err := r.post(ctx, d)
	r.quiet = append(r.quiet, s)
	return err
}

// rotate is the same with a rotation soon after the beginning.
func (r *rotation) rotate(ctx context.Context, d time.Duration) error {
	var s *sample
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		s, err = r.post(ctx, d)
		return err
	})
	g.Go(func() error {
		if err := pause(ctx, d/8); err != nil {
			return err
		}
		began := time.Now()
		if _, err := r.glass.Rotate(ctx, wire.RotateRequest{Apply: true, Now: true, Reason: "bench"}); err != nil {
			return fmt.Errorf("rotating: %w", err)
		}
		r.calls = append(r.calls, time.Since(began))
		return nil
	})
	err := g.Wait()
	r.rotating = append(r.rotating, s)
	return err
}

// emergencies measures how soon a key that leaked is out of use at all resource servers.
type emergencies struct {
	*propagation
	rotation *rotation
	lasts    []time.Duration // until the last server refused, one an emergency
	each     []time.Duration // until one server did
}

func (w *custodyWorld) emergencies(ctx context.Context) error {
	r, err := w.rotates(ctx, "vault-leaks", "revocation: {heartbeat: 500ms}\n") // see reconnected
	if err != nil {
		return err
	}
	e := &emergencies{rotation: r, propagation: &propagation{run: w.run, broker: r.broker, stop: func() {}}}
	err = e.measureAll(ctx)
	e.stop()
	if err := errors.Join(err, stopAll(r.broker)); err != nil {
		return err
	}
	slices.Sort(e.lasts)
	slices.Sort(e.each)
	connected := fmt.Sprintf(" with %d resource servers connected", w.sizes.Verifiers)
	w.figure("emergency_p50_ms", milliseconds(at(e.lasts, 0.5)), Goal{}, "from the call of an emergency rotation to when the last refuses the old key's tokens,"+connected)
	w.figure("emergency_p99_ms", milliseconds(at(e.lasts, 0.99)), AtMost(100), "")
	w.figure("emergency_server_p99_ms", milliseconds(at(e.each, 0.99)), Goal{}, "to when one does, over all")
	w.figure("emergency_rotations", float64(len(e.lasts)), Goal{}, "that were timed")
	w.figure("rotation_beside_servers_p99_ratio", ratio(r.rotating, r.quiet, p99Of), Goal{}, "as rotation_p99_ratio,"+connected+": their work at a rotation is on the same processors")
	return nil
}

func (e *emergencies) measureAll(ctx context.Context) error {
	if err := e.connect(ctx); err != nil {
		return err
	}
	until := time.Now().Add(e.cfg.Duration)
	for round := 0; round < 3 || time.Now().Before(until); round++ {
		if err := e.emergency(ctx, round == 0); err != nil {
			return err
		}
	}
	return e.rotation.underLoad(ctx, besideRounds)
}

// emergency shows a token of the active key to every server, has the key taken out of use, and waits
// until each server refuses.
func (e *emergencies) emergency(ctx context.Context, warm bool) error {
	kid, err := e.rotation.active(ctx)
	if err != nil {
		return err
	}
	raw, _, err := e.victim(ctx, true)
	if err != nil {
		return err
	}
	for _, v := range e.servers {
		if _, err := e.accepted(ctx, v, raw); err != nil {
			return err
		}
	}
	began := time.Now()
	called := make(chan error, 1)
	go func() {
		_, err := e.rotation.glass.Rotate(ctx, wire.RotateRequest{Apply: true, RevokeKID: kid, Reason: "bench"})
		called <- err
	}()
	took, err := e.refusals(ctx, raw, began, func(err error) bool { return revoked(err) || errors.Is(err, verifier.ErrUnknownKey) })
	if err := errors.Join(err, <-called); err != nil {
		return fmt.Errorf("rotating in an emergency: %w", err)
	}
	if !warm {
		e.each, e.lasts = append(e.each, took...), append(e.lasts, took[len(took)-1])
	}
	return e.reconnected(ctx, began)
}

// reconnected waits until every server is on the feed by a token of the new key. The one that it had was
// of the key that leaked: with the next heartbeat the broker ends its stream, and it comes back.
func (e *emergencies) reconnected(ctx context.Context, since time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, tooLong)
	defer cancel()
	admin, err := e.security(ctx)
	if err != nil {
		return err
	}
	for {
		list, err := admin.Verifiers(ctx)
		if err != nil {
			return err
		}
		back := 0
		for _, v := range list.Verifiers {
			if v.Connected.After(since) {
				back++
			}
		}
		if back == len(e.servers) {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d resource servers came back: %w", back, len(e.servers), err)
		}
	}
}

// security is the admin API with a new token: one of the key that leaked is worth nothing.
func (e *emergencies) security(ctx context.Context) (*client.Admin, error) {
	subject, err := e.rotation.broker.issuer.token(ctx, securityAgent)
	if err != nil {
		return nil, err
	}
	t, err := e.client.Exchange(ctx, client.Request{SubjectToken: subject, Scopes: []string{"writ:revoke:**"}})
	if err != nil {
		return nil, err
	}
	return client.NewAdmin(client.AdminConfig{
		URL: e.rotation.broker.admin, Token: func(context.Context) (string, error) { return t.Secret.Reveal(), nil },
	})
}

// active waits until there is a key to turn to, and names the one that signs.
func (r *rotation) active(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tooLong)
	defer cancel()
	for {
		list, err := r.glass.Keys(ctx)
		if err != nil {
			return "", err
		}
		state := func(name string) int {
			return slices.IndexFunc(list.Keys, func(k wire.Key) bool { return k.State == name })
		}
		if at := state("active"); at >= 0 && state("next") >= 0 {
			return list.Keys[at].ID, nil
		}
		if err := pause(ctx, look); err != nil {
			return "", fmt.Errorf("waiting for the next key: %w", err)
		}
	}
}

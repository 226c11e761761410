package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/internal/vaulttest/vaultcases"
	"github.com/writbroker/writ/verifier"
)

const (
	emergencies = 5
	attentive   = 200 // resource servers
)

// TestEmergencyRotation takes the active key out of use by command, through the break-glass socket, and
// prints how long it is from then until 200 resource servers refuse its tokens, the start of the command's process
// included. Vault, which seals the keys, is sealed itself the last time: an emergency does not wait for it.
func TestEmergencyRotation(t *testing.T) {
	bed := startVault(t)
	d := bed.Deploy(t)
	s := newSystem(t, "")
	b := s.broker(t, "broker")
	settings := s.inVault(t, d, "custody: vault, jwks_max_age: 1s, clock_skew: 0s, prepublish: 39s, retire_after: 98s")
	b.permit(t, d, settings)
	b.start(t, settings)
	servers := s.connected(t, attentive)
	var lasts []time.Duration
	for n := range emergencies {
		b.settled(t)
		kid := stage(b.keys(t), "active").ID
		raw := s.exchange(t)
		for _, v := range servers {
			accepts(t, v, raw)
		}
		if n == emergencies-1 {
			bed.Seal(t)
		}
		began := time.Now()
		refused := make(chan time.Duration, 1)
		go func() { refused <- allRefuse(t.Context(), servers, raw, began) }()
		resp := b.rotate(t, "--now", "--revoke", kid, "--reason", "it leaked")
		lasts = append(lasts, <-refused)
		if resp.Revocation == nil || resp.Activated == kid {
			t.Errorf("rotation %d answered %+v", n, resp)
		}
		for _, k := range b.keys(t).Keys {
			if k.ID == kid {
				t.Errorf("%s is still in the ring, as %s", kid, k.State)
			}
		}
		accepts(t, servers[0], s.exchange(t))
		b.back(t, len(servers), began)
		if t.Failed() {
			return
		}
	}
	slices.Sort(lasts)
	t.Logf("from the command to the last of %d resource servers refusing: p50 %s, p99 %s, over %d rotations",
		attentive, lasts[len(lasts)/2], lasts[len(lasts)-1], len(lasts))
	bed.Unseal(t)
	b.settled(t)
}

// back waits until so many resource servers are on the feed by a token of the new key. The one that each
// had was of the key that leaked: with the next heartbeat the broker ends its stream, and it comes back.
func (p *process) back(t *testing.T, n int, since time.Time) {
	t.Helper()
	security := p.security(t)
	vaultcases.Eventually(t, func() error {
		list, err := security.Verifiers(t.Context())
		if err != nil {
			return err
		}
		there := 0
		for _, v := range list.Verifiers {
			if v.Connected.After(since) {
				there++
			}
		}
		if there < n {
			return fmt.Errorf("%d of %d resource servers came back", there, n)
		}
		return nil
	})
}

// exchange gets a token, and tries again while the key is changed.
func (s *system) exchange(t *testing.T) string {
	t.Helper()
	c, err := client.New(client.Config{Issuer: s.issuer})
	if err != nil {
		t.Fatal(err)
	}
	subject, err := s.workload(t.Context(), "agents", "analyst")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Exchange(t.Context(), client.Request{
		SubjectToken: subject, Scopes: []string{"warehouse:read:sales/eu/*"}, Audience: []string{warehouse},
	})
	if err != nil {
		t.Fatal(err)
	}
	return got.Secret.Reveal()
}

func accepts(t *testing.T, v *verifier.Verifier, raw string) {
	t.Helper()
	vaultcases.Eventually(t, func() error {
		_, err := v.Verify(t.Context(), raw)
		if err != nil {
			return errors.Join(errors.New("resource server refuses a good token"), err)
		}
		return nil
	})
}

// allRefuse asks them in turn until each has refused, and says how long that took.
func allRefuse(ctx context.Context, servers []*verifier.Verifier, raw string, began time.Time) time.Duration {
	for waiting := slices.Clone(servers); len(waiting) > 0 && ctx.Err() == nil; {
		waiting = slices.DeleteFunc(waiting, func(v *verifier.Verifier) bool {
			_, err := v.Verify(ctx, raw)
			return errors.Is(err, verifier.ErrRevoked) || errors.Is(err, verifier.ErrUnknownKey)
		})
		sleep(ctx, 500*time.Microsecond)
	}
	return time.Since(began)
}

package e2e_test

import (
	"testing"
	"time"

	"github.com/writbroker/writ/internal/vaulttest/vaultcases"
)

// shortest is the fastest rotation that the configuration takes: a replica may be out of touch for 30 s
// before the others can count on it.
const shortest = "algorithm: ES256, jwks_max_age: 1s, clock_skew: 0s, prepublish: 39s, rotate_every: 40s, activate_within: 1s, retire_after: 98s"

// TestRotationIsNotNoticed rotates three times under load: by command, on schedule while Vault is sealed,
// and by command once more. Resource servers are shown tokens all the while; some follow the feed, some
// only keep the key set for its max-age. Where Vault seals, exchanges go on while it is sealed itself;
// where it signs, they are told to come again.
func TestRotationIsNotNoticed(t *testing.T) {
	t.Parallel()
	for _, custody := range []string{"vault", "vault-transit"} {
		t.Run(custody, func(t *testing.T) {
			t.Parallel()
			bed := startVault(t)
			d := bed.Deploy(t)
			s := newSystem(t, "")
			b := s.broker(t, "broker")
			settings := s.inVault(t, d, "custody: "+custody+", "+shortest)
			b.permit(t, d, settings)
			b.start(t, settings)
			f, end := s.newTraffic(t, s.checks(t, 3)...)
			grows(t, "tokens", &f.minted, 20)

			b.planned(t)
			due := b.keys(t).NextRotation
			if due == nil {
				t.Fatal("no rotation is to come")
			}
			sleep(t.Context(), time.Until(due.Add(-2*time.Second)))
			before := stage(b.keys(t), "active").ID
			bed.Seal(t)
			sealed(t, f, custody)
			sleep(t.Context(), time.Until(due.Add(2*time.Second)))
			bed.Unseal(t)
			b.signsOther(t, before)
			grows(t, "tokens after Vault was unsealed", &f.minted, 50)

			b.planned(t)
			grows(t, "tokens after the last rotation", &f.minted, 100)
			end()
			f.unnoticed(t, 50_000)
			if custody == "vault" && f.turned.Load() > 0 {
				t.Errorf("%d exchanges were told to come again, though Vault takes no part in them", f.turned.Load())
			}
		})
	}
}

// sealed holds what must go on while Vault is sealed.
func sealed(t *testing.T, f *traffic, custody string) {
	t.Helper()
	if custody == "vault" {
		grows(t, "tokens while Vault is sealed", &f.minted, 30)
		return
	}
	grows(t, "answers 503 with Retry-After while Vault is sealed", &f.turned, 30)
	minted := f.minted.Load()
	grows(t, "answers 503 with Retry-After while Vault is sealed", &f.turned, 30)
	if f.minted.Load() != minted {
		t.Error("a token was minted, though Vault is sealed and signs them")
	}
}

// permit gives a broker what the broker itself says that it needs for its settings.
func (p *process) permit(t *testing.T, d *vaultcases.Deployment, settings string) {
	t.Helper()
	p.configure(t, settings)
	p.grant(t, d)
}

package keys_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

func TestARestartAddsNoKey(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	first := f.replica(t, t.Context(), c).Ring()
	for range 5 {
		c.add(time.Minute)
		again := f.replica(t, t.Context(), c).Ring()
		if !bytes.Equal(first.JWKS(), again.JWKS()) || again.Version() != first.Version() {
			t.Fatalf("a restart changed the keys: %s\n%s", first.JWKS(), again.JWKS())
		}
	}
	if f.custody.made.Load() != 2 || f.cell.swaps != 1 {
		t.Errorf("made %d keys in %d writes, want 2 in 1", f.custody.made.Load(), f.cell.swaps)
	}
}

func TestATokenVerifiesThroughItsWholeLife(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	r := f.replica(t, t.Context(), c)
	raw, err := token.Sign(t.Context(), "JWT", []byte("{}"), r.Ring().Active())
	if err != nil {
		t.Fatal(err)
	}
	verifies := func() bool {
		u, err := token.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		key, ok := r.Ring().Public().Key(u.Header().KeyID)
		if !ok {
			return false
		}
		_, err = u.Verify(key)
		return err == nil
	}
	was, next := one(t, r.Ring(), keys.StageActive), one(t, r.Ring(), keys.StageNext)
	c.add(time.Hour)
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if one(t, r.Ring(), keys.StageActive) != next || one(t, r.Ring(), keys.StageRetired) != was || !verifies() {
		t.Errorf("after rotation: %v, verifies %t", kids(r.Ring()), verifies())
	}
	c.add(32*time.Minute + 17*time.Second)
	if err := r.Refresh(t.Context()); err != nil || !verifies() {
		t.Errorf("in the last second of the overlap: %v, verifies %t", err, verifies())
	}
	c.add(time.Second)
	if err := r.Refresh(t.Context()); err != nil || verifies() {
		t.Errorf("after the overlap: %v, still published %t", err, verifies())
	}
}

func TestExactlyOneReplicaRotates(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	const replicas = 8
	fleet := make([]*keys.Rotator, replicas)
	for i := range fleet {
		custody := newCustody(t, f.secret)
		cfg := f.config(c)
		cfg.Custody = custody
		r, err := keys.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		fleet[i] = r
	}
	c.add(time.Hour)
	var wait sync.WaitGroup
	for _, r := range fleet {
		wait.Go(func() {
			if err := r.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if f.cell.swaps != 2 {
		t.Errorf("%d writes, want the first keys and one rotation", f.cell.swaps)
	}
	for _, r := range fleet {
		if !bytes.Equal(r.Ring().JWKS(), fleet[0].Ring().JWKS()) || r.Ring().Active().KeyID() != fleet[0].Ring().Active().KeyID() {
			t.Errorf("replicas disagree: %v and %v", kids(r.Ring()), kids(fleet[0].Ring()))
		}
	}
}

func TestAWriteThatFailedButPersistedIsTakenOver(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	r := f.replica(t, t.Context(), c)
	next := one(t, r.Ring(), keys.StageNext)
	c.add(time.Hour)
	f.cell.edit(func() { f.cell.lying = store.ErrUnavailable })
	if err := r.Refresh(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Refresh = %v", err)
	}
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if one(t, r.Ring(), keys.StageActive) != next || f.cell.swaps != 2 {
		t.Errorf("after %d writes: %v", f.cell.swaps, kids(r.Ring()))
	}
}

func TestAReplicaOutOfTouchStopsSigning(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	r := f.replica(t, t.Context(), c)
	signer := r.Ring().Active()
	f.cell.edit(func() { f.cell.broken = store.ErrUnavailable })
	c.add(30 * time.Second)
	if _, err := signer.Sign(t.Context(), []byte("x")); err != nil {
		t.Errorf("within the lag: %v", err)
	}
	c.add(time.Second)
	if err := r.Refresh(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Refresh = %v", err)
	}
	if _, err := signer.Sign(t.Context(), []byte("x")); !errors.Is(err, keys.ErrStale) {
		t.Errorf("after the lag: %v, want ErrStale", err)
	}
	f.cell.edit(func() { f.cell.broken = nil })
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(t.Context(), []byte("x")); err != nil {
		t.Errorf("back in touch: %v", err)
	}
}

func TestAStoreThatLiesIsRefused(t *testing.T) {
	rotated := func(t *testing.T) (*fleet, *clock, *keys.Rotator) {
		f, c := newFleet(t), &clock{now: epoch}
		r := f.replica(t, t.Context(), c)
		c.add(time.Hour)
		if err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		return f, c, r
	}
	t.Run("an older ring comes back", func(t *testing.T) {
		f, c, r := rotated(t)
		before := r.Ring()
		f.cell.edit(func() { f.cell.current = 0 })
		if err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.Ring().JWKS(), before.JWKS()) || r.Ring().Version() <= before.Version() {
			t.Errorf("ring is %v at version %d, was %v at %d", kids(r.Ring()), r.Ring().Version(), kids(before), before.Version())
		}
		if other := f.replica(t, t.Context(), c).Ring(); !bytes.Equal(other.JWKS(), before.JWKS()) {
			t.Errorf("another replica got the old ring: %v", kids(other))
		}
	})
	t.Run("the ring is lost", func(t *testing.T) {
		f, c, r := rotated(t)
		before := r.Ring()
		f.cell.edit(func() { f.cell.current = -1 })
		if err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if other := f.replica(t, t.Context(), c).Ring(); !bytes.Equal(other.JWKS(), before.JWKS()) {
			t.Errorf("another replica has %v, want %v", kids(other), kids(before))
		}
	})
	t.Run("two rings of one version", func(t *testing.T) {
		f, c, r := rotated(t)
		fork := &fleet{cell: newCell(), secret: f.secret, custody: f.custody, sched: f.sched}
		fork.cell.values, fork.cell.current = slices.Clone(f.cell.values[:1]), 0
		other := fork.replica(t, t.Context(), c)
		if other.Ring().Version() != r.Ring().Version() || bytes.Equal(other.Ring().JWKS(), r.Ring().JWKS()) {
			t.Fatal("the fork did not fork")
		}
		f.cell.edit(func() { f.cell.values, f.cell.current = fork.cell.values, 1 })
		before := r.Ring()
		if err := r.Refresh(t.Context()); err != nil || !bytes.Equal(r.Ring().JWKS(), before.JWKS()) {
			t.Errorf("Refresh = %v, ring %v, want %v", err, kids(r.Ring()), kids(before))
		}
		if err := other.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := f.replica(t, t.Context(), c).Ring(); !bytes.Equal(got.JWKS(), before.JWKS()) || got.Version() != r.Ring().Version() {
			t.Errorf("the store holds %v at version %d, want %v at %d", kids(got), got.Version(), kids(before), r.Ring().Version())
		}
	})
	t.Run("a forged ring", func(t *testing.T) {
		f, _, r := rotated(t)
		before := r.Ring()
		f.cell.edit(func() {
			forged := bytes.Replace(f.cell.values[1].Value, []byte(`"next"`), []byte(`"gone"`), 1)
			f.cell.values = append(f.cell.values, store.Versioned{Value: forged, Version: 9})
			f.cell.current = 2
		})
		if err := r.Refresh(t.Context()); !errors.Is(err, store.ErrForged) {
			t.Errorf("Refresh = %v, want ErrForged", err)
		}
		if r.Ring() != before {
			t.Error("the ring changed")
		}
	})
	t.Run("a ring of another name", func(t *testing.T) {
		f, c, _ := rotated(t)
		cfg := f.config(c)
		cfg.Ring = "another"
		if _, err := keys.New(t.Context(), cfg); !errors.Is(err, store.ErrForged) {
			t.Errorf("New = %v, want ErrForged", err)
		}
	})
	t.Run("another root", func(t *testing.T) {
		f, c, _ := rotated(t)
		cfg := f.config(c)
		cfg.MACKey = newSecret(t)
		if _, err := keys.New(t.Context(), cfg); !errors.Is(err, store.ErrForged) {
			t.Errorf("New = %v, want ErrForged", err)
		}
		if f.cell.swaps != 2 {
			t.Error("a replica with another root wrote into the store")
		}
	})
}

func TestTheBackupOutlivesStoreAndProcess(t *testing.T) {
	f, c, backup := newFleet(t), &clock{now: epoch}, &memory{}
	cfg := f.config(c)
	cfg.Backup = backup
	start := func() *keys.Rotator {
		t.Helper()
		r, err := keys.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := start()
	c.add(time.Hour)
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := r.Ring().JWKS()

	f.cell.edit(func() { f.cell.current = 0 })
	if got := start().Ring(); !bytes.Equal(got.JWKS(), want) {
		t.Errorf("a restart took the old ring over: %v", kids(got))
	}
	f.cell.edit(func() { f.cell.current = -1 })
	if got := start().Ring(); !bytes.Equal(got.JWKS(), want) {
		t.Errorf("a restart made new keys: %v", kids(got))
	}
	f.cell.edit(func() { f.cell.broken = store.ErrUnavailable })
	r = start()
	if !bytes.Equal(r.Ring().JWKS(), want) {
		t.Errorf("without the store it publishes %v", kids(r.Ring()))
	}
	if _, err := r.Ring().Active().Sign(t.Context(), []byte("x")); !errors.Is(err, keys.ErrStale) {
		t.Errorf("it signs with what nobody confirmed: %v", err)
	}
	backup.value[40] ^= 1
	if _, err := keys.New(t.Context(), cfg); !errors.Is(err, store.ErrForged) {
		t.Errorf("a tampered backup: %v, want ErrForged", err)
	}
}

func TestOnlyKeysThatOpenArePublished(t *testing.T) {
	t.Run("another private half", func(t *testing.T) {
		f, c := newFleet(t), &clock{now: epoch}
		// The ring would publish one key and sign with another.
		f.custody.open = func(k keys.KeyInfo) (token.Signer, error) {
			other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return nil, err
			}
			return token.NewLocalSigner(k.ID, k.Algorithm, other)
		}
		if _, err := keys.New(t.Context(), f.config(c)); !errors.Is(err, keys.ErrProof) {
			t.Errorf("New = %v, want ErrProof", err)
		}
		if f.cell.swaps != 0 {
			t.Error("the key was published")
		}
	})
	t.Run("a kid that is not derived from the key", func(t *testing.T) {
		f, c := newFleet(t), &clock{now: epoch}
		f.custody.spoil = func(m *keys.Material) { m.ID = "aaaaaaaaaaaa" }
		if _, err := keys.New(t.Context(), f.config(c)); err == nil || f.cell.swaps != 0 {
			t.Errorf("New = %v after %d writes", err, f.cell.swaps)
		}
	})
	t.Run("sealed under another root", func(t *testing.T) {
		f, c := newFleet(t), &clock{now: epoch}
		f.replica(t, t.Context(), c)
		cfg := f.config(c)
		cfg.Custody = newCustody(t, newSecret(t))
		if _, err := keys.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "active key cannot sign") {
			t.Errorf("New = %v", err)
		}
	})
	t.Run("a retired key that does not open", func(t *testing.T) {
		f, c := newFleet(t), &clock{now: epoch}
		r := f.replica(t, t.Context(), c)
		c.add(time.Hour)
		if err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		old := one(t, r.Ring(), keys.StageRetired)
		f.custody.open = func(k keys.KeyInfo) (token.Signer, error) {
			if k.ID == old {
				return nil, errors.New("not this one")
			}
			return f.custody.Custody.Open(t.Context(), ringName, k)
		}
		other := f.replica(t, t.Context(), c)
		if _, ok := other.Ring().Public().Key(old); ok || other.Ring().Public().Len() != 2 {
			t.Errorf("published: %s", other.Ring().JWKS())
		}
		f.custody.open = nil
		if err := other.Refresh(t.Context()); err != nil || other.Ring().Public().Len() != 3 {
			t.Errorf("once it opens: %v, %s", err, other.Ring().JWKS())
		}
	})
}

func TestCustodyAwayLeavesTheActiveKeySigning(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	r := f.replica(t, t.Context(), c)
	next := one(t, r.Ring(), keys.StageNext)
	f.custody.away = errors.New("custody is away")
	c.add(time.Hour)
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The next key was opened before, so this rotation does not need custody.
	if one(t, r.Ring(), keys.StageActive) != next || len(kids(r.Ring())[keys.StageNext]) != 0 {
		t.Errorf("keys are %v", kids(r.Ring()))
	}
	c.add(2 * time.Hour)
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Ring().Active().Sign(t.Context(), []byte("x")); err != nil || one(t, r.Ring(), keys.StageActive) != next {
		t.Errorf("Sign = %v under %v", err, kids(r.Ring()))
	}
	f.custody.away = nil
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	one(t, r.Ring(), keys.StageNext)
	if _, err := keys.New(t.Context(), keys.Config{}); err == nil {
		t.Error("New accepts an empty Config")
	}
}

func TestNothingSealedLeavesTheRing(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	r := f.replica(t, t.Context(), c)
	for _, k := range r.List() {
		if k.Sealed != nil {
			t.Errorf("%s shows what is sealed", k.ID)
		}
		if strings.Contains(string(k.Public), `"d"`) {
			t.Errorf("%s publishes its private half", k.ID)
		}
	}
}

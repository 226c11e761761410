package keys_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
)

func TestRotateNow(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	r := f.replica(t, t.Context(), c)
	active, next := one(t, r.Ring(), keys.StageActive), one(t, r.Ring(), keys.StageNext)
	got, err := r.RotateNow(t.Context(), "")
	if err != nil || got != (keys.Rotation{Active: next, Retired: active}) {
		t.Fatalf("RotateNow = %+v, %v", got, err)
	}
	if one(t, r.Ring(), keys.StageRetired) != active || f.cell.swaps != 3 {
		t.Errorf("keys are %v after %d writes", kids(r.Ring()), f.cell.swaps)
	}
	one(t, r.Ring(), keys.StageNext)
}

func TestRotateNowRevokes(t *testing.T) {
	for _, stage := range []keys.Stage{keys.StageActive, keys.StageNext, keys.StageRetired} {
		t.Run(string(stage), func(t *testing.T) {
			f, c := newFleet(t), &clock{now: epoch}
			r := f.replica(t, t.Context(), c)
			if _, err := r.RotateNow(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			before := kids(r.Ring())
			victim := before[stage][0]
			got, err := r.RotateNow(t.Context(), victim)
			if err != nil || got.Revoked != victim || got.Local {
				t.Fatalf("RotateNow = %+v, %v", got, err)
			}
			for _, k := range r.List() {
				if k.ID == victim {
					t.Errorf("the revoked key is %s", k.Stage)
				}
			}
			if _, ok := r.Ring().Public().Key(victim); ok || bytes.Contains(r.Ring().JWKS(), []byte(victim)) {
				t.Error("the revoked key is published")
			}
			want := before[keys.StageNext][0]
			if stage == keys.StageNext {
				want = before[keys.StageActive][0] // nothing published could take over
			}
			if got.Active != want || one(t, r.Ring(), keys.StageActive) != want {
				t.Errorf("active is %s, want %s", got.Active, want)
			}
			if fresh := one(t, r.Ring(), keys.StageNext); slices.Contains(before[keys.StageNext], fresh) {
				t.Errorf("next is %s still", fresh)
			}
			if _, err := r.RotateNow(t.Context(), victim); !errors.Is(err, keys.ErrUnknownKey) {
				t.Errorf("again: %v, want ErrUnknownKey", err)
			}
			other := f.replica(t, t.Context(), c)
			if !bytes.Equal(other.Ring().JWKS(), r.Ring().JWKS()) {
				t.Errorf("another replica has %v", kids(other.Ring()))
			}
		})
	}
}

func TestRotateNowOnTwoReplicasRotatesOnce(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	a, b := f.replica(t, t.Context(), c), f.replica(t, t.Context(), c)
	leaked, next := one(t, a.Ring(), keys.StageActive), one(t, a.Ring(), keys.StageNext)
	for _, r := range []*keys.Rotator{a, b} {
		// b has not heard of a's rotation when it is told.
		if got, err := r.RotateNow(t.Context(), leaked); err != nil || got.Active != next {
			t.Errorf("RotateNow = %+v, %v, want %s active", got, err, next)
		}
	}
	if !bytes.Equal(a.Ring().JWKS(), b.Ring().JWKS()) || f.cell.swaps != 3 {
		t.Errorf("%v and %v after %d writes", kids(a.Ring()), kids(b.Ring()), f.cell.swaps)
	}
}

func TestRotateNowWithoutTheStore(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	a, b := f.replica(t, t.Context(), c), f.replica(t, t.Context(), c)
	leaked, next := one(t, a.Ring(), keys.StageActive), one(t, a.Ring(), keys.StageNext)
	f.cell.edit(func() { f.cell.broken = store.ErrUnavailable })
	f.custody.away = errors.New("custody is away too")
	got, err := a.RotateNow(t.Context(), leaked)
	if err != nil || got != (keys.Rotation{Active: next, Retired: leaked, Revoked: leaked, Local: true}) {
		t.Fatalf("RotateNow = %+v, %v", got, err)
	}
	if _, err := a.Ring().Active().Sign(t.Context(), []byte("x")); err != nil || a.Ring().Active().KeyID() != next {
		t.Errorf("Sign = %v with %s", err, a.Ring().Active().KeyID())
	}
	if _, ok := a.Ring().Public().Key(leaked); ok {
		t.Error("the leaked key is published still")
	}
	if err := a.Refresh(t.Context()); err == nil || a.Ring().Active().KeyID() != next {
		t.Errorf("a failed refresh undid it: %v, %s", err, a.Ring().Active().KeyID())
	}
	f.cell.edit(func() { f.cell.broken = nil })
	f.custody.away = nil
	for _, r := range []*keys.Rotator{a, b} {
		if err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if one(t, r.Ring(), keys.StageActive) != next || bytes.Contains(r.Ring().JWKS(), []byte(leaked)) {
			t.Errorf("after the store is back: %v", kids(r.Ring()))
		}
	}
}

// hung is a custody that does not answer.
type hung struct{ keys.Custody }

func (hung) Generate(ctx context.Context, _, _ string, _ uint64) (keys.Material, error) {
	<-ctx.Done()
	return keys.Material{}, ctx.Err()
}

// A custody that hangs does not keep a key that leaked in use, and the next one is made once it answers.
func TestRotateNowWhileCustodyHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFleet(t), &clock{now: epoch}
		f.replica(t, t.Context(), c)
		cfg := f.config(c)
		cfg.Custody = hung{f.custody}
		r, err := keys.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		leaked, next := one(t, r.Ring(), keys.StageActive), one(t, r.Ring(), keys.StageNext)
		got, err := r.RotateNow(t.Context(), leaked)
		if err != nil || got != (keys.Rotation{Active: next, Retired: leaked, Revoked: leaked}) {
			t.Fatalf("RotateNow = %+v, %v", got, err)
		}
		other := f.replica(t, t.Context(), c)
		if one(t, other.Ring(), keys.StageActive) != next || bytes.Contains(other.Ring().JWKS(), []byte(leaked)) {
			t.Errorf("another replica has %v", kids(other.Ring()))
		}
		one(t, other.Ring(), keys.StageNext)
	})
}

func TestRotateNowThatFailedButPersistedIsNotDoneTwice(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	r := f.replica(t, t.Context(), c)
	next := one(t, r.Ring(), keys.StageNext)
	f.cell.edit(func() { f.cell.lying = store.ErrUnavailable })
	if got, err := r.RotateNow(t.Context(), ""); err != nil || !got.Local || got.Active != next {
		t.Fatalf("RotateNow = %+v, %v", got, err)
	}
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if one(t, r.Ring(), keys.StageActive) != next || f.cell.swaps != 2 {
		t.Errorf("%v after %d writes", kids(r.Ring()), f.cell.swaps)
	}
}

func TestRotationsCannotOverfillTheRing(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	f.sched.MaxTTL = 4 * time.Hour
	r := f.replica(t, t.Context(), c)
	var err error
	for range keys.MaxKeys {
		c.add(schedule().JWKSMaxAge + schedule().MaxLag*5/4 + 2*schedule().Skew)
		if _, err = r.RotateNow(t.Context(), ""); err != nil {
			break
		}
	}
	if !errors.Is(err, keys.ErrTooManyKeys) || len(r.List()) != keys.MaxKeys {
		t.Fatalf("RotateNow = %v with %d keys", err, len(r.List()))
	}
	active := one(t, r.Ring(), keys.StageActive)
	if got, err := r.RotateNow(t.Context(), active); err != nil || got.Active == active {
		t.Errorf("a leaked key cannot be revoked in a full ring: %+v, %v", got, err)
	}
	c.add(5 * time.Hour)
	if err := r.Refresh(t.Context()); err != nil || len(r.List()) > 4 {
		t.Errorf("after the overlap: %v, %d keys", err, len(r.List()))
	}
}

func TestRotateNowRefusesAnUnknownKey(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	r := f.replica(t, t.Context(), c)
	before := r.Ring()
	if _, err := r.RotateNow(t.Context(), "nobody"); !errors.Is(err, keys.ErrUnknownKey) || r.Ring() != before {
		t.Errorf("RotateNow = %v", err)
	}
}

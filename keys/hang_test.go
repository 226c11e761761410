package keys_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/file"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

// hanging is a custody behind a network that drops packets: each call takes its whole bound.
type hanging struct {
	keys.Custody
	by atomic.Int64 // a time.Duration
}

func (h *hanging) Generate(ctx context.Context, ring, alg string, born uint64) (keys.Material, error) {
	by := time.Duration(h.by.Load())
	if by == 0 {
		return h.Custody.Generate(ctx, ring, alg, born)
	}
	select {
	case <-time.After(by):
	case <-ctx.Done():
	}
	return keys.Material{}, keys.ErrUnavailable
}

// An emergency must not wait for a custody that hangs.
func TestEmergencyDoesNotWaitForCustody(t *testing.T) {
	synctest.Test(t, emergencyDoesNotWaitForCustody)
}

func emergencyDoesNotWaitForCustody(t *testing.T) {
	f := newFleet(t)
	h := &hanging{Custody: f.custody}
	cfg := f.config(&clock{})
	cfg.Custody, cfg.Now = h, time.Now
	r, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.by.Store(int64(2 * time.Second)) // 5 s by default
	began, leaked := time.Now(), r.Ring().Active().KeyID()
	if _, err := r.RotateNow(t.Context(), leaked); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("RotateNow took %v, and the leaked key was active and published until then", took)
	}
	h.by.Store(0)
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	one(t, r.Ring(), keys.StageNext)
}

// A sealed active key goes on signing while the custody hangs and a rotation is due.
func TestSigningGoesOnWhileCustodyHangs(t *testing.T) {
	for _, by := range []time.Duration{5 * time.Second, 15 * time.Second, 30 * time.Second} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t)
				h := &hanging{Custody: f.custody}
				r := start(t, f, 1, func(_ int, cfg *keys.Config) { cfg.Custody = h })[0]
				time.Sleep(50 * time.Minute)
				h.by.Store(int64(by))
				refused := 0
				for range 60 * 60 {
					time.Sleep(time.Second)
					if _, err := r.Ring().Active().Sign(t.Context(), []byte("x")); err != nil {
						refused++
					}
				}
				if refused > 0 {
					t.Errorf("%d of 3600 signatures refused", refused)
				}
			})
		})
	}
}

// A ring that cannot open a retired key, of which tokens live, is not for verifiers.
func TestARingThatLacksARetiredKeySaysSo(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	before := newNamed(t, "before")
	cfg := f.config(c)
	cfg.Custody = before
	cfg.Others = []keys.Custody{f.custody}
	old, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	signedBy := old.Ring().Active().KeyID()
	cfg.Custody, cfg.Others = f.custody, []keys.Custody{before}
	r, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.add(schedule().RotateEvery + time.Second)
		if err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		signedBy = map[bool]string{true: signedBy, false: signedBy}[true]
	}
	retired := kids(r.Ring())[keys.StageRetired]
	// Restart while the custody of what was before is away.
	away := &vault{Custody: before, away: keys.ErrUnavailable}
	cfg.Others = []keys.Custody{away}
	again, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, kid := range retired {
		if !strings.Contains(string(again.Ring().JWKS()), kid) && !again.Ring().Lacks() {
			t.Errorf("retired key %s is not in the JWKS, and it would be served for its max-age", kid)
		}
	}
}

// lateLiar takes effect late, and its answer is lost.
type lateLiar struct {
	*cell
	clock *clock
	by    time.Duration
}

func (c *lateLiar) Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error) {
	by := c.by
	c.by = 0
	c.clock.add(by)
	v, err := c.cell.Swap(ctx, name, old, value)
	if by > 0 && err == nil {
		return 0, store.ErrUnavailable
	}
	return v, err
}

func TestALateWriteWhoseAnswerIsLostCountsFromThen(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	cfg := f.config(c)
	slow := &lateLiar{cell: f.cell, clock: c}
	cfg.Cell = slow
	r, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour)
	slow.by = 10 * time.Minute
	if err := r.Refresh(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	shown := c.Now()
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, k := range r.List() {
		if k.Stage == keys.StageNext && k.Published.Before(shown) {
			t.Errorf("next: published %v before it was shown", shown.Sub(k.Published))
		}
		if least := shown.Add(schedule().MaxTTL + schedule().MaxLag + 5*schedule().Skew); k.Stage == keys.StageRetired && k.DropAfter.Before(least) {
			t.Errorf("retired: goes %v too early", least.Sub(k.DropAfter))
		}
	}
}

// max_ttl is raised replica by replica; one that does not know yet rotates.
func TestARaisedMaxTTLKeepsARetiredKey(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	old := f.replica(t, t.Context(), c)
	longer := f.config(c)
	longer.Schedule.MaxTTL = 2 * time.Hour
	longer.Schedule.RotateEvery = time.Hour
	r, err := keys.New(t.Context(), longer)
	if err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour + time.Second)
	kid := r.Ring().Active().KeyID() // signs a token of two hours now
	expires := c.Now().Add(2 * time.Hour)
	if err := old.Refresh(t.Context()); err != nil { // rotates with its schedule, and is restarted
		t.Fatal(err)
	}
	for c.Now().Before(expires) {
		c.add(time.Minute)
		if err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, ok := r.Ring().Public().Key(kid); !ok {
			t.Fatalf("key %s is gone %v before a token of its expires", kid, expires.Sub(c.Now()))
		}
	}
}

var _ = file.Name
var _ token.Signer

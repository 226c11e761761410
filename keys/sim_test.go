package keys_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
)

// world is a fleet with skewed clocks and a failing store, and what an observer
// with the true time knows.
type world struct {
	*fleet
	skew     time.Duration // how far clocks may really be off
	now      time.Time
	clocks   []*clock
	replicas []*keys.Rotator

	shown    map[string]time.Time // kid → true time of its first publication in the store
	lives    map[string]time.Time // kid → true time from which no verifier accepts a token of it
	hastened map[string]bool      // activated by an emergency
	revoked  map[string]bool
}

func (w *world) advance(d time.Duration) {
	w.now = w.now.Add(d)
	for _, c := range w.clocks {
		c.set(w.now)
	}
}

// sign has a replica sign, as a minter would, and notes until when that counts.
func (w *world) sign(t tester, i int) {
	t.Helper()
	sched := w.sched
	signer := w.replicas[i].Ring().Active()
	kid := signer.KeyID()
	if _, err := signer.Sign(context.Background(), []byte("x")); err != nil {
		if !errors.Is(err, keys.ErrStale) {
			t.Fatal(err)
		}
		return
	}
	if w.revoked[kid] {
		return // its tokens are dead whoever signs them
	}
	if out := w.now.Sub(w.shown[kid]); !w.hastened[kid] && out < sched.JWKSMaxAge+sched.MaxLag {
		t.Fatalf("%s signs %v after it was published", kid, out)
	}
	// The minter's clock sets exp; the slowest verifier's, with leeway, ends it.
	dead := w.clocks[i].Now().Add(sched.MaxTTL + 2*w.skew)
	w.lives[kid] = maxTime(w.lives[kid], dead)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// observe holds what the store publishes to the rules.
func (w *world) observe(t tester) {
	t.Helper()
	// Before the beginning, nothing is due: it only looks.
	cfg := w.config(&clock{now: epoch.Add(-24 * time.Hour)})
	cfg.Cell = onlyReads{w.cell}
	r, err := keys.New(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	stages := kids(r.Ring())
	if len(stages[keys.StageActive]) != 1 || len(stages[keys.StageNext]) > 1 || len(r.List()) > keys.MaxKeys {
		t.Fatalf("keys are %v", stages)
	}
	for _, k := range r.List() {
		if _, ok := w.shown[k.ID]; !ok {
			w.shown[k.ID] = w.now
			if k.Stage == keys.StageActive {
				w.hastened[k.ID] = true // the first of the ring
			}
		}
	}
	for kid, dead := range w.lives {
		if _, ok := r.Ring().Public().Key(kid); !ok && w.now.Before(dead) && !w.revoked[kid] {
			t.Fatalf("%s is gone %v before its last token is", kid, dead.Sub(w.now))
		}
	}
}

// onlyReads keeps the observer from taking part: what is due is not done by it.
type onlyReads struct{ *cell }

func (onlyReads) Swap(context.Context, string, uint64, []byte) (uint64, error) {
	return 0, errors.New("the observer must not write")
}

// TestFleet drives replicas with skewed clocks through outages, lost writes and
// emergencies. Whatever happens: one key is active, no key signs before
// verifiers can have it, and none goes while a token it signed can live.
func TestFleet(t *testing.T) {
	for name, skew := range map[string]time.Duration{"clocks seconds apart": schedule().Skew, "clocks minutes apart": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t, skew)
				most := int(skew / time.Second)
				for range 3 {
					w.join(t, time.Duration(rapid.IntRange(-most, most).Draw(t, "clock off"))*time.Second)
				}
				w.observe(t)
				for range rapid.IntRange(1, 40).Draw(t, "steps") {
					w.step(t)
				}
			})
		})
	}
}

// newWorld has no replica yet; its schedule is told the truth about the clocks.
func newWorld(t tester, skew time.Duration) *world {
	t.Helper()
	w := &world{
		fleet: newFleet(t), skew: skew, now: epoch,
		shown: map[string]time.Time{}, lives: map[string]time.Time{}, hastened: map[string]bool{}, revoked: map[string]bool{},
	}
	w.sched.Skew = skew
	return w
}

// join adds a replica whose clock is off.
func (w *world) join(t tester, off time.Duration) {
	t.Helper()
	c := &clock{now: w.now, off: off}
	w.clocks = append(w.clocks, c)
	w.replicas = append(w.replicas, w.replica(t, context.Background(), c))
}

func (w *world) step(t *rapid.T) {
	i := rapid.IntRange(0, len(w.replicas)-1).Draw(t, "replica")
	switch rapid.SampledFrom([]string{"time", "time", "long time", "refresh", "refresh", "sign", "sign", "cut", "lie", "restart", "emergency", "edge"}).Draw(t, "event") {
	case "time":
		w.advance(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second)
	case "long time":
		w.advance(time.Duration(rapid.IntRange(1, 70).Draw(t, "minutes")) * time.Minute)
	case "refresh":
		if err := w.replicas[i].Refresh(context.Background()); err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
	case "sign":
		w.sign(t, i)
	case "cut":
		// An outage that one replica alone sees: its refreshes are missing above.
		w.cell.edit(func() { w.cell.broken = store.ErrUnavailable })
		if err := w.replicas[i].Refresh(context.Background()); err == nil {
			t.Fatal("refreshed from a broken store")
		}
		w.cell.edit(func() { w.cell.broken = nil })
	case "lie":
		w.cell.edit(func() { w.cell.lying = store.ErrUnavailable })
		if err := w.replicas[i].Refresh(context.Background()); err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		w.cell.edit(func() { w.cell.lying = nil })
	case "restart":
		before := w.custody.made.Load()
		active := w.replicas[i].Ring().Active().KeyID()
		w.replicas[i] = w.replica(t, context.Background(), w.clocks[i])
		if w.replicas[i].Ring().Active().KeyID() == active && w.custody.made.Load() > before+1 {
			t.Fatal("a restart made keys")
		}
	case "emergency":
		w.emergency(t, i)
	case "edge":
		w.edge(t)
	}
	w.observe(t)
}

// edge goes to the last moment of the token that dies next, and has every replica
// do what its clock says is due.
func (w *world) edge(t *rapid.T) {
	var last time.Time
	for _, dead := range w.lives {
		if dead.After(w.now.Add(time.Second)) && (last.IsZero() || dead.Before(last)) {
			last = dead
		}
	}
	if last.IsZero() {
		return
	}
	w.advance(last.Add(-time.Second).Sub(w.now))
	for _, r := range w.replicas {
		if err := r.Refresh(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) emergency(t *rapid.T, i int) {
	revoke := ""
	if rapid.Bool().Draw(t, "revoke") {
		revoke = w.replicas[i].Ring().Active().KeyID()
	}
	result, err := w.replicas[i].RotateNow(context.Background(), revoke)
	if errors.Is(err, keys.ErrTooManyKeys) || errors.Is(err, keys.ErrTooSoon) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if revoke != "" {
		w.revoked[revoke] = true
	}
	w.hastened[result.Active] = true
}

package keys_test

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/keys"
)

// audience is who verifies: what each connected verifier has reported.
type audience struct {
	mu     sync.Mutex
	holds  map[string][]string // by name; nil: it reports no keys
	asked  int
	warned []string
}

func (a *audience) lacking(kid string) (out keys.Lacking) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	for name, kids := range a.holds {
		switch {
		case kids == nil:
			out.Silent = append(out.Silent, name)
		case !slices.Contains(kids, kid):
			out.Behind = append(out.Behind, name)
		}
	}
	slices.Sort(out.Behind)
	slices.Sort(out.Silent)
	return out
}

func (a *audience) reports(name string, kids ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.holds[name] = kids
}

// Enabled, Handle, WithAttrs and WithGroup make it a slog.Handler that keeps warnings.
func (a *audience) Enabled(context.Context, slog.Level) bool { return true }
func (a *audience) WithAttrs([]slog.Attr) slog.Handler       { return a }
func (a *audience) WithGroup(string) slog.Handler            { return a }
func (a *audience) Handle(_ context.Context, r slog.Record) error {
	if r.Level != slog.LevelWarn {
		return nil
	}
	var line strings.Builder
	r.Attrs(func(at slog.Attr) bool { fmt.Fprintf(&line, "%s=%s;", at.Key, at.Value); return true })
	a.mu.Lock()
	defer a.mu.Unlock()
	a.warned = append(a.warned, line.String())
	return nil
}

// with makes a replica whose verifiers are of the audience. It is not new: who is connected
// is known.
func (a *audience) with(t *testing.T, f *fleet, c *clock) *keys.Rotator {
	t.Helper()
	r, err := keys.New(t.Context(), a.config(f, c))
	if err != nil {
		t.Fatal(err)
	}
	c.add(time.Minute)
	return r
}

func (a *audience) config(f *fleet, c *clock) keys.Config {
	cfg := f.config(c)
	cfg.Lacking, cfg.Logger = a.lacking, slog.New(a)
	cfg.Schedule.ActivateWithin = 4 * time.Minute
	return cfg
}

func refreshed(t *testing.T, r *keys.Rotator) *keys.Ring {
	t.Helper()
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r.Ring()
}

func TestActivationWaitsForVerifiers(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	verifiers := &audience{holds: map[string][]string{}}
	r := verifiers.with(t, f, c)
	active, next := one(t, r.Ring(), keys.StageActive), one(t, r.Ring(), keys.StageNext)
	verifiers.reports("quick", active, next)
	verifiers.reports("late", active)
	verifiers.reports("old")

	c.set(epoch.Add(time.Hour))
	if one(t, refreshed(t, r), keys.StageActive) != active {
		t.Fatal("a key signs that a connected verifier lacks")
	}
	want := keys.Awaited{ID: next, Due: epoch.Add(time.Hour), Until: epoch.Add(time.Hour + 4*time.Minute), Verifiers: []string{"late"}}
	if got, waits := r.Awaited(); !waits || !reflect.DeepEqual(got, want) {
		t.Errorf("Awaited = %+v, %t, want %+v", got, waits, want)
	}
	if f.cell.swaps != 1 {
		t.Errorf("waiting wrote %d states", f.cell.swaps-1)
	}

	c.add(time.Minute)
	verifiers.reports("late", active, next)
	if one(t, refreshed(t, r), keys.StageActive) != next {
		t.Fatal("every verifier has the key, and it does not sign")
	}
	if _, waits := r.Awaited(); waits {
		t.Error("it waits still")
	}
	// Who cannot say is named, once, and was not waited for.
	if len(verifiers.warned) != 1 || !strings.Contains(verifiers.warned[0], "behind=;reporting_no_keys=old;") {
		t.Errorf("warned %q", verifiers.warned)
	}
}

func TestActivationWaitsNoLongerThanItMay(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	verifiers := &audience{holds: map[string][]string{}}
	r := verifiers.with(t, f, c)
	active, next := one(t, r.Ring(), keys.StageActive), one(t, r.Ring(), keys.StageNext)
	for i := range 12 {
		verifiers.reports(fmt.Sprintf("stuck-%02d", i), active)
	}
	c.set(epoch.Add(time.Hour + 4*time.Minute - time.Second))
	if one(t, refreshed(t, r), keys.StageActive) != active || len(verifiers.warned) > 0 {
		t.Fatalf("before the deadline: %v, warned %q", kids(r.Ring()), verifiers.warned)
	}
	c.add(time.Second)
	if one(t, refreshed(t, r), keys.StageActive) != next {
		t.Fatal("one verifier can stop rotation for ever")
	}
	refreshed(t, r)
	if len(verifiers.warned) != 1 || !strings.Contains(verifiers.warned[0], "behind=stuck-00, stuck-01,") || !strings.Contains(verifiers.warned[0], "and 2 more;") {
		t.Errorf("warned %q", verifiers.warned)
	}
}

func TestAnEmergencyWaitsForNobody(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	verifiers := &audience{holds: map[string][]string{}}
	r := verifiers.with(t, f, c)
	leaked, next := one(t, r.Ring(), keys.StageActive), one(t, r.Ring(), keys.StageNext)
	verifiers.reports("late", leaked)
	c.set(epoch.Add(time.Hour))
	refreshed(t, r)
	if _, waits := r.Awaited(); !waits {
		t.Fatal("the scheduled rotation does not wait")
	}
	got, err := r.RotateNow(t.Context(), leaked)
	if err != nil || got.Active != next || got.Local {
		t.Fatalf("RotateNow = %+v, %v", got, err)
	}
	if _, waits := r.Awaited(); waits {
		t.Error("what was done is waited for")
	}
}

// TestAReplicaThatHasJustStartedWaits: nobody is connected to it yet, which does not mean
// that nobody lacks the key.
func TestAReplicaThatHasJustStartedWaits(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	active := one(t, f.replica(t, t.Context(), c).Ring(), keys.StageActive)
	c.set(epoch.Add(time.Hour))
	verifiers := &audience{holds: map[string][]string{}}
	r, err := keys.New(t.Context(), verifiers.config(f, c))
	if err != nil {
		t.Fatal(err)
	}
	if got, waits := r.Awaited(); one(t, r.Ring(), keys.StageActive) != active || !waits || len(got.Verifiers) > 0 {
		t.Errorf("at its start: %v, %+v %t", kids(r.Ring()), got, waits)
	}
	c.add(30 * time.Second)
	if one(t, refreshed(t, r), keys.StageActive) == active {
		t.Error("nobody came, and it waits still")
	}
}

func TestRunActivatesSoonAfterTheLastReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		verifiers := &audience{holds: map[string][]string{}}
		fleet := start(t, f, 3, func(_ int, cfg *keys.Config) { cfg.Lacking = verifiers.lacking })
		active, next := one(t, fleet[0].Ring(), keys.StageActive), one(t, fleet[0].Ring(), keys.StageNext)
		verifiers.reports("late", active)
		time.Sleep(time.Hour + 5*time.Minute)
		if one(t, fleet[0].Ring(), keys.StageActive) != active {
			t.Fatal("it did not wait")
		}
		verifiers.mu.Lock()
		if asked := verifiers.asked; asked < 100 || asked > 3*305 {
			t.Errorf("asked %d times in five minutes", asked)
		}
		verifiers.mu.Unlock()
		verifiers.reports("late", active, next)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for i, r := range fleet {
			if one(t, r.Ring(), keys.StageActive) != next {
				t.Errorf("replica %d signs with the old key still", i)
			}
		}
	})
}

func TestActivateWithinIsChecked(t *testing.T) {
	for name, within := range map[string]time.Duration{"negative": -1, "longer than a key signs": time.Hour + 1} {
		s := schedule()
		s.ActivateWithin = within
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "activate_within") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package keys_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
)

// start runs n replicas on the bubble's clock until the test ends.
func start(t *testing.T, f *fleet, n int, change func(i int, cfg *keys.Config)) []*keys.Rotator {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var fleet []*keys.Rotator
	done := make(chan error, n)
	for i := range n {
		cfg := f.config(&clock{})
		cfg.Now = time.Now
		if change != nil {
			change(i, &cfg)
		}
		r, err := keys.New(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		fleet = append(fleet, r)
		go func() { done <- r.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range n {
			if err := <-done; err != nil {
				t.Errorf("Run = %v", err)
			}
		}
	})
	return fleet
}

func TestRunRotatesOnScheduleAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var changes atomic.Int64
		fleet := start(t, f, 3, func(i int, cfg *keys.Config) {
			cfg.Schedule.Jitter = 2 * time.Minute
			if i == 0 {
				cfg.OnChange = func(*keys.Ring) { changes.Add(1) }
			}
		})
		for day := 1; day <= 2; day++ {
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			for _, r := range fleet {
				if r.Ring().Version() != fleet[0].Ring().Version() || len(r.List()) > 4 {
					t.Errorf("day %d: version %d and %d, keys %v", day, r.Ring().Version(), fleet[0].Ring().Version(), kids(r.Ring()))
				}
				if _, err := r.Ring().Active().Sign(t.Context(), []byte("x")); err != nil {
					t.Errorf("day %d: %v", day, err)
				}
			}
		}
		// Two keys at the start, then one a rotation; a late rotation makes the next one late.
		if f.custody.made.Load() < 2+46 || f.custody.made.Load() > 2+48+6 {
			t.Errorf("%d keys were made in 48 hours", f.custody.made.Load())
		}
		if got, want := changes.Load(), int64(fleet[0].Ring().Version()); got < 90 || got > want {
			t.Errorf("OnChange was called %d times for %d versions", got, want)
		}
	})
}

func TestRunHearsOfAChangeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		fleet := start(t, f, 2, nil)
		synctest.Wait()
		before := time.Now()
		got, err := fleet[0].RotateNow(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if active := fleet[1].Ring().Active().KeyID(); active != got.Active || time.Since(before) != 0 {
			t.Errorf("after %v the other replica signs with %s, want %s", time.Since(before), active, got.Active)
		}
	})
}

// Until a ring that the store lost is put back, a replica that knows of none would begin one
// of its own.
func TestRunPutsALostRingBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		fleet := start(t, f, 2, nil)
		time.Sleep(time.Minute)
		before, lost := fleet[0].Ring().Active().KeyID(), time.Now()
		f.cell.edit(func() { f.cell.current = -1 })
		synctest.Wait()
		f.cell.edit(func() {
			if f.cell.current < 0 {
				t.Errorf("it is not back %v after it was lost", time.Since(lost))
			}
		})
		late := start(t, f, 1, nil)[0]
		if active := late.Ring().Active().KeyID(); active != before {
			t.Errorf("a new replica signs with %s, the others with %s", active, before)
		}
	})
}

func TestRunOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		alarms := &countingHandler{}
		r := start(t, f, 1, func(_ int, cfg *keys.Config) { cfg.Logger = slog.New(alarms) })[0]
		time.Sleep(time.Minute)
		f.cell.edit(func() { f.cell.broken = store.ErrUnavailable })
		time.Sleep(3 * time.Hour)
		if _, err := r.Ring().Active().Sign(t.Context(), []byte("x")); err == nil {
			t.Error("it signs after three hours without the store")
		}
		if n := alarms.errors.Load(); n != 1 {
			t.Errorf("%d alarms for one outage", n)
		}
		f.cell.edit(func() { f.cell.broken = nil })
		time.Sleep(10 * time.Second)
		if _, err := r.Ring().Active().Sign(t.Context(), []byte("x")); err != nil {
			t.Errorf("ten seconds after the store is back: %v", err)
		}
	})
}

// countingHandler counts alarms.
type countingHandler struct{ errors atomic.Int64 }

func (h *countingHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}
func (h *countingHandler) Handle(context.Context, slog.Record) error { h.errors.Add(1); return nil }
func (h *countingHandler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h *countingHandler) WithGroup(string) slog.Handler             { return h }

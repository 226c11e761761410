package clock_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/cmd/writ/internal/clock"
)

const asked = 5 * time.Second

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func TestCompare(t *testing.T) {
	for name, tc := range map[string]struct {
		wall, elapsed time.Duration // that both clocks went on
		want          clock.Change
	}{
		"nothing":                                     {asked, asked, clock.Change{}},
		"a timer that was late":                       {asked + 3*time.Second, asked + 3*time.Second, clock.Change{}},
		"a clock that is made to run slower":          {asked - 3*time.Millisecond, asked, clock.Change{}},
		"just less than a step":                       {asked + time.Second - 1, asked, clock.Change{}},
		"set ahead":                                   {asked + 5*time.Minute, asked, clock.Change{Step: 5 * time.Minute}},
		"set back":                                    {asked - 5*time.Minute, asked, clock.Change{Step: -5 * time.Minute}},
		"set back by the least":                       {asked - time.Second, asked, clock.Change{Step: -time.Second}},
		"a machine that slept":                        {8 * time.Hour, 8 * time.Hour, clock.Change{Pause: 8*time.Hour - asked}},
		"a machine that slept, and was put right":     {8*time.Hour + 2*time.Second, 8 * time.Hour, clock.Change{Step: 2 * time.Second, Pause: 8*time.Hour - asked}},
		"a machine that woke with a clock that stood": {asked, time.Hour, clock.Change{Step: asked - time.Hour, Pause: time.Hour - asked}},
		"just less than a pause":                      {asked + 10*time.Second - 1, asked + 10*time.Second - 1, clock.Change{}},
	} {
		t.Run(name, func(t *testing.T) {
			before := clock.Reading{Wall: noon, Elapsed: 77 * time.Hour}
			after := clock.Reading{Wall: noon.Add(tc.wall), Elapsed: before.Elapsed + tc.elapsed}
			if got := clock.Compare(before, after, asked); got != tc.want {
				t.Errorf("Compare = %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestWatchTellsOfEachChangeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var step atomic.Int64
		changes := make(chan clock.Change, 10)
		watch := clock.Watch{
			Every: asked,
			Read: func() clock.Reading {
				return clock.Reading{Wall: time.Now().Add(time.Duration(step.Load())), Elapsed: time.Since(began)}
			},
			Changed: func(_ context.Context, c clock.Change) { changes <- c },
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- watch.Run(ctx) }()
		for _, set := range []time.Duration{0, time.Minute, time.Minute, -time.Hour} {
			time.Sleep(time.Hour)
			synctest.Wait()
			step.Store(int64(set))
		}
		time.Sleep(time.Hour)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		close(changes)
		var got []clock.Change
		for c := range changes {
			got = append(got, c)
		}
		if len(got) != 2 || got[0] != (clock.Change{Step: time.Minute}) || got[1] != (clock.Change{Step: -time.Hour - time.Minute}) {
			t.Errorf("told of %+v", got)
		}
	})
}

// TestSystemGoesOn reads the real clocks: nobody sets them meanwhile.
func TestSystemGoesOn(t *testing.T) {
	system := clock.NewSystem()
	before := system.Read()
	for range 1000 {
		after := system.Read()
		if after.Elapsed < before.Elapsed || after.Wall.IsZero() {
			t.Fatalf("%+v after %+v", after, before)
		}
	}
}

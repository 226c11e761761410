package keys_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/writbroker/writ/keys"
)

func TestPlan(t *testing.T) {
	sched := schedule()
	prepublish := 5*time.Minute + 30*time.Second + 30*time.Second/4 + 40*time.Second
	active := keys.KeyInfo{ID: "a", Stage: keys.StageActive, Activated: epoch, Published: epoch}
	next := keys.KeyInfo{ID: "n", Stage: keys.StageNext, Published: epoch}
	retired := keys.KeyInfo{ID: "r", Stage: keys.StageRetired, DropAfter: epoch.Add(20 * time.Minute)}
	full := []keys.KeyInfo{active, next}
	for i := range keys.MaxKeys - 2 {
		full = append(full, keys.KeyInfo{ID: fmt.Sprint(i), Stage: keys.StageRetired, DropAfter: epoch.Add(9 * time.Hour)})
	}
	lateNext := next
	lateNext.Published = epoch.Add(time.Hour - time.Minute)
	tests := []struct {
		name string
		keys []keys.KeyInfo
		at   time.Duration
		want keys.Actions
	}{
		{"an empty ring gets a key that signs and its successor", nil, 0, keys.Actions{Create: []keys.Stage{keys.StageActive, keys.StageNext}}},
		{"a missing next is made at once", []keys.KeyInfo{active}, 0, keys.Actions{Create: []keys.Stage{keys.StageNext}}},
		{"nothing before its time", []keys.KeyInfo{active, next}, time.Hour - 1, keys.Actions{Due: epoch.Add(time.Hour)}},
		{"rotation on time", []keys.KeyInfo{active, next}, time.Hour, keys.Actions{Activate: "n", Create: []keys.Stage{keys.StageNext}}},
		{"a next that is not out long enough waits", []keys.KeyInfo{active, lateNext}, time.Hour, keys.Actions{Due: epoch.Add(time.Hour - time.Minute + prepublish)}},
		{"a clock that went back does nothing", []keys.KeyInfo{active, next}, -time.Hour, keys.Actions{Due: epoch.Add(time.Hour)}},
		{"a retired key stays to its last moment", []keys.KeyInfo{active, next, retired}, 20*time.Minute - 1, keys.Actions{Due: epoch.Add(20 * time.Minute)}},
		{"a retired key goes", []keys.KeyInfo{active, next, retired}, 20 * time.Minute, keys.Actions{Drop: []string{"r"}, Due: epoch.Add(time.Hour)}},
		{"a full ring keeps its keys and signs on", full, 2 * time.Hour, keys.Actions{Due: epoch.Add(9 * time.Hour)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := keys.Plan(keys.State{Version: 1, Keys: tt.keys}, sched, epoch.Add(tt.at))
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Plan = %+v\nwant   %+v", got, tt.want)
			}
		})
	}
}

func TestScheduleRefusesWhatIsNotSafe(t *testing.T) {
	if err := schedule().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*keys.Schedule)
		says   string
	}{
		"a key signs before verifiers can have it": {func(s *keys.Schedule) { s.Prepublish = 6*time.Minute + 17*time.Second }, "before every verifier"},
		"prepublish is the max-age alone":          {func(s *keys.Schedule) { s.Prepublish = s.JWKSMaxAge }, "before every verifier"},
		"a key goes while its tokens live":         {func(s *keys.Schedule) { s.RetireAfter = 32*time.Minute + 17*time.Second }, "while its tokens live"},
		"too many keys":                            {func(s *keys.Schedule) { s.RotateEvery, s.RetireAfter = time.Minute, 9*time.Hour }, "more than 16 keys"},
		"an unknown algorithm":                     {func(s *keys.Schedule) { s.Algorithm = "HS256" }, "none of"},
		"no rotation":                              {func(s *keys.Schedule) { s.RotateEvery = 0 }, "rotate_every"},
		"no max-age":                               {func(s *keys.Schedule) { s.JWKSMaxAge = 0 }, "max-age"},
		"no token life":                            {func(s *keys.Schedule) { s.MaxTTL = 0 }, "token life"},
		"a negative skew":                          {func(s *keys.Schedule) { s.Skew = -1 }, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			s := schedule()
			tt.change(&s)
			if err := s.Validate(); !errors.Is(err, keys.ErrSchedule) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Validate = %v, want it to say %q", err, tt.says)
			}
		})
	}
}

// TestPlanKeepsEveryKeyWhoseTokensLive runs plan after plan over random times,
// and holds each state to the rules.
func TestPlanKeepsEveryKeyWhoseTokensLive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sched := schedule()
		sched.RotateEvery = time.Duration(rapid.IntRange(8, 300).Draw(t, "rotate minutes")) * time.Minute
		if err := sched.Validate(); err != nil {
			t.Fatal(err)
		}
		var state keys.State
		now, made := epoch, 0
		lives := map[string]time.Time{} // kid → when its last token is dead
		published := map[string]time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "seconds")) * time.Second)
			actions := keys.Plan(state, sched, now)
			var created []keys.KeyInfo
			for _, stage := range actions.Create {
				if len(state.Keys) > 0 && rapid.IntRange(0, 4).Draw(t, "custody away") == 0 {
					break
				}
				made++
				id := fmt.Sprint("k", made)
				published[id] = now
				created = append(created, keys.KeyInfo{ID: id, Stage: stage, Published: now, Activated: now})
			}
			state = keys.Apply(state, actions, sched, now, created...)
			if again := keys.Plan(state, sched, now); again.Activate != "" || len(again.Drop) > 0 {
				t.Fatalf("not idempotent: %+v after %+v", again, actions)
			}
			stages := map[keys.Stage]int{}
			for _, k := range state.Keys {
				stages[k.Stage]++
			}
			if stages[keys.StageActive] != 1 || stages[keys.StageNext] > 1 || len(state.Keys) > keys.MaxKeys {
				t.Fatalf("stages %v", stages)
			}
			active, _ := state.Find(keys.StageActive)
			if out := now.Sub(published[active.ID]); active.ID != "k1" && out < sched.JWKSMaxAge {
				t.Fatalf("%s signs %v after it was published", active.ID, out)
			}
			lives[active.ID] = now.Add(sched.MaxTTL)
			for kid, until := range lives {
				if now.Before(until) && !state.Has(kid) {
					t.Fatalf("%s is gone %v before its last token", kid, until.Sub(now))
				}
			}
		}
	})
}

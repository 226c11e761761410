package keys_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/keys"
)

// wrong are clocks five minutes fast, five minutes slow, and right.
var wrong = []time.Duration{5 * time.Minute, -5 * time.Minute, 0}

// drive has replicas with wrong clocks rotate for hours, each as soon as its own clock says
// so, and sign all the while: one at a time first, so that the fast one finds what the slow
// one wrote, then all. It returns how often the key changed.
func drive(t tester, change func(*keys.Schedule)) int {
	t.Helper()
	w := newWorld(t, 5*time.Minute)
	change(&w.sched)
	for _, off := range wrong {
		w.join(t, off)
	}
	w.observe(t)
	changes, active := 0, ""
	for minute := range 8 * 60 {
		w.advance(time.Minute)
		for i := range w.replicas {
			at := (minute + i) % len(w.replicas) // whoever is first writes its own time
			if minute < 5*60 && (minute/17+at)%len(w.replicas) != 0 {
				continue
			}
			if err := w.replicas[at].Refresh(context.Background()); err != nil {
				t.Fatal(err)
			}
			w.sign(t, at)
			w.observe(t)
		}
		if kid := w.replicas[0].Ring().Active().KeyID(); kid != active {
			changes, active = changes+1, kid
		}
	}
	return changes
}

// TestClocksFiveMinutesOffDoNoHarm: with a schedule that allows for it, no key signs before
// every verifier can have it, and none goes while a token of its lives.
func TestClocksFiveMinutesOffDoNoHarm(t *testing.T) {
	for name, every := range map[string]time.Duration{"as usual": time.Hour, "as often as it may": 21 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			changes := drive(t, func(s *keys.Schedule) { s.RotateEvery = every })
			if least := int(8 * time.Hour / (every + 30*time.Minute)); changes < least {
				t.Errorf("the key changed %d times, want at least %d", changes, least)
			}
		})
	}
}

// TestASkewThatIsNotAllowedForIsFound shows what the margins are there for, and that drive
// would see it.
func TestASkewThatIsNotAllowedForIsFound(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*keys.Schedule)
		says   string
	}{
		"a key signs too early": {func(s *keys.Schedule) {
			s.Skew, s.RotateEvery, s.RetireAfter = 30*time.Second, 8*time.Minute, time.Hour
		}, "after it was published"},
		"a key goes too early": {func(s *keys.Schedule) { s.Skew = 30 * time.Second }, "before its last token"},
	} {
		t.Run(name, func(t *testing.T) {
			found := &verdict{}
			done := make(chan struct{})
			go func() {
				defer close(done)
				drive(found, tc.change)
			}()
			<-done
			if !strings.Contains(found.said, tc.says) {
				t.Errorf("it found %q, want %q", found.said, tc.says)
			}
		})
	}
}

// verdict is a tester that notes the first failure.
type verdict struct{ said string }

func (v *verdict) Helper()           {}
func (v *verdict) Fatal(args ...any) { v.Fatalf("%s", fmt.Sprint(args...)) }
func (v *verdict) Fatalf(format string, args ...any) {
	v.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

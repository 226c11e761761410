package keys_test

import (
	"context"
	"testing"
	"time"
	"unsafe"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/file"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

// slowCell takes effect late, once: its process is stopped on the way.
type slowCell struct {
	*cell
	clock *clock
	by    time.Duration
}

func (c *slowCell) Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error) {
	c.clock.add(c.by)
	c.by = 0
	return c.cell.Swap(ctx, name, old, value)
}

// TestAWriteThatCameLateCountsFromThen: whoever is stopped between planning a rotation and
// writing it must not cut short how long a key is published.
func TestAWriteThatCameLateCountsFromThen(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	cfg := f.config(c)
	slow := &slowCell{cell: f.cell, clock: c}
	cfg.Cell = slow
	r, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour)
	slow.by = 10 * time.Minute
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	shown := c.Now()
	for _, k := range r.List() {
		switch k.Stage {
		case keys.StageNext:
			if k.Published.Before(shown) {
				t.Errorf("the next key was published at %v, it is said, which is before %v", k.Published, shown)
			}
		case keys.StageActive:
			if k.Activated.Before(shown) || k.Published.After(epoch) {
				t.Errorf("the active key: %+v", k)
			}
		case keys.StageRetired:
			sched := schedule()
			if least := shown.Add(sched.MaxTTL + sched.MaxLag + 5*sched.Skew); k.DropAfter.Before(least) || k.Retired.Before(shown) {
				t.Errorf("the retired key goes at %v, which is before %v", k.DropAfter, least)
			}
		}
	}
	if again := f.replica(t, t.Context(), c).Ring(); again.Version() != r.Ring().Version() {
		t.Errorf("the store is at version %d, this replica at %d", again.Version(), r.Ring().Version())
	}
}

// TestNoClockMakesAnOldRingFresh: in the hour in which the store was away one of the machine's
// two clocks stood still: the wall clock was set back, or the machine slept.
func TestNoClockMakesAnOldRingFresh(t *testing.T) {
	f := newFleet(t)
	began := time.Now()
	now := began
	cfg := f.config(&clock{})
	cfg.Now = func() time.Time { return now }
	r, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]time.Time{
		"both clocks went on":         began.Add(time.Hour),
		"the wall clock was set back": monotonic(began, time.Hour),
		"the machine slept":           monotonic(began.Add(time.Hour), -time.Hour),
	} {
		now = at
		if _, err := r.Ring().Active().Sign(t.Context(), []byte("x")); err == nil || r.Fresh() {
			t.Errorf("%s: it signs, stale for %v", name, r.Staleness(now))
		}
	}
}

// monotonic moves the monotonic reading of a time alone. Nothing but a clock that was set, or a
// machine that slept, makes such a time, so this test writes it into the place where it stands.
func monotonic(t time.Time, by time.Duration) time.Time {
	(*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t)).ext += int64(by)
	return t
}

// TestARingThatLacksItsNextKeySaysSo: custody went away before another replica had opened the
// key that the first one made.
func TestARingThatLacksItsNextKeySaysSo(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	first := f.replica(t, t.Context(), c)
	custody, err := file.New(f.secret)
	if err != nil {
		t.Fatal(err)
	}
	other := &vault{Custody: custody}
	cfg := f.config(c)
	cfg.Custody = other
	second, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	other.away = store.ErrUnavailable
	c.add(time.Hour)
	for _, r := range []*keys.Rotator{first, second} {
		if err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if first.Ring().Lacks() || !second.Ring().Lacks() {
		t.Errorf("lacks its next key: the maker %t, the other %t", first.Ring().Lacks(), second.Ring().Lacks())
	}
	if _, err := token.Sign(t.Context(), "JWT", []byte("{}"), second.Ring().Active()); err != nil {
		t.Errorf("it does not sign with the key that it has: %v", err)
	}
	other.away = nil
	if err := second.Refresh(t.Context()); err != nil || second.Ring().Lacks() {
		t.Errorf("custody is back: %v, lacks its next key %t", err, second.Ring().Lacks())
	}
}

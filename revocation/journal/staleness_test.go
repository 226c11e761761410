package journal_test

import (
	"testing"
	"time"
	"unsafe"

	"github.com/writbroker/writ/revocation"
)

// TestNoClockMakesOldNewsFresh: the log is away for an hour, in which one of the two clocks of
// the machine does not say so: the wall clock was set back, or the machine slept.
func TestNoClockMakesOldNewsFresh(t *testing.T) {
	s := newStage(t)
	began := time.Now()
	now := began
	a := &replica{name: "a", log: &memLog{data: s.data}}
	a.index = revocation.NewIndex(revocation.Options{})
	a.Journal = openJournal(t, config{Log: a.log, Index: a.index, Now: func() time.Time { return now }})
	s.sync(a)
	a.log.down.Store(true)
	for name, at := range map[string]time.Time{
		"both clocks went on":         began.Add(time.Hour),
		"the wall clock was set back": monotonic(began, time.Hour),
		"the machine slept":           monotonic(began.Add(time.Hour), -time.Hour),
	} {
		now = at
		if got := a.Staleness(now); got != time.Hour || a.Ready() {
			t.Errorf("%s: stale for %v, ready %v", name, got, a.Ready())
		}
		if got := a.Heartbeat().ConfirmedAgoMS; got != time.Hour.Milliseconds() {
			t.Errorf("%s: a heartbeat says %d ms", name, got)
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

package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// elapsed counts the time asleep, too.
func (s *System) elapsed() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return time.Since(s.origin) // no such clock; there never will be
	}
	return time.Duration(t.Nano())
}

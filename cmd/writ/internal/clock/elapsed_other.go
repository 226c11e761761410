//go:build !linux

package clock

import "time"

func (s *System) elapsed() time.Duration { return time.Since(s.origin) }

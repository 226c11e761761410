package revoker_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/internal/iamtest"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts/revoker"
)

// However often somebody asks, and however long it takes, the source is asked at a pace; and it is
// asked as often after the clock was set.
func TestThePaceOfLooks(t *testing.T) {
	const often = 10 * time.Millisecond
	for name, row := range map[string]struct {
		wake, takes, step time.Duration
		least, most       int64 // in ten minutes
	}{
		"nobody asks":                  {least: 6, most: 21},
		"all the time":                 {wake: often, least: 2000, most: 6001},
		"all the time, and it is slow": {wake: often, takes: time.Second, least: 100, most: 121},
		"the clock goes back":          {step: -5 * time.Hour, least: 6, most: 21},
		"back, and somebody asks":      {wake: often, step: -5 * time.Hour, least: 2000, most: 6001},
		"the clock goes forward":       {step: 5 * time.Hour, least: 6, most: 21},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ahead, looks atomic.Int64
				a := newAccount(t, iamtest.Options{})
				r := a.replica(func(c *revoker.Config) {
					c.Now = func() time.Time { return time.Now().Round(0).Add(time.Duration(ahead.Load())) } // a wall clock
				})
				defer a.run(r, source{due: func() []mint.Deny {
					looks.Add(1)
					time.Sleep(row.takes)
					return nil
				}})()
				time.Sleep(time.Minute)
				ahead.Store(int64(row.step))
				looks.Store(0)
				for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); time.Sleep(max(row.wake, often)) {
					if row.wake > 0 {
						r.Wake()
					}
				}
				if n := looks.Load(); n < row.least || n > row.most {
					t.Errorf("%d looks in ten minutes, want %d to %d", n, row.least, row.most)
				}
			})
		})
	}
}

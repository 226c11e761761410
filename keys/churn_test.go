package keys_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/keys"
)

// While custody hangs for longer than a poll, nothing is written over and over.
func TestNoChurnWhileCustodyHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		h := &hanging{Custody: f.custody}
		r := start(t, f, 1, func(_ int, cfg *keys.Config) { cfg.Custody = h })[0]
		time.Sleep(50 * time.Minute)
		h.by.Store(int64(8 * time.Second))
		time.Sleep(30 * time.Minute)
		before := f.cell.swaps
		time.Sleep(10 * time.Minute)
		if n := f.cell.swaps - before; n > 2 {
			t.Errorf("%d versions of the ring in 10 minutes; version %d", n, r.Ring().Version())
		}
	})
}

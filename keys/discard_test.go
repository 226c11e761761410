package keys_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/keys"
)

type stuck struct{ *vault }

func (s stuck) Discard(ctx context.Context, _ string, _ keys.KeyInfo) error {
	<-ctx.Done()
	return errors.New("away")
}

func TestSigningGoesOnWhileDiscardHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		r := start(t, f, 1, func(_ int, cfg *keys.Config) { cfg.Custody = stuck{f.custody} })[0]
		refused := 0
		for range 10 * 3600 {
			time.Sleep(time.Second)
			if _, err := r.Ring().Active().Sign(t.Context(), []byte("x")); err != nil {
				refused++
			}
		}
		if refused > 0 {
			t.Errorf("%d of 36000 signatures refused", refused)
		}
	})
}

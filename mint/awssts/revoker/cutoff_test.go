package revoker_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/writbroker/writ/internal/iamtest"
	"github.com/writbroker/writ/mint"
)

// A replica that starts gives nobody what AWS denies already, though Run has not looked yet.
func TestAReplicaThatStartsKnowsTheCutoffs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, iamtest.Options{})
		d := deny(lake, "agent-1")
		a.replica().Deny(t.Context(), []mint.Deny{d})
		late := a.replica()
		if err := late.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := late.Cutoff(lake, "agent-1"); got.Before(d.Before) {
			t.Errorf("the cutoff is %v, want %v", got, d.Before)
		}
	})
}

// taking is a source that is told when what it gave is taken.
type taking struct {
	source
	taken func()
}

func (s taking) Taken() { s.taken() }

// The source hears that its denies are taken when Cutoff gives them, and no sooner.
func TestWhatIsTakenHasItsCutoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAccount(t, iamtest.Options{}).replica()
		d, heard := deny(lake, "agent-1"), 0
		ctx, stop := context.WithCancel(t.Context())
		err := r.Run(ctx, taking{source{due: func() []mint.Deny { return []mint.Deny{d} }}, func() {
			heard++
			if got := r.Cutoff(lake, "agent-1"); got.Before(d.Before) {
				t.Errorf("the cutoff is %v, want %v", got, d.Before)
			}
			stop()
		}})
		if heard != 1 || !errors.Is(err, context.Canceled) {
			t.Errorf("heard %d times, and Run: %v", heard, err)
		}
	})
}

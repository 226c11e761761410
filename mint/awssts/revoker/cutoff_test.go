package revoker_test

import (
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

package broker_test

import (
	"testing"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/revocation"
)

// Sessions that were made before tokens.max_ttl was raised are found afterwards.
func TestSessionsOutliveAConfiguration(t *testing.T) {
	w := brokertest.New(t, brokertest.Options{})
	for _, lives := range [][2]time.Duration{{time.Hour, 2 * time.Hour}, {15 * time.Minute, time.Hour}, {time.Hour, 12 * time.Hour}} {
		before := broker.NewLedger(broker.LedgerConfig{Now: w.Now, Tally: w.Store.Tally(), MaxTTL: lives[0]})
		before.Session(t.Context(), atAWS("user:1", "k8s:a", "t1", w.Now().Add(lives[0])))
		after := broker.NewLedger(broker.LedgerConfig{Now: w.Now, Tally: w.Store.Tally(), MaxTTL: lives[1]})
		hit, incomplete := after.Sessions(t.Context(), rule(revocation.SelectSubject, "user:1"))
		if len(hit) == 0 {
			t.Errorf("%v: a live session is not found, and the answer says nothing: %q", lives, incomplete)
		}
		// And those of a replica that has the new one already.
		after.Session(t.Context(), atAWS("user:2", "k8s:a", "t1", w.Now().Add(lives[1])))
		if hit, incomplete := before.Sessions(t.Context(), rule(revocation.SelectSubject, "user:2")); len(hit) == 0 {
			t.Errorf("%v: the old replica does not find it: %q", lives, incomplete)
		}
	}
}

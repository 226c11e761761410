package broker_test

import (
	"fmt"
	"testing"

	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/revocation"
)

// Who has the key signs proofs for AWS himself, and the sessions that he makes are in no
// ledger: where the key vouched for sessions, only the whole role takes all of them back.
func TestALeakedKeyTakesTheWholeRoleBack(t *testing.T) {
	c := newDenying(t)
	s, _ := c.session(c.workload("analyst"))
	c.takeBack(revocation.SelectKey, s.KeyID)
	if got := fmt.Sprint(c.denied(brokertest.LakeRole)); got != "[whole role ]" {
		t.Errorf("the forger's sessions live on: the role denies %s", got)
	}
}

// With no session of the broker's own, nothing is denied at all.
func TestALeakedKeyWithoutSessions(t *testing.T) {
	c := newDenying(t)
	s, _ := c.session(c.workload("analyst"))
	c.takeBack(revocation.SelectKey, s.KeyID)
	if got := fmt.Sprint(c.denied(brokertest.AuditRole)); got != "[whole role ]" {
		t.Errorf("a role that trusts the issuer denies %s", got)
	}
}

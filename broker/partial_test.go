package broker_test

import (
	"strings"
	"testing"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
)

// hasTeam denies what a principal of a team asks for; it tests presence, so a principal of whom
// it is not known whether it has one must not pass for one without.
const hasTeam = `  - {name: teams, scopes: ["warehouse:read:sales/eu/**"], when: 'has(%.attributes.team)'}
`

func withDeny(who string) string {
	return strings.Replace(brokertest.Bundle, "kind: denies\ndenies:\n", "kind: denies\ndenies:\n"+strings.Replace(hasTeam, "%", who, 1), 1)
}

// A parent that was minted when nothing read the attribute does not carry it.
func TestAReloadedDenyIsNotShedByAnOlderParent(t *testing.T) {
	w := newWorld(t, brokertest.Options{})
	raw := w.Corp.Token(t, "alice", map[string]any{"team": "data"})
	parent := w.token(raw, actor(w.workload("analyst")), scope("warehouse:read:sales/eu/*"))
	w.minted(parent, actor(w.workload("helper")), scope("warehouse:read:sales/eu/*"))

	w.Policy.Replace(brokertest.Parse(t, withDeny("subject"), w.Sources.Sources()))
	w.refused(broker.ErrScope, raw, actor(w.workload("analyst")), scope("warehouse:read:sales/eu/*"))
	w.refused(broker.ErrScope, parent, actor(w.workload("helper")), scope("warehouse:read:sales/eu/*"))
	w.refused(broker.ErrScope, parent, scope("warehouse:read:sales/eu/*"))
}

// Who has no such attribute, and is known to have none, is not denied, nor are its descendants.
func TestADenyOfPresenceSparesWhoHasNone(t *testing.T) {
	w := newWorld(t, brokertest.Options{Bundle: withDeny("subject")})
	parent := w.token(w.person("bob"), actor(w.workload("analyst")), scope("warehouse:read:sales/eu/*"))
	w.minted(parent, actor(w.workload("helper")), scope("warehouse:read:sales/eu/*"))
}

// An act of a foreign token names an agent and proves nothing of it.
func TestADenyIsNotShedByAForeignAct(t *testing.T) {
	w := newWorld(t, brokertest.Options{Bundle: withDeny("agent")})
	raw := w.Cluster.Token(t, "analyst", map[string]any{"act": map[string]any{"sub": "helper"}})
	w.refused(broker.ErrScope, raw, scope("warehouse:read:sales/eu/*"))
	w.refused(broker.ErrScope, raw, actor(w.Cluster.Token(t, "helper", map[string]any{"team": "data"})), scope("warehouse:read:sales/eu/*"))
	w.minted(raw, actor(w.workload("helper")), scope("warehouse:read:sales/eu/*"))
}

package bench

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

const (
	lineage = 0x5741_5249_5442_4e43
	// ofEach is how many rules there are of each selector other than token.
	ofEach = 200
)

// numbered is the n-th of a series of UUIDs in the form of those that Writ makes: distinct,
// spread like random ones, and the same in each run.
func numbered(series byte, n uint64) string {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], 0x0190_0000_0000_0000+n>>8<<16)
	z := (n+1)*0x9e37_79b9_7f4a_7c15 ^ n>>7
	binary.BigEndian.PutUint64(id[8:], z)
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	id[6], id[7] = 0x70|series&0x0f, byte(n>>32)
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// Series of numbered.
const (
	seriesRule byte = iota
	seriesRevoked
	seriesToken
	seriesParent
	seriesGrandparent
)

// markerEvent opens the lineage in which the rules are.
func markerEvent() revocation.Event {
	at := token.Rev{Lineage: lineage, Seq: 1}
	return revocation.Event{Type: revocation.EventLineage, Position: at,
		Lineage: &revocation.Lineage{ID: lineage, Marker: 1, OpenedAt: time.Now()}}
}

// ruleEvent is the rule at place n of the log.
func ruleEvent(n int, s revocation.Selector, value string) revocation.Event {
	at := token.Rev{Lineage: lineage, Seq: uint64(n) + 2}
	now := time.Now()
	return revocation.Event{Type: revocation.EventRule, Position: at, Rule: &revocation.Rule{
		ID: numbered(seriesRule, uint64(n)), Selector: s, Value: value,
		CreatedAt: now, ExpiresAt: now.Add(time.Hour), Entries: []token.Rev{at},
	}}
}

// tokenRule revokes a token that nobody has.
func tokenRule(n int) revocation.Event {
	return ruleEvent(n, revocation.SelectToken, numbered(seriesRevoked, uint64(n)))
}

// otherRules has rules by every other selector but all; none hits a token of this package.
func otherRules(first int) []revocation.Event {
	var out []revocation.Event
	for i := range ofEach {
		for _, s := range revocation.Selectors() {
			value := fmt.Sprintf("%s:revoked-%d", s, i)
			switch s {
			case revocation.SelectAll, revocation.SelectToken:
				continue
			case revocation.SelectIssuer:
				value = fmt.Sprintf("revoked-%d:", i)
			case revocation.SelectScope:
				value = fmt.Sprintf("warehouse:read:sales/revoked-%d/**", i)
				if i%2 == 0 {
					value = fmt.Sprintf("warehouse:*:revoked-%d*/eu/*", i)
				}
			default:
			}
			out = append(out, ruleEvent(first+len(out), s, value))
		}
	}
	return out
}

// bystander is the n-th token that no rule hits: three agents deep, with eight scopes.
func bystander(n int) (*token.Claims, error) {
	set, err := scopes.ParseSet(fmt.Sprintf("warehouse:read:sales/eu/%d warehouse:read:sales/us/* warehouse:read:hr/x/y "+
		"warehouse:write:tmp/%d/** mail:send:team/ops mail:read:inbox/* crm:read:accounts/*/name crm:list:accounts/%d", n, n, n))
	if err != nil {
		return nil, fmt.Errorf("making scopes of token: %w", err)
	}
	id := uint64(n)
	now := time.Now().Unix()
	name := func(role string) string { return fmt.Sprintf("%sagents-%d:%s-%d", prefix, n%teams, role, n) }
	return &token.Claims{
		Subject: fmt.Sprintf("user:person-%d", n), ClientID: name("outer"),
		Audience: []string{toolAudience}, IssuedAt: now, Expiry: now + 900,
		ID: numbered(seriesToken, id), Scope: set, Task: fmt.Sprintf("task-%d", n), Roles: []string{"analyst", "reader"},
		Rev: token.Rev{Lineage: lineage, Seq: 1}, Policy: "0123456789abcdef",
		Actor: &token.Actor{Subject: name("outer"), Actor: &token.Actor{Subject: name("middle"), Actor: &token.Actor{Subject: name("inner")}}},
		Ancestors: []token.Ancestor{
			{ID: numbered(seriesGrandparent, id), KeyID: "key-1"}, {ID: numbered(seriesParent, id), KeyID: "key-1"},
		},
	}, nil
}

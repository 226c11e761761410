package revocation_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// testID makes a distinct UUID of the form that Writ gives out.
func testID(n uint64) string {
	var u uuid.UUID
	binary.BigEndian.PutUint64(u[:8], 0x0190_0000_0000_7000|n>>16<<16)
	binary.BigEndian.PutUint64(u[8:], 0x8000_0000_0000_0000|n*0x9e3779b97f4a7c15>>1)
	u[6], u[8] = u[6]&0x0f|0x70, u[8]&0x3f|0x80
	binary.BigEndian.PutUint32(u[12:], uint32(n))
	return u.String()
}

var testStart = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func testRule(id uint64, s revocation.Selector, value string) revocation.Rule {
	return revocation.Rule{ID: testID(id), Selector: s, Value: value,
		CreatedAt: testStart, ExpiresAt: testStart.Add(time.Hour)}
}

func ruleEvent(r revocation.Rule, at token.Rev) revocation.Event {
	if !at.IsZero() {
		r.Entries = revocation.MergeEntries(r.Entries, at)
	}
	return revocation.Event{Type: revocation.EventRule, Rule: &r, Position: at}
}

func marker(lineage, seq uint64, base ...token.Rev) revocation.Event {
	return revocation.Event{Type: revocation.EventLineage, Position: token.Rev{Lineage: lineage, Seq: seq},
		Lineage: &revocation.Lineage{ID: lineage, Marker: seq, Base: base, OpenedAt: testStart}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func scopeSet(t testing.TB, text string) scopes.Set {
	t.Helper()
	set, err := scopes.ParseSet(text)
	must(t, err)
	return set
}

// crowded makes an index with n token rules and every other selector populated, and
// tokens that none of them hits.
func crowded(tb testing.TB, n int) (*revocation.Index, []*token.Claims) {
	x := revocation.NewIndex(revocation.Options{})
	must(tb, x.Apply(marker(1, 1)))
	at := token.Rev{Lineage: 1, Seq: 1}
	put := func(r revocation.Rule) {
		at.Seq++
		must(tb, x.Apply(ruleEvent(r, at)))
	}
	for i := range n {
		put(testRule(uint64(i), revocation.SelectToken, testID(uint64(1<<32+i))))
	}
	id := uint64(1 << 33)
	for i := range 200 {
		for _, s := range revocation.Selectors() {
			id++
			value := fmt.Sprintf("%s:revoked-%d", s, i)
			switch s {
			case revocation.SelectAll, revocation.SelectToken:
				continue
			case revocation.SelectScope:
				value = fmt.Sprintf("warehouse:read:sales/revoked-%d/**", i)
				if i%2 == 0 {
					value = fmt.Sprintf("warehouse:*:revoked-%d*/eu/*", i)
				}
			case revocation.SelectIssuer:
				value = fmt.Sprintf("revoked-%d:", i)
			default:
			}
			put(testRule(id, s, value))
		}
	}
	early := token.Rev{Lineage: 1, Seq: 1}
	var tokens []*token.Claims
	for i := range 4096 {
		c := &token.Claims{
			Issuer: "https://writ.example", Subject: fmt.Sprintf("user:person-%d", i), ClientID: fmt.Sprintf("k8s:prod:agent-%d-c", i),
			Audience: []string{"https://warehouse.example"}, ID: testID(uint64(1<<34 + i)), Rev: early, Policy: "0123456789abcdef",
			Task: fmt.Sprintf("task-%d", i), Roles: []string{"analyst", "reader"},
			Scope: scopeSet(tb, fmt.Sprintf("warehouse:read:sales/eu/%d warehouse:read:sales/us/* warehouse:read:hr/x/y warehouse:write:tmp/%d/** "+
				"mail:send:team/ops mail:read:inbox/* crm:read:accounts/*/name crm:list:accounts/%d", i, i, i)),
			Actor: &token.Actor{Subject: fmt.Sprintf("k8s:prod:agent-%d-c", i), Actor: &token.Actor{Subject: fmt.Sprintf("k8s:prod:agent-%d-b", i),
				Actor: &token.Actor{Subject: fmt.Sprintf("k8s:prod:agent-%d-a", i)}}},
			Ancestors: []token.Ancestor{{ID: testID(uint64(1<<35 + i)), KeyID: "key-2026-09"}, {ID: testID(uint64(1<<36 + i)), KeyID: "key-2026-09"}},
		}
		tokens = append(tokens, c)
	}
	return x, tokens
}

func BenchmarkRevoked(b *testing.B) {
	x, tokens := crowded(b, 1_000_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if hit, ok := x.Revoked(tokens[i%len(tokens)], "key-2026-09"); ok {
			b.Fatalf("hit: %+v", hit)
		}
	}
}

func BenchmarkRevokedOneToken(b *testing.B) {
	x, tokens := crowded(b, 1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		if hit, ok := x.Revoked(tokens[0], "key-2026-09"); ok {
			b.Fatalf("hit: %+v", hit)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	x := revocation.NewIndex(revocation.Options{})
	must(b, x.Apply(marker(1, 1)))
	seq := uint64(1)
	for b.Loop() {
		seq++
		must(b, x.Apply(ruleEvent(testRule(seq, revocation.SelectToken, testID(1<<32+seq)), token.Rev{Lineage: 1, Seq: seq})))
	}
}

func TestMillionRulesFitInMemory(t *testing.T) {
	const n = 1_000_000
	before := heap()
	x, _ := crowded(t, n)
	used := heap() - before
	t.Logf("%d bytes a rule", used/n)
	if used/n > 110 { // 100 is the goal; the tokens and the other rules of this test count here too
		t.Errorf("%d bytes a rule", used/n)
	}
	runtime.KeepAlive(x)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

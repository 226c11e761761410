package revocation_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// model is the definition, written down without any thought of speed.
type model struct {
	rules    map[string]revocation.Rule
	lifted   map[string]bool
	lineages map[uint64]revocation.Lineage
}

func newModel() *model {
	return &model{rules: map[string]revocation.Rule{}, lifted: map[string]bool{}, lineages: map[uint64]revocation.Lineage{}}
}

// applied: whoever stands at rev has applied what lies at e.
func (m *model) applied(rev, e token.Rev) bool {
	g, ok := m.lineages[rev.Lineage]
	if !ok || rev.Seq < g.Marker {
		return false
	}
	if e.Lineage == rev.Lineage {
		return e.Seq <= rev.Seq
	}
	for _, b := range g.Base {
		if e.Lineage == b.Lineage && e.Seq <= b.Seq {
			return true
		}
	}
	return len(g.Base) > 0 && m.applied(g.Base[0], e)
}

func (m *model) proven(r *revocation.Rule, rev token.Rev) bool {
	return slices.ContainsFunc(r.Entries, func(e token.Rev) bool { return m.applied(rev, e) })
}

func agents(c *token.Claims) []string {
	return append([]string{c.Subject, c.ClientID}, c.Actor.Chain()...)
}

func (m *model) matches(r *revocation.Rule, c *token.Claims, kid string) bool {
	switch r.Selector {
	case revocation.SelectToken:
		return r.Value == c.ID || slices.ContainsFunc(c.Ancestors, func(a token.Ancestor) bool { return a.ID == r.Value })
	case revocation.SelectKey:
		return r.Value == kid || slices.ContainsFunc(c.Ancestors, func(a token.Ancestor) bool { return a.KeyID == r.Value })
	case revocation.SelectSubject:
		return r.Value == c.Subject
	case revocation.SelectAgent:
		return slices.Contains(agents(c), r.Value)
	case revocation.SelectIssuer:
		return slices.ContainsFunc(agents(c), func(id string) bool { return strings.HasPrefix(id, r.Value) })
	case revocation.SelectTask:
		return r.Value == c.Task
	case revocation.SelectRole:
		return slices.Contains(c.Roles, r.Value)
	case revocation.SelectAudience:
		return slices.Contains(c.Audience, r.Value)
	case revocation.SelectPolicy:
		return r.Value == c.Policy
	case revocation.SelectAll:
		return true
	case revocation.SelectScope:
		s, _ := scopes.Parse(r.Value)
		return c.Scope.Overlaps(s)
	}
	return false
}

func (m *model) revoked(c *token.Claims, kid string) (ids []string) {
	for id, r := range m.rules {
		if r.Quarantine || !m.matches(&r, c, kid) {
			continue
		}
		if r.Selector == revocation.SelectKey || r.Selector == revocation.SelectPolicy || !m.proven(&r, c.Rev) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (m *model) quarantined(ids []string) bool {
	for _, r := range m.rules {
		if r.Quarantine && slices.ContainsFunc(ids, func(id string) bool {
			return r.Selector == revocation.SelectAll || r.Value == id || r.Selector == revocation.SelectIssuer && strings.HasPrefix(id, r.Value)
		}) {
			return true
		}
	}
	return false
}

func (m *model) refuses(f revocation.ForeignToken) bool {
	for _, r := range m.rules {
		old := f.IssuedAt.IsZero() || !f.IssuedAt.After(r.CreatedAt.Add(30*time.Second))
		hit := false
		switch r.Selector {
		case revocation.SelectToken:
			hit = r.Value == f.TokenID
		case revocation.SelectSubject:
			hit = old && r.Value == f.Subject
		case revocation.SelectAgent:
			hit = old && (r.Value == f.Subject || slices.Contains(f.Actors, r.Value))
		case revocation.SelectIssuer:
			hit = old && slices.ContainsFunc(append([]string{f.Subject}, f.Actors...), func(id string) bool { return strings.HasPrefix(id, r.Value) })
		default:
		}
		if hit && !r.Quarantine {
			return true
		}
	}
	return false
}

// drawn values come from few names, so that rules and tokens meet.
var (
	drawPrincipal = rapid.SampledFrom([]string{"k8s:prod:a", "k8s:prod:b", "k8s:dev:a", "user:ann", "user:bob", "spiffe://td/a", "spiffe://td/b/c"})
	drawPrefix    = rapid.SampledFrom([]string{"k8s:", "k8s:prod:", "user:", "spiffe://td/", "other/"})
	drawSegment   = rapid.SampledFrom([]string{"a", "ab", "abc", "b", "a*", "ab*", "*", "b*"})
	drawRole      = rapid.SampledFrom([]string{"reader", "writer", "admin", "https://a.example"})
	drawAudience  = rapid.SampledFrom([]string{"https://a.example", "https://b.example", "reader"})
	drawTask      = rapid.SampledFrom([]string{"task-1", "task-2", "user:ann"})
	drawKey       = rapid.SampledFrom([]string{"k1", "k2", "k3"})
	drawPolicy    = rapid.SampledFrom([]string{"0123456789abcdef", "fedcba9876543210"})
	drawTool      = rapid.SampledFrom([]string{"crm", "mail", "crmx"})
	drawAction    = rapid.SampledFrom([]string{"read", "write"})
)

func drawJTI(t *rapid.T) string {
	if rapid.IntRange(0, 5).Draw(t, "odd") == 0 {
		return rapid.SampledFrom([]string{"odd-1", "odd-2", strings.ToUpper(testID(0xabc))}).Draw(t, "jti")
	}
	return testID(rapid.Uint64Range(0, 9).Draw(t, "jti"))
}

func drawScope(t *rapid.T, action string) string {
	segments := rapid.SliceOfN(drawSegment, 1, 3).Draw(t, "segments")
	if rapid.Bool().Draw(t, "tail") {
		segments = append(segments, "**")
	}
	return drawTool.Draw(t, "tool") + ":" + action + ":" + strings.Join(segments, "/")
}

func drawRule(t *rapid.T) revocation.Rule {
	s := rapid.SampledFrom(revocation.Selectors()).Draw(t, "selector")
	r := revocation.Rule{ID: testID(rapid.Uint64Range(1<<20, 1<<20+200).Draw(t, "id")), Selector: s,
		CreatedAt: testStart.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "created")) * time.Minute), Reason: rapid.SampledFrom([]string{"", "leak", "left"}).Draw(t, "reason")}
	r.ExpiresAt = r.CreatedAt.Add(time.Hour)
	switch s {
	case revocation.SelectToken:
		r.Value = drawJTI(t)
	case revocation.SelectSubject, revocation.SelectAgent:
		r.Value = drawPrincipal.Draw(t, "value")
	case revocation.SelectIssuer:
		r.Value = drawPrefix.Draw(t, "value")
	case revocation.SelectTask:
		r.Value = drawTask.Draw(t, "value")
	case revocation.SelectRole:
		r.Value = drawRole.Draw(t, "value")
	case revocation.SelectAudience:
		r.Value = drawAudience.Draw(t, "value")
	case revocation.SelectKey:
		r.Value = drawKey.Draw(t, "value")
	case revocation.SelectPolicy:
		r.Value = drawPolicy.Draw(t, "value")
	case revocation.SelectScope:
		r.Value = drawScope(t, rapid.SampledFrom([]string{"read", "write", "*"}).Draw(t, "action"))
	case revocation.SelectAll:
	}
	if revocation.CheckSelector(s, r.Value, true) == nil && rapid.IntRange(0, 3).Draw(t, "quarantine") == 0 {
		r.Quarantine, r.ExpiresAt = true, time.Time{}
	}
	return r
}

func drawRev(t *rapid.T) token.Rev {
	return token.Rev{Lineage: rapid.Uint64Range(0, 5).Draw(t, "lineage"), Seq: rapid.Uint64Range(0, 12).Draw(t, "seq")}
}

func drawClaims(t *rapid.T) *token.Claims {
	c := &token.Claims{Subject: drawPrincipal.Draw(t, "sub"), ClientID: drawPrincipal.Draw(t, "client"), ID: drawJTI(t), Rev: drawRev(t),
		Policy: drawPolicy.Draw(t, "pol"), Task: rapid.SampledFrom([]string{"", "task-1", "task-2"}).Draw(t, "txn"),
		Audience: rapid.SliceOfN(drawAudience, 1, 2).Draw(t, "aud"), Roles: rapid.SliceOfN(drawRole, 0, 2).Draw(t, "roles")}
	for range rapid.IntRange(0, 3).Draw(t, "depth") {
		c.Actor = &token.Actor{Subject: drawPrincipal.Draw(t, "act"), Actor: c.Actor}
		c.Ancestors = append(c.Ancestors, token.Ancestor{ID: drawJTI(t), KeyID: drawKey.Draw(t, "anc kid")})
	}
	var texts []string
	for range rapid.IntRange(1, 4).Draw(t, "scopes") {
		texts = append(texts, drawScope(t, drawAction.Draw(t, "action")))
	}
	c.Scope, _ = scopes.ParseSet(strings.Join(texts, " "))
	return c
}

// TestIndexIsTheModel applies random histories to an index and to the model, sends the
// index through snapshots and sweeps, and asks both about random tokens.
func TestIndexIsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, x := newModel(), revocation.NewIndex(revocation.Options{})
		apply := func(e revocation.Event) {
			if err := x.Apply(e); err != nil {
				t.Fatalf("applying %+v: %v", e, err)
			}
		}
		for n := range uint64(rapid.IntRange(1, 4).Draw(t, "lineages")) {
			g := revocation.Lineage{ID: n + 1, Marker: rapid.Uint64Range(1, 4).Draw(t, "marker"), OpenedAt: testStart.Add(time.Duration(n) * time.Second)}
			if n > 0 {
				for _, b := range rapid.SliceOfNDistinct(rapid.Uint64Range(1, n), 0, 2, rapid.ID).Draw(t, "base") {
					g.Base = append(g.Base, token.Rev{Lineage: b, Seq: rapid.Uint64Range(1, 10).Draw(t, "base seq")})
				}
			}
			m.lineages[g.ID] = g
			apply(revocation.Event{Type: revocation.EventLineage, Lineage: &g})
		}
		for range rapid.IntRange(1, 25).Draw(t, "events") {
			step(t, m, x, apply)
		}
		x = reborn(t, x)
		for range 12 {
			ask(t, m, x)
		}
	})
}

// TestScopeRulesOverlapExactly holds the trie against package scopes.
func TestScopeRulesOverlapExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := revocation.NewIndex(revocation.Options{})
		var rules []scopes.Scope
		for i := range rapid.IntRange(1, 5).Draw(t, "rules") {
			r := testRule(uint64(i), revocation.SelectScope, drawScope(t, rapid.SampledFrom([]string{"read", "*"}).Draw(t, "action")))
			if err := x.Apply(ruleEvent(r, token.Rev{})); err != nil {
				t.Fatal(err)
			}
			s, _ := scopes.Parse(r.Value)
			rules = append(rules, s)
		}
		for range 10 {
			text := drawScope(t, rapid.SampledFrom([]string{"read", "write", "*"}).Draw(t, "action"))
			set, err := scopes.ParseSet(text)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.ContainsFunc(rules, set.Overlaps)
			if _, got := x.Revoked(&token.Claims{Scope: set}, "k"); got != want {
				t.Fatalf("%s is hit: %v, want %v; rules %v", text, got, want, rules)
			}
		}
	})
}

func step(t *rapid.T, m *model, x *revocation.Index, apply func(revocation.Event)) {
	if len(m.rules) > 0 && rapid.IntRange(0, 4).Draw(t, "lift") == 0 {
		ids := make([]string, 0, len(m.rules))
		for id := range m.rules {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		id := rapid.SampledFrom(ids).Draw(t, "lifted")
		delete(m.rules, id)
		m.lifted[id] = true
		apply(revocation.Event{Type: revocation.EventLift, Lift: &revocation.Lift{ID: testID(1 << 22), RuleID: id, At: testStart, ExpiresAt: testStart}})
		return
	}
	r := drawRule(t)
	if old, ok := m.rules[r.ID]; ok {
		r = old
	}
	r.Entries = nil
	for range rapid.IntRange(0, 3).Draw(t, "entries") {
		if e := drawRev(t); e.Lineage != 0 && e.Seq != 0 {
			r.Entries = revocation.MergeEntries(r.Entries, e)
		}
	}
	apply(revocation.Event{Type: revocation.EventRule, Rule: &r})
	if m.lifted[r.ID] {
		return
	}
	known := m.rules[r.ID]
	for _, e := range known.Entries {
		r.Entries = revocation.MergeEntries(r.Entries, e)
	}
	m.rules[r.ID] = r
}

// reborn sends an index over the wire in small parts, in two halves that overlap.
func reborn(t *rapid.T, x *revocation.Index) *revocation.Index {
	out := revocation.NewIndex(revocation.Options{})
	for range 2 {
		for part := range x.Snapshots(rapid.IntRange(1, 4).Draw(t, "part")) {
			data, err := json.Marshal(part)
			if err != nil {
				t.Fatal(err)
			}
			var got revocation.Snapshot
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			if err := out.Merge(got); err != nil {
				t.Fatal(err)
			}
		}
	}
	out.Sweep(testStart)
	if out.Len() != x.Len() {
		t.Fatalf("%d rules became %d", x.Len(), out.Len())
	}
	return out
}

func ask(t *rapid.T, m *model, x *revocation.Index) {
	c, kid := drawClaims(t), drawKey.Draw(t, "kid")
	want := m.revoked(c, kid)
	hit, ok := x.Revoked(c, kid)
	if ok != (len(want) > 0) || ok && !slices.Contains(want, hit.RuleID) {
		t.Fatalf("revoked %v %+v, the model says %v\nclaims %+v\nscope %v\nrules %s", ok, hit, want, c, c.Scope, dump(m))
	}
	ids := rapid.SliceOfN(drawPrincipal, 1, 3).Draw(t, "ids")
	if _, got := x.Quarantined(ids...); got != m.quarantined(ids) {
		t.Fatalf("quarantined(%v) is %v\nrules %s", ids, got, dump(m))
	}
	f := revocation.ForeignToken{Subject: ids[0], Actors: ids[1:], TokenID: drawJTI(t),
		IssuedAt: testStart.Add(time.Duration(rapid.IntRange(-1, 12).Draw(t, "iat")) * 30 * time.Second)}
	if _, got := x.RefusesForeign(f); got != m.refuses(f) {
		t.Fatalf("refuses(%+v) is %v\nrules %s", f, got, dump(m))
	}
}

func dump(m *model) string {
	out := ""
	for _, r := range m.rules {
		out += fmt.Sprintf("\n  %s %s %q quarantine=%v created=%s %v", r.ID, r.Selector, r.Value, r.Quarantine, r.CreatedAt.Format(time.TimeOnly), r.Entries)
	}
	return out + fmt.Sprintf("\nlineages %+v", m.lineages)
}

package policy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// Small vocabularies, so that rules meet often.
var (
	ids        = []string{"k:a", "k:b", "u:x", "u:y", "k:c:d"}
	idPatterns = []string{"k:a", "k:b", "u:x", "k:*", "u:*", "k:**", "**", "*:a", "*:x"}
	keys       = []string{"c", "d"}
	values     = []string{"0", "1"}
	segments   = []string{"a", "b", "ab", "a*", "ab*", "*"}
	start      = time.Date(2026, time.July, 8, 12, 0, 0, 0, time.UTC)
)

// uniform draws from 0 to n-1 evenly: rapid's own ranges favour small numbers, which would make
// nearly every rule conditional and nearly every request refused.
func uniform(t *rapid.T, n int, label string) int {
	x := 0
	for _, bit := range rapid.SliceOfN(rapid.Bool(), 12, 12).Draw(t, label) {
		x <<= 1
		if bit {
			x |= 1
		}
	}
	return x * n >> 12
}

func one[T any](t *rapid.T, from []T, label string) T { return from[uniform(t, len(from), label)] }

func chance(t *rapid.T, percent int, label string) bool { return uniform(t, 100, label) >= 100-percent }

func drawPattern(t *rapid.T) string {
	if chance(t, 20, "everything") {
		return "**"
	}
	parts := rapid.SliceOfN(rapid.SampledFrom(segments), 1, 3).Draw(t, "segments")
	if len(parts) < 3 && chance(t, 50, "tail") {
		parts = append(parts, "**")
	}
	return strings.Join(parts, "/")
}

func (b *refBundle) drawScope(t *rapid.T) refScope {
	tool := &b.tools[0]
	if chance(t, 25, "other tool") {
		tool = &b.tools[rapid.IntRange(1, len(b.tools)-1).Draw(t, "tool")]
	}
	action := "*"
	if chance(t, 60, "named action") {
		action = one(t, tool.actions, "action")
	}
	return refScope{tool.name, action, drawPattern(t)}
}

func drawBundle(t *rapid.T) *refBundle {
	b := &refBundle{tools: []refTool{
		{name: "t1", actions: []string{"r", "w"}, audience: "https://one"},
		{name: "t2", actions: []string{"r"}, audience: "https://two", folds: true},
		{name: "writ", actions: []string{"feed", "revoke", "audit", "decide", "introspect", "keys", "lift", "policy"}, audience: "https://writ"},
	}}
	for i := range 2 {
		for range uniform(t, 7, "tags") {
			b.tools[i].addTag(refTag{b.tools[i].drawTagPattern(t), one(t, keys, "key"), one(t, values, "value")})
		}
	}
	for range rapid.IntRange(1, 3).Draw(t, "roles") {
		var grants []refGrant
		for range rapid.IntRange(1, 4).Draw(t, "grants") {
			grants = append(grants, refGrant{b.drawScope(t), drawCondition(t, true, 50)})
		}
		b.roles = append(b.roles, grants)
	}
	if chance(t, 50, "administrators") {
		b.roles = append(b.roles, []refGrant{{refScope{"writ", "*", "**"}, refCondition{}}})
		b.bindings = append(b.bindings, refBinding{principals: one(t, [][]string{{"**"}, {"k:a", "u:*"}, {"k:*"}}, "who"), roles: []int{len(b.roles) - 1}})
	}
	if chance(t, 85, "generous role") {
		b.roles = append(b.roles, drawGenerous(t))
		b.bindings = append(b.bindings, refBinding{principals: []string{"**"}, when: drawCondition(t, false, 30), roles: []int{len(b.roles) - 1}})
	}
	for range rapid.IntRange(1, 4).Draw(t, "bindings") {
		var roles []int
		for range rapid.IntRange(1, 2).Draw(t, "bound") {
			roles = append(roles, rapid.IntRange(0, len(b.roles)-1).Draw(t, "role"))
		}
		b.bindings = append(b.bindings, refBinding{drawPatterns(t), drawCondition(t, false, 25), roles})
	}
	for range uniform(t, 3, "denies") {
		d := refDeny{scope: b.drawScope(t), when: drawCondition(t, true, 70), unless: drawCondition(t, true, 40)}
		if chance(t, 30, "named") {
			d.principals = drawPatterns(t)
		}
		b.denies = append(b.denies, d)
	}
	for _, agents := range [][]string{{"k:*"}, {"u:*", "k:c:d"}} { // each to a depth of its own
		if chance(t, 75, "generous delegation") {
			b.delegations = append(b.delegations, refDelegation{
				agents: agents, subjects: one(t, [][]string{{"**"}, {"**"}, {"u:*"}}, "subjects"), depth: one(t, []int{1, 2, 3, 3}, "depth"),
				ceiling: []refScope{{"t1", "*", "**"}, {"t2", "*", "**"}, {"writ", "*", "**"}},
			})
		}
	}
	for range rapid.IntRange(1, 4).Draw(t, "delegations") {
		d := refDelegation{agents: drawPatterns(t), subjects: drawPatterns(t), depth: rapid.IntRange(1, 3).Draw(t, "depth"), when: drawCondition(t, true, 30)}
		for range rapid.IntRange(1, 2).Draw(t, "ceilings") {
			d.ceiling = append(d.ceiling, b.drawScope(t))
		}
		b.delegations = append(b.delegations, d)
	}
	for _, match := range rapid.SliceOfNDistinct(rapid.SampledFrom(idPatterns), 0, 3, rapid.ID).Draw(t, "inventory") {
		b.inventory = append(b.inventory, refInventory{match, drawAttributes(t)})
	}
	return b
}

// drawGenerous gives a role that covers nearly everything: at once, or by the values of one tag,
// most of them, so that it matters which resource has which.
func drawGenerous(t *rapid.T) []refGrant {
	everything := refScope{"t1", "*", "**"}
	if chance(t, 35, "at once") {
		return []refGrant{{everything, drawCondition(t, true, 50)}}
	}
	var grants []refGrant
	key := one(t, keys, "key")
	for _, value := range values {
		if chance(t, 75, "value") {
			grants = append(grants, refGrant{everything, tagIs(key, value)})
		}
	}
	if len(grants) == 0 || chance(t, 80, "untagged") {
		grants = append(grants, refGrant{everything, tagMissing(key)})
	}
	return grants
}

func tagIs(key, value string) refCondition {
	return refCondition{fmt.Sprintf("resource.tags.%s == %q", key, value), func(w *world) tri {
		got, ok := w.tags[key]
		if !ok {
			return broken
		}
		return of(got == value)
	}}
}

func tagMissing(key string) refCondition {
	return refCondition{fmt.Sprintf("!has(resource.tags.%s)", key), func(w *world) tri {
		_, ok := w.tags[key]
		return of(!ok)
	}}
}

// drawTagPattern narrows a pattern that is there already, more often than not: tags nest.
func (tool *refTool) drawTagPattern(t *rapid.T) string {
	if len(tool.tags) == 0 || chance(t, 40, "fresh") {
		return drawPattern(t)
	}
	outer := one(t, tool.tags, "outer").pattern
	head, tail := strings.CutSuffix(outer, "**")
	switch {
	case tail && strings.Count(head, "/") < 2:
		return head + one(t, segments, "narrow") + one(t, []string{"", "/**"}, "rest")
	case tail:
		return head + one(t, segments, "narrow")
	}
	parts := strings.Split(outer, "/")
	for i, part := range parts {
		if narrower, ok := narrower[part]; ok { // within the vocabulary: the universe stands for no other
			parts[i] = one(t, narrower, "narrow")
			break
		}
	}
	return strings.Join(parts, "/")
}

var narrower = map[string][]string{"*": {"a", "b", "a*"}, "a*": {"ab", "ab*", "a"}, "ab*": {"ab"}}

// addTag adds a tag whose pattern nests with, or is disjoint from, those of its key.
func (tool *refTool) addTag(tag refTag) {
	mine := matching(tag.pattern)
	for _, other := range tool.tags {
		if other.key != tag.key {
			continue
		}
		theirs := matching(other.pattern)
		shared := 0
		for _, r := range mine {
			if refMatch(other.pattern, r) {
				shared++
			}
		}
		if shared == len(mine) && shared == len(theirs) || shared > 0 && shared < len(mine) && shared < len(theirs) {
			return
		}
	}
	tool.tags = append(tool.tags, tag)
}

func drawPatterns(t *rapid.T) []string {
	if chance(t, 40, "everybody") {
		return []string{"**"}
	}
	return rapid.SliceOfN(rapid.SampledFrom(idPatterns), 1, 2).Draw(t, "principals")
}

func drawAttributes(t *rapid.T) map[string]string {
	return rapid.MapOfN(rapid.SampledFrom(keys), rapid.SampledFrom(values), 0, 2).Draw(t, "attributes")
}

// drawCondition gives a condition, or in the other cases none.
func drawCondition(t *rapid.T, onResource bool, percent int) refCondition {
	if !chance(t, percent, "conditional") {
		return refCondition{}
	}
	c := drawAtom(t, onResource)
	if chance(t, 30, "compound") {
		c = combine(t, c, drawAtom(t, onResource))
	}
	if chance(t, 20, "negated") {
		inner := c
		c = refCondition{"!(" + inner.cel + ")", func(w *world) tri {
			switch inner.eval(w) {
			case yes:
				return no
			case no:
				return yes
			case broken:
			}
			return broken
		}}
	}
	return c
}

// combine is CEL's: an error counts only where the other side does not decide.
func combine(t *rapid.T, a, b refCondition) refCondition {
	decides, other, operator := no, yes, "&&"
	if chance(t, 50, "or") {
		decides, other, operator = yes, no, "||"
	}
	return refCondition{"(" + a.cel + ") " + operator + " (" + b.cel + ")", func(w *world) tri {
		x, y := a.eval(w), b.eval(w)
		switch {
		case x == decides || y == decides:
			return decides
		case x == broken || y == broken:
			return broken
		}
		return other
	}}
}

func drawAtom(t *rapid.T, onResource bool) refCondition {
	kinds := []string{"agent", "agent", "subject", "before", "from", "minute", "task", "claim", "kind"}
	if onResource {
		kinds = append(kinds, "tag", "tag", "tag", "no tag", "action", "action", "tool", "audience")
	}
	key, value := one(t, keys, "key"), one(t, values, "value")
	minute := rapid.IntRange(0, 11).Draw(t, "minute") * 5
	at := start.Add(time.Duration(minute) * time.Minute)
	stamp := at.Format(time.RFC3339)
	switch kind := one(t, kinds, "atom"); kind {
	case "agent", "subject":
		return refCondition{fmt.Sprintf("%s.attributes.%s == %q", kind, key, value), func(w *world) tri {
			p := w.agent
			if kind == "subject" {
				p = w.subject
			}
			got, ok := p.attributes[key]
			if !ok {
				return broken
			}
			return of(got == value)
		}}
	case "claim":
		return refCondition{fmt.Sprintf("has(agent.attributes.%s)", key), func(w *world) tri {
			_, ok := w.agent.attributes[key]
			return of(ok)
		}}
	case "kind":
		return refCondition{`agent.kind == "user"`, func(w *world) tri { return of(w.agent.user) }}
	case "before":
		return refCondition{fmt.Sprintf("request.time <= timestamp(%q)", stamp), func(w *world) tri { return of(!w.now.After(at)) }}
	case "from":
		return refCondition{fmt.Sprintf("timestamp(%q) < request.time", stamp), func(w *world) tri { return of(w.now.After(at)) }}
	case "minute":
		return refCondition{fmt.Sprintf("request.time.getMinutes() >= %d", minute), func(w *world) tri { return of(w.now.Minute() >= minute) }}
	case "task":
		return refCondition{`request.task == "x"`, func(w *world) tri { return of(w.task == "x") }}
	case "tag":
		return tagIs(key, value)
	case "no tag":
		return tagMissing(key)
	case "action":
		return refCondition{`action == "r"`, func(w *world) tri { return of(w.action == "r") }}
	case "tool":
		return refCondition{`tool == "t1"`, func(w *world) tri { return of(w.tool == "t1") }}
	}
	return refCondition{`request.audience == "https://one"`, func(w *world) tri { return of(w.audience == "https://one") }}
}

func drawParty(t *rapid.T, b *refBundle) *refParty {
	p := &refParty{id: one(t, ids, "id"), claims: map[string]any{}}
	p.user = strings.HasPrefix(p.id, "u:")
	for k, v := range drawAttributes(t) {
		p.claims[k] = v
	}
	p.attributes = b.attributesOf(p)
	return p
}

// yaml writes the bundle down.
func (b *refBundle) yaml() string {
	var y strings.Builder
	list := func(texts []string) string {
		quoted := make([]string, len(texts))
		for i, s := range texts {
			quoted[i] = fmt.Sprintf("%q", s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	when := func(key string, c refCondition) string {
		if c.cel == "" {
			return ""
		}
		return fmt.Sprintf(", %s: %q", key, c.cel)
	}
	y.WriteString("kind: catalog\ntools:\n")
	for _, tool := range b.tools[:2] {
		fmt.Fprintf(&y, "- name: %s\n  audience: %s\n  actions: %s\n  case_insensitive: %v\n  tags: [", tool.name, tool.audience, list(tool.actions), tool.folds)
		for _, tag := range tool.tags {
			fmt.Fprintf(&y, "{match: %q, tags: {%s: %q}}, ", tag.pattern, tag.key, tag.value)
		}
		y.WriteString("]\n")
	}
	y.WriteString("---\nkind: roles\nroles:\n")
	for i, grants := range b.roles {
		fmt.Fprintf(&y, "- name: role%d\n  grants:\n", i)
		for _, g := range grants {
			fmt.Fprintf(&y, "  - {scopes: [%q]%s}\n", g.scope.text(), when("when", g.when))
		}
	}
	y.WriteString("---\nkind: bindings\nbindings:\n")
	for i, binding := range b.bindings {
		var roles []string
		for _, r := range binding.roles {
			roles = append(roles, fmt.Sprintf("role%d", r))
		}
		fmt.Fprintf(&y, "- {name: b%d, principals: %s, roles: %s%s}\n", i, list(binding.principals), list(roles), when("when", binding.when))
	}
	y.WriteString("---\nkind: denies\ndenies: [\n")
	for i, d := range b.denies {
		principals := ""
		if d.principals != nil {
			principals = ", principals: " + list(d.principals)
		}
		fmt.Fprintf(&y, "{name: d%d, scopes: [%q]%s%s%s},\n", i, d.scope.text(), principals, when("when", d.when), when("unless", d.unless))
	}
	y.WriteString("]\n---\nkind: delegations\ndelegations:\n")
	for i, d := range b.delegations {
		var ceiling []string
		for _, s := range d.ceiling {
			ceiling = append(ceiling, s.text())
		}
		fmt.Fprintf(&y, "- {name: g%d, agents: %s, subjects: %s, max_depth: %d, ceiling: %s%s}\n", i, list(d.agents), list(d.subjects), d.depth, list(ceiling), when("when", d.when))
	}
	y.WriteString("---\nkind: inventory\nprincipals: [\n")
	for _, entry := range b.inventory {
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(entry.attributes)) {
			pairs = append(pairs, fmt.Sprintf("%s: %q", k, entry.attributes[k]))
		}
		fmt.Fprintf(&y, "{match: %q, attributes: {%s}},\n", entry.match, strings.Join(pairs, ", "))
	}
	y.WriteString("]\n")
	return y.String()
}

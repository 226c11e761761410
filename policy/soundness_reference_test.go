package policy_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// This file is a second, naive opinion on single accesses. It shares no code with the package: it
// matches segment by segment, principals by regular expression, and conditions by functions that
// say in Go what the CEL text beside them says.

// tri is a condition's result: false, true, or an error.
type tri int8

const (
	no tri = iota
	yes
	broken
)

func of(b bool) tri {
	if b {
		return yes
	}
	return no
}

// world is what a condition sees.
type world struct {
	tags                   map[string]string
	subject, agent         *refParty
	tool, action, audience string
	task                   string
	now                    time.Time
}

type refParty struct {
	id         string
	user       bool
	claims     map[string]any
	attributes map[string]any // claims under the inventory
}

type refCondition struct {
	cel  string // "" is always true
	eval func(*world) tri
}

func (c refCondition) holds(w *world) tri {
	if c.cel == "" {
		return yes
	}
	return c.eval(w)
}

type refScope struct{ tool, action, resource string }

func (s refScope) text() string { return s.tool + ":" + s.action + ":" + s.resource }

func (s refScope) matches(a access) bool {
	return s.tool == a.tool && (s.action == "*" || s.action == a.action) && refMatch(s.resource, a.resource)
}

// access is one concrete access.
type access struct{ tool, action, resource string }

// refMatch matches a resource pattern, one segment at a time.
func refMatch(pattern, resource string) bool {
	p, r := strings.Split(pattern, "/"), strings.Split(resource, "/")
	for i, segment := range p {
		if segment == "**" {
			return len(r) > i
		}
		if i >= len(r) {
			return false
		}
		prefix, wild := strings.CutSuffix(segment, "*")
		if wild && !strings.HasPrefix(r[i], prefix) || !wild && segment != r[i] {
			return false
		}
	}
	return len(p) == len(r)
}

func refNames(patterns []string, id string) (named, exactly bool) {
	for _, p := range patterns {
		if principalRegexp(p).MatchString(id) {
			named, exactly = true, exactly || p == id
		}
	}
	return named, exactly
}

var principalMemo = map[string]*regexp.Regexp{}

func principalRegexp(pattern string) *regexp.Regexp {
	if known, ok := principalMemo[pattern]; ok {
		return known
	}
	body, tail := strings.CutSuffix(pattern, "**")
	text := strings.ReplaceAll(regexp.QuoteMeta(body), `\*`, `[^:/]+`)
	if tail {
		text += ".+"
	}
	principalMemo[pattern] = regexp.MustCompile(`\A(?:` + text + `)\z`)
	return principalMemo[pattern]
}

type refTool struct {
	name     string
	actions  []string
	audience string
	folds    bool
	tags     []refTag
}

type refTag struct{ pattern, key, value string }

type refGrant struct {
	scope refScope
	when  refCondition
}

type refBinding struct {
	principals []string
	when       refCondition
	roles      []int
}

type refDeny struct {
	scope        refScope
	principals   []string
	when, unless refCondition
}

type refDelegation struct {
	agents, subjects []string
	depth            int
	ceiling          []refScope
	when             refCondition
}

type refInventory struct {
	match      string
	attributes map[string]string
}

// refBundle is a bundle as the reference reads it.
type refBundle struct {
	tools       []refTool
	roles       [][]refGrant
	bindings    []refBinding
	denies      []refDeny
	delegations []refDelegation
	inventory   []refInventory
}

// refRequest is everything of a request but its scopes.
type refRequest struct {
	subject     *refParty
	actors      []*refParty // the current agent first
	parent      []refScope  // nil: none
	parentDepth int
	task        string
}

var administration = []string{"revoke", "lift", "keys", "policy", "audit"}

// allows says whether one access is allowed at one time.
func (b *refBundle) allows(r *refRequest, a access, now time.Time) bool {
	tool := b.tool(a.tool)
	if tool == nil || !slices.Contains(tool.actions, a.action) {
		return false
	}
	w := world{tags: tool.tagsOf(a.resource), subject: r.subject, tool: a.tool, action: a.action, audience: tool.audience, task: r.task, now: now}
	chain := append([]*refParty{r.subject}, r.actors...)
	if r.parent != nil && !slices.ContainsFunc(r.parent, func(s refScope) bool { return s.matches(a) }) {
		return false
	}
	admin := a.tool == "writ" && slices.Contains(administration, a.action)
	if admin && (len(r.actors) > 0 || r.parentDepth > 0) || r.parentDepth > len(r.actors) {
		return false
	}
	for i, p := range chain {
		w.agent = p
		if i == 0 && len(r.actors) > 0 {
			w.agent = r.actors[0]
		}
		if !b.granted(p, &w, a, admin) {
			return false
		}
		if i > 0 && !b.delegated(p, len(chain)-i, &w, a) {
			return false
		}
	}
	return !b.denied(chain, &w, a)
}

func (b *refBundle) tool(name string) *refTool {
	for i := range b.tools {
		if b.tools[i].name == name {
			return &b.tools[i]
		}
	}
	return nil
}

// tagsOf takes, for each key, the matching pattern that fewest resources match.
func (t *refTool) tagsOf(resource string) map[string]string {
	tags, least := map[string]string{}, map[string]int{}
	for _, tag := range t.tags {
		if !refMatch(tag.pattern, resource) {
			continue
		}
		n := len(matching(tag.pattern))
		if best, ok := least[tag.key]; !ok || n < best {
			tags[tag.key], least[tag.key] = tag.value, n
		}
	}
	return tags
}

func (b *refBundle) granted(p *refParty, w *world, a access, admin bool) bool {
	for _, binding := range b.bindings {
		named, exactly := refNames(binding.principals, p.id)
		if !named || admin && !p.user && !exactly || binding.when.holds(w) != yes {
			continue
		}
		for _, role := range binding.roles {
			for _, g := range b.roles[role] {
				if g.scope.matches(a) && g.when.holds(w) == yes {
					return true
				}
			}
		}
	}
	return false
}

func (b *refBundle) delegated(p *refParty, depth int, w *world, a access) bool {
	for _, d := range b.delegations {
		agent, _ := refNames(d.agents, p.id)
		subject, _ := refNames(d.subjects, w.subject.id)
		if agent && subject && depth <= d.depth && d.when.holds(w) == yes &&
			slices.ContainsFunc(d.ceiling, func(s refScope) bool { return s.matches(a) }) {
			return true
		}
	}
	return false
}

func (b *refBundle) denied(chain []*refParty, w *world, a access) bool {
	agents := chain
	if len(chain) > 1 {
		agents = chain[1:]
	}
	for _, d := range b.denies {
		if !d.scope.matches(a) {
			continue
		}
		for _, agent := range agents {
			named, _ := refNames(d.principals, agent.id)
			subject, _ := refNames(d.principals, w.subject.id)
			if d.principals != nil && !named && !subject {
				continue
			}
			w.agent = agent
			when := d.when.holds(w)
			excused := d.unless.cel != "" && d.unless.holds(w) == yes
			if when == broken || when == yes && !excused {
				return true
			}
		}
	}
	return false
}

// attributesOf puts the inventory over the claims: longer literal prefixes win over shorter, exact
// ids over patterns, later texts over earlier.
func (b *refBundle) attributesOf(p *refParty) map[string]any {
	all := map[string]any{}
	maps.Copy(all, p.claims)
	rank := func(match string) (int, string) {
		literal, _, wild := strings.Cut(match, "*")
		if !wild {
			return 1 << 20, match
		}
		return len(literal), match
	}
	sorted := slices.Clone(b.inventory)
	slices.SortFunc(sorted, func(x, y refInventory) int {
		rx, tx := rank(x.match)
		ry, ty := rank(y.match)
		if rx != ry {
			return rx - ry
		}
		return strings.Compare(tx, ty)
	})
	for _, entry := range sorted {
		if named, _ := refNames([]string{entry.match}, p.id); named {
			for k, v := range entry.attributes {
				all[k] = v
			}
		}
	}
	return all
}

// universe are concrete resources that stand for all others: each segment that a pattern of the
// tests names, each that only a prefix or only a star matches, at every length, up to one more
// than any pattern has.
var universe = func() []string {
	var all []string
	for level := []string{""}; strings.Count(level[0], "/") < 4; {
		var next []string
		for _, head := range level {
			for _, segment := range []string{"a", "b", "ab", "z", "az", "abz"} {
				next = append(next, head+segment+"/")
			}
		}
		for _, r := range next {
			all = append(all, strings.TrimSuffix(r, "/"))
		}
		level = next
	}
	return all
}()

var matchingMemo = map[string][]string{}

// matching are the resources of the universe that a pattern matches.
func matching(pattern string) []string {
	if known, ok := matchingMemo[pattern]; ok {
		return known
	}
	var found []string
	for _, r := range universe {
		if refMatch(pattern, r) {
			found = append(found, r)
		}
	}
	matchingMemo[pattern] = found
	return found
}

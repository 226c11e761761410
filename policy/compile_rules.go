package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/writbroker/writ/policy/internal/condition"
	"github.com/writbroker/writ/policy/internal/document"
	"github.com/writbroker/writ/policy/internal/match"
	"github.com/writbroker/writ/scopes"
)

// entry is one scope of a rule that allows or denies, ready to be compared.
type entry struct {
	resource scopes.Scope // its action is AnyAction: actions holds the true ones
	literal  string       // literalPrefix of the resource
	actions  uint64
	when     int32 // index of a condition, or noCondition
	rule     int32
	owner    int32         // role, delegation or deny
	maxTTL   time.Duration // zero: none
}

func newEntry(r resolved, when, rule, owner int32, maxTTL time.Duration) entry {
	return entry{r.scope.WithAction(scopes.AnyAction), literalPrefix(r.scope.Resource()), r.actions, when, rule, owner, maxTTL}
}

// toolEntries are the entries of one rule for one tool.
type toolEntries struct {
	tool    int32
	entries []entry
}

// byTool sorts entries by their tool.
type byTool []toolEntries

func (b byTool) of(tool int32) []entry {
	for i := range b { // a rule has few tools
		if b[i].tool == tool {
			return b[i].entries
		}
	}
	return nil
}

func (b byTool) add(tool int32, e entry) byTool {
	for i := range b {
		if b[i].tool == tool {
			b[i].entries = append(b[i].entries, e)
			return b
		}
	}
	return append(b, toolEntries{tool, []entry{e}})
}

type role struct {
	name    string
	entries byTool
}

type binding struct {
	rule    int32
	when    int32
	roles   []int32
	profile int32 // or -1
}

type profile struct {
	rule   int32
	scopes []scopes.Scope
}

type deny struct {
	rule         int32
	when, unless int32
	readsAgent   bool
	entries      byTool // of a deny for some principals
}

type delegation struct {
	rule     int32
	when     int32
	early    bool // when reads nothing of the resource
	subjects match.Index
	maxDepth int
	entries  byTool
}

type inventoryRule struct {
	rule       int32
	attributes map[string]any
	keys       []string // of the attributes, sorted
}

func (c *compiler) profileRules(written []profileSource) {
	c.profiles = map[string]int32{}
	for i := range written {
		s := &written[i]
		p := profile{rule: c.rule(EntryProfile, &s.meta)}
		for _, r := range c.scopes(&s.meta, s.line, s.scopes) {
			p.scopes = append(p.scopes, r.scope)
		}
		if c.unique(&s.meta) {
			c.profiles[s.name] = int32(len(c.bundle.profiles))
			c.bundle.profiles = append(c.bundle.profiles, p)
		}
	}
}

func (c *compiler) roles(written []roleSource) {
	c.roleIndex = map[string]int32{}
	order := make([]*roleSource, len(written))
	for i := range written {
		order[i] = &written[i]
	}
	// Sorted, so that a list of role numbers in order is a list of names in order.
	slices.SortStableFunc(order, func(a, b *roleSource) int { return strings.Compare(a.name, b.name) })
	for _, s := range order {
		if !c.unique(&s.meta) {
			continue
		}
		index := int32(len(c.bundle.roles))
		r := role{name: s.name}
		for i := range s.grants {
			g := &s.grants[i]
			rule := c.ruleAt(EntryGrant, fmt.Sprintf("%s grant %d", s.name, i+1), s.file, g.line, "")
			when := c.condition(&s.meta, g.when, condition.OnResource)
			for _, x := range c.scopes(&s.meta, g.line, g.scopes) {
				r.entries = r.entries.add(x.tool.index, newEntry(x, when, rule, index, g.maxTTL))
			}
		}
		if len(s.grants) == 0 {
			c.fault(&s.meta, s.line, "the role grants nothing", "add grants: [{scopes: [tool:action:resource]}]")
		}
		c.roleIndex[s.name] = index
		c.bundle.roles = append(c.bundle.roles, r)
	}
}

func (c *compiler) bindings(written []bindingSource) {
	for i := range written {
		s := &written[i]
		c.unique(&s.meta)
		b := binding{rule: c.rule(EntryBinding, &s.meta), when: c.condition(&s.meta, s.when, condition.OnPrincipal), profile: -1}
		for _, w := range s.roles {
			role, ok := c.roleIndex[w.Value]
			if !ok {
				c.unknown(&s.meta, w, "role", sortedKeys(c.roleIndex))
				continue
			}
			b.roles = append(b.roles, role)
		}
		if s.profile.Value != "" {
			p, ok := c.profiles[s.profile.Value]
			if !ok {
				c.unknown(&s.meta, s.profile, "profile", sortedKeys(c.profiles))
			}
			b.profile = p
		}
		if len(s.roles) == 0 && s.profile.Value == "" {
			c.fault(&s.meta, s.line, "the binding gives nothing", "add roles: [name] or profile: name")
		}
		index := int32(len(c.bundle.bindings))
		for _, p := range c.patterns(&s.meta, s.principals, "principals") {
			c.bundle.bindingIndex.Add(p, index)
		}
		c.bundle.bindings = append(c.bundle.bindings, b)
	}
}

func (c *compiler) unknown(m *meta, w text, what string, names []string) {
	hint := fmt.Sprintf("define a %s of that name", what)
	if near := document.Nearest(w.Value, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	c.fault(m, w.Line, fmt.Sprintf("unknown %s %q", what, w.Value), hint)
}

func (c *compiler) denies(written []denySource) {
	for i := range written {
		s := &written[i]
		c.unique(&s.meta)
		index := int32(len(c.bundle.denies))
		d := deny{
			rule:   c.rule(EntryDeny, &s.meta),
			when:   c.condition(&s.meta, s.when, condition.OnResource),
			unless: c.condition(&s.meta, s.unless, condition.OnResource),
		}
		d.readsAgent = c.readsAgent(d.when) || c.readsAgent(d.unless)
		for _, x := range c.scopes(&s.meta, s.line, s.scopes) {
			e := newEntry(x, noCondition, d.rule, index, 0)
			if len(s.principals) > 0 {
				d.entries = d.entries.add(x.tool.index, e)
			} else {
				x.tool.denies = append(x.tool.denies, e)
			}
		}
		for _, p := range c.patterns(&s.meta, s.principals, "") {
			c.bundle.denyIndex.Add(p, index)
		}
		c.bundle.denies = append(c.bundle.denies, d)
	}
}

func (c *compiler) readsAgent(index int32) bool {
	return index != noCondition && c.bundle.conditions[index].Reads()&condition.ReadsAgent != 0
}

func (c *compiler) delegations(written []delegationSource) {
	for i := range written {
		s := &written[i]
		c.unique(&s.meta)
		index := int32(len(c.bundle.delegations))
		d := delegation{rule: c.rule(EntryDelegation, &s.meta), when: c.condition(&s.meta, s.when, condition.OnResource), maxDepth: s.maxDepth}
		const ofResource = condition.ReadsTags | condition.ReadsTool | condition.ReadsAction
		d.early = d.when == noCondition || c.bundle.conditions[d.when].Reads()&ofResource == 0
		ceiling := c.ruleAt(EntryCeiling, s.name, s.file, s.line, "")
		if len(s.ceiling) == 0 {
			c.fault(&s.meta, s.line, "the delegation has no ceiling", "add ceiling: with the scopes that the agent may use on behalf of somebody")
		} else {
			for _, x := range c.scopes(&s.meta, s.line, s.ceiling) {
				d.entries = d.entries.add(x.tool.index, newEntry(x, d.when, ceiling, index, 0))
			}
		}
		for _, p := range c.patterns(&s.meta, s.subjects, "subjects") {
			d.subjects.Add(p, index)
		}
		d.subjects.Seal()
		for _, p := range c.patterns(&s.meta, s.agents, "agents") {
			c.bundle.delegationIndex.Add(p, index)
		}
		c.bundle.delegations = append(c.bundle.delegations, d)
	}
}

// inventory numbers its rules from the least specific to the most: applied in that order, an exact
// id wins over a pattern, and a longer literal prefix over a shorter.
func (c *compiler) inventory(written []inventorySource) {
	type compiled struct {
		source  *inventorySource
		pattern match.Pattern
	}
	var all []compiled
	for i := range written {
		s := &written[i]
		if s.match.Value == "" {
			c.fault(&s.meta, s.line, "the entry names nobody", "add match: with a principal's id or a pattern")
			continue
		}
		if p, ok := c.pattern(&s.meta, s.match); ok && c.unique(&s.meta) {
			all = append(all, compiled{s, p})
		}
	}
	slices.SortFunc(all, func(a, b compiled) int {
		if a.pattern.Exact() != b.pattern.Exact() {
			if a.pattern.Exact() {
				return 1
			}
			return -1
		}
		if d := len(a.pattern.Literal()) - len(b.pattern.Literal()); d != 0 {
			return d
		}
		return strings.Compare(a.pattern.String(), b.pattern.String())
	})
	for i, x := range all {
		c.bundle.inventoryIndex.Add(x.pattern, int32(i))
		c.bundle.inventory = append(c.bundle.inventory, inventoryRule{
			c.rule(EntryInventory, &x.source.meta), x.source.attributes, sortedKeys(x.source.attributes),
		})
	}
}

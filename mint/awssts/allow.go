package awssts

import (
	"maps"
	"slices"
	"strings"

	"github.com/writbroker/writ/mint/awssts/iam"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// element is a resource of some actions.
type element struct {
	actions []string // sorted
	scopes  members
}

// allows are the statements that allow what reaches resources.
func (k *compilation) allows(inline []grant) []statement {
	groups := map[string]map[string]*element{} // by conditions, then resource
	known := map[string][]iam.Condition{}
	for i := range inline {
		g := &inline[i]
		if g.target.prefix != "" {
			continue
		}
		key := g.target.under
		known[key] = g.target.conditions
		if groups[key] == nil {
			groups[key] = map[string]*element{}
		}
		for _, action := range g.target.actions {
			add(groups[key], widest(inline, g, action, key).resource, action, only(g.scope))
		}
	}
	var all []statement
	for _, key := range sortedKeys(groups) {
		all = append(all, shortest(iam.Allow, groups[key], known[key], "what is granted")...)
	}
	return all
}

func add(group map[string]*element, resource, action string, scopes members) {
	e := group[resource]
	if e == nil {
		e = &element{}
		group[resource] = e
	}
	e.scopes |= scopes
	if at, found := slices.BinarySearch(e.actions, action); !found {
		e.actions = slices.Insert(e.actions, at, action)
	}
}

// widest is the grant that holds g for an action, and is held by no other: of several that
// are equal, the first.
func widest(all []grant, g *grant, action, key string) *grant {
	best := g
	if g.target.place == nil {
		return best
	}
	for i := range all {
		w := &all[i]
		if w.target.prefix == "" && w.target.place != nil && w.target.place.family == g.target.place.family &&
			w.path.covers(best.path) && !best.path.covers(w.path) &&
			slices.Contains(w.target.actions, action) && w.target.under == key {
			best = w
		}
	}
	return best
}

func conditionsKey(conditions []iam.Condition) string {
	var b strings.Builder
	for _, c := range conditions {
		b.WriteString(c.Operator + "\x00" + c.Key + "\x00" + strings.Join(c.Values, "\x00") + "\x01")
	}
	return b.String()
}

// shortest writes resources with their actions as statements: each resource once, or each
// action once, or starting from the former, with statements merged as long as that is shorter.
func shortest(effect iam.Effect, group map[string]*element, conditions []iam.Condition, why string) []statement {
	byResource := write(effect, gather(group), group, conditions, why)
	byAction := write(effect, transpose(group), group, conditions, why)
	if size(byAction) < size(byResource) {
		return byAction
	}
	return byResource
}

// block is a statement to be: every action on every resource.
type block struct{ actions, resources []string }

// gather makes a block of the resources that have the same actions.
func gather(group map[string]*element) []block {
	at := map[string]int{}
	var blocks []block
	for _, resource := range sortedKeys(group) {
		actions := group[resource].actions
		key := strings.Join(actions, " ")
		if _, ok := at[key]; !ok {
			at[key] = len(blocks)
			blocks = append(blocks, block{actions: actions})
		}
		b := &blocks[at[key]]
		b.resources = append(b.resources, resource)
	}
	return blocks
}

// transpose makes a block of the actions that have the same resources.
func transpose(group map[string]*element) []block {
	byAction := map[string][]string{}
	for _, resource := range sortedKeys(group) {
		for _, action := range group[resource].actions {
			byAction[action] = append(byAction[action], resource)
		}
	}
	at := map[string]int{}
	var blocks []block
	for _, action := range sortedKeys(byAction) {
		key := strings.Join(byAction[action], "\x00")
		if _, ok := at[key]; !ok {
			at[key] = len(blocks)
			blocks = append(blocks, block{resources: byAction[action]})
		}
		b := &blocks[at[key]]
		b.actions = append(b.actions, action)
	}
	return blocks
}

func write(effect iam.Effect, blocks []block, group map[string]*element, conditions []iam.Condition, why string) []statement {
	all := make([]statement, 0, len(blocks))
	for _, b := range blocks {
		s := statement{Statement: iam.Statement{Effect: effect, Actions: b.actions, Resources: b.resources, Conditions: conditions}, why: why}
		for _, resource := range b.resources {
			e := group[resource]
			s.scopes |= e.scopes
			s.shares = append(s.shares, share{e.scopes, iam.Size(resource) + len(`"",`)})
		}
		all = append(all, s)
	}
	return all
}

func size(all []statement) int {
	n := 0
	for i := range all {
		n += all[i].Size() + 1
	}
	return n
}

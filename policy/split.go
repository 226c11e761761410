package policy

import "github.com/writbroker/writ/scopes"

// part is a region of a requested pattern in which every resource has the same tags: what base
// matches and no member of minus does. It is never empty.
type part struct {
	base    scopes.Scope
	literal string
	minus   []scopes.Scope
	tags    *combo
	combo   int32 // index among the decision's combinations
}

// splitter splits one pattern along the tag patterns of its tool, one key after the other.
//
// For each key, a resource of the pattern lies in exactly one region: in that of its innermost
// matching tag pattern, or outside all. The region is the pattern, intersected with that tag pattern,
// minus the ones directly inside. Taking the regions of all keys together gives the parts.
type splitter struct {
	st    *state
	tool  *tool
	rules []int32 // tag rules that made the present region
}

func (st *state) split(t *tool, pattern scopes.Scope) {
	s := splitter{st: st, tool: t, rules: st.tagRules[:0]}
	if len(t.keys) > 0 {
		pattern = pattern.WithAction(scopes.AnyAction) // so that intersections need no new text
	}
	s.key(0, pattern, nil, 0)
	st.tagRules = s.rules[:0]
}

// key splits the region along the keys from k on.
func (s *splitter) key(k int, base scopes.Scope, minus []scopes.Scope, combination uint64) {
	if s.st.overflow {
		return
	}
	if k == len(s.tool.keys) {
		s.st.addPart(s.tool, base, minus, combination, s.rules)
		return
	}
	key := &s.tool.keys[k]
	literal := literalPrefix(base.Resource())
	outside := s.without(key, key.roots, base, literal, minus)
	if len(outside) == 0 || !scopes.MinusIsEmpty(base, outside) {
		s.key(k+1, base, outside, combination)
	}
	s.inside(k, key.roots, base, literal, minus, combination)
}

// inside splits what lies within the nodes.
func (s *splitter) inside(k int, nodes []int32, base scopes.Scope, literal string, minus []scopes.Scope, combination uint64) {
	key := &s.tool.keys[k]
	for _, n := range nodes {
		node := &key.nodes[n]
		if apart(node.literal, literal) {
			continue
		}
		region, ok := base.Intersect(node.pattern)
		if !ok {
			continue
		}
		inner := literalPrefix(region.Resource())
		without := s.without(key, node.children, region, inner, minus)
		if len(without) == 0 || !scopes.MinusIsEmpty(region, without) {
			s.rules = append(s.rules, node.rule)
			s.key(k+1, region, without, combination+node.value*key.stride)
			s.rules = s.rules[:len(s.rules)-1]
		}
		s.inside(k, node.children, base, literal, minus, combination)
	}
}

// without is minus and the nodes, as far as they overlap base.
func (s *splitter) without(key *tagKey, nodes []int32, base scopes.Scope, literal string, minus []scopes.Scope) []scopes.Scope {
	arena := s.st.minus
	start := len(arena)
	for _, m := range minus {
		if m.OverlapsResource(base) {
			arena = append(arena, m)
		}
	}
	for _, n := range nodes {
		if node := &key.nodes[n]; !apart(node.literal, literal) && node.pattern.OverlapsResource(base) {
			arena = append(arena, node.pattern)
		}
	}
	s.st.minus = arena
	return arena[start:len(arena):len(arena)]
}

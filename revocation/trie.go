package revocation

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/writbroker/writ/scopes"
)

// trie finds the scope rules that overlap a scope. Its first level is the head of a
// scope, the further ones are segments. One writer, any number of readers;
// nodes are never removed (see core).
type trie struct {
	seed  maphash.Seed
	nodes arena[node]
	edges arena[edge]
	table atomic.Pointer[table] // hash of (parent, text) → edges, of literals
}

type node struct {
	star     atomic.Uint32            // the child for the segment *
	prefixes atomic.Pointer[[]uint32] // edges whose text is prefix*
	kids     atomic.Pointer[[]uint32] // all edges but star
	ends     atomic.Pointer[[]uint32] // rules whose pattern ends here
	tails    atomic.Pointer[[]uint32] // rules whose pattern goes on with ** from here
}

type edge struct {
	text          string
	parent, child uint32
}

const trieRoot = 1

func (t *trie) init(seed maphash.Seed) {
	t.seed = seed
	t.nodes.add()
	t.table.Store(newTable(minSlots))
}

func (t *trie) empty() bool { return t.edges.len() == 0 }

func (t *trie) hash(parent uint32, text string) uint64 {
	return maphash.String(t.seed, text) ^ uint64(parent)*0x9e3779b97f4a7c15
}

// head is the first level's text: "tool:action", or "tool" for every action.
func head(s scopes.Scope) string {
	if s.Action() == scopes.AnyAction {
		return s.Tool()
	}
	return s.String()[:len(s.Tool())+1+len(s.Action())]
}

func (t *trie) add(s scopes.Scope, rule uint32) {
	at, tail := t.locate(s, t.grow)
	if tail {
		appendTo(&t.nodes.at(at).tails, rule)
		return
	}
	appendTo(&t.nodes.at(at).ends, rule)
}

func (t *trie) remove(s scopes.Scope, rule uint32) {
	at, tail := t.locate(s, t.follow)
	if at == 0 {
		return
	}
	if tail {
		removeFrom(&t.nodes.at(at).tails, rule)
		return
	}
	removeFrom(&t.nodes.at(at).ends, rule)
}

// locate goes to the node of a pattern; tail says that it goes on with **.
func (t *trie) locate(s scopes.Scope, step func(parent uint32, text string) uint32) (at uint32, tail bool) {
	at = step(trieRoot, head(s))
	for rest := s.Resource(); rest != "" && at != 0; {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		if segment == "**" {
			return at, true
		}
		at = step(at, segment)
	}
	return at, false
}

// follow returns the child for a segment of a pattern, 0 if there is none.
func (t *trie) follow(parent uint32, text string) uint32 {
	if text == "*" {
		return t.nodes.at(parent).star.Load()
	}
	h := t.hash(parent, text)
	table := t.table.Load()
	if !table.mayHold(h) {
		return 0
	}
	for p := table.probe(h); ; {
		ref := p.next()
		if ref == 0 {
			return 0
		}
		if e := t.edges.at(ref); e.parent == parent && e.text == text {
			return e.child
		}
	}
}

func (t *trie) grow(parent uint32, text string) uint32 {
	if child := t.follow(parent, text); child != 0 {
		return child
	}
	child, _ := t.nodes.add()
	p := t.nodes.at(parent)
	if text == "*" {
		p.star.Store(child)
		return child
	}
	ref, e := t.edges.add()
	e.text, e.parent, e.child = strings.Clone(text), parent, child
	appendTo(&p.kids, ref)
	if strings.HasSuffix(text, "*") && parent != trieRoot {
		appendTo(&p.prefixes, ref)
	}
	table := t.table.Load()
	if table.full() {
		grown := newTable(2 * len(table.slots))
		for i := uint32(1); i <= t.edges.len(); i++ {
			e := t.edges.at(i)
			grown.add(t.hash(e.parent, e.text), i)
		}
		t.table.Store(grown)
		return child
	}
	table.add(t.hash(parent, text), ref)
	return child
}

// scopeQuery looks for a rule that overlaps a scope and that accept takes. It
// allocates nothing.
type scopeQuery struct {
	*trie
	check *check
	scope scopes.Scope
}

// find returns the rule, 0 if there is none. The heads are the nodes of the
// scope's tool and action, and of its tool and every action.
func (q *scopeQuery) find(named, every uint32) uint32 {
	resource := q.scope.Resource()
	if named != 0 {
		if r := q.walk(named, resource); r != 0 {
			return r
		}
	}
	if every != 0 {
		return q.walk(every, resource)
	}
	return 0
}

// findAnyAction is find for a scope whose action is *, which no minted scope's is.
func (q *scopeQuery) findAnyAction() uint32 {
	tool := q.scope.Tool()
	kids := q.nodes.at(trieRoot).kids.Load()
	if kids == nil {
		return 0
	}
	for _, ref := range *kids {
		e := q.edges.at(ref)
		if t, _, _ := strings.Cut(e.text, ":"); t != tool {
			continue
		}
		if r := q.walk(e.child, q.scope.Resource()); r != 0 {
			return r
		}
	}
	return 0
}

// walk looks below a node for what overlaps the rest of the resource, which is one
// segment at least.
func (q *scopeQuery) walk(at uint32, rest string) uint32 {
	n := q.nodes.at(at)
	if r := q.first(&n.tails); r != 0 {
		return r
	}
	segment, after := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		segment, after = rest[:i], rest[i+1:]
	}
	if segment == "**" {
		return q.below(n)
	}
	if star := n.star.Load(); star != 0 {
		if r := q.enter(star, after); r != 0 {
			return r
		}
	}
	if segment[len(segment)-1] == '*' {
		return q.wild(n, segment[:len(segment)-1], after)
	}
	if child := q.follow(at, segment); child != 0 {
		if r := q.enter(child, after); r != 0 {
			return r
		}
	}
	if prefixes := n.prefixes.Load(); prefixes != nil {
		for _, ref := range *prefixes {
			e := q.edges.at(ref)
			if strings.HasPrefix(segment, e.text[:len(e.text)-1]) {
				if r := q.enter(e.child, after); r != 0 {
					return r
				}
			}
		}
	}
	return 0
}

// enter goes on in a child that takes the segment.
func (q *scopeQuery) enter(child uint32, after string) uint32 {
	if after == "" {
		return q.first(&q.nodes.at(child).ends)
	}
	return q.walk(child, after)
}

// wild goes on in every child that overlaps prefix*.
func (q *scopeQuery) wild(n *node, prefix, after string) uint32 {
	kids := n.kids.Load()
	if kids == nil {
		return 0
	}
	for _, ref := range *kids {
		e := q.edges.at(ref)
		overlaps := strings.HasPrefix(e.text, prefix)
		if stem, ok := strings.CutSuffix(e.text, "*"); ok && !overlaps {
			overlaps = strings.HasPrefix(prefix, stem)
		}
		if overlaps {
			if r := q.enter(e.child, after); r != 0 {
				return r
			}
		}
	}
	return 0
}

// below takes any rule under a node: ** overlaps whatever is longer.
func (q *scopeQuery) below(n *node) uint32 {
	if star := n.star.Load(); star != 0 {
		if r := q.under(star); r != 0 {
			return r
		}
	}
	if kids := n.kids.Load(); kids != nil {
		for _, ref := range *kids {
			if r := q.under(q.edges.at(ref).child); r != 0 {
				return r
			}
		}
	}
	return 0
}

func (q *scopeQuery) under(at uint32) uint32 {
	n := q.nodes.at(at)
	if r := q.first(&n.ends); r != 0 {
		return r
	}
	if r := q.first(&n.tails); r != 0 {
		return r
	}
	return q.below(n)
}

// first returns a rule of a list that is alive and not proven applied.
func (q *scopeQuery) first(list *atomic.Pointer[[]uint32]) uint32 {
	rules := list.Load()
	if rules == nil {
		return 0
	}
	for _, r := range *rules {
		if q.check.unproven(&q.check.k.others.at(r).places) {
			return r
		}
	}
	return 0
}

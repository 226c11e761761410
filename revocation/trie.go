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
	root  node
	nodes uint32 // made so far; the writer's
	edges arena[edge]
	table atomic.Pointer[table] // hash of (parent, text, stem) → edges
	heads atomic.Uint64         // a coarse filter of the first level: see headBit
	tools atomic.Uint64         // the same of its tools for every action
}

type node struct {
	id    uint32
	has   atomic.Uint32            // which of the following there are: see hasTails
	star  atomic.Pointer[node]     // the child for the segment *
	stems atomic.Pointer[[]int]    // lengths of the stems of its edges stem*, ascending
	kids  atomic.Pointer[[]uint32] // all edges but star
	ends  atomic.Pointer[[]uint32] // rules whose pattern ends here
	tails atomic.Pointer[[]uint32] // rules whose pattern goes on with ** from here
}

// What a node has, in one word: most have one kind. A bit is set after what it stands
// for, and stays.
const (
	hasTails = 1 << iota
	hasStar
	hasLiterals
	hasStems
)

func (n *node) note(bit uint32) { n.has.Store(n.has.Load() | bit) }

// edge leads to a child for a literal segment, or for stem*.
type edge struct {
	text   string // the literal, or the stem
	child  *node
	parent uint32
	stem   bool
}

func (t *trie) init(seed maphash.Seed) {
	t.seed = seed
	t.table.Store(newTable(minSlots))
}

func (t *trie) hash(text string) uint64 { return maphash.String(t.seed, text) }

// edgeHash is the hash of an edge, from that of its text.
func edgeHash(parent uint32, text uint64, stem bool) uint64 {
	h := text ^ uint64(parent)*0x9e3779b97f4a7c15
	if stem {
		return ^h
	}
	return h
}

// head is the first level's text: "tool:action", or "tool" for every action.
func head(s scopes.Scope) string {
	if s.Action() == scopes.AnyAction {
		return s.Tool()
	}
	return s.String()[:len(s.Tool())+1+len(s.Action())]
}

// headBit hashes a text of the first level in a nanosecond: most scopes of a token
// belong to tools that no rule names.
func headBit(tool, action string) uint64 {
	return 1 << ((uint(tool[0])*7 + uint(tool[len(tool)-1])*3 + uint(len(tool))*11 + uint(action[0])*5 + uint(len(action))) & 63)
}

func (t *trie) add(s scopes.Scope, rule uint32) {
	if s.Action() == scopes.AnyAction {
		t.tools.Store(t.tools.Load() | headBit(s.Tool(), scopes.AnyAction))
	} else {
		t.heads.Store(t.heads.Load() | headBit(s.Tool(), s.Action()))
	}
	at, tail := t.locate(s, t.grow)
	if tail {
		appendTo(&at.tails, rule)
		at.note(hasTails)
		return
	}
	appendTo(&at.ends, rule)
}

func (t *trie) remove(s scopes.Scope, rule uint32) {
	at, tail := t.locate(s, t.follow)
	if at == nil {
		return
	}
	if tail {
		removeFrom(&at.tails, rule)
		return
	}
	removeFrom(&at.ends, rule)
}

// locate goes to the node of a pattern; tail says that it goes on with **.
func (t *trie) locate(s scopes.Scope, step func(parent *node, text string) *node) (at *node, tail bool) {
	at = step(&t.root, head(s))
	for rest := s.Resource(); rest != "" && at != nil; {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		if segment == "**" {
			return at, true
		}
		at = step(at, segment)
	}
	return at, false
}

// follow returns the child for a segment of a pattern, nil if there is none.
func (t *trie) follow(parent *node, segment string) *node {
	if segment == "*" {
		return parent.star.Load()
	}
	stem, wild := strings.CutSuffix(segment, "*")
	return t.edge(parent, t.hash(stem), stem, wild)
}

// edge returns the child for a literal or a stem, whose hash is given.
func (t *trie) edge(parent *node, hash uint64, text string, stem bool) *node {
	h := edgeHash(parent.id, hash, stem)
	table := t.table.Load()
	if !table.mayHold(h) {
		return nil
	}
	for p := table.probe(h); ; {
		ref := p.next()
		if ref == 0 {
			return nil
		}
		if e := t.edges.at(ref); e.parent == parent.id && e.stem == stem && e.text == text {
			return e.child
		}
	}
}

// grow is follow that makes the child.
func (t *trie) grow(parent *node, segment string) *node {
	if child := t.follow(parent, segment); child != nil {
		return child
	}
	t.nodes++
	child := &node{id: t.nodes}
	if segment == "*" {
		parent.star.Store(child)
		parent.note(hasStar)
		return child
	}
	ref, e := t.edges.add()
	e.parent, e.child = parent.id, child
	e.text, e.stem = strings.CutSuffix(strings.Clone(segment), "*")
	appendTo(&parent.kids, ref)
	t.link(ref, e)
	if e.stem {
		addLength(&parent.stems, len(e.text))
		parent.note(hasStems)
	} else {
		parent.note(hasLiterals)
	}
	return child
}

// link adds an edge to the table; to a new one, with all edges, when it is full.
func (t *trie) link(ref uint32, e *edge) {
	table := t.table.Load()
	if !table.full() {
		table.add(edgeHash(e.parent, t.hash(e.text), e.stem), ref)
		return
	}
	grown := newTable(2 * len(table.slots))
	for i := uint32(1); i <= t.edges.len(); i++ {
		e := t.edges.at(i)
		grown.add(edgeHash(e.parent, t.hash(e.text), e.stem), i)
	}
	t.table.Store(grown)
}

// scopeQuery looks for a rule that overlaps a scope, is alive and not proven. It
// allocates nothing.
type scopeQuery struct {
	*trie
	check
}

// find returns the rule, 0 if there is none. The heads are the nodes of the
// scope's tool and action, and of its tool and every action, nil where there is none.
func (q *scopeQuery) find(named, every *node, resource string) uint32 {
	segment, after := cut(resource)
	if named != nil {
		if r := q.walk(named, segment, after); r != 0 {
			return r
		}
	}
	if every != nil {
		return q.walk(every, segment, after)
	}
	return 0
}

// cut takes the first segment off; after is empty for the last. Segments are short:
// a loop finds their end sooner than a call does.
func cut(rest string) (segment, after string) {
	for i := range len(rest) {
		if rest[i] == '/' {
			return rest[:i], rest[i+1:]
		}
	}
	return rest, ""
}

// findAnyAction is find for a scope whose action is *, which no minted scope's is.
func (q *scopeQuery) findAnyAction(tool, resource string) uint32 {
	kids := q.root.kids.Load()
	if kids == nil {
		return 0
	}
	for _, ref := range *kids {
		e := q.edges.at(ref)
		if t, _, _ := strings.Cut(e.text, ":"); t != tool {
			continue
		}
		if r := q.enter(e.child, resource); r != 0 {
			return r
		}
	}
	return 0
}

// walk looks below a node for what overlaps a segment and what comes after it.
func (q *scopeQuery) walk(n *node, segment, after string) uint32 {
	has := n.has.Load()
	if has&hasTails != 0 {
		if r := q.first(n.tails.Load()); r != 0 {
			return r
		}
	}
	if wild := segment[len(segment)-1] == '*'; wild && segment == "**" {
		return q.below(n)
	} else if wild {
		return q.wild(n, segment[:len(segment)-1], after)
	}
	if has&hasStar != 0 {
		if r := q.enter(n.star.Load(), after); r != 0 {
			return r
		}
	}
	if has&hasLiterals != 0 {
		if child := q.edge(n, q.hash(segment), segment, false); child != nil {
			if r := q.enter(child, after); r != 0 {
				return r
			}
		}
	}
	if has&hasStems != 0 {
		return q.stemmed(n, segment, after)
	}
	return 0
}

// stemmed goes on in every child stem* that takes a literal segment.
func (q *scopeQuery) stemmed(parent *node, segment, after string) uint32 {
	for _, n := range *parent.stems.Load() {
		if n > len(segment) {
			return 0
		}
		stem := segment[:n]
		if child := q.edge(parent, q.hash(stem), stem, true); child != nil {
			if r := q.enter(child, after); r != 0 {
				return r
			}
		}
	}
	return 0
}

// enter goes on in a child that takes a segment, with what comes after it.
func (q *scopeQuery) enter(child *node, after string) uint32 {
	if after == "" {
		return q.first(child.ends.Load())
	}
	segment, rest := cut(after)
	return q.walk(child, segment, rest)
}

// wild goes on in every child that overlaps prefix*.
func (q *scopeQuery) wild(n *node, prefix, after string) uint32 {
	if star := n.star.Load(); star != nil {
		if r := q.enter(star, after); r != 0 {
			return r
		}
	}
	kids := n.kids.Load()
	if kids == nil {
		return 0
	}
	for _, ref := range *kids {
		e := q.edges.at(ref)
		if strings.HasPrefix(e.text, prefix) || e.stem && strings.HasPrefix(prefix, e.text) {
			if r := q.enter(e.child, after); r != 0 {
				return r
			}
		}
	}
	return 0
}

// below takes any rule under a node: ** overlaps whatever is longer.
func (q *scopeQuery) below(n *node) uint32 {
	if star := n.star.Load(); star != nil {
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

func (q *scopeQuery) under(n *node) uint32 {
	if r := q.first(n.ends.Load()); r != 0 {
		return r
	}
	if r := q.first(n.tails.Load()); r != 0 {
		return r
	}
	return q.below(n)
}

// first returns a rule of a list that is alive and not proven applied.
func (q *scopeQuery) first(rules *[]uint32) uint32 {
	if rules == nil {
		return 0
	}
	for _, r := range *rules {
		if q.unproven(&q.k.others.at(r).places) {
			return r
		}
	}
	return 0
}

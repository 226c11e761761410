package scopes

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// The minimal form of a set depends on nothing but the accesses that the set
// matches. For one tool and action, let M(n) be the greatest patterns of n
// segments that the set covers: by the rule of unions they are restrictions of
// its members. The form holds, for each p in M(n):
//
//   - if p is q/* and the set covers q/** (all that is longer, too): the tail
//     c/*/…/** with the fewest segments that the set covers, where c is p
//     without the * that it ends in;
//   - otherwise p;
//
// less what another one of them covers. None can be left out, since at n only
// a tail of the same c covers p, and there is one such tail; and they are no
// more than were put in. For a named action, what AnyAction of that tool
// covers counts as covered, and is left out.

// minimize returns the minimal form, sorted by text. It may reorder given.
func minimize(given []Scope) ([]Scope, error) {
	for _, s := range given {
		if s.IsZero() {
			return nil, syntaxError("", 0, "empty scope")
		}
	}
	kept, err := prune(given)
	if err != nil {
		return nil, err
	}
	if settled, changed := settle(kept); changed {
		if kept, err = prune(settled); err != nil {
			return nil, err
		}
	}
	if len(kept) > MaxSetScopes {
		return nil, fmt.Errorf("%w: %d", ErrTooMany, len(kept))
	}
	for _, s := range kept {
		if len(s.text) > MaxScopeBytes {
			return nil, fmt.Errorf("%w: %.96q…", ErrTooLong, s.text)
		}
	}
	slices.SortFunc(kept, func(a, b Scope) int { return strings.Compare(a.text, b.text) })
	return kept, nil
}

// maxIncomparable bounds the work on a set that is not minimal yet: so many of
// its scopes may be left once none covers another. More could merge into 64
// only by spelling out what ** says, and are refused.
const maxIncomparable = 4 * MaxSetScopes

// prune removes what another member covers. It leaves the rest sorted by tool,
// then action (AnyAction first), then so that what covers comes before what it
// covers.
func prune(given []Scope) ([]Scope, error) {
	slices.SortFunc(given, byReach)
	kept := given[:0]
	for _, s := range given {
		if slices.ContainsFunc(kept, func(k Scope) bool { return k.Covers(s) }) {
			continue
		}
		if len(kept) == maxIncomparable {
			return nil, ErrTooMany
		}
		kept = append(kept, s)
	}
	return kept, nil
}

// byReach orders so that a scope comes before all that it covers.
func byReach(a, b Scope) int {
	if c := strings.Compare(a.Tool(), b.Tool()); c != 0 {
		return c
	}
	if c := strings.Compare(a.Action(), b.Action()); c != 0 { // "*" sorts before every name
		return c
	}
	if c := cmp.Compare(a.weight(), b.weight()); c != 0 {
		return c
	}
	if a.tail != b.tail {
		if a.tail {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.segments, b.segments)
}

// weight counts what a pattern pins down: nothing for a wildcard segment, two
// for a byte of a prefix, and one more for a literal's end. What covers never
// weighs more than what it covers.
func (s Scope) weight() int {
	total, start := 0, 0
	text := s.Resource()
	for i := 0; i <= len(text); i++ {
		if i < len(text) && text[i] != '/' {
			continue
		}
		switch {
		case text[start:i] == "**":
		case text[i-1] == '*':
			total += 2 * (i - start - 1)
		default:
			total += 2*(i-start) + 1
		}
		start = i + 1
	}
	return total
}

// settle rewrites pruned members to the form above and says whether any
// changed. Only a group with tails has more than one way to be written.
func settle(pruned []Scope) ([]Scope, bool) {
	if !slices.ContainsFunc(pruned, func(s Scope) bool { return s.tail }) {
		return pruned, false
	}
	settled, changed := make([]Scope, 0, len(pruned)), false
	var wide []Scope // the members of the tool at hand that have AnyAction
	for i := 0; i < len(pruned); {
		first, end := pruned[i], i+1
		for end < len(pruned) && pruned[end].sameTool(first) && pruned[end].Action() == first.Action() {
			end++
		}
		g := group{own: pruned[i:end]}
		switch {
		case first.anyAction():
			wide = g.own
		case len(wide) > 0 && wide[0].sameTool(first):
			g.wide = wide
		}
		for _, s := range g.own {
			form, needed := g.form(s)
			if needed {
				settled = append(settled, form)
			}
			changed = changed || !needed || form != s
		}
		i = end
	}
	return settled, changed
}

// group is what holds for one tool and action.
type group struct {
	own  []Scope // with that action
	wide []Scope // with AnyAction, if the action is a name
}

// makesUp says whether other members cover s between them, as prune has left
// none that does so alone.
func (g group) makesUp(s Scope) bool {
	var covered lengths
	for _, members := range [...][]Scope{g.own, g.wide} {
		for i := range members {
			if u := &members[i]; u.reachesBeyond(s) {
				covered |= u.lengthsOf(s)
			}
		}
	}
	return covered == s.allLengths()
}

// under returns the lengths at which the group covers base and * after it.
func (g group) under(base string, k int) lengths {
	var covered lengths
	for _, s := range g.own {
		covered |= s.lengthsUnder(base, k)
	}
	for _, s := range g.wide {
		covered |= s.lengthsUnder(base, k)
	}
	return covered
}

// form is how the minimal form writes s, and whether it needs s at all.
func (g group) form(s Scope) (Scope, bool) {
	if s.tail && g.makesUp(s) {
		return Scope{}, false
	}
	base, n := s.base()
	core, k := stripStars(base, n)
	if k == n { // nothing shorter says more
		return s, true
	}
	// The least length from which on every length is covered.
	least := bits.Len64(^uint64(g.under(core, k)))
	if least > int(s.segments) || s.tail && least == int(s.segments) {
		return s, true
	}
	tail, ok := s.withTail(core, k, least)
	if !ok {
		return s, true
	}
	return tail, true
}

// withTail is the tool and action of s over core (of k segments), * up to n-1
// segments, and **. It reports false where that has no text short enough,
// which is so only if s is no tail itself.
func (s Scope) withTail(core string, k, n int) (Scope, bool) {
	resource := strings.TrimPrefix(core+strings.Repeat("/*", n-1-k)+"/**", "/")
	text := s.text[:s.action+1] + resource
	if len(text) > MaxScopeBytes {
		return Scope{}, false
	}
	s.text, s.segments, s.tail, s.wild = text, uint8(n), true, true
	return s, true
}

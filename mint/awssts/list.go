package awssts

import (
	"slices"
	"strings"

	"github.com/writbroker/writ/mint/awssts/iam"
)

// shown is what one scope lets a list show.
type shown struct {
	scope int
	path  pattern
}

// listing is the lists that differ by what they show alone.
type listing struct {
	target *target
	shown  []shown
}

// lists are the statements that allow lists. What a list shows is held by conditions, which
// say both what its prefix is like and what it is not: no deny is needed, and scopes of one
// bucket are never in each other's way.
func (k *compilation) lists(inline []grant) ([]statement, error) {
	at := map[string]*listing{}
	for i := range inline {
		g := &inline[i]
		if g.target.prefix == "" {
			continue
		}
		if !g.path.tail && !g.path.segments[len(g.path.segments)-1].wild {
			s := k.set.At(g.scope)
			return nil, &ScopeError{
				Scope: s, Problem: "a list shows every name that begins with what it asks for",
				Ask: "ask for " + s.String() + "/*, or /** for what lies deeper too",
			}
		}
		key := strings.Join(append(slices.Clone(g.target.actions), g.resource, g.target.prefix, g.target.delimiter,
			g.target.place.root, g.target.under), "\x02")
		if at[key] == nil {
			at[key] = &listing{target: g.target}
		}
		at[key].shown = append(at[key].shown, shown{g.scope, g.path})
	}
	var all []statement
	for _, key := range sortedKeys(at) {
		all = append(all, at[key].statements()...)
	}
	return all, nil
}

func (l *listing) statements() []statement {
	var tails, levels []shown
	for i, s := range l.shown {
		held := func(t shown) bool { return t.path.covers(s.path) && !s.path.covers(t.path) }
		same := func(t shown) bool { return t.path.covers(s.path) && s.path.covers(t.path) }
		switch {
		case slices.ContainsFunc(l.shown, held), slices.ContainsFunc(l.shown[:i], same):
		case s.path.tail:
			tails = append(tails, s)
		default:
			levels = append(levels, s)
		}
	}
	var all []statement
	if len(tails) > 0 {
		all = append(all, l.statement(tails, nil, "what is granted is listed, at any depth"))
	}
	return append(all, l.levels(levels)...)
}

// levels are the lists of one level: with a delimiter, so that what is deeper is not shown.
// One statement holds them all where that is shorter than one for each depth.
func (l *listing) levels(all []shown) []statement {
	byDepth := map[int][]shown{}
	var depths []int
	for _, s := range all {
		n := len(s.path.segments)
		if byDepth[n] == nil {
			depths = append(depths, n)
		}
		byDepth[n] = append(byDepth[n], s)
	}
	slices.Sort(depths)
	const why = "what is granted is listed, one level at a time"
	var apart []statement
	for _, n := range depths {
		apart = append(apart, l.statement(byDepth[n], []pattern{deeper(nil, n+1)}, why))
	}
	if len(depths) < 2 {
		return apart
	}
	if below, ok := cuts(all); ok {
		if one := []statement{l.statement(all, below, why)}; size(one) < size(apart) {
			return one
		}
	}
	return apart
}

// cuts are patterns of what is deeper than each of them, that hit none of them.
func cuts(all []shown) ([]pattern, bool) {
	var below []pattern
	for _, s := range all {
		depth := len(s.path.segments) + 1
		head := s.path.segments[:s.path.lead()]
		if slices.ContainsFunc(below, func(p pattern) bool { return p.covers(deeper(head, depth)) }) {
			continue
		}
		found := false
		for length := range len(head) + 1 {
			p := deeper(head[:length], depth)
			if !slices.ContainsFunc(all, func(t shown) bool { return p.overlaps(t.path) }) {
				below, found = append(below, p), true
				break
			}
		}
		if !found {
			return nil, false
		}
	}
	return below, true
}

// statement allows lists of what is shown but not below.
func (l *listing) statement(all []shown, below []pattern, why string) statement {
	t := l.target
	s := statement{Statement: iam.Statement{Effect: iam.Allow, Actions: t.actions, Resources: []string{t.resource}}, why: why}
	var like, unlike []string
	var odd strays
	for _, one := range all {
		text := t.place.glob(one.path)
		like = append(like, text)
		s.scopes |= only(one.scope)
		s.shares = append(s.shares, share{only(one.scope), iam.Size(text) + len(`"",`)})
		odd |= one.path.strays()
	}
	for _, p := range below {
		unlike = append(unlike, t.place.glob(p))
	}
	// The last segment of a prefix is not whole: it may be empty, or begin with a dot.
	unlike = append(unlike, (odd & (anyStray | anyStray<<first)).texts(t.place.family)...)
	s.Conditions = slices.Clone(t.conditions)
	if slices.Sort(like); like[0] != "*" {
		s.Conditions = append(s.Conditions, iam.Condition{Operator: "StringLike", Key: t.prefix, Values: like})
	}
	if len(unlike) > 0 {
		slices.Sort(unlike)
		s.Conditions = append(s.Conditions, iam.Condition{Operator: "StringNotLike", Key: t.prefix, Values: slices.Compact(unlike)})
	}
	if below != nil {
		s.Conditions = append(s.Conditions, iam.Condition{Operator: "StringEquals", Key: t.delimiter, Values: []string{t.place.separator}})
	}
	s.Conditions = ordered(s.Conditions)
	return s
}

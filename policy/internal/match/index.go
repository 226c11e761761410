package match

import (
	"slices"
	"strings"
)

// Hit is a rule that names a principal.
type Hit struct {
	Rule int32
	// Exact: one of the rule's patterns is the principal's id itself.
	Exact bool
	// Fixed is how many bytes of the id the most specific of the matching patterns fixes from its start.
	Fixed int32
}

// Index finds rules by principal id. Build it with Add and Seal; then it is immutable and safe for
// concurrent use. A lookup costs a hash, a binary search over the distinct literal prefixes, and
// the patterns whose literal prefix the id begins with.
type Index struct {
	exact    map[string][]int32
	patterns map[string][]entry // while building
	prefixes []prefixNode       // sorted by text
}

type entry struct {
	pattern Pattern
	rule    int32
}

type prefixNode struct {
	text    string
	parent  int32 // the longest other prefix that this one begins with, or -1
	entries []entry
}

// Add names a rule by a pattern.
func (x *Index) Add(p Pattern, rule int32) {
	if p.Exact() {
		if x.exact == nil {
			x.exact = map[string][]int32{}
		}
		x.exact[p.text] = append(x.exact[p.text], rule)
		return
	}
	if x.patterns == nil {
		x.patterns = map[string][]entry{}
	}
	x.patterns[p.Literal()] = append(x.patterns[p.Literal()], entry{p, rule})
}

// Seal ends the building. An index that is not sealed finds no patterns.
func (x *Index) Seal() {
	for text, entries := range x.patterns {
		x.prefixes = append(x.prefixes, prefixNode{text: text, entries: entries})
	}
	x.patterns = nil
	slices.SortFunc(x.prefixes, func(a, b prefixNode) int { return strings.Compare(a.text, b.text) })
	for i := range x.prefixes {
		// The predecessor, or one of its ancestors, is the longest prefix of this one.
		up := int32(i) - 1
		for up >= 0 && !strings.HasPrefix(x.prefixes[i].text, x.prefixes[up].text) {
			up = x.prefixes[up].parent
		}
		x.prefixes[i].parent = up
	}
}

// Find appends the rules that name the id to dst, sorted by rule, each once.
func (x *Index) Find(id string, dst []Hit) []Hit {
	start := len(dst)
	for _, rule := range x.exact[id] {
		dst = append(dst, Hit{Rule: rule, Exact: true, Fixed: int32(len(id))})
	}
	lo, hi := 0, len(x.prefixes)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if x.prefixes[mid].text <= id {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	at := int32(lo) - 1
	for at >= 0 && !strings.HasPrefix(id, x.prefixes[at].text) {
		at = x.prefixes[at].parent
	}
	for ; at >= 0; at = x.prefixes[at].parent { // every ancestor of a prefix of id is one too
		for i := range x.prefixes[at].entries {
			if e := &x.prefixes[at].entries[i]; e.pattern.Match(id) {
				dst = append(dst, Hit{Rule: e.rule, Fixed: int32(len(x.prefixes[at].text))})
			}
		}
	}
	return dst[:start+unique(dst[start:])]
}

// unique sorts hits by rule and keeps one of each, the most specific.
func unique(hits []Hit) int {
	slices.SortFunc(hits, func(a, b Hit) int {
		switch {
		case a.Rule != b.Rule:
			return int(a.Rule) - int(b.Rule)
		case a.Exact == b.Exact:
			return int(b.Fixed) - int(a.Fixed)
		case a.Exact:
			return -1
		}
		return 1
	})
	n := 0
	for i, h := range hits {
		if i > 0 && h.Rule == hits[n-1].Rule {
			continue
		}
		hits[n] = h
		n++
	}
	return n
}

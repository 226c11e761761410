package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/writbroker/writ/policy/internal/condition"
	"github.com/writbroker/writ/scopes"
)

// tagKey is one key of a tool's tags. Its patterns nest or are disjoint, so they are a forest; of those
// that match a resource, the innermost gives the value.
type tagKey struct {
	name   string
	values []string // value n is values[n-1]; 0 is none
	nodes  []tagNode
	roots  []int32
	stride uint64 // weight of this key in the number of a combination
}

type tagNode struct {
	pattern  scopes.Scope
	literal  string
	value    uint64
	children []int32
	rule     int32
	line     int
	file     string
}

// combo is one combination of tag values, as conditions see it.
type combo struct {
	text  string // key=value, sorted; equal exactly where the tags are
	tags  map[string]string
	boxed map[string]any
}

// maxCombos bounds the table of combinations that a tool keeps; others are made anew each time.
const maxCombos = 4096

// combination returns the tags of combination number n.
func (t *tool) combination(n uint64) *combo {
	if n >= uint64(len(t.combos)) {
		return t.newCombo(n)
	}
	if c := t.combos[n].Load(); c != nil {
		return c
	}
	c := t.newCombo(n)
	t.combos[n].Store(c) // whoever is last wins; they are equal
	return c
}

func (t *tool) newCombo(n uint64) *combo {
	tags := map[string]string{}
	for i := range t.keys {
		k := &t.keys[i]
		if v := n / k.stride % uint64(len(k.values)+1); v > 0 {
			tags[k.name] = k.values[v-1]
		}
	}
	var text strings.Builder
	for _, k := range sortedKeys(tags) {
		if text.Len() > 0 {
			text.WriteByte(' ')
		}
		text.WriteString(k + "=" + strconv.Quote(tags[k]))
	}
	return &combo{text.String(), tags, condition.BoxMap(tags)}
}

// tags compiles a tool's tag patterns.
func (c *compiler) tags(t *tool, source *toolSource) {
	byKey := map[string]*tagKey{}
	for i := range source.tags {
		written := &source.tags[i]
		if written.match.Value == "" {
			continue
		}
		pattern, ok := c.tagPattern(t, source, written)
		if !ok {
			continue
		}
		for _, pair := range written.tags {
			if !validName(pair.key) {
				c.fault(&source.meta, written.line, fmt.Sprintf("the tag key %q is not valid", pair.key), "use letters, digits, '.', '_', '-' and '/'")
			}
			k := byKey[pair.key]
			if k == nil {
				k = &tagKey{name: pair.key}
				byKey[pair.key] = k
			}
			k.nodes = append(k.nodes, tagNode{
				pattern: pattern, literal: literalPrefix(pattern.Resource()), value: k.valueOf(pair.value.Value),
				line: written.line, file: source.file,
				rule: c.ruleAt(EntryTag, t.Name+" "+pattern.Resource(), source.file, written.line, pair.key+"="+pair.value.Value),
			})
		}
	}
	stride := uint64(1)
	for _, name := range sortedKeys(byKey) {
		k := byKey[name]
		c.nest(&source.meta, k)
		k.stride = stride
		next := stride * uint64(len(k.values)+1)
		if next/stride != uint64(len(k.values)+1) {
			c.fault(&source.meta, source.line, "the tags have too many combinations", "use fewer tag keys, or fewer values")
			return
		}
		stride = next
		t.keys = append(t.keys, *k)
	}
	if len(t.keys) > 0 {
		t.combos = make([]atomic.Pointer[combo], min(stride, maxCombos))
	} else {
		t.combos = make([]atomic.Pointer[combo], 1)
	}
}

func (c *compiler) tagPattern(t *tool, source *toolSource, written *tagSource) (scopes.Scope, bool) {
	pattern, err := scopes.Make(t.Name, scopes.AnyAction, written.match.Value)
	if err == nil && t.CaseInsensitive {
		pattern, err = pattern.Fold()
	}
	if err != nil {
		c.fault(&source.meta, written.match.Line, fmt.Sprintf("match %q is not a resource pattern: %v", written.match.Value, err), "write segments joined by '/', such as sales/pii/**")
	}
	return pattern, err == nil
}

// valueOf numbers the values of a key from 1.
func (k *tagKey) valueOf(value string) uint64 {
	if i := slices.Index(k.values, value); i >= 0 {
		return uint64(i) + 1
	}
	k.values = append(k.values, value)
	return uint64(len(k.values))
}

// nest makes a forest of the key's patterns, or says which of them neither nest nor are disjoint.
func (c *compiler) nest(m *meta, k *tagKey) {
	parents := make([]int, len(k.nodes))
	depth := make([]int, len(k.nodes)) // how many patterns cover it
	for i := range k.nodes {
		for j := range i {
			a, b := &k.nodes[i], &k.nodes[j]
			switch {
			case apart(a.literal, b.literal):
			case a.pattern == b.pattern:
				c.fault(m, a.line, fmt.Sprintf("pattern %s gives the tag %q twice", a.pattern.Resource(), k.name), fmt.Sprintf("it does on line %d already", b.line))
			case a.pattern.CoversResource(b.pattern):
				depth[j]++
			case b.pattern.CoversResource(a.pattern):
				depth[i]++
			case a.pattern.OverlapsResource(b.pattern):
				c.fault(m, a.line, fmt.Sprintf("patterns %s and %s (line %d) both give the tag %q and overlap, but neither holds the other", a.pattern.Resource(), b.pattern.Resource(), b.line, k.name),
					"make one lie within the other, or make them disjoint: the innermost pattern must be unambiguous")
			}
		}
	}
	for i := range k.nodes {
		parents[i] = -1
		for j := range k.nodes {
			if i != j && k.nodes[j].pattern != k.nodes[i].pattern && k.nodes[j].pattern.CoversResource(k.nodes[i].pattern) &&
				(parents[i] < 0 || depth[j] > depth[parents[i]]) {
				parents[i] = j
			}
		}
		if parents[i] < 0 {
			k.roots = append(k.roots, int32(i))
		} else {
			k.nodes[parents[i]].children = append(k.nodes[parents[i]].children, int32(i))
		}
	}
}

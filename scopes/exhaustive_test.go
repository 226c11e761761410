package scopes_test

import (
	"strings"
	"testing"

	"github.com/writbroker/writ/scopes"
)

// patterns lists every pattern of up to depth segments over these segments,
// with and without a last **.
func patterns(segments []string, depth int) []string {
	var all []string
	level := []string{""}
	for range depth {
		var next []string
		for _, head := range level {
			all = append(all, strings.TrimPrefix(head+"/**", "/"))
			for _, s := range segments {
				next = append(next, strings.TrimPrefix(head+"/"+s, "/"))
			}
		}
		all = append(all, next...)
		level = next
	}
	return all
}

// choose calls f with every subset of pool of 1 to n members.
func choose(pool []scopes.Scope, n int, f func([]scopes.Scope)) {
	var picked []scopes.Scope
	var from func(int)
	from = func(start int) {
		if len(picked) > 0 {
			f(picked)
		}
		if len(picked) == n {
			return
		}
		for i := start; i < len(pool); i++ {
			picked = append(picked, pool[i])
			from(i + 1)
			picked = picked[:len(picked)-1]
		}
	}
	from(0)
}

// Two sets have equal text exactly if they match the same accesses, over all
// the small sets there are.
func TestEqualSetsHaveEqualText(t *testing.T) {
	for name, row := range map[string]struct {
		segments []string // of patterns
		depth    int
		actions  []string // of scopes
		size     int
		concrete []string
		asked    []string
	}{
		"lengths":  {[]string{"a", "*"}, 3, []string{"read"}, 4, []string{"a", "q"}, []string{"read"}},
		"prefixes": {[]string{"a", "a*", "*"}, 2, []string{"read"}, 4, []string{"a", "aq", "q"}, []string{"read"}},
		"actions":  {[]string{"a", "*"}, 2, []string{"read", "*"}, 4, []string{"a", "q"}, []string{"read", "fresh"}},
	} {
		t.Run(name, func(t *testing.T) {
			var pool []scopes.Scope
			single := map[scopes.Scope]string{}
			accesses := universe(row.asked, row.concrete, row.depth+1)
			for _, action := range row.actions {
				for _, resource := range patterns(row.segments, row.depth) {
					s := mustMake(t, "t", action, resource)
					pool, single[s] = append(pool, s), extent(accesses, s)
				}
			}
			text, meaning := map[string]string{}, map[string]string{}
			choose(pool, row.size, func(union []scopes.Scope) {
				bits := []byte(strings.Repeat("0", len(accesses)))
				for _, s := range union {
					for i := range bits {
						bits[i] |= single[s][i]
					}
				}
				extent, got := string(bits), newSet(t, union...).String()
				if want, ok := text[extent]; ok && got != want {
					t.Fatalf("%v is written %q, an equal set %q", union, got, want)
				}
				if other, ok := meaning[got]; ok && other != extent {
					t.Fatalf("%v is written %q, as is another set", union, got)
				}
				text[extent], meaning[got] = got, extent
			})
		})
	}
}

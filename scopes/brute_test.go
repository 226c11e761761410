package scopes_test

import (
	"strings"

	"github.com/writbroker/writ/scopes"
)

// The matcher below knows the meaning of a scope and nothing else: no algebra,
// and no code of the package under test. Everything is held against it.

// matches says whether the scope of that text matches one concrete access.
func matches(scope, tool, action, resource string) bool {
	parts := strings.Split(scope, ":")
	return parts[0] == tool && (parts[1] == "*" || parts[1] == action) &&
		matchesSegments(strings.Split(parts[2], "/"), strings.Split(resource, "/"))
}

func matchesSegments(pattern, resource []string) bool {
	if len(pattern) == 1 && pattern[0] == "**" {
		return len(resource) >= 1
	}
	if len(pattern) == 0 || len(resource) == 0 {
		return len(pattern) == len(resource)
	}
	prefix, open := strings.CutSuffix(pattern[0], "*")
	if open && !strings.HasPrefix(resource[0], prefix) || !open && resource[0] != pattern[0] {
		return false
	}
	return matchesSegments(pattern[1:], resource[1:])
}

// An access is what a scope may match: tool t throughout.
type access struct{ action, resource string }

// universe holds every access of up to depth segments, of these actions. For
// patterns over the literals a, ab and b it needs, as fresh values, one segment
// for each of *, a*, ab* and b*; beyond the depth of the deepest pattern plus
// one, lengths differ no more.
func universe(actions, segments []string, depth int) []access {
	var all []access
	level := []string{""}
	for range depth {
		var next []string
		for _, head := range level {
			for _, s := range segments {
				next = append(next, strings.TrimPrefix(head+"/"+s, "/"))
			}
		}
		for _, resource := range next {
			for _, action := range actions {
				all = append(all, access{action, resource})
			}
		}
		level = next
	}
	return all
}

// extent is what a union of scopes matches, one byte for each access.
func extent(accesses []access, union ...scopes.Scope) string {
	bits := make([]byte, len(accesses))
	for i, a := range accesses {
		bits[i] = '0'
		for _, s := range union {
			if matches(s.String(), "t", a.action, a.resource) {
				bits[i] = '1'
				break
			}
		}
	}
	return string(bits)
}

// within says whether whatever is in extent a is in extent b.
func within(a, b string) bool {
	for i := range len(a) {
		if a[i] == '1' && b[i] == '0' {
			return false
		}
	}
	return true
}

func both(a, b string) string {
	bits := []byte(a)
	for i := range bits {
		if b[i] == '0' {
			bits[i] = '0'
		}
	}
	return string(bits)
}

func members(set scopes.Set) []scopes.Scope {
	var all []scopes.Scope
	for s := range set.All() {
		all = append(all, s)
	}
	return all
}

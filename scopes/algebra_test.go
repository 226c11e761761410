package scopes_test

import (
	"strings"
	"testing"

	"github.com/writbroker/writ/scopes"
)

func TestCovers(t *testing.T) {
	for name, row := range map[string]struct {
		a, b string
		want bool
	}{
		"itself":                                 {"t:read:a/b", "t:read:a/b", true},
		"another tool":                           {"t:read:**", "u:read:a", false},
		"a tool whose name goes on":              {"t:read:**", "tt:read:a", false},
		"another action":                         {"t:read:**", "t:write:a", false},
		"any action covers a named one":          {"t:*:**", "t:read:a", true},
		"a named action does not cover any":      {"t:read:**", "t:*:a", false},
		"a star is one segment":                  {"t:read:a/*", "t:read:a/b", true},
		"a star is not two segments":             {"t:read:a/*", "t:read:a/b/c", false},
		"a star is not none":                     {"t:read:a/*", "t:read:a", false},
		"a tail is what lies under it":           {"t:read:sales/**", "t:read:sales/eu/x", true},
		"a tail is not what it hangs on":         {"t:read:sales/**", "t:read:sales", false},
		"a tail does not cover a sibling":        {"t:read:sales/**", "t:read:salesforce/x", false},
		"a bare tail is everything":              {"t:read:**", "t:read:a/b/c", true},
		"a tail covers a longer tail":            {"t:read:a/**", "t:read:a/b/**", true},
		"a tail covers a star, then a tail":      {"t:read:a/**", "t:read:a/*/**", true},
		"but not the other way round":            {"t:read:a/*/**", "t:read:a/**", false},
		"a tail covers a star":                   {"t:read:a/**", "t:read:a/*", true},
		"a star does not cover a tail":           {"t:read:a/*", "t:read:a/**", false},
		"a bare star does not cover a bare tail": {"t:read:*", "t:read:**", false},
		"a bare tail covers a bare star":         {"t:read:**", "t:read:*", true},
		"a bare tail covers stars":               {"t:read:**", "t:read:*/b*", true},
		"a prefix covers its own text":           {"t:read:a*", "t:read:a", true},
		"a prefix covers what goes on":           {"t:read:a*", "t:read:ab", true},
		"a prefix covers a longer one":           {"t:read:a*", "t:read:ab*", true},
		"a prefix does not cover a shorter one":  {"t:read:ab*", "t:read:a*", false},
		"a literal does not cover a prefix":      {"t:read:a", "t:read:a*", false},
		"a prefix stays in its segment":          {"t:read:a*", "t:read:a/b", false},
		"a prefix inside a path":                 {"t:read:a*/c", "t:read:ab/c", true},
		"a prefix inside, its rest empty":        {"t:read:a*/c", "t:read:a/c", true},
		"a prefix does not cover a star":         {"t:read:a*", "t:read:*", false},
		"a star covers a prefix":                 {"t:read:*", "t:read:a*", true},
		"a prefix of an escape's byte":           {"t:read:%2F*", "t:read:%2Fx", true},
		"an encoded star is a literal":           {"t:read:%2A", "t:read:a", false},
		"an encoded slash is in the segment":     {"t:read:a/*", "t:read:a%2Fb", false},
		"resources are case-sensitive":           {"t:read:A", "t:read:a", false},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := parse(t, row.a), parse(t, row.b)
			if got := a.Covers(b); got != row.want {
				t.Errorf("%s covers %s: %v", a, b, got)
			}
			if row.want && !a.Overlaps(b) {
				t.Errorf("%s covers %s and does not overlap it", a, b)
			}
			if set := newSet(t, a); set.Covers(b, nil) != row.want {
				t.Errorf("{%s} covers %s: %v", set, b, !row.want)
			}
		})
	}
}

func TestIntersect(t *testing.T) {
	for name, row := range map[string]struct{ a, b, want string }{
		"any action takes the name":     {"t:*:a/*", "t:read:*/b", "t:read:a/b"},
		"two names have none":           {"t:read:a", "t:write:a", ""},
		"another tool":                  {"t:read:a", "u:read:a", ""},
		"the longer prefix":             {"t:read:a*/*", "t:read:*/b*", "t:read:a*/b*"},
		"prefixes that part":            {"t:read:ab*", "t:read:ac*", ""},
		"two tails":                     {"t:read:a/**", "t:read:*/b/**", "t:read:a/b/**"},
		"a tail and a length":           {"t:read:**", "t:read:a/*/c", "t:read:a/*/c"},
		"a tail and what it hangs on":   {"t:read:a/**", "t:read:a", ""},
		"a tail and a bare star":        {"t:read:a/**", "t:read:*", ""},
		"a star under a tail":           {"t:read:a/**", "t:read:*/*", "t:read:a/*"},
		"a prefix with its own text":    {"t:read:a*/x", "t:read:a/*", "t:read:a/x"},
		"a tail after a longer pattern": {"t:read:*/**", "t:read:a/*/**", "t:read:a/*/**"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := parse(t, row.a), parse(t, row.b)
			for _, pair := range [][2]scopes.Scope{{a, b}, {b, a}} {
				got, ok := pair[0].Intersect(pair[1])
				if got.String() != row.want || ok != (row.want != "") {
					t.Errorf("got %q, %v", got, ok)
				}
				if ok && got != parse(t, row.want) {
					t.Errorf("%s is not == the scope that its text parses to", got)
				}
			}
		})
	}
}

// An intersection may need more bytes than a scope may have. It must stay what
// it is for those who subtract it, and must not get into a set.
func TestIntersectOfLongScopesIsExactAndStaysOutOfSets(t *testing.T) {
	long := strings.Repeat("x", 300)
	a, b := parse(t, "t:read:"+long+"/*"), parse(t, "t:read:*/"+long)
	both, ok := a.Intersect(b)
	if !ok || both.Resource() != long+"/"+long || !a.Covers(both) || !b.Covers(both) {
		t.Fatalf("got %s, %v", both, ok)
	}
	if set, err := scopes.NewSet(both); err == nil {
		t.Errorf("a set takes it: %s", set)
	}
	if set, err := newSet(t, a).Intersect(newSet(t, b)); err == nil {
		t.Errorf("two sets intersect in %s", set)
	}
}

func TestUnionCovers(t *testing.T) {
	for name, row := range map[string]struct {
		union string
		scope string
		want  bool
	}{
		"a length and the rest make a tail": {"t:read:a/* t:read:a/*/**", "t:read:a/**", true},
		"a length is missing":               {"t:read:a/* t:read:a/*/*/**", "t:read:a/**", false},
		"the first length is missing":       {"t:read:a/*/**", "t:read:a/**", false},
		"the lengths never end":             {"t:read:a/* t:read:a/*/* t:read:a/*/*/*", "t:read:a/**", false},
		"another pattern for each length":   {"t:read:*/* t:read:a/*/* t:read:*/*/*/**", "t:read:a/**", true},
		"narrower at one length":            {"t:read:*/* t:read:a/b/* t:read:*/*/*/**", "t:read:a/**", false},
		"two halves do not make a whole":    {"t:read:a/a* t:read:a/b*", "t:read:a/*", false},
		"another action's length":           {"t:read:a/* t:write:a/*/**", "t:read:a/**", false},
		"any action's length":               {"t:read:a/* t:*:a/*/**", "t:read:a/**", true},
		"another tool's length":             {"t:read:a/* u:read:a/*/**", "t:read:a/**", false},
		"every action by name":              {"t:read:a t:write:a", "t:*:a", true},
		"an action is missing":              {"t:read:a", "t:*:a", false},
		"a different way for each action":   {"t:read:a/** t:write:a/* t:write:a/*/**", "t:*:a/**", true},
		"one way fails":                     {"t:read:a/** t:write:a/*", "t:*:a/**", false},
		"any action of an unknown tool":     {"u:read:a u:write:a", "u:*:a", false},
		"any action under any action":       {"u:*:a", "u:*:a", true},
		"nothing":                           {"", "t:read:a", false},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := scopes.ParseSet(row.union)
			if err != nil {
				t.Fatal(err)
			}
			s := parse(t, row.scope)
			known := func(tool string) []string {
				if tool == "t" {
					return []string{"read", "write"}
				}
				return nil
			}
			if got := set.Covers(s, known); got != row.want {
				t.Errorf("{%s} covers %s: %v", set, s, got)
			}
			if strings.HasSuffix(s.Action(), "*") && s.Tool() == "t" && set.Covers(s, nil) {
				t.Errorf("{%s} covers %s without a catalog", set, s)
			}
		})
	}
}

func TestMinusIsEmptyIgnoresActionsAndKeepsTools(t *testing.T) {
	p := parse(t, "t:read:a/**")
	inner := []scopes.Scope{parse(t, "t:write:a/*"), parse(t, "t:*:*/*/**")}
	if !scopes.MinusIsEmpty(p, inner) {
		t.Error("something is left")
	}
	if scopes.MinusIsEmpty(p, inner[:1]) || scopes.MinusIsEmpty(p, nil) {
		t.Error("nothing is left")
	}
	if scopes.MinusIsEmpty(p, []scopes.Scope{parse(t, "u:read:**")}) {
		t.Error("another tool takes it away")
	}
	if scopes.MinusIsEmpty(p, []scopes.Scope{inner[0], parse(t, "u:read:*/*/**")}) {
		t.Error("another tool takes the rest away")
	}
}

// A token's scopes may fill all the lengths that a resource can have.
func TestUnionCoversAtTheLimitOfLengths(t *testing.T) {
	deepest := "t:read:" + strings.Repeat("*/", 31) + "**"
	union := []scopes.Scope{parse(t, deepest)}
	for n := range 31 {
		union = append(union, parse(t, "t:read:"+strings.Repeat("*/", n)+"*"))
	}
	if all := parse(t, "t:read:**"); !scopes.CoversAll(union, all, nil) {
		t.Error("every length is covered, but not the tail")
	} else if scopes.CoversAll(union[1:], all, nil) || scopes.CoversAll(union[:31], all, nil) {
		t.Error("a length is missing, but the tail is covered")
	}
	if set := newSet(t, union...); set.String() != "t:read:**" {
		t.Errorf("the set is %s", set)
	}
}

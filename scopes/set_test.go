package scopes_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/writbroker/writ/scopes"
)

func TestSetIsMinimalAndSorted(t *testing.T) {
	for name, row := range map[string]struct{ given, want string }{
		"nothing":                          {"", ""},
		"sorted":                           {"t:b:x t:a:y t:a:x", "t:a:x t:a:y t:b:x"},
		"said twice":                       {"t:a:x t:a:x", "t:a:x"},
		"covered":                          {"t:a:x/y t:a:x/*", "t:a:x/*"},
		"covered by a tail":                {"t:a:x/y/z t:a:x/** t:a:x", "t:a:x t:a:x/**"},
		"a tail in two parts":              {"t:read:a/* t:read:a/*/**", "t:read:a/**"},
		"everything in two parts":          {"t:a:*/** t:a:*", "t:a:**"},
		"a tail in three parts":            {"t:a:x/*/* t:a:x/* t:a:x/*/*/**", "t:a:x/**"},
		"lengths under a wider tail":       {"t:a:x/* t:a:x/*/* t:a:*/*/*/**", "t:a:*/*/*/** t:a:x/**"},
		"a tail that others make up":       {"t:a:x/** t:a:*/* t:a:*/*/**", "t:a:*/**"},
		"any action covers a named one":    {"t:a:x t:*:x", "t:*:x"},
		"names do not make any action":     {"t:a:x t:b:x", "t:a:x t:b:x"},
		"a name's tail completed by any's": {"t:*:x/*/** t:a:x/*", "t:*:x/*/** t:a:x/**"},
		"any action's tail by a name: no":  {"t:*:x/* t:a:x/*/**", "t:*:x/* t:a:x/**"},
		"another tool's any action":        {"t:*:x u:a:x", "t:*:x u:a:x"},
		"another tool's tail":              {"t:*:x/*/** u:a:x/*", "t:*:x/*/** u:a:x/*"},
		"tools whose names begin alike":    {"tt:a:x t:*:**", "t:*:** tt:a:x"},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := scopes.ParseSet(row.given)
			if err != nil || set.String() != row.want {
				t.Fatalf("got {%s}, %v", set, err)
			}
			if set.IsEmpty() != (row.want == "") || row.want != "" && set.Len() != len(strings.Fields(row.want)) {
				t.Errorf("%d scopes", set.Len())
			}
		})
	}
}

func TestParseSetRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"a space in front":   " t:a:x",
		"a space at the end": "t:a:x ",
		"two spaces":         "t:a:x  t:a:y",
		"a tab":              "t:a:x\tt:a:y",
		"only a space":       " ",
		"a bad scope":        "t:a:x t:a",
	} {
		t.Run(name, func(t *testing.T) {
			set, err := scopes.ParseSet(text)
			var syntax *scopes.SyntaxError
			if !errors.As(err, &syntax) || !set.IsEmpty() {
				t.Errorf("got {%s}, %v", set, err)
			}
		})
	}
	if _, err := scopes.NewSet(parse(t, "t:a:x"), scopes.Scope{}); err == nil {
		t.Error("a set takes the zero scope")
	}
}

// More than the limit is an error: a set cut short would mean something else.
func TestSetLimits(t *testing.T) {
	many := func(n int, format string) []scopes.Scope {
		var all []scopes.Scope
		for i := range n {
			all = append(all, parse(t, fmt.Sprintf(format, i)))
		}
		return all
	}
	for name, row := range map[string]struct {
		given []scopes.Scope
		want  error
	}{
		"64":                      {many(64, "t:a:x%d"), nil},
		"65":                      {many(65, "t:a:x%d"), scopes.ErrTooMany},
		"65, one of them covered": {append(many(64, "t:a:x%d"), parse(t, "t:a:x1")), nil},
		"1000, all covered":       {append(many(1000, "t:a:x%d"), parse(t, "t:a:**")), nil},
		"1000, all redundant":     {append(many(200, "t:a:x%d/**"), parse(t, "t:a:*/*"), parse(t, "t:a:*/*/**")), nil},
		"1000":                    {many(1000, "t:a:x%d/**"), scopes.ErrTooMany},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := scopes.NewSet(row.given...)
			if !errors.Is(err, row.want) || (err != nil) != set.IsEmpty() {
				t.Errorf("got {%s}, %v", set, err)
			}
		})
	}
	if _, err := scopes.ParseSet(strings.Repeat("t:a:x ", 6000) + "t:a:x"); !errors.Is(err, scopes.ErrTooMany) {
		t.Errorf("a text longer than any set: %v", err)
	}
	a, b := newSet(t, many(64, "t:a:x%d/*")...), newSet(t, many(64, "t:a:*/y%d")...)
	if set, err := a.Intersect(b); !errors.Is(err, scopes.ErrTooMany) {
		t.Errorf("4096 intersections: {%s}, %v", set, err)
	}
}

// A tail that would be one byte too long for a scope is left as it was.
func TestSetKeepsWhatItCannotWriteShorter(t *testing.T) {
	exact := "t:a:" + strings.Repeat("x", 506) + "/*"
	text := "t:a:*/*/** " + exact
	set, err := scopes.ParseSet(text)
	if err != nil || set.String() != text {
		t.Errorf("got {%s}, %v", set, err)
	}
}

func TestNewSetLeavesItsArgumentsAlone(t *testing.T) {
	given := []scopes.Scope{parse(t, "t:b:x"), parse(t, "t:a:x/*"), parse(t, "t:a:x/y")}
	before := slices.Clone(given)
	newSet(t, given...)
	if !slices.Equal(given, before) {
		t.Errorf("now %v", given)
	}
}

func TestAllows(t *testing.T) {
	set, err := scopes.ParseSet("any:*:x warehouse:read:sales/eu/* warehouse:read:sales/pub/** warehouse:write:sales/eu/drafts*")
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		tool, action, resource string
		want                   bool
	}{
		"a star":                     {"warehouse", "read", "sales/eu/q1", true},
		"deeper than a star":         {"warehouse", "read", "sales/eu/q1/x", false},
		"a tail":                     {"warehouse", "read", "sales/pub/a/b/c", true},
		"what a tail hangs on":       {"warehouse", "read", "sales/pub", false},
		"a prefix":                   {"warehouse", "write", "sales/eu/drafts-1", true},
		"a prefix alone":             {"warehouse", "write", "sales/eu/drafts", true},
		"another action":             {"warehouse", "delete", "sales/eu/q1", false},
		"another tool":               {"ware", "read", "sales/eu/q1", false},
		"any action":                 {"any", "read", "x", true},
		"any action, asked for any":  {"any", "*", "x", false},
		"any action, no name":        {"any", "Read", "x", false},
		"any action, none":           {"any", "", "x", false},
		"a star as resource":         {"warehouse", "read", "sales/eu/*", false},
		"a tail as resource":         {"warehouse", "read", "sales/pub/**", false},
		"out by two dots":            {"warehouse", "read", "sales/pub/../hr", false},
		"out by encoded dots":        {"warehouse", "read", "sales/pub/%2E%2E/hr", false},
		"out by an encoded slash":    {"warehouse", "read", "sales/pub/a%2fb", false},
		"an empty segment":           {"warehouse", "read", "sales/eu/", false},
		"a byte that needs encoding": {"warehouse", "read", "sales/eu/q 1", false},
		"no resource":                {"warehouse", "read", "", false},
		"more than 32 segments":      {"warehouse", "read", "sales/pub" + strings.Repeat("/x", 31), false},
		"longer than a scope":        {"warehouse", "read", "sales/pub/" + strings.Repeat("x", 512), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := set.Allows(row.tool, row.action, row.resource); got != row.want {
				t.Errorf("got %v", got)
			}
		})
	}
	if (scopes.Set{}).Allows("any", "read", "x") {
		t.Error("the empty set allows")
	}
	if n := testing.AllocsPerRun(100, func() { set.Allows("warehouse", "write", "sales/eu/drafts-1") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestExpandNamesTheActionsOfNow(t *testing.T) {
	set := newSet(t, parse(t, "t:*:x/**"), parse(t, "t:read:y"))
	now := func(tool string) []string { return map[string][]string{"t": {"write", "read"}}[tool] }
	got, err := set.Expand(now)
	if err != nil || got.String() != "t:read:x/** t:read:y t:write:x/**" {
		t.Fatalf("got {%s}, %v", got, err)
	}
	if again, err := got.Expand(nil); err != nil || !again.Equal(got) {
		t.Errorf("a set with names alone needs a catalog: %v", err)
	}
	unknown := newSet(t, parse(t, "u:*:x"))
	for name, actions := range map[string]scopes.Actions{
		"no catalog":        nil,
		"an unknown tool":   now,
		"a tool of nothing": func(string) []string { return []string{} },
	} {
		if got, err := unknown.Expand(actions); !errors.Is(err, scopes.ErrUnknownTool) {
			t.Errorf("%s: {%s}, %v", name, got, err)
		}
	}
	if got, err := unknown.Expand(func(string) []string { return []string{"read", "*"} }); err == nil {
		t.Errorf("a catalog that names no action: {%s}", got)
	}
}

func TestIntersectOfSets(t *testing.T) {
	for name, row := range map[string]struct{ a, b, want string }{
		"nothing in common":   {"t:a:x", "t:a:y t:b:x", ""},
		"the narrower of two": {"t:a:** t:b:x", "t:a:x/* t:b:*", "t:a:x/* t:b:x"},
		"any action":          {"t:*:x/**", "t:a:*/y t:b:x", "t:a:x/y"},
		"with itself":         {"t:a:*/x t:a:y/*", "t:a:*/x t:a:y/*", "t:a:*/x t:a:y/*"},
		"with nothing":        {"t:a:**", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, errA := scopes.ParseSet(row.a)
			b, errB := scopes.ParseSet(row.b)
			got, err := a.Intersect(b)
			if errA != nil || errB != nil || err != nil || got.String() != row.want {
				t.Errorf("got {%s}, %v", got, err)
			}
		})
	}
}

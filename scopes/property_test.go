package scopes_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/writbroker/writ/scopes"
	"pgregory.net/rapid"
)

// catalog is what tool t can do; "fresh" is an action that no scope names.
var catalog = []string{"read", "write", "fresh"}

func actionsOf(tool string) []string {
	if tool == "t" {
		return catalog
	}
	return nil
}

var everything = universe(catalog, []string{"a", "aq", "ab", "abq", "b", "bq", "q"}, 4)

// drawScope gives patterns of up to three segments, ** included.
func drawScope(t *rapid.T) scopes.Scope {
	action := rapid.SampledFrom([]string{"read", "write", "*"}).Draw(t, "action")
	n := rapid.IntRange(1, 3).Draw(t, "segments")
	parts := make([]string, n)
	for i := range parts {
		parts[i] = rapid.SampledFrom([]string{"a", "ab", "b", "a*", "ab*", "b*", "*", "*"}).Draw(t, "segment")
	}
	if rapid.Bool().Draw(t, "tail") {
		parts[n-1] = "**"
	}
	s, err := scopes.Make("t", action, strings.Join(parts, "/"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func drawUnion(t *rapid.T, label string) []scopes.Scope {
	return rapid.SliceOfN(rapid.Custom(drawScope), 0, 6).Draw(t, label)
}

// extentOf is extent over everything, remembered: the scopes drawn are few.
func extentOf() func(...scopes.Scope) string {
	single := map[scopes.Scope]string{}
	return func(union ...scopes.Scope) string {
		bits := []byte(strings.Repeat("0", len(everything)))
		for _, s := range union {
			if _, ok := single[s]; !ok {
				single[s] = extent(everything, s)
			}
			for i := range bits {
				bits[i] |= single[s][i]
			}
		}
		return string(bits)
	}
}

func TestPairsAgainstBruteForce(t *testing.T) {
	of := extentOf()
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawScope(t), drawScope(t)
		left, right := of(a), of(b)

		if got, want := a.CoversResource(b), within(of(b.WithAction("read")), of(a.WithAction("read"))); got != want {
			t.Fatalf("%s covers the resources of %s: %v, want %v", a, b, got, want)
		}
		// "fresh" stands for the actions that nobody names, so that a named
		// action does not cover AnyAction here either.
		if got, want := a.Covers(b), within(right, left); got != want {
			t.Fatalf("%s covers %s: %v, want %v", a, b, got, want)
		}
		shared := both(left, right)
		if got, want := a.Overlaps(b), strings.Contains(shared, "1"); got != want || b.Overlaps(a) != want {
			t.Fatalf("%s overlaps %s: %v, want %v", a, b, got, want)
		}
		x, ok := a.Intersect(b)
		if ok != a.Overlaps(b) || ok && of(x) != shared {
			t.Fatalf("%s and %s intersect in %s, %v", a, b, x, ok)
		}
		if ok && x != parse(t, x.String()) {
			t.Fatalf("%s is not == the scope that its text parses to", x)
		}
		if y, _ := b.Intersect(a); y != x {
			t.Fatalf("%s and %s intersect in %s, the other way round in %s", a, b, x, y)
		}
	})
}

func TestUnionsAgainstBruteForce(t *testing.T) {
	of := extentOf()
	rapid.Check(t, func(t *rapid.T) {
		union, s := drawUnion(t, "union"), drawScope(t)
		want := within(of(s), of(union...))
		if got := scopes.CoversAll(union, s, catalog); got != want {
			t.Fatalf("%v cover %s: %v, want %v", union, s, got, want)
		}
		for i := range union {
			union[i] = union[i].WithAction("write")
		}
		want = within(of(s.WithAction("write")), of(union...))
		if got := scopes.MinusIsEmpty(s, union); got != want {
			t.Fatalf("nothing of %s is left without %v: %v, want %v", s, union, got, want)
		}
	})
}

func TestSetsAgainstBruteForce(t *testing.T) {
	of := extentOf()
	rapid.Check(t, func(t *rapid.T) {
		a, b, x := drawUnion(t, "a"), drawUnion(t, "b"), drawScope(t)
		setA, setB := newSet(t, a...), newSet(t, b...)
		left, right := of(a...), of(b...)

		if of(members(setA)...) != left {
			t.Fatalf("the set of %v is %s", a, setA)
		}
		if setA.Len() > len(a) {
			t.Fatalf("the set of %v has grown: %s", a, setA)
		}
		for i := range setA.Len() {
			if rest := slices.Delete(members(setA), i, i+1); of(rest...) == left {
				t.Fatalf("the set of %v has a superfluous %s: %s", a, setA.At(i), setA)
			}
		}
		if got, want := setA.Covers(x, actionsOf), within(of(x), left); got != want {
			t.Fatalf("{%s} covers %s: %v, want %v", setA, x, got, want)
		}
		if got, want := setA.CoversSet(setB, actionsOf), within(right, left); got != want {
			t.Fatalf("{%s} covers {%s}: %v, want %v", setA, setB, got, want)
		}
		if got, want := setA.Overlaps(x), strings.Contains(both(left, of(x)), "1"); got != want {
			t.Fatalf("{%s} overlaps %s: %v, want %v", setA, x, got, want)
		}
		x12, err := setA.Intersect(setB)
		if err != nil || of(members(x12)...) != both(left, right) {
			t.Fatalf("{%s} and {%s} intersect in {%s}, %v", setA, setB, x12, err)
		}
		expanded, err := setA.Expand(actionsOf)
		if err != nil || of(members(expanded)...) != left || strings.Contains(expanded.String(), ":*:") {
			t.Fatalf("{%s} expands to {%s}, %v", setA, expanded, err)
		}
		i := rapid.IntRange(0, len(everything)-1).Draw(t, "access")
		one := everything[i]
		if got, want := setA.Allows("t", one.action, one.resource), left[i] == '1'; got != want {
			t.Fatalf("{%s} allows %v: %v, want %v", setA, one, got, want)
		}
	})
}

// Whatever way a set is written, its text is the same.
func TestSetTextIgnoresHowItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := drawUnion(t, "scopes")
		want := newSet(t, given...)
		written := slices.Clone(given)
		for _, s := range given {
			head, tail := strings.CutSuffix(s.Resource(), "**")
			switch rapid.IntRange(0, 3).Draw(t, "rewrite") {
			case 0: // q/** is q/* and q/*/**
				if tail {
					written = slices.DeleteFunc(written, func(w scopes.Scope) bool { return w == s })
					written = append(written, mustMake(t, "t", s.Action(), head+"*"), mustMake(t, "t", s.Action(), head+"*/**"))
				}
			case 1: // said twice
				written = append(written, s)
			case 2: // what is covered, said too
				if narrower, ok := s.Intersect(drawScope(t)); ok {
					written = append(written, narrower)
				}
			}
		}
		written = rapid.Permutation(written).Draw(t, "order")
		got := newSet(t, written...)
		if got.String() != want.String() || !got.Equal(want) {
			t.Fatalf("%v is {%s}, but %v is {%s}", given, want, written, got)
		}
		again, err := scopes.ParseSet(got.String())
		if err != nil || !again.Equal(got) || again.String() != got.String() {
			t.Fatalf("{%s} is read back as {%s}, %v", got, again, err)
		}
	})
}

func newSet(t rapid.TB, given ...scopes.Scope) scopes.Set {
	t.Helper()
	set, err := scopes.NewSet(given...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func mustMake(t rapid.TB, tool, action, resource string) scopes.Scope {
	t.Helper()
	s, err := scopes.Make(tool, action, resource)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

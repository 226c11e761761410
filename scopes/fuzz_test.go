package scopes_test

import (
	"strings"
	"testing"

	"github.com/writbroker/writ/scopes"
)

var seeds = []string{
	"warehouse:read:sales/eu/*", "t:*:**", "t:a:a*/b%2F*/**", "t:a:%2E", "t:a:x**", "t::x", "t:a:/", "t:a:x y", "t:a:*/*/*",
}

func FuzzParse(f *testing.F) {
	for _, text := range seeds {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := scopes.Parse(text)
		if err != nil {
			if !s.IsZero() {
				t.Fatalf("%q: an error, and %s", text, s)
			}
			return
		}
		if s.String() != text {
			t.Fatalf("%q is written %q", text, s)
		}
		if made, err := scopes.Make(s.Tool(), s.Action(), s.Resource()); err != nil || made != s {
			t.Fatalf("%q is not made of its parts: %v, %v", text, made, err)
		}
		if !s.Covers(s) || !s.Overlaps(s) {
			t.Fatalf("%q does not cover itself", text)
		}
		set := newSet(t, s)
		if set.String() != text || s.IsConcrete() != set.Allows(s.Tool(), s.Action(), s.Resource()) {
			t.Fatalf("%q is the set {%s}", text, set)
		}
		folded, err := s.Fold()
		if err != nil {
			return
		}
		if again, err := scopes.Parse(folded.String()); err != nil || again != folded {
			t.Fatalf("%q folds to %q: %v", text, folded, err)
		}
	})
}

// Whatever bytes a segment holds, they stay in that segment.
func FuzzResource(f *testing.F) {
	f.Add("sales", "eu/*")
	f.Add("..", "**")
	f.Add("%2e", "\x00é")
	f.Fuzz(func(t *testing.T, first, second string) {
		text, err := scopes.Resource(first, second)
		if err != nil {
			return
		}
		s, err := scopes.Make("t", "a", text)
		if err != nil {
			if len(text) > scopes.MaxScopeBytes-4 {
				return
			}
			t.Fatal(err)
		}
		if !s.IsConcrete() || strings.Count(text, "/") != 1 {
			t.Fatalf("%q, %q is the resource %q", first, second, text)
		}
		again, err := scopes.Resource(first+"x", second)
		if err == nil && again == text {
			t.Fatalf("two resources are %q", text)
		}
	})
}

// Narrowing never widens: an access that the intersection matches is matched by
// both, and whoever covers a part covers the intersection.
func FuzzNarrow(f *testing.F) {
	for _, a := range seeds {
		for _, b := range seeds {
			f.Add(a, b, "a/b%2F/c")
		}
	}
	f.Fuzz(func(t *testing.T, textA, textB, resource string) {
		a, errA := scopes.ParseSet(textA)
		b, errB := scopes.ParseSet(textB)
		if errA != nil || errB != nil {
			return
		}
		x, err := a.Intersect(b)
		if err != nil {
			return
		}
		for s := range x.All() {
			if !a.Covers(s, nil) || !b.Covers(s, nil) {
				t.Fatalf("{%s} and {%s} intersect in %s", a, b, s)
			}
			got, want := x.Allows(s.Tool(), "a", resource),
				a.Allows(s.Tool(), "a", resource) && b.Allows(s.Tool(), "a", resource)
			if got != want {
				t.Fatalf("{%s} and {%s} intersect in {%s}, which allows %s: %v", a, b, x, resource, got)
			}
		}
		y, err := b.Intersect(a)
		if err != nil || !y.Equal(x) {
			t.Fatalf("{%s} and {%s} intersect in {%s} or {%s}: %v", a, b, x, y, err)
		}
		again, err := scopes.ParseSet(x.String())
		if err != nil || !again.Equal(x) {
			t.Fatalf("{%s} is read back as {%s}: %v", x, again, err)
		}
		if self, err := a.Intersect(a); err != nil || !self.Equal(a) {
			t.Fatalf("{%s} and itself intersect in {%s}: %v", a, self, err)
		}
	})
}

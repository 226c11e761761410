package scopes_test

import (
	"fmt"
	"testing"

	"github.com/writbroker/writ/scopes"
)

// hot is the shape of a policy decision: 8 requested scopes, each against 6
// parts, and the grants of the roles that match.
func hot(b *testing.B) (requested, parts, grants []scopes.Scope) {
	for i := range 8 {
		requested = append(requested, parse(b, fmt.Sprintf("warehouse:read:sales/region-%d/**", i)))
	}
	for i := range 6 {
		parts = append(parts, parse(b, fmt.Sprintf("warehouse:read:sales/*/pii-%d/**", i)))
	}
	for i := range 20 {
		grants = append(grants, parse(b, fmt.Sprintf("warehouse:read:sales/region-%d/**", i)))
	}
	return requested, parts, grants
}

func BenchmarkPairs(b *testing.B) {
	requested, parts, _ := hot(b)
	b.Run("Covers/48", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, s := range requested {
				for _, p := range parts {
					s.Covers(p)
				}
			}
		}
	})
	b.Run("Overlaps/48", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, s := range requested {
				for _, p := range parts {
					s.Overlaps(p)
				}
			}
		}
	})
	b.Run("Intersect/48", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, s := range requested {
				for _, p := range parts {
					s.Intersect(p)
				}
			}
		}
	})
}

func BenchmarkCoversAll(b *testing.B) {
	requested, parts, grants := hot(b)
	b.Run("8 of 20 grants", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, s := range requested {
				if !scopes.CoversAll(grants, s, nil) {
					b.Fatal("not covered")
				}
			}
		}
	})
	b.Run("48 parts, 20 grants, refused", func(b *testing.B) {
		other := parse(b, "warehouse:read:sales/*/free/**")
		b.ReportAllocs()
		for b.Loop() {
			for range 48 {
				if scopes.CoversAll(grants, other, nil) {
					b.Fatal("covered")
				}
			}
		}
	})
	b.Run("8 minus 6", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, s := range requested {
				if scopes.MinusIsEmpty(s, parts) {
					b.Fatal("empty")
				}
			}
		}
	})
}

func tokenScopes(b *testing.B) scopes.Set {
	requested, _, _ := hot(b)
	return newSet(b, requested...)
}

func BenchmarkSetAllows(b *testing.B) {
	set := tokenScopes(b)
	for name, resource := range map[string]string{
		"last": "sales/region-7/orders/2026-01", "none": "hr/people/42",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.Allows("warehouse", "read", resource)
			}
		})
	}
}

func BenchmarkParseSet(b *testing.B) {
	text := tokenScopes(b).String()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := scopes.ParseSet(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSetText(b *testing.B) {
	set, buffer := tokenScopes(b), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = set.AppendText(buffer)
	}
}

// The most work that a set of legal size can ask for.
func BenchmarkHostileSets(b *testing.B) {
	var left, right []scopes.Scope
	for i := range 63 {
		left = append(left, parse(b, fmt.Sprintf("t:a:x%d/**", i)))
		right = append(right, parse(b, fmt.Sprintf("t:a:*/y%d/**", i)))
	}
	wide := parse(b, "t:a:*/*/*/**")
	s, t := newSet(b, append(left, wide)...), newSet(b, append(right, wide)...)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Intersect(t); err == nil {
			b.Fatal("not refused")
		}
	}
}

package match_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/writbroker/writ/policy/internal/match"
	"pgregory.net/rapid"
)

func parse(t rapid.TB, text string) match.Pattern {
	t.Helper()
	p, err := match.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPatternMatches(t *testing.T) {
	for _, tt := range []struct {
		name, pattern, id string
		want              bool
	}{
		{"exact", "k8s:prod:ns:agent", "k8s:prod:ns:agent", true},
		{"exact is not a prefix", "k8s:prod:ns:agent", "k8s:prod:ns:agent2", false},
		{"star is one part", "k8s:prod:*:agent", "k8s:prod:ns:agent", true},
		{"star needs a byte", "k8s:prod:*:agent", "k8s:prod::agent", false},
		{"star stops at a colon", "k8s:prod:*", "k8s:prod:ns:agent", false},
		{"star stops at a slash", "spiffe://td/*", "spiffe://td/ns/a", false},
		{"star inside a part", "k8s:prod:ns:web-*-x", "k8s:prod:ns:web-1-x", true},
		{"tail crosses everything", "spiffe://td/**", "spiffe://td/ns/a:b", true},
		{"tail needs a byte", "spiffe://td/**", "spiffe://td/", false},
		{"tail after star", "k8s:*:**", "k8s:prod:ns:a", true},
		{"tail inside a part", "k8s:prod**", "k8s:production:x", true},
		{"star star apart", "*-*", "a-b-c", true},
		{"everything", "**", "x", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := parse(t, tt.pattern).Match(tt.id); got != tt.want {
				t.Errorf("%q matches %q: %v, want %v", tt.pattern, tt.id, got, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", "a b", "a\n", "**a", "a**b", "a***", "a\x7f", strings.Repeat("a", 1025)} {
		if _, err := match.Parse(text); err == nil {
			t.Errorf("Parse(%q) accepted", text)
		}
	}
}

// asRegexp says the same in another language.
func asRegexp(pattern string) *regexp.Regexp {
	body, tail := strings.CutSuffix(pattern, "**")
	text := strings.ReplaceAll(regexp.QuoteMeta(body), `\*`, `[^:/]+`)
	if tail {
		text += `(?s:.+)`
	}
	return regexp.MustCompile(`\A(?:` + text + `)\z`)
}

var (
	patternGen = rapid.Custom(func(t *rapid.T) string {
		body := rapid.StringMatching(`[ab:/]{0,3}(\*[ab:/]{1,2}){0,3}\*?`).Draw(t, "body")
		if !strings.HasSuffix(body, "*") && rapid.Bool().Draw(t, "tail") {
			body += "**"
		}
		if body == "" {
			return "a"
		}
		return body
	})
	idGen = rapid.StringMatching(`[ab:/]{1,9}`)
)

func TestPatternAgainstRegexp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, id := patternGen.Draw(t, "pattern"), idGen.Draw(t, "id")
		if got, want := parse(t, text).Match(id), asRegexp(text).MatchString(id); got != want {
			t.Fatalf("%q matches %q: %v, want %v", text, id, got, want)
		}
	})
}

func TestCanMatchUnderAgainstSearch(t *testing.T) {
	// Every id of up to five bytes over an alphabet that has both kinds of bytes.
	var ids []string
	for level := []string{""}; len(level[0]) < 5; {
		var next []string
		for _, s := range level {
			for _, c := range []string{"a", "b", ":"} {
				next = append(next, s+c)
			}
		}
		ids, level = append(ids, next...), next
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab:]{0,2}(\*[ab:])?\*?`).Filter(func(s string) bool { return s != "" }).Draw(t, "pattern")
		if !strings.HasSuffix(text, "*") && rapid.Bool().Draw(t, "tail") {
			text += "**"
		}
		prefix := rapid.StringMatching(`[ab:]{0,3}`).Draw(t, "prefix")
		p := parse(t, text)
		want := slices.ContainsFunc(ids, func(id string) bool {
			return len(id) > len(prefix) && strings.HasPrefix(id, prefix) && p.Match(id)
		})
		got := p.CanMatchUnder(prefix)
		if want && !got || got && !want && len(text)+len(prefix) <= 5 {
			t.Fatalf("%q under %q: %v, want %v", text, prefix, got, want)
		}
	})
}

func TestIndexAgainstScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patterns := rapid.SliceOfN(patternGen, 0, 30).Draw(t, "patterns")
		var x match.Index
		for i, text := range patterns {
			x.Add(parse(t, text), int32(i/2)) // two patterns a rule
		}
		x.Seal()
		id := idGen.Draw(t, "id")
		fixed := func(p match.Pattern) int32 { return int32(len(p.Literal())) }
		var want []match.Hit
		for i, text := range patterns {
			if p := parse(t, text); p.Match(id) {
				n := len(want)
				if n > 0 && want[n-1].Rule == int32(i/2) {
					switch h := &want[n-1]; {
					case h.Exact:
					case p.Exact():
						h.Exact, h.Fixed = true, fixed(p)
					default:
						h.Fixed = max(h.Fixed, fixed(p))
					}
					continue
				}
				want = append(want, match.Hit{Rule: int32(i / 2), Exact: p.Exact(), Fixed: fixed(p)})
			}
		}
		if got := x.Find(id, nil); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q in %q: %v, want %v", id, patterns, got, want)
		}
	})
}

package scopes_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/writbroker/writ/scopes"
	"pgregory.net/rapid"
)

func parse(t rapid.TB, text string) scopes.Scope {
	t.Helper()
	s, err := scopes.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseAcceptsCanonicalScopes(t *testing.T) {
	for text, want := range map[string]struct {
		tool, action, resource string
		concrete               bool
	}{
		"warehouse:read:sales/eu/*":              {"warehouse", "read", "sales/eu/*", false},
		"t:a:x":                                  {"t", "a", "x", true},
		"t:*:x":                                  {"t", "*", "x", false},
		"t:a:**":                                 {"t", "a", "**", false},
		"t:a:x/**":                               {"t", "a", "x/**", false},
		"t:a:x*/y":                               {"t", "a", "x*/y", false},
		"t:a:*/*/**":                             {"t", "a", "*/*/**", false},
		"t_1-x:do_it-2:A.b_~@=-/...":             {"t_1-x", "do_it-2", "A.b_~@=-/...", true},
		"t:a:a%2Fb/%2A/%00%C3%A9/%25":            {"t", "a", "a%2Fb/%2A/%00%C3%A9/%25", true},
		"t:a:%2F*":                               {"t", "a", "%2F*", false},
		"t:a:.*/..*":                             {"t", "a", ".*/..*", false},
		"t:a:" + strings.Repeat("s/", 31) + "**": {"t", "a", strings.Repeat("s/", 31) + "**", false},
		"t:a:" + strings.Repeat("x", 508):        {"t", "a", strings.Repeat("x", 508), true},
	} {
		t.Run(text, func(t *testing.T) {
			s := parse(t, text)
			if s.Tool() != want.tool || s.Action() != want.action || s.Resource() != want.resource {
				t.Errorf("got %q %q %q", s.Tool(), s.Action(), s.Resource())
			}
			if s.String() != text || s.IsZero() || s.IsConcrete() != want.concrete {
				t.Errorf("got %q, zero %v, concrete %v", s, s.IsZero(), s.IsConcrete())
			}
			if made, err := scopes.Make(want.tool, want.action, want.resource); err != nil || made != s {
				t.Errorf("made %v, %v", made, err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		text    string
		problem string
		offset  int
	}{
		"nothing":                         {"", "a tool is", 0},
		"no action":                       {"t", "expected tool:action:resource", 1},
		"an empty action":                 {"t::x", "an action is", 2},
		"no resource":                     {"t:a", "expected tool:action:resource", 3},
		"an empty resource":               {"t:a:", "empty segment", 4},
		"a tool in upper case":            {"T:a:x", "a tool is", 0},
		"any tool":                        {"*:a:x", "a tool is", 0},
		"a tool that begins with a digit": {"1t:a:x", "a tool is", 0},
		"an action in upper case":         {"t:aB:x", "expected tool:action:resource", 3},
		"an action with a prefix":         {"t:a*:x", "expected tool:action:resource", 3},
		"two stars as the action":         {"t:**:x", "expected tool:action:resource", 3},
		"a fourth part":                   {"t:a:x:y", "byte 0x3A must be percent-encoded", 5},
		"a leading slash":                 {"t:a:/x", "empty segment", 4},
		"a trailing slash":                {"t:a:x/", "empty segment", 6},
		"a doubled slash":                 {"t:a:x//y", "empty segment", 6},
		"one dot":                         {"t:a:x/./y", "are no segments", 6},
		"two dots":                        {"t:a:x/..", "are no segments", 6},
		"two dots, encoded":               {"t:a:x/%2E%2E", "canonical percent-encoding", 6},
		"a slash in a second alphabet":    {"t:a:x%2fy", "canonical percent-encoding", 5},
		"an encoded literal":              {"t:a:%41", "canonical percent-encoding", 4},
		"half an escape":                  {"t:a:x%2", "canonical percent-encoding", 5},
		"an escape cut by a star":         {"t:a:x%2*", "canonical percent-encoding", 5},
		"a space":                         {"t:a:x y", "byte 0x20", 5},
		"a plus":                          {"t:a:x+y", "byte 0x2B", 5},
		"a line feed":                     {"t:a:x\n", "byte 0x0A", 5},
		"a byte outside ascii":            {"t:a:é", "byte 0xC3", 4},
		"a star in the middle":            {"t:a:x*y", "'*' is allowed only", 5},
		"a star in front":                 {"t:a:*x", "'*' is allowed only", 4},
		"two stars after a prefix":        {"t:a:x**", "'*' is allowed only", 5},
		"two stars that are not last":     {"t:a:**/x", "'*' is allowed only", 4},
		"three stars":                     {"t:a:***", "'*' is allowed only", 4},
		"33 segments":                     {"t:a:" + strings.Repeat("s/", 32) + "s", "more than 32 segments", 68},
		"513 bytes":                       {"t:a:" + strings.Repeat("x", 509), "longer than 512 bytes", 512},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := scopes.Parse(row.text)
			var syntax *scopes.SyntaxError
			if !errors.As(err, &syntax) || !s.IsZero() {
				t.Fatalf("got %v, %v", s, err)
			}
			if !strings.Contains(syntax.Problem, row.problem) || syntax.Offset != row.offset {
				t.Errorf("got %v", err)
			}
			if len(err.Error()) > 300 {
				t.Errorf("the error repeats the whole input: %d bytes", len(err.Error()))
			}
		})
	}
}

func TestMakeDoesNotLetPartsLeakIntoEachOther(t *testing.T) {
	for name, parts := range map[string][3]string{
		"a tool with a colon":            {"t:a", "b", "x"},
		"an action with a colon":         {"t", "a:x", "y"},
		"a resource with a colon":        {"t", "a", "x:y"},
		"a resource with a second scope": {"t", "a", "x t:a:y"},
		"no action":                      {"t", "", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := scopes.Make(parts[0], parts[1], parts[2]); err == nil {
				t.Errorf("made %s", s)
			}
		})
	}
}

func TestResourceFromSegments(t *testing.T) {
	for want, segments := range map[string][]string{
		"sales/eu":      {"sales", "eu"},
		"a%2Fb":         {"a/b"},
		"%2A/%2A%2A":    {"*", "**"},
		"x%2A":          {"x*"},
		"a%2Bb%20c%3Ad": {"a+b c:d"},
		"..%2F..%2Fetc": {"../../etc"},
		"%252E%252E":    {"%2E%2E"},
		"%00%FF%C3%A9":  {"\x00\xffé"},
		"...":           {"..."},
	} {
		t.Run(want, func(t *testing.T) {
			got, err := scopes.Resource(segments...)
			if err != nil || got != want {
				t.Fatalf("got %q, %v", got, err)
			}
			if err := scopes.ParseResource(got); err != nil {
				t.Error(err)
			}
			if s := mustMake(t, "t", "a", got); !s.IsConcrete() {
				t.Errorf("%s is a pattern", s)
			}
		})
	}
	for name, segments := range map[string][]string{
		"no segment":                          {},
		"an empty segment":                    {"a", "", "b"},
		"one dot":                             {"a", "."},
		"two dots":                            {"..", "a"},
		"33 segments":                         strings.Split(strings.Repeat("s", 33), ""),
		"a long segment":                      {strings.Repeat("x", 509)},
		"a segment that is long once encoded": {strings.Repeat("/", 170)},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := scopes.Resource(segments...); err == nil {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestParseResourceRefusesWildcards(t *testing.T) {
	for _, text := range []string{"*", "a*", "a/**", "", "a//b", "a/../b", strings.Repeat("x", 509)} {
		if err := scopes.ParseResource(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestFold(t *testing.T) {
	for text, want := range map[string]string{
		"t:read:Sales/EU*": "t:read:sales/eu*",
		"t:read:sales/**":  "t:read:sales/**",
		"t:*:A%2FB/%3A":    "t:*:a%2Fb/%3A",
	} {
		if got, err := parse(t, text).Fold(); err != nil || got.String() != want || got != parse(t, want) {
			t.Errorf("%s folds to %s, %v", text, got, err)
		}
	}
	// U+212A, the Kelvin sign, is a k to some and not to others.
	if got, err := parse(t, "t:read:%E2%84%AA").Fold(); !errors.Is(err, scopes.ErrFold) || !got.IsZero() {
		t.Errorf("a byte outside ASCII folds to %v, %v", got, err)
	}
	if _, err := scopes.FoldResource("A//B"); err == nil {
		t.Error("a resource that is not canonical is folded")
	}
}

func TestWithAction(t *testing.T) {
	s := parse(t, "t:read:x/*")
	if got := s.WithAction("write"); got != parse(t, "t:write:x/*") {
		t.Errorf("got %s", got)
	}
	if got := s.WithAction("*"); got != parse(t, "t:*:x/*") {
		t.Errorf("got %s", got)
	}
	for _, action := range []string{"", "a:b", "A", "**"} {
		if got := s.WithAction(action); !got.IsZero() {
			t.Errorf("action %q gives %s", action, got)
		}
	}
	if got := (scopes.Scope{}).WithAction("read"); !got.IsZero() {
		t.Errorf("the zero scope becomes %s", got)
	}
}

func TestZeroScopeAnswersNo(t *testing.T) {
	zero, all := scopes.Scope{}, parse(t, "t:*:**")
	if zero.Covers(zero) || zero.Covers(all) || all.Covers(zero) || zero.Overlaps(zero) || all.Overlaps(zero) ||
		zero.CoversResource(zero) || zero.OverlapsResource(zero) || zero.IsConcrete() {
		t.Error("the zero scope takes part")
	}
	if scopes.CoversAll([]scopes.Scope{all}, zero, nil) || scopes.CoversAll([]scopes.Scope{zero}, all, nil) ||
		scopes.MinusIsEmpty(zero, []scopes.Scope{all}) || scopes.MinusIsEmpty(all, []scopes.Scope{zero}) {
		t.Error("the zero scope is covered")
	}
	if zero.Tool()+zero.Action()+zero.Resource() != "" || !zero.IsZero() {
		t.Error("the zero scope has parts")
	}
}

func TestScopeAsJSON(t *testing.T) {
	type document struct {
		Scope scopes.Scope
		Set   scopes.Set
	}
	var got document
	text := `{"Scope":"t:read:x","Set":"t:read:a t:read:b/**"}`
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if back, err := json.Marshal(got); err != nil || string(back) != text {
		t.Errorf("got %s, %v", back, err)
	}
	for _, bad := range []string{`{"Scope":""}`, `{"Scope":"t:read"}`, `{"Set":"t:read:a  t:read:b"}`} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

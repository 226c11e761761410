package iam_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/writbroker/writ/mint/awssts/iam"
	"pgregory.net/rapid"
)

func TestEncode(t *testing.T) {
	for name, row := range map[string]struct {
		d    iam.Document
		want string
	}{
		"nothing": {iam.Document{}, `{"Version":"2012-10-17","Statement":[]}`},
		"a list of one is a text": {
			iam.Document{Statements: []iam.Statement{{Effect: iam.Allow, Actions: []string{"a:B"}, Resources: []string{"*", `x"\`}}}},
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"a:B","Resource":["*","x\"\\"]}]}`,
		},
		"all members": {
			iam.Document{Statements: []iam.Statement{{
				Sid: "S", Effect: iam.Deny, Principals: []iam.Principal{{"AWS", []string{"*"}}, {"Service", []string{"s"}}},
				NotActions: []string{"a:B"}, NotResources: []string{"<&>é\n"},
				Conditions: []iam.Condition{{"StringEquals", "k", []string{"v"}}, {"StringEquals", "l", []string{"v", "w"}}, {"StringLike", "k", []string{"x"}}},
			}}},
			`{"Version":"2012-10-17","Statement":[{"Sid":"S","Effect":"Deny","Principal":{"AWS":"*","Service":"s"},"NotAction":"a:B","NotResource":"<&>é\u000a",` +
				`"Condition":{"StringEquals":{"k":"v","l":["v","w"]},"StringLike":{"k":"x"}}}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := row.d.Encode(); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
			if !json.Valid([]byte(row.d.Indent())) {
				t.Error(row.d.Indent())
			}
			again, err := iam.Parse(row.d.Indent())
			if err != nil || again.Encode() != row.want {
				t.Errorf("read back %v, %v", again, err)
			}
		})
	}
	if got := iam.Size("é—x"); got != 3 {
		t.Errorf("three characters are %d", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                          "",
		"an unknown member":                `{"Statement":[],"X":1}`,
		"an unknown member of a statement": `{"Statement":[{"Effect":"Allow","Actions":"*"}]}`,
		"another effect":                   `{"Statement":[{"Effect":"allow","Action":"*"}]}`,
		"NotPrincipal":                     `{"Statement":[{"Effect":"Deny","NotPrincipal":"*"}]}`,
		"what follows":                     `{"Statement":[]} {}`,
		"a number":                         `{"Statement":[{"Effect":"Allow","Action":1}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if d, err := iam.Parse(text); err == nil {
				t.Errorf("got %v", d)
			}
		})
	}
	if d, err := iam.Parse(`{"Id":"x","Statement":{"Effect":"Allow","Action":["a:B"],"Resource":"*"}}`); err != nil || len(d.Statements) != 1 {
		t.Errorf("one statement without a list: %v, %v", d, err)
	}
}

// matches reads a pattern as IAM does, by a regular expression.
func matches(pattern, text string) bool {
	var b strings.Builder
	for rest := pattern; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "${*}"), strings.HasPrefix(rest, "${?}"), strings.HasPrefix(rest, "${$}"):
			b.WriteString(regexp.QuoteMeta(rest[2:3]))
			rest = rest[4:]
			continue
		case rest[0] == '*':
			b.WriteString("(?s:.*)")
		case rest[0] == '?':
			b.WriteString("(?s:.)")
		default:
			b.WriteString(regexp.QuoteMeta(rest[:1]))
		}
		rest = rest[1:]
	}
	return regexp.MustCompile(`\A(?:` + b.String() + `)\z`).MatchString(text)
}

// What is escaped matches itself and nothing else.
func TestLiteral(t *testing.T) {
	raw := rapid.StringMatching(`[a*?${}]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := raw.Draw(t, "a"), raw.Draw(t, "b")
		if pattern := iam.Literal(a); !matches(pattern, a) || a != b && matches(pattern, b) {
			t.Fatalf("%q becomes %q", a, pattern)
		}
		if pattern := iam.Exact(a); strings.ReplaceAll(pattern, "${$}", "$") != a || strings.Contains(strings.ReplaceAll(pattern, "${$}", ""), "${") {
			t.Fatalf("%q becomes %q", a, pattern)
		}
		if iam.HasVariable(iam.Literal(a)) != (iam.Literal(a) != a) {
			t.Fatalf("%q: a variable is not seen", a)
		}
	})
}

// Overlap says yes where a text is matched by both, and no where none of a few letters is.
func TestOverlap(t *testing.T) {
	pattern := rapid.StringMatching(`([ab*?]|\$\{\*\}){0,5}`)
	var texts []string
	for level, n := []string{""}, 0; n <= 6; n++ {
		texts = append(texts, level...)
		var next []string
		for _, head := range level {
			for _, c := range []string{"a", "b", "*"} {
				next = append(next, head+c)
			}
		}
		level = next
	}
	rapid.Check(t, func(t *rapid.T) {
		p, q := pattern.Draw(t, "p"), pattern.Draw(t, "q")
		common := false
		for _, text := range texts {
			if matches(p, text) && matches(q, text) {
				common = true
				break
			}
		}
		if got := iam.Overlap(p, q); got != common && (common || len(p)+len(q) < 7) {
			t.Fatalf("%q and %q overlap: %v, and there is such a text: %v", p, q, got, common)
		}
		if iam.Overlap(p, q) != iam.Overlap(q, p) {
			t.Fatalf("%q and %q: not the same the other way", p, q)
		}
	})
	for pair, want := range map[[2]string]bool{
		{"a${aws:username}b", "axxb"}: true, {"a${aws:username}b", "axxc"}: false, {"${x", "${x"}: true,
		{"arn:aws:s3:::b/*", "arn:aws:s3:::c/*"}: false, {"arn:aws:s3:::*/x", "arn:aws:s3:::c/*"}: true,
	} {
		if iam.Overlap(pair[0], pair[1]) != want {
			t.Errorf("%v is not %v", pair, want)
		}
	}
}

func TestCheckCharacters(t *testing.T) {
	for text, want := range map[string]string{
		"plain é ÿ": "", "tab\t": "U+0009", "Ā": "U+0100", "\xff": "byte 0xFF", "�": "U+FFFD",
	} {
		err := iam.CheckCharacters(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

// Whatever is read back is written the same each time.
func FuzzParse(f *testing.F) {
	f.Add(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","NotAction":["a:B"],"Resource":"*","Condition":{"StringLike":{"k":["x","y"]}}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := iam.Parse(text)
		if err != nil {
			return
		}
		written := d.Encode()
		again, err := iam.Parse(written)
		if err != nil || again.Encode() != written {
			t.Fatalf("%q is read as %q and then %v, %v", text, written, again, err)
		}
	})
}

package denylist_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/mint/awssts/denylist"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, time.July, 8, 12, 0, 0, 0, time.UTC)

func entry(kind denylist.Kind, value string, before, expires time.Duration) denylist.Entry {
	return denylist.Entry{Kind: kind, Value: value, Before: noon.Add(before), Expires: noon.Add(expires)}
}

func merge(t *rapid.T, current string, add []denylist.Entry, now time.Time, others int) *denylist.Result {
	r, err := denylist.Merge(current, add, now, others)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDocument(t *testing.T) {
	r, err := denylist.Merge("", []denylist.Entry{
		entry(denylist.SourceIdentity, "agent-2", 0, time.Hour),
		entry(denylist.SourceIdentity, "agent-1", 0, time.Hour),
		entry(denylist.SessionName, "0197f0a0-0000-7000-8000-000000000000", 500*time.Millisecond, time.Hour),
	}, noon, 0)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"Version":"2012-10-17","Statement":[` +
		`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"2026-07-08T12:00:01Z"},"StringLike":{"aws:userid":"*:0197f0a0-0000-7000-8000-000000000000"}}},` +
		`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"2026-07-08T12:00:00Z"},"StringEquals":{"aws:SourceIdentity":["agent-1","agent-2"]}}}]}`
	normal := func(text string) string {
		var d struct{ Statement []map[string]any }
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		for _, s := range d.Statement {
			delete(s, "Sid")
		}
		return fmt.Sprint(d)
	}
	if normal(r.Document) != normal(want) || r.Widened != "" || !r.Changed {
		t.Errorf("got %s", r.Document)
	}
	for _, layout := range []func(string) string{func(s string) string { return s }, indented} {
		again, err := denylist.Merge(layout(r.Document), nil, noon, 0)
		if err != nil || again.Document != r.Document {
			t.Errorf("read back: %v\n%v", again, err)
		}
	}
	spent, err := denylist.Merge(r.Document, nil, noon.Add(2*time.Hour), 0)
	if err != nil || spent.Document != "" || spent.Dropped != 3 || !spent.Changed {
		t.Errorf("spent: %+v, %v", spent, err)
	}
}

func indented(document string) string {
	var v any
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		panic(err)
	}
	text, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		panic(err)
	}
	return string(text)
}

// What somebody else wrote, or changed, is not written over.
func TestForeignDocuments(t *testing.T) {
	ours, err := denylist.Merge("", []denylist.Entry{entry(denylist.SourceIdentity, "agent-1", 0, time.Hour)}, noon, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, document := range map[string]string{
		"no JSON":              "x",
		"no statements":        `{"Version":"2012-10-17"}`,
		"an allow":             `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
		"another deny":         `{"Version":"2012-10-17","Statement":[{"Sid":"Mine","Effect":"Deny","Action":"s3:*","Resource":"*"}]}`,
		"a weaker cutoff":      strings.Replace(ours.Document, "T12:", "T11:", 1),
		"fewer actions":        strings.Replace(ours.Document, `"Action":"*"`, `"Action":"s3:*"`, 1),
		"an Allow of the same": strings.Replace(ours.Document, `"Deny"`, `"Allow"`, 1),
		"an unknown member":    strings.Replace(ours.Document, `"Effect"`, `"NotPrincipal":"x","Effect"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := denylist.Merge(document, nil, noon, 0); !errors.Is(err, denylist.ErrForeign) {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

func TestEntriesThatCannotBeWritten(t *testing.T) {
	for name, e := range map[string]denylist.Entry{
		"no kind":              entry(0, "a", 0, time.Hour),
		"nobody":               entry(denylist.SourceIdentity, "", 0, time.Hour),
		"a name for all":       entry(denylist.WholeRole, "a", 0, time.Hour),
		"a wildcard":           entry(denylist.SessionName, "*", 0, time.Hour),
		"a variable":           entry(denylist.SourceIdentity, "${aws:username}", 0, time.Hour),
		"an end before it all": entry(denylist.SourceIdentity, "a", time.Hour, 0),
		"no cutoff":            {Kind: denylist.WholeRole, Expires: noon},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := denylist.Merge("", []denylist.Entry{e}, noon, 0); !errors.Is(err, denylist.ErrEntry) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNoRoom(t *testing.T) {
	add := []denylist.Entry{entry(denylist.SourceIdentity, "agent-1", 0, time.Hour)}
	if _, err := denylist.Merge("", add, noon, denylist.MaxInlineSize-100); !errors.Is(err, denylist.ErrNoRoom) {
		t.Errorf("got %v", err)
	}
}

var (
	drawName  = rapid.SampledFrom([]string{"a1", "b1", "c1", "d1"})
	drawEntry = rapid.Custom(func(t *rapid.T) denylist.Entry {
		kind := denylist.Kind(rapid.SampledFrom([]int{1, 1, 1, 2, 2, 2, 3}).Draw(t, "kind"))
		e := denylist.Entry{Kind: kind, Before: noon.Add(time.Duration(rapid.IntRange(-3, 3).Draw(t, "before")) * 700 * time.Millisecond)}
		if kind != denylist.WholeRole {
			e.Value = drawName.Draw(t, "name")
		}
		e.Expires = e.Before.Add(time.Duration(rapid.IntRange(0, 4).Draw(t, "life")) * time.Minute)
		return e
	})
	drawEntries = rapid.SliceOfN(drawEntry, 0, 8)
)

// up rounds as Merge documents it.
func up(e denylist.Entry) denylist.Entry {
	for _, at := range []*time.Time{&e.Before, &e.Expires} {
		if whole := at.Truncate(time.Second); whole.Before(*at) {
			*at = whole.Add(time.Second)
		}
	}
	return e
}

// session is what a role's session says of itself in a request.
type session struct {
	name, identity string
	issued         time.Time
}

func (s session) in(e denylist.Entry) bool {
	who := e.Kind == denylist.WholeRole || e.Kind == denylist.SessionName && e.Value == s.name || e.Kind == denylist.SourceIdentity && e.Value == s.identity
	return who && s.issued.Before(e.Before)
}

// denied evaluates a document as IAM does, as far as this one goes.
func denied(t rapid.TB, document string, s session) bool {
	if document == "" {
		return false
	}
	var d struct {
		Statement []struct {
			Effect, Action, Resource string
			Condition                map[string]map[string]any
		}
	}
	if err := json.Unmarshal([]byte(document), &d); err != nil {
		t.Fatal(err)
	}
	for _, one := range d.Statement {
		if one.Effect != "Deny" || one.Action != "*" || one.Resource != "*" {
			t.Fatalf("a statement of another form: %+v", one)
		}
		cutoff, err := time.Parse(time.RFC3339, one.Condition["DateLessThan"]["aws:TokenIssueTime"].(string))
		if err != nil {
			t.Fatal(err)
		}
		holds := s.issued.Before(cutoff)
		for operator, keys := range one.Condition {
			for key, value := range keys {
				values, ok := value.([]any)
				if !ok {
					values = []any{value}
				}
				switch operator + " " + key {
				case "DateLessThan aws:TokenIssueTime":
				case "StringEquals aws:SourceIdentity":
					holds = holds && slices.Contains(values, any(s.identity))
				case "StringLike aws:userid":
					holds = holds && slices.Contains(values, any("*:"+s.name))
				default:
					t.Fatalf("unknown condition %s on %s", operator, key)
				}
			}
		}
		if holds {
			return true
		}
	}
	return false
}

func sessions(t *rapid.T) []session {
	var all []session
	for range 20 {
		all = append(all, session{drawName.Draw(t, "name"), drawName.Draw(t, "identity"),
			noon.Add(time.Duration(rapid.IntRange(-4, 5).Draw(t, "issued")) * time.Second)})
	}
	return all
}

// The document denies exactly what live entries find, whole seconds up; merging twice, or in
// another order, or through the document of another replica, makes no difference.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawEntries.Draw(t, "a"), drawEntries.Draw(t, "b")
		now := noon.Add(time.Duration(rapid.IntRange(-2, 4).Draw(t, "now")) * time.Minute)
		first := merge(t, "", a, now, 0)
		both := merge(t, first.Document, b, now, 0)
		other := merge(t, merge(t, "", b, now, 0).Document, a, now, 0)
		if both.Document != other.Document || both.Document != merge(t, "", slices.Concat(b, a), now, 0).Document {
			t.Fatalf("the order matters:\n%s\n%s", both.Document, other.Document)
		}
		if again := merge(t, both.Document, slices.Concat(a, b), now, 0); again.Changed || again.Document != both.Document {
			t.Fatalf("merging again changes it:\n%s\n%s", both.Document, again.Document)
		}
		if entries, err := denylist.Parse(both.Document); err != nil || !slices.Equal(entries, both.Entries) {
			t.Fatalf("read back %v, %v, wrote %v", entries, err, both.Entries)
		}
		for _, s := range sessions(t) {
			want := slices.ContainsFunc(slices.Concat(a, b), func(e denylist.Entry) bool {
				return s.in(up(e)) && up(e).Expires.After(now)
			})
			got := denied(t, both.Document, s)
			if want != got {
				t.Fatalf("%+v is denied: %v, by %s", s, got, both.Document)
			}
		}
	})
}

// However little room there is, all that was asked for is denied, and what is wider is said.
func TestWidened(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		asked := drawEntries.Draw(t, "asked")
		for i := range 200 {
			asked = append(asked, entry(denylist.SourceIdentity, fmt.Sprintf("agent-with-a-long-name-%03d", i), time.Duration(i)*time.Second, time.Hour))
		}
		others := rapid.IntRange(0, denylist.MaxInlineSize-250).Draw(t, "others")
		r := merge(t, "", asked, noon, others)
		if len(r.Document)+others > denylist.MaxInlineSize || r.Widened == "" {
			t.Fatalf("%d characters, %q", len(r.Document), r.Widened)
		}
		for _, s := range append(sessions(t), session{"x1", "agent-with-a-long-name-007", noon.Add(6 * time.Second)}) {
			want := slices.ContainsFunc(asked, func(e denylist.Entry) bool { return s.in(e) && e.Expires.After(noon) })
			if want && !denied(t, r.Document, s) {
				t.Fatalf("%+v is not denied", s)
			}
		}
		if again := merge(t, r.Document, nil, noon, others); again.Changed {
			t.Fatal("what was widened does not rest")
		}
	})
}

// Who has made so many sessions that their names have no room is denied by his identity: the
// others' are denied by their names all the same, and who is not denied stays so.
func TestWidenedToIdentities(t *testing.T) {
	for many := 1; many <= 3; many++ {
		asked := []denylist.Entry{}
		named := func(identity string, n int) {
			for i := range n {
				e := entry(denylist.SessionName, fmt.Sprintf("0197f0a0-0000-7000-8000-%s-%03d", identity, i), time.Duration(i%3)*time.Second, time.Hour)
				e.Identity = identity
				asked = append(asked, e)
			}
		}
		for i := range many {
			named(fmt.Sprintf("many-%d", i), 300-10*i)
		}
		named("few", 5)
		merge := func(current string, add []denylist.Entry) *denylist.Result {
			r, err := denylist.Merge(current, add, noon, 0)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		r := merge("", asked)
		var identities, names []string
		for _, e := range r.Entries {
			switch e.Kind {
			case denylist.SourceIdentity:
				identities = append(identities, e.Value)
			case denylist.SessionName:
				names = append(names, e.Value)
			case denylist.WholeRole:
				t.Fatalf("the whole role is denied: %s", r.Widened)
			}
		}
		if slices.Sort(identities); len(identities) != many || identities[0] != "many-0" || len(names) == 0 || !strings.Contains(r.Widened, "many-0") {
			t.Fatalf("denied are %v, %v: %s", identities, names, r.Widened)
		}
		for _, e := range asked {
			if !denied(t, r.Document, session{e.Value, e.Identity, e.Before.Add(-time.Second)}) ||
				!slices.ContainsFunc(r.Entries, func(said denylist.Entry) bool { return said.Holds(e) }) {
				t.Fatalf("%+v is not denied", e)
			}
		}
		if denied(t, r.Document, session{"another", "somebody", noon.Add(-time.Hour)}) {
			t.Fatal("somebody else is denied")
		}
		for _, add := range [][]denylist.Entry{nil, asked, asked[:200]} {
			if again := merge(r.Document, add); again.Changed {
				t.Fatalf("what was widened does not rest: %s", again.Widened)
			}
		}
	}
}

// Whatever stands in a role's policy, it is ours and read back, or refused.
func FuzzParse(f *testing.F) {
	r, err := denylist.Merge("", []denylist.Entry{entry(denylist.SourceIdentity, "agent-1", 0, time.Hour), entry(denylist.WholeRole, "", 0, time.Hour)}, noon, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Document)
	f.Add(strings.Replace(r.Document, "agent-1", "*", 1))
	f.Fuzz(func(t *testing.T, document string) {
		entries, err := denylist.Parse(document)
		if err != nil {
			if !errors.Is(err, denylist.ErrForeign) {
				t.Fatal(err)
			}
			return
		}
		merged, err := denylist.Merge(document, nil, time.Unix(0, 0), 0)
		if err != nil {
			t.Fatal(err)
		}
		if (len(entries) == 0) != (merged.Document == "") {
			t.Fatalf("%q says %v and becomes %q", document, entries, merged.Document)
		}
	})
}

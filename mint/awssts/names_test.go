package awssts_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/writbroker/writ/mint/awssts"
	"pgregory.net/rapid"
)

var awsName = regexp.MustCompile(`\A[\w+=,.@-]{2,64}\z`)

func TestSourceIdentity(t *testing.T) {
	for name, row := range map[string]struct {
		id    string
		exact bool
	}{
		"a short id":                   {"agent-7", true},
		"all that AWS takes":           {"aZ_0+=,.@-", true},
		"64 characters":                {strings.Repeat("a", 64), true},
		"65 characters":                {strings.Repeat("a", 65), false},
		"one character":                {"a", false},
		"none":                         {"", false},
		"a colon":                      {"k8s:prod:agents:analyst", false},
		"a letter outside ASCII":       {"agént", false},
		"what looks like a digest":     {"sha256-aaaa", false},
		"a prefix of one":              {"sha256", true},
		"a line end at the end":        {"agent\n", false},
		"an id that is a whole digest": {mustDigest("k8s:prod:agents:analyst"), false},
	} {
		t.Run(name, func(t *testing.T) {
			got, exact := awssts.SourceIdentity(row.id)
			if exact != row.exact || exact != (got == row.id) || !awsName.MatchString(got) {
				t.Errorf("%q becomes %q, %v", row.id, got, exact)
			}
			if again, _ := awssts.SessionName(row.id); again != got {
				t.Errorf("the session's name is made otherwise: %q", again)
			}
		})
	}
}

func mustDigest(id string) string {
	name, _ := awssts.SourceIdentity(id)
	return name
}

// No id takes another's name: one that looks like a name of another is digested itself.
func TestNamesAreInjective(t *testing.T) {
	owner := map[string]string{}
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.OneOf(rapid.StringMatching(`[a-z0-9:/.-]{0,80}`), rapid.String(), rapid.Just("sha256-"),
			rapid.Map(rapid.StringMatching(`[a-z:]{0,4}`), mustDigest)).Draw(t, "id")
		for range 3 { // and names of names
			name, _ := awssts.SourceIdentity(id)
			if !awsName.MatchString(name) {
				t.Fatalf("AWS does not take %q", name)
			}
			if other, taken := owner[name]; taken && other != id {
				t.Fatalf("%q and %q are both %q", other, id, name)
			}
			owner[name] = id
			id = name
		}
	})
}

func TestSessionTags(t *testing.T) {
	tags := awssts.SessionTags(awssts.Session{
		Agent: "k8s:prod:agents:analyst", Subject: "corp:ann#7", Policy: "0123456789abcdef", Decision: "0197f0a0-0000-7000-8000-000000000000",
	})
	if err := awssts.CheckTags(tags); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, tag := range tags {
		got[tag.Key] = tag.Value
	}
	if len(tags) != 4 || got[awssts.TagAgent] != "k8s:prod:agents:analyst" || !strings.HasPrefix(got[awssts.TagSubject], "sha256-") {
		t.Errorf("%v", tags)
	}
	if keys := awssts.TransitiveKeys(tags); len(keys) != 4 || keys[0] != awssts.TagAgent {
		t.Errorf("%v", keys)
	}
}

func TestCheckTagsRefuses(t *testing.T) {
	many := make([]awssts.Tag, 51)
	for i := range many {
		many[i].Key = strings.Repeat("k", i+1)
	}
	for name, tags := range map[string][]awssts.Tag{
		"51 tags":                       many,
		"no key":                        {{"", "v"}},
		"a long key":                    {{strings.Repeat("k", 129), "v"}},
		"a long value":                  {{"k", strings.Repeat("v", 257)}},
		"a key of AWS":                  {{"AWS:x", "v"}},
		"keys that differ by case only": {{"a", "v"}, {"A", "v"}},
		"a character that is not taken": {{"k", "a#b"}},
		"bytes that are no text":        {{"k", "a\xff"}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := awssts.CheckTags(tags); !errors.Is(err, awssts.ErrTags) {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := awssts.CheckTags(many[:50]); err != nil {
		t.Error(err)
	}
}

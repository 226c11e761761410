package awssts

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// digestPrefix begins every name that stands for an id which does not fit. An id that begins
// so itself never stands for itself, so that no id can take another's name.
const digestPrefix = "sha256-"

// Limits of the names of a session.
const (
	minName     = 2
	maxName     = 64
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

// SourceIdentity is the name by which a session, and all that it assumes, is known as the
// agent's: the id itself where AWS takes it ([\w+=,.@-]{2,64}), and else a digest of it.
// Different ids have different names. Exact says whether it is the id; if not, the audit
// keeps both.
func SourceIdentity(id string) (name string, exact bool) { return fit(id, fitsName) }

// SessionName is the name of one session: the decision's id, so that CloudTrail's events lead
// to the decision. It is made like SourceIdentity.
func SessionName(decision string) (name string, exact bool) { return fit(decision, fitsName) }

// fit returns text where it fits and cannot be taken for a digest, and else its digest.
func fit(text string, fits func(string) bool) (string, bool) {
	if fits(text) && !strings.HasPrefix(text, digestPrefix) {
		return text, true
	}
	sum := sha256.Sum256([]byte(text))
	return digestPrefix + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])), false
}

func fitsName(text string) bool {
	for i := range len(text) {
		if c := text[i]; !isWord(c) && strings.IndexByte("+=,.@-", c) < 0 {
			return false
		}
	}
	return len(text) >= minName && len(text) <= maxName
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// Session is what a session says of itself in its tags.
type Session struct {
	Agent    string // who uses it
	Subject  string // on whose behalf
	Task     string // may be empty
	Policy   string // version
	Decision string // id
}

// Tag is a session tag.
type Tag struct{ Key, Value string }

// Keys of the session tags, which policies read as aws:PrincipalTag/KEY.
const (
	TagAgent    = "writ:agent"
	TagSubject  = "writ:subject"
	TagTask     = "writ:task"
	TagPolicy   = "writ:policy"
	TagDecision = "writ:decision"
)

// SessionTags are the tags of a session, sorted by key; those that say nothing are left out.
// A value that AWS takes in no tag stands as its digest, like a SourceIdentity.
func SessionTags(s Session) []Tag {
	var tags []Tag
	for _, t := range []Tag{
		{TagAgent, s.Agent}, {TagDecision, s.Decision}, {TagPolicy, s.Policy}, {TagSubject, s.Subject}, {TagTask, s.Task},
	} {
		if t.Value != "" {
			t.Value, _ = fit(t.Value, fitsTag)
			tags = append(tags, t)
		}
	}
	return tags
}

// TransitiveKeys are the keys of tags that a session hands on to those that it assumes.
func TransitiveKeys(tags []Tag) []string {
	keys := make([]string, 0, len(tags))
	for _, t := range tags {
		keys = append(keys, t.Key)
	}
	return keys
}

// ErrTags says that AWS would not take a set of session tags.
var ErrTags = errors.New("session tags")

// CheckTags says why AWS would not take tags, or nil: at most 50; keys of at most 128
// characters, which differ by more than case and do not begin with aws:; values of at most
// 256. The error wraps ErrTags.
func CheckTags(tags []Tag) error {
	if len(tags) > maxTags {
		return fmt.Errorf("%w: there are %d, AWS takes %d", ErrTags, len(tags), maxTags)
	}
	seen := map[string]bool{}
	for _, t := range tags {
		folded := strings.ToLower(t.Key)
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > maxTagKey || !tagCharacters(t.Key):
			return fmt.Errorf("%w: the key %q is not valid", ErrTags, t.Key)
		case strings.HasPrefix(folded, "aws:"):
			return fmt.Errorf("%w: the key %q is reserved", ErrTags, t.Key)
		case seen[folded]:
			return fmt.Errorf("%w: the key %q is there twice", ErrTags, t.Key)
		case !fitsTag(t.Value):
			return fmt.Errorf("%w: the value of %q is not valid", ErrTags, t.Key)
		}
		seen[folded] = true
	}
	return nil
}

func fitsTag(value string) bool {
	return utf8.RuneCountInString(value) <= maxTagValue && tagCharacters(value)
}

// tagCharacters are [\p{L}\p{Z}\p{N}_.:/=+\-@].
func tagCharacters(text string) bool {
	for _, r := range text {
		if r == utf8.RuneError || !unicode.In(r, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", r) {
			return false
		}
	}
	return true
}

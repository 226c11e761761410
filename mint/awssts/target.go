package awssts

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/writbroker/writ/mint/awssts/iam"
	"github.com/writbroker/writ/scopes"
)

// family is where paths are read alike: what stands before and after them in an ARN, and
// what joins their segments. A path in it may begin with literals of the mapping, so that
// two mappings of one bucket are in one family.
type family struct{ root, separator, suffix string }

// anywhere is the family in every region and account: what is denied there is not said twice
// for two of them, and said in fewer letters.
func (f family) anywhere() family {
	parts := strings.SplitN(f.root, ":", 6)
	if len(parts) == 6 {
		for i := 3; i < 5; i++ {
			if parts[i] != "" {
				parts[i] = "*"
			}
		}
		f.root = strings.Join(parts, ":")
	}
	return f
}

func (f family) glob(p pattern) string { return f.root + p.glob(f.separator) + f.suffix }

// place is where the scope's resource stands in a text.
type place struct {
	family
	deny family    // as denies name it
	head []segment // the mapping's own segments, before the scope's
	// part is which segment of the scope stands there; zero: all of them.
	part int
}

// target is one kind of AWS resource of one action, for one role.
type target struct {
	actions    []string // of IAM, sorted
	resource   string   // the ARN, where it does not depend on the scope
	place      *place   // where the scope's resource is in the ARN, or in the prefix of a list
	segments   int      // how many a resource has; zero: any number
	closed     bool     // no ARN of the service has more segments, or a separator in a name
	loose      bool     // names may have segments that are empty, '.' or '..'
	prefix     string   // condition keys of a list; empty for others
	delimiter  string
	conditions []iam.Condition
	under      string // the conditions as a text, to compare them by
}

// placed splits a text at its placeholder. It returns nil where the text has none.
func placed(text, separator string) (*place, error) {
	before, rest, found := strings.Cut(text, "{")
	if !found {
		return nil, nil
	}
	name, after, ok := strings.Cut(rest, "}")
	if !ok || strings.ContainsAny(after, "{}") {
		return nil, errors.New("one placeholder, {path} or the number of a segment such as {1}, is all that may stand in it")
	}
	p := &place{family: family{separator: separator, suffix: after}}
	if name != "path" {
		if len(name) != 1 || name[0] < '1' || name[0] > '9' {
			return nil, fmt.Errorf("unknown placeholder {%s}", name)
		}
		p.part = int(name[0] - '0')
	}
	return p, p.split(before)
}

// split finds the root and the literal segments of what stands before the path.
func (p *place) split(before string) error {
	root := strings.LastIndexByte(before, ':') + 1
	if p.separator == ":" {
		root = 0
		for range 5 { // arn:partition:service:region:account:
			next := strings.IndexByte(before[root:], ':')
			if next < 0 {
				return errors.New("what stands before the path is no ARN")
			}
			root += next + 1
		}
	}
	if strings.HasPrefix(before[root:], p.separator) {
		root += len(p.separator) // names that begin with the separator have it in all paths
	}
	p.root = before[:root]
	p.deny = p.anywhere()
	rest, ok := strings.CutSuffix(before[root:], p.separator)
	if before[root:] == "" {
		return nil
	}
	if !ok {
		return fmt.Errorf("the path must follow a ':' or a %q", p.separator)
	}
	for text := range strings.SplitSeq(rest, p.separator) {
		if text == "" || text == "." || text == ".." {
			return errors.New("a segment before the path is empty, '.' or '..'")
		}
		p.head = append(p.head, segment{text: text})
	}
	return nil
}

// resolve reads the resource of a scope as a pattern of the target's place. What is wrong is
// said with what to ask instead.
func (t *target) resolve(s scopes.Scope) (pattern, error) {
	p, err := t.read(s)
	if err != nil {
		return pattern{}, err
	}
	if t.segments > 0 {
		fixed, ok := p.fixed(t.segments)
		if !ok {
			return pattern{}, &ScopeError{
				Scope: s, Problem: fmt.Sprintf("its resource never has %d segments, and those of the tool do", t.segments),
				Ask: "ask for " + example(s, t.segments),
			}
		}
		p = fixed
	}
	if t.place.part > 0 {
		p = pattern{segments: p.segments[t.place.part-1 : t.place.part]}
	}
	if !t.closed && !p.tight() {
		return pattern{}, &ScopeError{
			Scope: s, Problem: "a name after '*' and before '**' cannot be held to its place: IAM's '*' crosses separators",
			Ask: "name the segment instead of '*', or end the scope after it without '**'",
		}
	}
	return pattern{segments: slices.Concat(t.place.head, p.segments), tail: p.tail}, nil
}

// read decodes the scope's segments.
func (t *target) read(s scopes.Scope) (pattern, error) {
	var p pattern
	for text := range strings.SplitSeq(s.Resource(), "/") {
		if text == "**" {
			p.tail = true
			break
		}
		raw, wild := strings.CutSuffix(text, "*")
		seg := segment{unescape(raw), wild}
		if problem := t.unfit(seg.text); problem != "" {
			return pattern{}, &ScopeError{
				Scope: s, Problem: fmt.Sprintf("segment %q: %s", text, problem), Ask: "ask for a resource without it",
			}
		}
		p.segments = append(p.segments, seg)
	}
	return p, nil
}

// unfit says why a text cannot be (in) one segment of an ARN of this target, or "".
func (t *target) unfit(text string) string {
	if err := iam.CheckCharacters(text); err != nil {
		return err.Error() + " cannot stand in a session policy"
	}
	for _, reserved := range []string{t.place.separator, ending(t.place.suffix)} {
		if reserved != "" && strings.Contains(text, reserved) {
			return fmt.Sprintf("%q ends a segment there", reserved)
		}
	}
	return ""
}

// ending is the ':' that ends a name, where one does.
func ending(suffix string) string {
	if strings.HasPrefix(suffix, ":") {
		return ":"
	}
	return ""
}

// unescape reads the canonical percent-encoding of a scope that was parsed.
func unescape(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			b = append(b, nibble(text[i+1])<<4|nibble(text[i+2]))
			i += 2
			continue
		}
		b = append(b, text[i])
	}
	return string(b)
}

func nibble(digit byte) byte {
	if digit >= 'A' {
		return digit - 'A' + 10
	}
	return digit - '0'
}

// example is a scope like s with n segments.
func example(s scopes.Scope, n int) string {
	segments := strings.Split(s.Resource(), "/")
	segments = segments[:min(len(segments), n)]
	if last := len(segments) - 1; segments[last] == "**" {
		segments[last] = "*"
	}
	for len(segments) < n {
		segments = append(segments, "*")
	}
	return s.Tool() + ":" + s.Action() + ":" + strings.Join(segments, "/")
}

// checkText is for what a mapping writes out itself.
func checkText(text string) error {
	if !utf8.ValidString(text) || strings.ContainsAny(text, "\"\\{}$") {
		return fmt.Errorf("%q has a character that no ARN has", text)
	}
	return iam.CheckCharacters(text)
}

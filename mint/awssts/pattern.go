package awssts

import (
	"slices"
	"strings"

	"github.com/writbroker/writ/mint/awssts/iam"
)

// segment is one segment of a resource as its bytes are: a literal, or with wild a prefix
// whose rest is free and may be empty.
type segment struct {
	text string
	wild bool
}

func (s segment) free() bool { return s.wild && s.text == "" }

func (s segment) covers(t segment) bool {
	if s.wild {
		return strings.HasPrefix(t.text, s.text)
	}
	return s == t
}

func (s segment) overlaps(t segment) bool { return s.covers(t) || t.covers(s) }

// pattern is a resource pattern as its bytes are. With tail, one or more segments follow.
type pattern struct {
	segments []segment
	tail     bool
}

// least is the smallest number of segments that it matches.
func (p pattern) least() int {
	if p.tail {
		return len(p.segments) + 1
	}
	return len(p.segments)
}

// concrete says that it matches one resource alone.
func (p pattern) concrete() bool { return !p.tail && p.lead() == len(p.segments) }

// lead is the number of literals it begins with.
func (p pattern) lead() int {
	if i := slices.IndexFunc(p.segments, func(s segment) bool { return s.wild }); i >= 0 {
		return i
	}
	return len(p.segments)
}

// covers says whether every resource that q matches is matched by p.
func (p pattern) covers(q pattern) bool {
	if p.tail && q.least() < p.least() || !p.tail && (q.tail || len(q.segments) != len(p.segments)) {
		return false
	}
	for i, s := range p.segments {
		if !s.covers(q.segments[i]) {
			return false
		}
	}
	return true
}

// overlaps says whether some resource is matched by both.
func (p pattern) overlaps(q pattern) bool {
	if !p.tail && len(p.segments) < q.least() || !q.tail && len(q.segments) < p.least() ||
		!p.tail && !q.tail && len(p.segments) != len(q.segments) {
		return false
	}
	for i := range min(len(p.segments), len(q.segments)) {
		if !p.segments[i].overlaps(q.segments[i]) {
			return false
		}
	}
	return true
}

// glob is the IAM pattern: it matches what p does, and whatever IAM's '*' takes besides,
// which crosses separators.
func (p pattern) glob(separator string) string {
	var b strings.Builder
	for i, s := range p.segments {
		if i > 0 {
			b.WriteString(separator)
		}
		s.write(&b)
	}
	if p.tail {
		if len(p.segments) > 0 {
			b.WriteString(separator)
		}
		b.WriteByte('*')
	}
	return b.String()
}

func (s segment) write(b *strings.Builder) {
	b.WriteString(iam.Literal(s.text))
	if s.wild {
		b.WriteByte('*')
	}
}

// tight says that IAM's reading of a tail is the scope's: after the first wildcard, each
// segment is free, so that it does not matter which separators a '*' took.
func (p pattern) tight() bool {
	lead := p.lead()
	return !p.tail || !slices.ContainsFunc(p.segments[min(lead+1, len(p.segments)):], func(s segment) bool { return !s.free() })
}

// under is the pattern of all that begins with head and has exactly n segments.
func under(head []segment, n int) pattern {
	segments := slices.Clone(head)
	for len(segments) < n {
		segments = append(segments, segment{wild: true})
	}
	return pattern{segments: segments}
}

// deeper is the pattern of all that begins with head and has at least n segments. IAM reads
// it as it is meant: it counts separators.
func deeper(head []segment, n int) pattern {
	p := under(head, n-1)
	p.tail = true
	return p
}

// overflows are the IAM patterns of what p's own takes besides p because a '*' took a
// separator; p has no tail.
func (p pattern) overflows(separator string) []string {
	var all []string
	for i, s := range p.segments {
		if !s.wild {
			continue
		}
		longer := slices.Clone(p.segments[:i+1])
		longer = append(longer, segment{wild: true})
		longer = append(longer, p.segments[i+1:]...)
		all = append(all, pattern{segments: longer}.glob(separator))
	}
	return all
}

// begins says whether a resource of q can begin with p's first literals.
func (p pattern) begins(q pattern) bool {
	for i := range min(p.lead(), len(q.segments)) {
		if !p.segments[i].overlaps(q.segments[i]) {
			return false
		}
	}
	return true
}

// ends says whether a resource of q can end in p's last literals; neither is shorter than them.
func (p pattern) ends(q pattern) bool {
	for i, j := len(p.segments)-1, len(q.segments)-1; !q.tail && i >= 0 && j >= 0 && !p.segments[i].wild; i, j = i-1, j-1 {
		if !p.segments[i].overlaps(q.segments[j]) {
			return false
		}
	}
	return true
}

// fixed is p among resources of exactly n segments; false if it has none.
func (p pattern) fixed(n int) (pattern, bool) {
	switch {
	case !p.tail:
		return p, len(p.segments) == n
	case n < p.least():
		return pattern{}, false
	}
	return under(p.segments, n), true
}

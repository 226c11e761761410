package scopes

import "strings"

// The functions of this file take canonical resources, patterns or concrete.
// They run both texts in step; where the bytes differ, one of the two must be
// at a wildcard.

// atTail says whether the '*' at p[i] is one of the two of a last **.
func atTail(p string, i int) bool {
	return i+1 < len(p) && p[i+1] == '*' || i > 0 && p[i-1] == '*'
}

// segmentEnd is where the segment that holds p[i] ends.
func segmentEnd(p string, i int) int {
	for i < len(p) && p[i] != '/' {
		i++
	}
	return i
}

// covers says whether every resource that q matches is matched by p.
func covers(p, q string) bool {
	i, j := 0, 0
	for i < len(p) && j < len(q) {
		if p[i] == q[j] {
			i++
			j++
			continue
		}
		if p[i] != '*' {
			return false
		}
		if atTail(p, i) {
			return true
		}
		i++
		j = segmentEnd(q, j)
	}
	if j < len(q) {
		return false
	}
	// q has ended: what is left of p may be the empty rest of prefix*, or the
	// second star of a ** whose first one met q's last *.
	return i == len(p) || p[i:] == "*"
}

// overlaps says whether some resource is matched by both.
func overlaps(p, q string) bool {
	i, j := 0, 0
	for {
		for i < len(p) && j < len(q) && p[i] == q[j] {
			i++
			j++
		}
		switch {
		case i == len(p) && j == len(q):
			return true
		case i < len(p) && p[i] == '*':
			if atTail(p, i) {
				return true
			}
			i, j = i+1, segmentEnd(q, j)
		case j < len(q) && q[j] == '*':
			if atTail(q, j) {
				return true
			}
			i, j = segmentEnd(p, i), j+1
		default:
			return false
		}
	}
}

// intersect writes the pattern of what both match; they must overlap.
func intersect(both *strings.Builder, p, q string) {
	for {
		if p == "**" {
			both.WriteString(q)
			return
		}
		if q == "**" {
			both.WriteString(p)
			return
		}
		endP, endQ := segmentEnd(p, 0), segmentEnd(q, 0)
		both.WriteString(narrower(p[:endP], q[:endQ]))
		if endP == len(p) {
			return
		}
		both.WriteByte('/')
		p, q = p[endP+1:], q[endQ+1:]
	}
}

// narrower is the intersection of two segments that overlap: a literal lies in
// whatever it overlaps, and so does the longer prefix.
func narrower(a, b string) string {
	aWild, bWild := a[len(a)-1] == '*', b[len(b)-1] == '*'
	if !aWild || bWild && len(a) >= len(b) {
		return a
	}
	return b
}

// base is the resource without a last **, and its number of segments; what **
// stands for follows it.
func (s Scope) base() (string, int) {
	text := s.Resource()
	if !s.tail {
		return text, int(s.segments)
	}
	return strings.TrimSuffix(strings.TrimSuffix(text, "**"), "/"), int(s.segments) - 1
}

// stripStars removes the * segments that text, of n segments, ends in.
func stripStars(text string, n int) (string, int) {
	for strings.HasSuffix(text, "/*") {
		text, n = text[:len(text)-2], n-1
	}
	if text == "*" {
		return "", 0
	}
	return text, n
}

// head cuts text after its first n segments; both parts may be empty.
func head(text string, n int) (first, rest string) {
	if n == 0 {
		return "", text
	}
	for i := range len(text) {
		if text[i] != '/' {
			continue
		}
		if n--; n == 0 {
			return text[:i], text[i+1:]
		}
	}
	return text, ""
}

// lengths is a set of numbers of segments, one bit each. MaxSegments is 32, so
// the bits above it stand for every greater length alike.
type lengths uint64

func from(n int) lengths { return ^lengths(0) << n }

// lengthsUnder returns the lengths n > k at which s covers the pattern base
// (of k segments) filled up with * to n segments.
func (s Scope) lengthsUnder(base string, k int) lengths {
	own, n := s.base()
	// What s says of the segments after the k-th must be that they may be
	// anything; the last byte settles it for most.
	if n <= k && !s.tail || n > k && own[len(own)-1] != '*' {
		return 0
	}
	mine, rest := head(own, min(n, k))
	other, _ := head(base, min(n, k))
	if !covers(mine, other) {
		return 0
	}
	if left, _ := stripStars(rest, 0); left != "" {
		return 0
	}
	if s.tail {
		return from(max(n, k) + 1)
	}
	return 1 << n
}

// lengthsOf returns the lengths at which b has resources and s covers them.
func (s Scope) lengthsOf(b Scope) lengths {
	if b.tail {
		return s.lengthsUnder(b.base())
	}
	if !s.fits(b) || !covers(s.Resource(), b.Resource()) {
		return 0
	}
	return 1 << b.segments
}

// allLengths returns the lengths at which s has resources.
func (s Scope) allLengths() lengths {
	if s.tail {
		return from(int(s.segments))
	}
	return 1 << s.segments
}

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/scopes"
)

// caseTime is the time of a test that names none: a Wednesday at noon, UTC.
var caseTime = time.Date(2026, time.January, 7, 12, 0, 0, 0, time.UTC)

// testCase is a request and the decision that the bundle's author expects.
type testCase struct {
	meta
	request Request
	expect  expectSource
	refused []string // sorted; nil: not looked at
}

// TestResult is the outcome of one case of the bundle's tests.
type TestResult struct {
	Name    string `json:"name"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"` // what differs, if not OK
	// Decision that was made.
	Decision Decision `json:"-"`
}

func (c *compiler) cases(written []caseSource) {
	for i := range written {
		s := &written[i]
		c.unique(&s.meta)
		t := testCase{meta: s.meta, expect: s.expect, request: Request{
			ID: "test/" + s.name, Subject: c.party(s.subject), Task: s.task, TTL: s.ttl, Time: s.time, SourceIP: s.sourceIP,
			Scopes: c.caseScopes(&s.meta, s.scopes),
		}}
		if t.request.Time.IsZero() {
			t.request.Time = caseTime
		}
		for _, a := range s.actors {
			t.request.Actors = append(t.request.Actors, c.party(a))
		}
		for _, a := range s.audience {
			t.request.Audiences = append(t.request.Audiences, a.Value)
		}
		if p := s.parent; p != nil {
			set, err := scopes.NewSet(c.caseScopes(&s.meta, p.scopes)...)
			if err != nil {
				c.fault(&s.meta, s.line, "the parent's scopes are no set: "+err.Error(), "name at most 64")
			}
			if p.remaining == 0 {
				p.remaining = c.options.MaxTTL
			}
			t.request.Parent = &Parent{Scopes: set, Remaining: p.remaining, Roles: p.roles, Depth: p.depth}
		}
		if s.expect.refused != nil {
			for _, r := range c.caseScopes(&s.meta, s.expect.refused) {
				t.refused = append(t.refused, r.String())
			}
			slices.Sort(t.refused)
		}
		c.bundle.tests = append(c.bundle.tests, t)
	}
	slices.SortStableFunc(c.bundle.tests, func(a, b testCase) int {
		if d := strings.Compare(a.file, b.file); d != 0 {
			return d
		}
		return a.line - b.line
	})
}

// caseScopes parses scopes without looking them up: a test may ask for what does not exist.
func (c *compiler) caseScopes(m *meta, written []text) []scopes.Scope {
	var all []scopes.Scope
	for _, w := range written {
		s, err := scopes.Parse(w.Value)
		if err != nil {
			c.fault(m, w.Line, fmt.Sprintf("%q is not a scope: %v", w.Value, err), "write tool:action:resource, such as warehouse:read:sales/**")
			continue
		}
		all = append(all, s)
	}
	return all
}

// party makes a principal of a test, with what its source says where the test does not.
func (c *compiler) party(s partySource) identity.Principal {
	p := identity.Principal{ID: s.id.Value, Kind: s.kind, Source: s.source, Issuer: s.issuer, Attributes: s.attributes}
	if p.Attributes == nil {
		p.Attributes = map[string]any{}
	}
	for i := range c.options.Sources {
		from := &c.options.Sources[i]
		if from.SubjectPrefix == "" || !strings.HasPrefix(p.ID, from.SubjectPrefix) {
			continue
		}
		p.Prefix = from.SubjectPrefix
		if p.Source == "" {
			p.Source = from.Name
		}
		if p.Issuer == "" {
			p.Issuer = from.Issuer
		}
		if p.Kind == "" {
			p.Kind = from.Kind
		}
	}
	if p.Kind == "" {
		p.Kind = identity.KindWorkload
	}
	return p
}

// RunTests runs the bundle's test cases, in the order of files and lines.
func (b *Bundle) RunTests() []TestResult {
	results := make([]TestResult, 0, len(b.tests))
	for i := range b.tests {
		t := &b.tests[i]
		d := b.Authorize(t.request)
		message := t.differs(&d)
		results = append(results, TestResult{
			Name: t.name, File: t.file, Line: t.line, OK: message == "", Message: message, Decision: d,
		})
	}
	return results
}

// differs says how a decision is not the one expected.
func (t *testCase) differs(d *Decision) string {
	refused := make([]string, 0, len(d.Refused))
	for _, s := range d.Refused {
		refused = append(refused, s.String())
	}
	slices.Sort(refused)
	switch {
	case d.Allowed && !t.expect.allow:
		return "expected a refusal, was allowed " + d.Grant.Scopes().String()
	case !d.Allowed && t.expect.allow:
		return fmt.Sprintf("expected to be allowed, was refused (%s): %s", d.Reason, strings.Join(refused, " "))
	case t.expect.reason != "" && t.expect.reason != string(d.Reason):
		return fmt.Sprintf("expected the reason %q, got %q", t.expect.reason, d.Reason)
	case t.expect.refused != nil && !slices.Equal(refused, t.refused):
		return fmt.Sprintf("expected %s to be refused, was %s", strings.Join(t.refused, " "), strings.Join(refused, " "))
	case t.expect.ttl != 0 && d.Allowed && d.Grant.TTL() != t.expect.ttl:
		return fmt.Sprintf("expected a lifetime of %s, got %s", t.expect.ttl, d.Grant.TTL())
	}
	return ""
}

// failedTests makes faults of the tests that fail.
func failedTests(results []TestResult) []Fault {
	var faults []Fault
	for _, r := range results {
		if r.OK {
			continue
		}
		faults = append(faults, Fault{
			File: r.File, Line: r.Line, Rule: "test " + r.Name, Message: "the test fails: " + r.Message,
			Hint: "correct the rules or the test; writ policy test --explain shows the whole decision",
		})
	}
	return faults
}

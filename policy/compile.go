package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/writbroker/writ/policy/internal/condition"
	"github.com/writbroker/writ/policy/internal/document"
	"github.com/writbroker/writ/policy/internal/match"
)

// noCondition stands for a condition that is always true.
const noCondition int32 = -1

// compiler turns a source into a bundle and collects what is wrong with it.
type compiler struct {
	bundle     *Bundle
	options    Options
	faults     []Fault
	conditions *condition.Env
	known      map[conditionKey]int32
	canonical  map[conditionKey]string // text as written → canonical
	names      map[string]meta         // kind and name → the rule that has it
	roleIndex  map[string]int32
	profiles   map[string]int32
}

type conditionKey struct {
	text  string
	where condition.Where
}

// compile compiles a source whose reading may have found faults already.
func compile(s *source, opt Options, faults []Fault) (*Bundle, error) {
	env, err := condition.NewEnv()
	if err != nil {
		return nil, err
	}
	c := &compiler{
		bundle:  &Bundle{options: opt, environment: condition.BoxMap(opt.Environment)},
		options: opt, faults: faults, conditions: env,
		known: map[conditionKey]int32{}, canonical: map[conditionKey]string{}, names: map[string]meta{},
	}
	c.catalog(s.tools)
	c.profileRules(s.profiles)
	c.roles(s.roles)
	c.bindings(s.bindings)
	c.denies(s.denies)
	c.delegations(s.delegations)
	c.inventory(s.inventory)
	c.cases(s.cases)
	c.seal(s)
	if len(c.faults) > 0 {
		slices.SortStableFunc(c.faults, func(a, b Fault) int {
			return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
		})
		return nil, &BundleError{Faults: slices.Compact(c.faults)}
	}
	return c.bundle, nil
}

// seal ends the building of indexes and stamps the version.
func (c *compiler) seal(s *source) {
	b := c.bundle
	for _, x := range []*match.Index{&b.bindingIndex, &b.denyIndex, &b.delegationIndex, &b.inventoryIndex} {
		x.Seal()
	}
	b.noteAttributes()
	b.version = c.version(s)
	b.short = b.version[:16]
}

func (c *compiler) fault(m *meta, line int, message, hint string) {
	c.faults = append(c.faults, Fault{File: m.file, Line: line, Rule: m.label(), Message: message, Hint: hint})
}

// unique says whether a rule's name is the first of its kind.
func (c *compiler) unique(m *meta) bool {
	if m.name == "" {
		return true // reported where it was read
	}
	key := m.kind + " " + m.name
	if first, ok := c.names[key]; ok {
		c.fault(m, m.line, "the name is taken", "rename it, or merge it with the one at "+first.place())
		return false
	}
	c.names[key] = *m
	return true
}

// ruleInfo is what a trace says of a rule.
type ruleInfo struct {
	kind   EntryKind
	name   string
	file   string
	line   int
	effect string // of tags: key=value
}

func (c *compiler) rule(kind EntryKind, m *meta) int32 {
	return c.ruleAt(kind, m.name, m.file, m.line, "")
}

func (c *compiler) ruleAt(kind EntryKind, name, file string, line int, effect string) int32 {
	c.bundle.rules = append(c.bundle.rules, ruleInfo{kind, name, file, line, effect})
	return int32(len(c.bundle.rules) - 1)
}

// condition compiles a condition once, however many rules have it.
func (c *compiler) condition(m *meta, written text, where condition.Where) int32 {
	if written.Value == "" {
		return noCondition
	}
	if canonical, ok := c.canonical[conditionKey{written.Value, where}]; ok {
		return c.known[conditionKey{canonical, where}]
	}
	compiled, err := c.conditions.Compile(written.Value, where)
	if err != nil {
		message, hint := err.Error(), "correct the condition"
		if fault, ok := err.(*condition.Error); ok { //nolint:errorlint // Compile documents that it returns this type
			hint = fault.Hint
		}
		c.fault(m, written.Line, message, hint)
		return noCondition
	}
	canonical := conditionKey{compiled.String(), where}
	c.canonical[conditionKey{written.Value, where}] = compiled.String()
	index, ok := c.known[canonical]
	if !ok {
		index = int32(len(c.bundle.conditions))
		c.bundle.conditions = append(c.bundle.conditions, compiled)
		c.known[canonical] = index
	}
	return index
}

// canonicalCondition is the text of a condition as the version covers it.
func (c *compiler) canonicalCondition(written text, where condition.Where) string {
	return c.canonical[conditionKey{written.Value, where}]
}

// patterns compiles principal patterns.
func (c *compiler) patterns(m *meta, written []text, what string) []match.Pattern {
	if len(written) == 0 && what != "" {
		c.fault(m, m.line, "it names no "+what, "add "+what+": with ids or patterns")
	}
	var patterns []match.Pattern
	for _, w := range written {
		if p, ok := c.pattern(m, w); ok {
			patterns = append(patterns, p)
		}
	}
	return patterns
}

func (c *compiler) pattern(m *meta, written text) (match.Pattern, bool) {
	p, err := match.Parse(written.Value)
	if err != nil {
		c.fault(m, written.Line, err.Error(), "write an id such as k8s:prod:ns:agent; '*' stands for a part without ':' and '/', a last '**' for anything")
		return p, false
	}
	if len(c.options.Sources) == 0 {
		return p, true
	}
	var prefixes []string
	for i := range c.options.Sources {
		prefix := c.options.Sources[i].SubjectPrefix
		if p.CanMatchUnder(prefix) {
			return p, true
		}
		prefixes = append(prefixes, prefix)
	}
	hint := "ids begin with one of: " + strings.Join(prefixes, ", ")
	if near := document.Nearest(p.Literal(), prefixes); near != "" {
		hint = fmt.Sprintf("did you mean %s…?", near)
	}
	c.fault(m, written.Line, fmt.Sprintf("no identity source can produce a principal that matches %q", p), hint)
	return p, true
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

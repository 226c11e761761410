package awssts_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The evaluator below decides as AWS documents that IAM does, and shares nothing with the
// package under test, nor with package iam:
//   - an explicit Deny wins; without an Allow nothing is allowed;
//   - actions are compared without case, and may have wildcards;
//   - in a Resource '*' is any text, '/' and nothing among it, and '?' one character; whether
//     a '*' also crosses the colons of an ARN, the documentation says in two ways, so that
//     both are tried;
//   - ${name} is the value of a context key, and a statement with a variable that has none
//     does not apply; ${*}, ${?} and ${$} are those characters;
//   - condition keys are compared without case; a key that is missing fails a condition, but
//     one that is negated;
//   - policies older than 2012-10-17 know no variables.

// access is one request to AWS.
type access struct {
	action, resource string
	context          map[string]string
}

// reading is how a pattern's '*' is taken.
type reading int

const (
	wide   reading = iota // it crosses colons
	narrow                // it stays between them, but at the end
)

type rules struct {
	variables  bool
	statements []rule
}

type rule struct {
	deny                     bool
	conditions               []condition
	hasAction, hasResource   bool
	actionGlobs, notActGlobs []glob
	globs, notGlobs          []arnGlob
}

type condition struct {
	operator, key string
	values        []string
	globs         []glob
}

func parseRules(text string) (*rules, error) {
	var raw struct {
		Version   string
		Statement []map[string]json.RawMessage
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&raw); err != nil {
		return nil, err
	}
	r := &rules{variables: raw.Version == "2012-10-17"}
	for _, s := range raw.Statement {
		var one rule
		for member, value := range s {
			if err := one.read(member, value, r.variables); err != nil {
				return nil, err
			}
		}
		if !one.hasAction || !one.hasResource {
			return nil, fmt.Errorf("a statement without actions or resources: %v", s)
		}
		r.statements = append(r.statements, one)
	}
	return r, nil
}

func (r *rule) read(member string, value json.RawMessage, variables bool) error {
	var effect string
	var nested map[string]map[string]json.RawMessage
	switch member {
	case "Sid":
		return nil
	case "Effect":
		if err := json.Unmarshal(value, &effect); err != nil || effect != "Allow" && effect != "Deny" {
			return fmt.Errorf("effect %s", value)
		}
		r.deny = effect == "Deny"
	case "Action", "NotAction":
		all, err := listOf(value)
		if err != nil {
			return err
		}
		for _, a := range all {
			g := compileGlob(strings.ToLower(a), false)
			if r.hasAction = true; member == "Action" {
				r.actionGlobs = append(r.actionGlobs, g)
			} else {
				r.notActGlobs = append(r.notActGlobs, g)
			}
		}
	case "Resource", "NotResource":
		all, err := listOf(value)
		if err != nil {
			return err
		}
		for _, text := range all {
			if text != "*" && !strings.HasPrefix(text, "arn:") {
				return fmt.Errorf("resource %q is no ARN", text)
			}
			if r.hasResource = true; member == "Resource" {
				r.globs = append(r.globs, compileARN(text, variables))
			} else {
				r.notGlobs = append(r.notGlobs, compileARN(text, variables))
			}
		}
	case "Condition":
		if err := json.Unmarshal(value, &nested); err != nil {
			return err
		}
		for operator, keys := range nested {
			for key, values := range keys {
				all, err := listOf(values)
				if err != nil {
					return err
				}
				c := condition{operator: operator, key: strings.ToLower(key), values: all}
				for _, v := range all {
					c.globs = append(c.globs, compileGlob(v, variables))
				}
				r.conditions = append(r.conditions, c)
			}
		}
	default:
		return fmt.Errorf("unknown member %q", member)
	}
	return nil
}

func listOf(value json.RawMessage) ([]string, error) {
	var one string
	if json.Unmarshal(value, &one) == nil {
		return []string{one}, nil
	}
	var all []string
	err := json.Unmarshal(value, &all)
	return all, err
}

// allows decides, with one reading of what allows and one of what denies.
func (r *rules) allows(a access, allow, deny reading) bool {
	q := newQuery(a)
	allowed := false
	for i := range r.statements {
		s := &r.statements[i]
		how := allow
		if s.deny {
			how = deny
		}
		if !s.applies(q, how) {
			continue
		}
		if s.deny {
			return false
		}
		allowed = true
	}
	return allowed
}

// query is an access as it is compared.
type query struct {
	action, resource []rune
	parts            [][]rune // of an ARN; nil if it is none
	context          map[string]string
}

func newQuery(a access) *query {
	q := &query{action: []rune(strings.ToLower(a.action)), resource: []rune(a.resource), context: a.context}
	rest := q.resource
	for range 5 {
		i := slices.Index(rest, ':')
		if i < 0 {
			return q
		}
		q.parts, rest = append(q.parts, rest[:i]), rest[i+1:]
	}
	q.parts = append(q.parts, rest)
	return q
}

func (r *rule) applies(q *query, how reading) bool {
	act := func(g glob) bool { return g.matches(q.action, nil) }
	res := func(g arnGlob) bool { return g.matches(q, how) }
	if r.actionGlobs != nil && !slices.ContainsFunc(r.actionGlobs, act) || r.notActGlobs != nil && slices.ContainsFunc(r.notActGlobs, act) {
		return false
	}
	if r.globs != nil && !slices.ContainsFunc(r.globs, res) || r.notGlobs != nil && slices.ContainsFunc(r.notGlobs, res) {
		return false
	}
	for i := range r.conditions {
		if !r.conditions[i].holds(q.context) {
			return false
		}
	}
	return true
}

func (c *condition) holds(context map[string]string) bool {
	value, present := context[c.key]
	operator, optional := strings.CutSuffix(c.operator, "IfExists")
	if !present {
		return optional || strings.HasPrefix(operator, "StringNot")
	}
	some := func(match func(i int) bool) bool {
		for i := range c.values {
			if match(i) {
				return true
			}
		}
		return false
	}
	equal := func(i int) bool {
		text, ok := substitute(c.values[i], context)
		return ok && text == value
	}
	like := func(i int) bool { return c.globs[i].matches([]rune(value), context) }
	switch operator {
	case "StringEquals":
		return some(equal)
	case "StringNotEquals":
		return !some(equal)
	case "StringLike":
		return some(like)
	case "StringNotLike":
		return !some(like)
	case "DateLessThan", "DateGreaterThanEquals":
		return some(func(i int) bool {
			limit, err1 := time.Parse(time.RFC3339, c.values[i])
			now, err2 := time.Parse(time.RFC3339, value)
			if err1 != nil || err2 != nil {
				panic("a date that is none")
			}
			return now.Before(limit) == (operator == "DateLessThan")
		})
	}
	panic("unknown operator " + c.operator)
}

// substitute fills in variables where wildcards mean themselves.
func substitute(text string, context map[string]string) (string, bool) {
	var b strings.Builder
	for _, s := range compileGlob(text, true).steps {
		switch s.kind {
		case oneRune:
			b.WriteRune(s.char)
		case variable:
			v, ok := context[s.name]
			if !ok {
				return "", false
			}
			b.WriteString(v)
		case anyRune:
			b.WriteByte('?')
		case anyText:
			b.WriteByte('*')
		}
	}
	return b.String(), true
}

type stepKind int

const (
	oneRune stepKind = iota
	anyRune
	anyText
	variable
)

type step struct {
	kind stepKind
	char rune
	name string
}

// glob is a pattern.
type glob struct {
	steps     []step
	variables bool
}

func compileGlob(pattern string, variables bool) glob {
	var g glob
	text := []rune(pattern)
	for i := 0; i < len(text); i++ {
		if variables && text[i] == '$' && i+1 < len(text) && text[i+1] == '{' {
			if n := slices.Index(text[i:], '}'); n > 0 {
				name := string(text[i+2 : i+n])
				if name == "*" || name == "?" || name == "$" {
					g.steps = append(g.steps, step{kind: oneRune, char: rune(name[0])})
				} else {
					g.steps = append(g.steps, step{kind: variable, name: strings.ToLower(name)})
					g.variables = true
				}
				i += n
				continue
			}
		}
		switch text[i] {
		case '*':
			g.steps = append(g.steps, step{kind: anyText})
		case '?':
			g.steps = append(g.steps, step{kind: anyRune})
		default:
			g.steps = append(g.steps, step{kind: oneRune, char: text[i]})
		}
	}
	return g
}

func (g glob) matches(text []rune, context map[string]string) bool {
	steps := g.steps
	if g.variables {
		var filled []step
		for _, s := range g.steps {
			if s.kind != variable {
				filled = append(filled, s)
				continue
			}
			v, ok := context[s.name]
			if !ok {
				return false
			}
			for _, c := range v {
				filled = append(filled, step{kind: oneRune, char: c})
			}
		}
		steps = filled
	}
	return matchSteps(steps, text)
}

// matchSteps goes back to the last '*' where the rest does not match.
func matchSteps(g []step, text []rune) bool {
	i, j, star, mark := 0, 0, -1, 0
	for j < len(text) {
		switch {
		case i < len(g) && g[i].kind == anyText:
			star, mark = i, j
			i++
		case i < len(g) && (g[i].kind == anyRune || g[i].kind == oneRune && g[i].char == text[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(g) && g[i].kind == anyText {
		i++
	}
	return i == len(g)
}

// arnGlob is a Resource in both readings.
type arnGlob struct {
	whole glob
	parts []glob // nil where it has fewer than an ARN
}

func compileARN(text string, variables bool) arnGlob {
	a := arnGlob{whole: compileGlob(text, variables)}
	if parts := strings.SplitN(text, ":", 6); len(parts) == 6 {
		for _, p := range parts {
			a.parts = append(a.parts, compileGlob(p, variables))
		}
	}
	return a
}

func (a arnGlob) matches(q *query, how reading) bool {
	if how == wide || a.parts == nil {
		return a.whole.matches(q.resource, q.context)
	}
	if len(q.parts) != len(a.parts) {
		return false
	}
	for i, p := range a.parts {
		if !p.matches(q.parts[i], q.context) {
			return false
		}
	}
	return true
}

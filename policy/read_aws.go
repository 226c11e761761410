package policy

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/writbroker/writ/policy/internal/document"
)

// aws reads the form of a tool's mapping to IAM. What it means is checked by package mint/awssts.
func (r *reader) aws(node *yaml.Node) *AWS {
	a := &AWS{File: r.file, Line: node.Line}
	document.Mapping(node, r.report, document.Fields{
		"service": r.awsText(&a.Service),
		"role":    r.awsText(&a.Role),
		"roles":   func(n *yaml.Node) { a.Roles = r.awsParameters(n) },
		"with":    func(n *yaml.Node) { a.With = r.awsParameters(n) },
		"actions": func(n *yaml.Node) {
			r.awsNamed(n, func(name string, n *yaml.Node) {
				action := AWSAction{Name: name, Line: n.Line}
				document.Sequence(n, r.report, func(n *yaml.Node) { action.Targets = append(action.Targets, r.awsTarget(n)) })
				a.Actions = append(a.Actions, action)
			})
		},
		"conditions": func(n *yaml.Node) { a.Conditions = r.awsConditions(n) },
		"managed": func(n *yaml.Node) {
			document.Sequence(n, r.report, func(n *yaml.Node) {
				m := AWSManaged{Line: n.Line}
				document.Mapping(n, r.report, document.Fields{"policy": r.awsText(&m.Policy), "scopes": r.awsTexts(&m.Scopes)})
				a.Managed = append(a.Managed, m)
			})
		},
	})
	slices.SortStableFunc(a.Actions, func(x, y AWSAction) int { return strings.Compare(x.Name, y.Name) })
	return a
}

func (r *reader) awsTarget(node *yaml.Node) AWSTarget {
	t := AWSTarget{Line: node.Line}
	document.Mapping(node, r.report, document.Fields{
		"actions":   r.awsTexts(&t.Actions),
		"resource":  r.awsText(&t.Resource),
		"separator": r.awsText(&t.Separator),
		"segments": func(n *yaml.Node) {
			if t.Segments = document.Int(n, r.report); t.Segments < 1 {
				r.report(n.Line, "segments must be at least 1", "leave it out where a resource may have any number")
			}
		},
		"closed": func(n *yaml.Node) { t.Closed = document.Bool(n, r.report) },
		"clean":  func(n *yaml.Node) { t.Clean = document.Bool(n, r.report) },
		"list": func(n *yaml.Node) {
			t.List = &AWSList{Line: n.Line}
			document.Mapping(n, r.report, document.Fields{
				"prefix": r.awsText(&t.List.Prefix), "delimiter": r.awsText(&t.List.Delimiter), "value": r.awsText(&t.List.Value),
			})
		},
		"conditions": func(n *yaml.Node) { t.Conditions = r.awsConditions(n) },
	})
	return t
}

// awsConditions reads {operator: {key: value or list of values}}, as IAM writes it.
func (r *reader) awsConditions(node *yaml.Node) []AWSCondition {
	var conditions []AWSCondition
	r.awsNamed(node, func(operator string, n *yaml.Node) {
		r.awsNamed(n, func(key string, n *yaml.Node) {
			c := AWSCondition{Operator: operator, Key: key, Line: n.Line}
			if n.Kind == yaml.SequenceNode {
				r.awsTexts(&c.Values)(n)
			} else {
				c.Values = make([]AWSText, 1)
				r.awsText(&c.Values[0])(n)
			}
			conditions = append(conditions, c)
		})
	})
	slices.SortStableFunc(conditions, func(a, b AWSCondition) int {
		return strings.Compare(a.Operator+"\x00"+a.Key, b.Operator+"\x00"+b.Key)
	})
	return conditions
}

// awsNamed reads a mapping whose keys are names.
func (r *reader) awsNamed(node *yaml.Node, read func(string, *yaml.Node)) {
	fields := document.Fields{}
	for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		name := node.Content[i].Value
		fields[name] = func(n *yaml.Node) { read(name, n) }
	}
	document.Mapping(node, r.report, fields)
}

func (r *reader) awsParameters(node *yaml.Node) []AWSParameter {
	var parameters []AWSParameter
	r.awsNamed(node, func(name string, n *yaml.Node) {
		p := AWSParameter{Name: name}
		r.awsText(&p.AWSText)(n)
		parameters = append(parameters, p)
	})
	slices.SortStableFunc(parameters, func(a, b AWSParameter) int { return strings.Compare(a.Name, b.Name) })
	return parameters
}

func (r *reader) awsText(to *AWSText) func(*yaml.Node) {
	return func(n *yaml.Node) { *to = AWSText(document.String(n, r.report)) }
}

func (r *reader) awsTexts(to *[]AWSText) func(*yaml.Node) {
	return func(n *yaml.Node) {
		for _, t := range document.Strings(n, r.report) {
			*to = append(*to, AWSText(t))
		}
	}
}

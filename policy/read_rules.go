package policy

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/writbroker/writ/policy/internal/document"
)

func (r *reader) tool(node *yaml.Node) {
	t := toolSource{meta: meta{kind: "tool"}}
	r.rule(node, &t.meta, document.Fields{
		"audience":         r.string(&t.audience),
		"actions":          r.strings(&t.actions),
		"case_insensitive": func(n *yaml.Node) { t.caseInsensitive = document.Bool(n, r.report) },
		"max_ttl":          func(n *yaml.Node) { t.maxTTL = document.Duration(n, r.report) },
		"aws":              func(n *yaml.Node) { t.aws = r.aws(n) },
		"tags": func(n *yaml.Node) {
			document.Sequence(n, r.report, func(n *yaml.Node) { t.tags = append(t.tags, r.tag(n)) })
		},
	})
	r.source.tools = append(r.source.tools, t)
}

func (r *reader) tag(node *yaml.Node) tagSource {
	t := tagSource{line: node.Line}
	document.Mapping(node, r.report, document.Fields{
		"match": r.string(&t.match),
		"tags": func(n *yaml.Node) {
			fields := document.Fields{}
			for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				key := n.Content[i].Value
				fields[key] = func(n *yaml.Node) {
					t.tags = append(t.tags, tagPair{key, document.String(n, r.report)})
				}
			}
			document.Mapping(n, r.report, fields)
		},
	})
	slices.SortFunc(t.tags, func(a, b tagPair) int { return strings.Compare(a.key, b.key) })
	if len(t.tags) == 0 {
		r.report(node.Line, "the tag pattern gives no tags", "add tags: {key: value}")
	}
	if t.match.Value == "" {
		r.report(node.Line, "the tags have no pattern", "add match: with a resource pattern, such as sales/pii/**")
	}
	return t
}

func (r *reader) role(node *yaml.Node) {
	role := roleSource{meta: meta{kind: "role"}}
	r.rule(node, &role.meta, document.Fields{
		"grants": func(n *yaml.Node) {
			document.Sequence(n, r.report, func(n *yaml.Node) {
				g := grantSource{line: n.Line}
				document.Mapping(n, r.report, document.Fields{
					"scopes":  r.strings(&g.scopes),
					"when":    r.string(&g.when),
					"max_ttl": func(n *yaml.Node) { g.maxTTL = document.Duration(n, r.report) },
				})
				role.grants = append(role.grants, g)
			})
		},
	})
	r.source.roles = append(r.source.roles, role)
}

func (r *reader) binding(node *yaml.Node) {
	b := bindingSource{meta: meta{kind: "binding"}}
	r.rule(node, &b.meta, document.Fields{
		"principals": r.strings(&b.principals),
		"when":       r.string(&b.when),
		"roles":      r.strings(&b.roles),
		"profile":    r.string(&b.profile),
	})
	r.source.bindings = append(r.source.bindings, b)
}

func (r *reader) profile(node *yaml.Node) {
	p := profileSource{meta: meta{kind: "profile"}}
	r.rule(node, &p.meta, document.Fields{"scopes": r.strings(&p.scopes)})
	r.source.profiles = append(r.source.profiles, p)
}

func (r *reader) deny(node *yaml.Node) {
	d := denySource{meta: meta{kind: "deny"}}
	r.rule(node, &d.meta, document.Fields{
		"scopes":     r.strings(&d.scopes),
		"principals": r.nonEmpty(&d.principals, "principals"),
		"when":       r.string(&d.when),
		"unless":     r.string(&d.unless),
	})
	r.source.denies = append(r.source.denies, d)
}

// nonEmpty reads a list that may be left out, but not empty: an empty one would mean everybody
// to one reader and nobody to another.
func (r *reader) nonEmpty(to *[]text, key string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if *to = document.Strings(n, r.report); len(*to) == 0 {
			r.report(n.Line, key+" is empty", "leave the key out to mean everybody, or name some")
		}
	}
}

func (r *reader) delegation(node *yaml.Node) {
	d := delegationSource{meta: meta{kind: "delegation"}, maxDepth: 1}
	r.rule(node, &d.meta, document.Fields{
		"agents":   r.strings(&d.agents),
		"subjects": r.strings(&d.subjects),
		"ceiling":  r.strings(&d.ceiling),
		"when":     r.string(&d.when),
		"max_depth": func(n *yaml.Node) {
			if d.maxDepth = document.Int(n, r.report); d.maxDepth < 1 || d.maxDepth > MaxDepth {
				r.report(n.Line, fmt.Sprintf("max_depth is %d", d.maxDepth), fmt.Sprintf("write a number from 1 to %d; 1 is the agent that acts for the subject directly", MaxDepth))
			}
		},
	})
	r.source.delegations = append(r.source.delegations, d)
}

const ruleInventory = "inventory"

func (r *reader) principal(node *yaml.Node) {
	p := inventorySource{meta: meta{kind: ruleInventory}}
	r.rule(node, &p.meta, document.Fields{
		"match":      r.string(&p.match),
		"attributes": func(n *yaml.Node) { p.attributes = document.AnyMapping(n, r.report) },
	})
	p.name = p.match.Value
	r.source.inventory = append(r.source.inventory, p)
}

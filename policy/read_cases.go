package policy

import (
	"fmt"
	"net/netip"

	"go.yaml.in/yaml/v3"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/policy/internal/document"
)

func (r *reader) testCase(node *yaml.Node) {
	c := caseSource{meta: meta{kind: "test"}}
	r.rule(node, &c.meta, document.Fields{
		"subject": func(n *yaml.Node) { c.subject = r.party(n) },
		"actors": func(n *yaml.Node) {
			document.Sequence(n, r.report, func(n *yaml.Node) { c.actors = append(c.actors, r.party(n)) })
		},
		"parent":   func(n *yaml.Node) { c.parent = r.parent(n) },
		"scopes":   r.strings(&c.scopes),
		"audience": r.strings(&c.audience),
		"task":     func(n *yaml.Node) { c.task = document.String(n, r.report).Value },
		"time":     func(n *yaml.Node) { c.time = document.Time(n, r.report) },
		"ttl":      func(n *yaml.Node) { c.ttl = document.Duration(n, r.report) },
		"source_ip": func(n *yaml.Node) {
			t := document.String(n, r.report)
			address, err := netip.ParseAddr(t.Value)
			if err != nil && t.Value != "" {
				r.report(n.Line, fmt.Sprintf("%q is no IP address", t.Value), "write it as 10.1.2.3 or 2001:db8::1")
			}
			c.sourceIP = address
		},
		"expect": func(n *yaml.Node) { c.expect = r.expect(n) },
	})
	if c.subject.id.Value == "" && node.Kind == yaml.MappingNode {
		r.report(node.Line, "the test has no subject", "add subject: {id: …}")
	}
	if !c.expect.given && node.Kind == yaml.MappingNode {
		r.report(node.Line, "the test expects nothing", "add expect: {allow: true} or {allow: false}")
	}
	r.source.cases = append(r.source.cases, c)
}

func (r *reader) party(node *yaml.Node) partySource {
	p := partySource{line: node.Line}
	document.Mapping(node, r.report, document.Fields{
		"id": r.string(&p.id),
		"kind": func(n *yaml.Node) {
			p.kind = identity.Kind(document.String(n, r.report).Value)
			if p.kind != identity.KindUser && p.kind != identity.KindWorkload {
				r.report(n.Line, fmt.Sprintf("unknown kind of principal %q", p.kind), "write workload or user")
			}
		},
		"source":     func(n *yaml.Node) { p.source = document.String(n, r.report).Value },
		"issuer":     func(n *yaml.Node) { p.issuer = document.String(n, r.report).Value },
		"attributes": func(n *yaml.Node) { p.attributes = document.AnyMapping(n, r.report) },
	})
	if p.id.Value == "" && node.Kind == yaml.MappingNode {
		r.report(node.Line, "the principal has no id", "add id: with the whole id, prefix included")
	}
	return p
}

func (r *reader) parent(node *yaml.Node) *parentSource {
	p := &parentSource{}
	document.Mapping(node, r.report, document.Fields{
		"scopes":    r.strings(&p.scopes),
		"remaining": func(n *yaml.Node) { p.remaining = document.Duration(n, r.report) },
		"depth":     func(n *yaml.Node) { p.depth = document.Int(n, r.report) },
		"roles": func(n *yaml.Node) {
			for _, t := range document.Strings(n, r.report) {
				p.roles = append(p.roles, t.Value)
			}
		},
	})
	return p
}

func (r *reader) expect(node *yaml.Node) expectSource {
	e := expectSource{line: node.Line}
	document.Mapping(node, r.report, document.Fields{
		"allow":   func(n *yaml.Node) { e.allow, e.given = document.Bool(n, r.report), true },
		"reason":  func(n *yaml.Node) { e.reason = document.String(n, r.report).Value },
		"refused": r.strings(&e.refused),
		"ttl":     func(n *yaml.Node) { e.ttl = document.Duration(n, r.report) },
	})
	return e
}

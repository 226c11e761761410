package awssts

import (
	"cmp"
	"slices"
	"strings"

	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
)

// Catalog is what the tools of a bundle are in AWS. It is immutable and safe for concurrent
// use; the zero value has no tools.
type Catalog struct{ tools map[string]*mapping }

// Role is an AWS role that credentials for a tool can be of. A tool's only role is named
// DefaultRole where the catalog gives it no name.
type Role struct{ Name, ARN string }

// DefaultRole is the name of the role that is meant where none is named.
const DefaultRole = "default"

// mapping is one tool.
type mapping struct {
	roles   []Role                         // sorted by name
	targets map[string]map[string][]target // by the role's ARN, then the tool's action
	managed map[string][]managed           // by the role's ARN
}

// managed is a policy in the account that allows exactly these scopes.
type managed struct {
	arn    string
	scopes scopes.Set
}

// NewCatalog gives the aws sections of a catalog their meaning. The environment is that of
// the policy's conditions; {env.NAME} in a role or a parameter stands for its values. All
// faults are reported at once, with file and line: the error is a *policy.BundleError. The
// application calls it for each bundle that it loads, and keeps the last good bundle where it
// fails.
func NewCatalog(catalog *policy.Catalog, environment map[string]string) (*Catalog, error) {
	c := &Catalog{tools: map[string]*mapping{}}
	l := &loader{environment: environment, services: services()}
	for _, t := range catalog.Tools() {
		if t.AWS != nil {
			c.tools[t.Name] = l.mapping(&t)
		}
	}
	if len(l.faults) > 0 {
		slices.SortStableFunc(l.faults, func(a, b policy.Fault) int {
			return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
		})
		return nil, &policy.BundleError{Faults: slices.Compact(l.faults)}
	}
	return c, nil
}

// Tools names the tools that have a mapping, sorted.
func (c *Catalog) Tools() []string { return sortedKeys(c.tools) }

// Roles are the roles of a tool, sorted by name; none if it has no mapping.
func (c *Catalog) Roles(tool string) []Role {
	if m := c.tools[tool]; m != nil {
		return slices.Clone(m.roles)
	}
	return nil
}

// RoleARNs are the ARNs of all roles of all tools, sorted: what the broker must be able to
// assume.
func (c *Catalog) RoleARNs() []string {
	var arns []string
	for _, m := range c.tools {
		for _, r := range m.roles {
			arns = append(arns, r.ARN)
		}
	}
	slices.Sort(arns)
	return slices.Compact(arns)
}

// Services names the ready mappings, sorted.
func Services() []string { return sortedKeys(services()) }

// Role finds the one role that credentials for these scopes are of: the one that was asked
// for, by name or ARN, or else each tool's only or default one. The error is a *RoleError.
func (c *Catalog) Role(set scopes.Set, asked string) (string, error) {
	if set.IsEmpty() {
		return "", ErrNothing
	}
	var arn string
	var first scopes.Scope
	for s := range set.All() {
		m := c.tools[s.Tool()]
		if m == nil {
			return "", &RoleError{Asked: asked, Scopes: []scopes.Scope{s}, Problem: "the tool " + s.Tool() + " is not in AWS",
				Ask: "ask for it in a token, and for AWS credentials without it"}
		}
		found, ok := m.role(asked)
		switch {
		case !ok && asked == "":
			return "", &RoleError{Scopes: []scopes.Scope{s}, Problem: "the tool " + s.Tool() + " has several roles, and none is the default", Ask: "name one: " + m.roleNames()}
		case !ok:
			return "", &RoleError{Asked: asked, Scopes: []scopes.Scope{s}, Problem: "the tool " + s.Tool() + " has no such role", Ask: "its roles: " + m.roleNames()}
		case arn != "" && found != arn:
			return "", &RoleError{Asked: asked, Scopes: []scopes.Scope{first, s}, Problem: "the scopes are of different roles, and a session has one", Ask: "ask for them one after the other"}
		}
		if arn == "" {
			arn, first = found, s
		}
	}
	return arn, nil
}

func (m *mapping) role(asked string) (string, bool) {
	if asked == "" && len(m.roles) == 1 {
		return m.roles[0].ARN, true
	}
	for _, r := range m.roles {
		if r.Name == cmp.Or(asked, DefaultRole) || r.ARN == asked {
			return r.ARN, true
		}
	}
	return "", false
}

func (m *mapping) roleNames() string {
	names := make([]string, 0, len(m.roles))
	for _, r := range m.roles {
		names = append(names, r.Name)
	}
	return strings.Join(names, ", ")
}

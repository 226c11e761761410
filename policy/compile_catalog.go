package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/writbroker/writ/policy/internal/condition"
	"github.com/writbroker/writ/policy/internal/document"
	"github.com/writbroker/writ/scopes"
)

// reservedAudiences are trusted by clouds: a token for one of them would be a cloud credential.
var reservedAudiences = []string{"sts.amazonaws.com", "api://AzureADTokenExchange", "//iam.googleapis.com/", "https://iam.googleapis.com/"}

func (c *compiler) catalog(written []toolSource) {
	catalog := &Catalog{byName: map[string]*tool{}, byAudience: map[string][]string{}}
	c.bundle.catalog = catalog
	catalog.tools = append(catalog.tools, c.builtin())
	for i := range written {
		if t := c.tool(&written[i]); t != nil {
			catalog.tools = append(catalog.tools, t)
		}
	}
	slices.SortFunc(catalog.tools, func(a, b *tool) int { return strings.Compare(a.Name, b.Name) })
	for i, t := range catalog.tools {
		t.index = int32(i)
		catalog.byName[t.Name] = t
		catalog.byAudience[t.Audience] = append(catalog.byAudience[t.Audience], t.Name)
		t.boxed = boxedTool{name: condition.Box(t.Name), audience: condition.Box(t.Audience)}
		for _, action := range t.Tool.Actions {
			t.boxed.actions = append(t.boxed.actions, condition.Box(action))
		}
	}
}

func (c *compiler) builtin() *tool {
	t := &tool{Tool: Tool{Name: BuiltinTool, Audience: c.options.Issuer, Description: "Writ's own administration"}}
	for i, a := range builtinActions {
		t.Tool.Actions = append(t.Tool.Actions, a.name)
		if a.administration {
			t.administration |= 1 << i
		}
	}
	c.tags(t, &toolSource{})
	return t
}

func (c *compiler) tool(s *toolSource) *tool {
	m := &s.meta
	switch {
	case s.name == "":
		return nil
	case s.name == BuiltinTool:
		c.fault(m, m.line, "the tool writ is built in", "rename the tool; grant writ:… in roles without defining it")
		return nil
	case !scopes.ValidName(s.name):
		c.fault(m, m.line, "the name cannot be a tool's", "use a-z, 0-9, '_' and '-', beginning with a letter")
		return nil
	case !c.unique(m):
		return nil
	}
	t := &tool{Tool: Tool{
		Name: s.name, Audience: s.audience.Value, CaseInsensitive: s.caseInsensitive, MaxTTL: s.maxTTL, AWS: s.aws,
		Description: s.description, Owner: s.owner, ReviewBy: s.reviewBy,
	}, rule: c.rule(EntryTool, m)}
	c.audience(s)
	for _, a := range s.actions {
		switch {
		case !scopes.ValidName(a.Value):
			c.fault(m, a.Line, fmt.Sprintf("%q cannot be an action", a.Value), "use a-z, 0-9, '_' and '-', beginning with a letter")
		case slices.Contains(t.Tool.Actions, a.Value):
			c.fault(m, a.Line, fmt.Sprintf("action %q is here twice", a.Value), "remove one")
		default:
			t.Tool.Actions = append(t.Tool.Actions, a.Value)
		}
	}
	slices.Sort(t.Tool.Actions)
	if len(s.actions) == 0 {
		c.fault(m, m.line, "the tool has no actions", "add actions: [read, …]")
	}
	if len(t.Tool.Actions) > MaxActions {
		c.fault(m, m.line, fmt.Sprintf("the tool has %d actions", len(t.Tool.Actions)), fmt.Sprintf("at most %d are supported; split the tool", MaxActions))
		t.Tool.Actions = t.Tool.Actions[:MaxActions]
	}
	c.tags(t, s)
	return t
}

func (c *compiler) audience(s *toolSource) {
	switch audience := s.audience.Value; {
	case audience == "":
		c.fault(&s.meta, s.line, "the tool has no audience", "add audience: with the identifier that the resource server checks, such as https://warehouse.example.com")
	case strings.ContainsAny(audience, " \t\r\n"):
		c.fault(&s.meta, s.audience.Line, "the audience has white space", "write a URL or a name")
	case audience == c.options.Issuer:
		c.fault(&s.meta, s.audience.Line, "the audience is the broker's own", "tokens for it administer Writ; give the tool an audience of its own")
	default:
		for _, reserved := range reservedAudiences {
			if audience == reserved || strings.HasSuffix(reserved, "/") && strings.HasPrefix(audience, reserved) {
				c.fault(&s.meta, s.audience.Line, fmt.Sprintf("the audience %q is reserved", audience), "a cloud trusts it; tokens for it are not issued as JWTs")
			}
		}
	}
}

// resolved is a scope of a rule: its tool, its actions and its resource.
type resolved struct {
	tool    *tool
	actions uint64
	scope   scopes.Scope
}

// scopes resolves the scopes of a rule against the catalog.
func (c *compiler) scopes(m *meta, line int, written []text) []resolved {
	if len(written) == 0 {
		c.fault(m, line, "it has no scopes", "add scopes: [tool:action:resource, …]")
	}
	var all []resolved
	for _, w := range written {
		if r, ok := c.scope(m, w); ok {
			all = append(all, r)
		}
	}
	return all
}

func (c *compiler) scope(m *meta, w text) (resolved, bool) {
	s, err := scopes.Parse(w.Value)
	if err != nil {
		c.fault(m, w.Line, fmt.Sprintf("%q is not a scope: %v", w.Value, err), "write tool:action:resource, such as warehouse:read:sales/**")
		return resolved{}, false
	}
	t, ok := c.bundle.catalog.byName[s.Tool()]
	if !ok {
		names := sortedKeys(c.bundle.catalog.byName)
		hint := "tools: " + strings.Join(names, ", ")
		if near := document.Nearest(s.Tool(), names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		c.fault(m, w.Line, fmt.Sprintf("scope %s: the catalog has no tool %q", s, s.Tool()), hint)
		return resolved{}, false
	}
	actions := t.actionSet(s.Action())
	if actions == 0 {
		hint := "its actions: " + strings.Join(t.Tool.Actions, ", ")
		if near := document.Nearest(s.Action(), t.Tool.Actions); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		c.fault(m, w.Line, fmt.Sprintf("scope %s: the tool has no action %q", s, s.Action()), hint)
		return resolved{}, false
	}
	if t.CaseInsensitive {
		if s, err = s.Fold(); err != nil {
			c.fault(m, w.Line, err.Error(), "the tool is case-insensitive: use ASCII in its resources")
			return resolved{}, false
		}
	}
	return resolved{t, actions, s}, true
}

package policy

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/writbroker/writ/scopes"
)

// BuiltinTool is the tool of Writ's own administration. A bundle cannot define it.
const BuiltinTool = "writ"

// builtinActions are the actions of BuiltinTool; those of administration are never delegated.
var builtinActions = []struct {
	name           string
	administration bool
}{
	{"audit", true}, {"decide", false}, {"feed", false}, {"introspect", false},
	{"keys", true}, {"lift", true}, {"policy", true}, {"revoke", true},
}

// Tool is what the catalog says of one tool.
type Tool struct {
	Name            string
	Audience        string
	Actions         []string // sorted
	CaseInsensitive bool
	MaxTTL          time.Duration // zero: none of its own
	AWS             *AWS          // nil: scopes of this tool give no AWS credentials
	Description     string
	Owner           string
	ReviewBy        string
}

// Catalog is the set of tools that scopes can name. It is immutable and safe for concurrent use.
type Catalog struct {
	tools      []*tool // sorted by name
	byName     map[string]*tool
	byAudience map[string][]string
}

// Tool returns the tool of that name.
func (c *Catalog) Tool(name string) (Tool, bool) {
	t, ok := c.byName[name]
	if !ok {
		return Tool{}, false
	}
	public := t.Tool
	public.Actions = slices.Clone(t.Tool.Actions)
	return public, true
}

// Tools are all tools, sorted by name, the built-in one among them.
func (c *Catalog) Tools() []Tool {
	all := make([]Tool, 0, len(c.tools))
	for _, t := range c.tools {
		public, _ := c.Tool(t.Name)
		all = append(all, public)
	}
	return all
}

// Actions of a tool, sorted; nil if it is unknown. It is a scopes.Actions. The slice must not be
// changed.
func (c *Catalog) Actions(tool string) []string {
	if t, ok := c.byName[tool]; ok {
		return t.Tool.Actions
	}
	return nil
}

// Audience of a tool; empty if it is unknown.
func (c *Catalog) Audience(tool string) string {
	if t, ok := c.byName[tool]; ok {
		return t.Audience
	}
	return ""
}

// ToolsByAudience names the tools that have this audience, sorted.
func (c *Catalog) ToolsByAudience(audience string) []string {
	return slices.Clone(c.byAudience[audience])
}

// tool is a compiled Tool.
type tool struct {
	Tool
	index          int32
	rule           int32
	administration uint64 // actions that are never delegated, one bit each
	keys           []tagKey
	combos         []atomic.Pointer[combo] // by combination number; shorter where there are too many
	denies         []entry                 // of denies for everybody; owner is the deny
	boxed          boxedTool
}

// boxedTool is what conditions read of a tool.
type boxedTool struct {
	name, audience any
	actions        []any
}

// all is the set of the tool's actions.
func (t *tool) all() uint64 { return ^uint64(0) >> (MaxActions - len(t.Tool.Actions)) }

// actionSet is the set of actions that a scope's action names; zero if the tool has no such action.
func (t *tool) actionSet(action string) uint64 {
	if action == scopes.AnyAction {
		return t.all()
	}
	if i, ok := slices.BinarySearch(t.Tool.Actions, action); ok {
		return 1 << i
	}
	return 0
}

// literalPrefix is what the text of every resource that the pattern matches begins with.
func literalPrefix(resource string) string {
	if before, _, ok := strings.Cut(resource, "*"); ok {
		return before
	}
	return resource
}

// apart says that two patterns with these literal prefixes cannot overlap: the cheap half of Overlaps.
func apart(a, b string) bool {
	n := min(len(a), len(b))
	return a[:n] != b[:n]
}

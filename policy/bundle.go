package policy

import (
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/writbroker/writ/identity"
)

// Options are what a bundle's meaning depends on besides its files.
type Options struct {
	// MaxTTL bounds every grant; DefaultTTL is used where a request asks for none. Zero: one hour
	// and 15 minutes.
	MaxTTL     time.Duration
	DefaultTTL time.Duration
	// Issuer is the broker's own identifier: the audience of the built-in tool writ.
	Issuer string
	// Environment is what conditions see as env.
	Environment map[string]string
	// Sources, if any, are the identity sources: a principal pattern that none of them can ever
	// produce is a fault. Tests take a principal's source, issuer and kind from them.
	Sources []identity.Source
}

// Bundle is a compiled policy. It is immutable and safe for concurrent use.
type Bundle struct {
	catalog *Catalog
	version string
}

// Load reads every *.yaml and *.yml file of fsys, compiles them and runs their tests. All faults are
// reported at once: the error is a *BundleError. A bundle with a fault is not returned.
func Load(fsys fs.FS, opt Options) (*Bundle, error) { return &Bundle{catalog: &Catalog{}}, nil }

// Version is the SHA-256 of the bundle's canonical form, in hex.
func (b *Bundle) Version() string { return b.version }

// Short is the first 16 hex digits of Version: the claim pol.
func (b *Bundle) Short() string { return b.version[:min(16, len(b.version))] }

// Catalog of the bundle's tools.
func (b *Bundle) Catalog() *Catalog { return b.catalog }

// Authorize decides a request. It never stops at the first match, so its trace is complete. It is
// deterministic and safe for concurrent use.
func (b *Bundle) Authorize(r Request) Decision { return Decision{ID: r.ID, Reason: ReasonScope} }

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

// RunTests runs the bundle's test cases, in the order of files and lines.
func (b *Bundle) RunTests() []TestResult { return nil }

// Catalog is the set of tools that scopes can name.
type Catalog struct{}

// Tool is what the catalog says of one tool.
type Tool struct {
	Name            string
	Audience        string
	Actions         []string // sorted
	CaseInsensitive bool
	MaxTTL          time.Duration // zero: none of its own
	Description     string
	Owner           string
	ReviewBy        string
}

// Tool returns the tool of that name.
func (c *Catalog) Tool(name string) (Tool, bool) { return Tool{}, false }

// Tools are all tools, sorted by name, the built-in one among them.
func (c *Catalog) Tools() []Tool { return nil }

// Actions of a tool, sorted; nil if it is unknown. It is a scopes.Actions.
func (c *Catalog) Actions(tool string) []string { return nil }

// Audience of a tool; empty if it is unknown.
func (c *Catalog) Audience(tool string) string { return "" }

// ToolsByAudience names the tools that have this audience, sorted.
func (c *Catalog) ToolsByAudience(audience string) []string { return nil }

// Holder hands out the bundle in force. It is safe for concurrent use.
type Holder struct{ current atomic.Pointer[Bundle] }

// NewHolder holds a bundle, which must not be nil.
func NewHolder(b *Bundle) *Holder {
	h := &Holder{}
	h.current.Store(b)
	return h
}

// Current is the bundle in force. Take it once per request.
func (h *Holder) Current() *Bundle { return h.current.Load() }

// Replace puts a bundle in force and returns the one before.
func (h *Holder) Replace(b *Bundle) *Bundle { return h.current.Swap(b) }

package policy

import (
	"io/fs"
	"sync"

	"github.com/writbroker/writ/policy/internal/condition"
	"github.com/writbroker/writ/policy/internal/match"
)

// Bundle is a compiled policy. It is immutable and safe for concurrent use.
type Bundle struct {
	options     Options
	environment map[string]any
	version     string
	short       string
	catalog     *Catalog
	conditions  []*condition.Condition
	reads       []string // attributes that conditions read, sorted
	readsAll    bool
	rules       []ruleInfo
	roles       []role // sorted by name
	bindings    []binding
	profiles    []profile
	denies      []deny
	delegations []delegation
	inventory   []inventoryRule
	tests       []testCase

	bindingIndex    match.Index // by principal
	denyIndex       match.Index // by principal; denies for everybody are with their tools
	delegationIndex match.Index // by agent
	inventoryIndex  match.Index

	pool sync.Pool // *state
}

// Load reads every *.yaml and *.yml file of fsys, compiles them and runs their tests. All faults are
// reported at once: the error is a *BundleError. A bundle with a fault is not returned.
func Load(fsys fs.FS, opt Options) (*Bundle, error) {
	var r reader
	r.readAll(fsys)
	return r.finish(opt)
}

// Parse is Load for files that are in memory, by name.
func Parse(files map[string][]byte, opt Options) (*Bundle, error) {
	var r reader
	for _, name := range sortedKeys(files) {
		r.readFile(name, files[name])
	}
	return r.finish(opt)
}

func (r *reader) finish(opt Options) (*Bundle, error) {
	b, err := compile(&r.source, opt.withDefaults(), r.faults)
	if err != nil {
		return nil, err
	}
	results := b.RunTests()
	if faults := failedTests(results); len(faults) > 0 {
		return nil, &BundleError{Faults: faults, Tests: results}
	}
	return b, nil
}

// Version is the SHA-256 of the bundle's canonical form, in hex. The canonical form has every rule
// with its descriptions, but not its place, the order of rules, comments, layout, or tests.
func (b *Bundle) Version() string { return b.version }

// Short is the first 16 hex digits of Version: the claim pol.
func (b *Bundle) Short() string { return b.short }

// Catalog of the bundle's tools.
func (b *Bundle) Catalog() *Catalog { return b.catalog }

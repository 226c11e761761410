package policy

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/policy/internal/document"
)

// source is a bundle as it was written: every value with its place, nothing resolved.
type source struct {
	tools       []toolSource
	roles       []roleSource
	bindings    []bindingSource
	profiles    []profileSource
	denies      []denySource
	delegations []delegationSource
	inventory   []inventorySource
	cases       []caseSource
}

type text = document.Text

// meta is what every rule has.
type meta struct {
	kind        string
	name        string
	file        string
	line        int
	description string
	owner       string
	reviewBy    string
}

func (m *meta) label() string {
	if m.name == "" {
		return m.kind
	}
	return m.kind + " " + m.name
}

func (m *meta) place() string { return fmt.Sprintf("%s:%d", m.file, m.line) }

type toolSource struct {
	meta
	audience        text
	actions         []text
	caseInsensitive bool
	maxTTL          time.Duration
	tags            []tagSource
	aws             *AWS
}

type tagSource struct {
	line  int
	match text
	tags  []tagPair // sorted by key
}

type tagPair struct {
	key   string
	value text
}

type roleSource struct {
	meta
	grants []grantSource
}

type grantSource struct {
	line   int
	scopes []text
	when   text
	maxTTL time.Duration
}

type bindingSource struct {
	meta
	principals []text
	when       text
	roles      []text
	profile    text
}

type profileSource struct {
	meta
	scopes []text
}

type denySource struct {
	meta
	scopes     []text
	principals []text
	when       text
	unless     text
}

type delegationSource struct {
	meta
	agents   []text
	subjects []text
	maxDepth int
	ceiling  []text
	when     text
}

type inventorySource struct {
	meta
	match      text
	attributes map[string]any
}

type partySource struct {
	line       int
	id         text
	kind       identity.Kind
	source     string
	issuer     string
	attributes map[string]any
}

type caseSource struct {
	meta
	subject  partySource
	actors   []partySource
	parent   *parentSource
	scopes   []text
	audience []text
	task     string
	time     time.Time
	sourceIP netip.Addr
	ttl      time.Duration
	expect   expectSource
}

type parentSource struct {
	scopes    []text
	remaining time.Duration
	roles     []string
	depth     int
}

type expectSource struct {
	line    int
	allow   bool
	given   bool
	reason  string
	refused []text
	ttl     time.Duration
}

package policy

import (
	"maps"
	"slices"

	"github.com/writbroker/writ/identity"
)

// Carry picks, of what a principal's proof said of it, the attributes that conditions of this bundle
// read: those must go along with a token, so that an exchange of the token is decided on the
// same facts. Nil where there are none.
func (b *Bundle) Carry(p *identity.Principal) map[string]any {
	if b.readsAll {
		return maps.Clone(p.Attributes)
	}
	var out map[string]any
	for _, name := range b.reads {
		if v, ok := p.Attributes[name]; ok {
			if out == nil {
				out = make(map[string]any, len(b.reads))
			}
			out[name] = v
		}
	}
	return out
}

// noteAttributes finds which attributes any condition reads.
func (b *Bundle) noteAttributes() {
	for _, c := range b.conditions {
		read := c.Attributes()
		b.reads = append(b.reads, read.Names...)
		b.readsAll = b.readsAll || read.All
	}
	slices.Sort(b.reads)
	b.reads = slices.Compact(b.reads)
}

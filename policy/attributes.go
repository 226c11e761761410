package policy

import (
	"maps"
	"slices"

	"github.com/writbroker/writ/identity"
)

// Carry picks, of what a principal's proof said of it, the attributes that conditions of this bundle
// read: those must go along with a token, so that an exchange of the token is decided on the
// same facts. That a name is missing from what Carry gave under this version of the bundle then says
// that the principal has no such attribute. Nil, and so nothing to rely on, for a Partial
// principal, and where no condition reads any.
func (b *Bundle) Carry(p *identity.Principal) map[string]any {
	if p.Partial || (!b.readsAll && len(b.reads) == 0) {
		return nil
	}
	out := make(map[string]any, len(b.reads))
	if b.readsAll {
		maps.Copy(out, p.Attributes)
		return out
	}
	for _, name := range b.reads {
		if v, ok := p.Attributes[name]; ok {
			out[name] = v
		}
	}
	return out
}

// noteAttributes finds which attributes any condition reads.
func (b *Bundle) noteAttributes() {
	for _, c := range b.conditions {
		read := c.Attributes()
		b.reads = slices.Concat(b.reads, read.Subject.Names, read.Agent.Names)
		b.readsAll = b.readsAll || read.Subject.All || read.Agent.All
	}
	slices.Sort(b.reads)
	b.reads = slices.Compact(b.reads)
}

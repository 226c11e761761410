package journal

import (
	"slices"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
)

// key names a rule, the lift of a rule, or a lineage.
type key struct {
	kind    byte
	id      string // of the rule
	lineage uint64
}

func keyOf(e *revocation.Event) key {
	switch {
	case e.Rule != nil:
		return key{kind: revocation.KindRule, id: e.Rule.ID}
	case e.Lift != nil:
		return key{kind: revocation.KindLift, id: e.Lift.RuleID}
	case e.Lineage != nil:
		return key{kind: revocation.KindLineage, lineage: e.Lineage.ID}
	}
	return key{}
}

// pending is what is known here and not in the log, in the order in which it came.
type pending struct {
	set   map[key]bool // what is in the index
	order []key        // may name what is pending no more
	named map[key]bool // what order names
	// held is what enters the index only with the log, for want of a journal file. Several
	// callers may hold the same.
	held map[key][]*hold
}

// hold is one caller's event on its way into the log.
type hold struct {
	event   revocation.Event
	entered bool // it is in the log
}

func (p *pending) init() {
	p.set, p.named, p.held = map[key]bool{}, map[key]bool{}, map[key][]*hold{}
}

func (p *pending) len() int {
	n := len(p.set)
	for k := range p.held {
		if !p.set[k] {
			n++
		}
	}
	return n
}

func (p *pending) has(k key) bool { return p.set[k] || len(p.held[k]) > 0 }

func (p *pending) add(k key) {
	p.set[k] = true
	p.name(k)
}

func (p *pending) name(k key) {
	if !p.named[k] {
		p.named[k] = true
		p.order = append(p.order, k)
	}
}

func (p *pending) hold(e *revocation.Event) *hold {
	k, h := keyOf(e), &hold{event: *e}
	p.held[k] = append(p.held[k], h)
	p.name(k)
	return h
}

// release gives up what one caller holds, and leaves what others do; it reports whether it
// was still pending.
func (p *pending) release(h *hold) bool {
	if h.entered {
		return false
	}
	k := keyOf(&h.event)
	left := slices.DeleteFunc(p.held[k], func(other *hold) bool { return other == h })
	if p.held[k] = left; len(left) == 0 {
		delete(p.held, k)
	}
	return true
}

// remove takes off what is in the log now, whoever holds it.
func (p *pending) remove(k key) {
	for _, h := range p.held[k] {
		h.entered = true
	}
	delete(p.held, k)
	delete(p.set, k)
}

// clear forgets all but what is held.
func (p *pending) clear() {
	p.set, p.named, p.order = map[key]bool{}, map[key]bool{}, nil
	for k := range p.held {
		p.name(k)
	}
}

// events gives up to limit of them as they are now, with or without what is held.
// What is lifted or has expired is dropped: it is never put back.
func (p *pending) events(x *revocation.Index, limit int, withHeld bool) []revocation.Event {
	var out []revocation.Event
	var lineages map[uint64]revocation.Lineage
	kept := p.order[:0]
	for i, k := range p.order {
		if len(out) >= limit {
			kept = append(kept, p.order[i:]...)
			break
		}
		if p.set[k] && k.kind == revocation.KindLineage && lineages == nil {
			lineages = map[uint64]revocation.Lineage{}
			for _, g := range x.Lineages() {
				lineages[g.ID] = g
			}
		}
		if p.set[k] {
			if e, ok := stands(x, k, lineages); ok {
				kept, out = append(kept, k), append(out, e)
				continue
			}
			delete(p.set, k)
		}
		if held := p.held[k]; len(held) > 0 {
			kept = append(kept, k)
			if withHeld {
				out = append(out, held[0].event)
			}
			continue
		}
		delete(p.named, k)
	}
	p.order = kept
	return out
}

// stands gives what a key stands for in the index.
func stands(x *revocation.Index, k key, lineages map[uint64]revocation.Lineage) (revocation.Event, bool) {
	switch k.kind {
	case revocation.KindRule:
		r, ok := x.Rule(k.id)
		return revocation.Event{Type: revocation.EventRule, Rule: &r}, ok
	case revocation.KindLift:
		l, ok := x.Lifted(k.id)
		return revocation.Event{Type: revocation.EventLift, Lift: &l}, ok
	default:
		g, ok := lineages[k.lineage]
		return revocation.Event{Type: revocation.EventLineage, Lineage: &g}, ok
	}
}

// entry is the log's form of an event.
func entry(e *revocation.Event, tokenLife time.Duration) (store.Entry, error) {
	kind, payload, err := revocation.AppendRecord(nil, e)
	if err != nil {
		return store.Entry{}, err
	}
	out := store.Entry{Kind: kind, Payload: payload}
	switch {
	case e.Rule != nil:
		out.Expires = e.Rule.ExpiresAt
	case e.Lift != nil:
		out.Expires = e.Lift.ExpiresAt
	case e.Lineage != nil:
		out.Expires = e.Lineage.OpenedAt.Add(2 * tokenLife)
	}
	return out, nil
}

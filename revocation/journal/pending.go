package journal

import (
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
	set   map[key]bool
	order []key // may name what is no longer in set
	// held is what enters the index only with the log, for want of a journal file.
	held map[key]revocation.Event
}

func (p *pending) init() {
	p.set, p.held = map[key]bool{}, map[key]revocation.Event{}
}

func (p *pending) len() int { return len(p.set) }

func (p *pending) has(k key) bool { return p.set[k] }

func (p *pending) add(k key) {
	if !p.set[k] {
		p.set[k] = true
		p.order = append(p.order, k)
	}
}

func (p *pending) hold(e *revocation.Event) {
	p.held[keyOf(e)] = *e
	p.add(keyOf(e))
}

// release gives up what is held; it reports whether it was still pending.
func (p *pending) release(k key) bool {
	delete(p.held, k)
	was := p.set[k]
	delete(p.set, k)
	return was
}

func (p *pending) remove(k key) { p.release(k) }

func (p *pending) clear() {
	held := p.held
	p.init()
	p.order = nil
	for _, e := range held {
		p.hold(&e)
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
		if !p.set[k] {
			continue
		}
		if k.kind == revocation.KindLineage && lineages == nil {
			lineages = map[uint64]revocation.Lineage{}
			for _, g := range x.Lineages() {
				lineages[g.ID] = g
			}
		}
		e, held := p.held[k]
		if !held {
			var ok bool
			if e, ok = stands(x, k, lineages); !ok {
				delete(p.set, k)
				continue
			}
		}
		kept = append(kept, k)
		if !held || withHeld {
			out = append(out, e)
		}
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

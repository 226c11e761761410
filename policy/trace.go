package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/writbroker/writ/scopes"
)

// EntryKind says what sort of rule a trace entry is about.
type EntryKind string

// The kinds of trace entries, in the order in which a trace lists them.
const (
	EntryRequest        EntryKind = "request"   // what is wrong with the request itself
	EntryProfile        EntryKind = "profile"   // where the scopes came from
	EntryInventory      EntryKind = "inventory" // attributes given to a principal
	EntryBinding        EntryKind = "binding"
	EntryDelegation     EntryKind = "delegation"
	EntryPart           EntryKind = "part" // a part of the request: its label, pattern and tags
	EntryTag            EntryKind = "tag"
	EntryDeny           EntryKind = "deny"
	EntryCeiling        EntryKind = "ceiling"
	EntryGrant          EntryKind = "grant"
	EntryParent         EntryKind = "parent"
	EntryTool           EntryKind = "tool"
	EntryTTL            EntryKind = "ttl"
	EntryConditionError EntryKind = "condition-error" // a condition that could not be evaluated
)

// kindCode is an EntryKind in one byte: its place in entryKinds.
type kindCode uint8

const (
	kindRequest kindCode = iota
	kindProfile
	kindInventory
	kindBinding
	kindDelegation
	kindPart
	kindTag
	kindDeny
	kindCeiling
	kindGrant
	kindParent
	kindTool
	kindTTL
	kindConditionError
)

var entryKinds = [...]EntryKind{
	EntryRequest, EntryProfile, EntryInventory, EntryBinding, EntryDelegation, EntryPart, EntryTag, EntryDeny,
	EntryCeiling, EntryGrant, EntryParent, EntryTool, EntryTTL, EntryConditionError,
}

// Entry is one line of a trace. Fields that do not apply are empty.
type Entry struct {
	Kind EntryKind `json:"kind"`
	// Rule is the name of the rule; of a tag, the tool and its pattern.
	Rule string `json:"rule,omitempty"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Principal whose authority the rule is about.
	Principal string `json:"principal,omitempty"`
	// Part holds the labels of the parts it is about, separated by spaces: "p1 p4".
	Part string `json:"part,omitempty"`
	// Effect is what the rule did, in a few constant words; of a tag, key="value".
	Effect string `json:"effect,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Trace names every rule that took part in a decision and what it did. It is cheap to carry and
// rendered only when it is read. It is immutable, and survives a round trip through JSON.
type Trace struct {
	raw     *rawTrace
	entries []Entry // of a trace that was read from JSON
}

// event is an entry before it is rendered.
type event struct {
	rule   int32 // index of a rule, or -1
	row    int32 // or -1
	detail int32 // index among the details, or -1
	who    int8  // index of a party, or -1
	kind   kindCode
	effect effect
}

// rawTrace is what a trace is rendered from. It shares nothing with a state.
type rawTrace struct {
	rules   []ruleInfo
	events  []event
	details []string
	parties []string
	rows    []row
	parts   []part
	items   []tracedItem
	ttl     time.Duration
	allowed bool
}

type tracedItem struct {
	asked scopes.Scope
	tool  *tool
}

func (st *state) add(e event) { st.events = append(st.events, e) }

func (st *state) event(kind kindCode, rule int32, who int, row int32, effect effect) {
	st.add(event{kind: kind, rule: rule, who: int8(who), row: row, effect: effect, detail: -1})
}

func (st *state) rowEvent(kind kindCode, rule int32, who int, rw *row, effect effect) {
	st.event(kind, rule, who, rw.index, effect)
}

func (st *state) note(effect effect) { st.event(kindRequest, -1, -1, -1, effect) }

func (st *state) eventDetail(kind kindCode, rule int32, who int, effect effect, detail string) {
	st.details = append(st.details, detail)
	st.add(event{kind: kind, rule: rule, who: int8(who), row: -1, effect: effect, detail: int32(len(st.details) - 1)})
}

// verdictEvent records what a rule did by its condition.
func (st *state) verdictEvent(kind kindCode, rule int32, who int, row int32, v verdict, ifTrue effect) {
	effect := ifTrue
	switch v.outcome {
	case isFalse:
		effect = effectNotNow
	case isError:
		effect = effectFailed
		st.add(event{kind: kindConditionError, rule: rule, who: int8(who), row: row, effect: effect, detail: v.detail})
	case isTrue:
	}
	st.event(kind, rule, who, row, effect)
}

// keepTrace copies what the trace needs out of the state.
func (st *state) keepTrace(allowed bool) Trace {
	raw := &rawTrace{rules: st.b.rules, events: slices.Clone(st.events), details: slices.Clone(st.details), ttl: st.ttl, allowed: allowed}
	raw.parties = make([]string, len(st.parties))
	for i := range st.parties {
		raw.parties[i] = st.parties[i].id
	}
	raw.rows, raw.parts = slices.Clone(st.rows), slices.Clone(st.parts)
	total := 0
	for i := range raw.parts {
		total += len(raw.parts[i].minus)
	}
	minus := make([]scopes.Scope, 0, total)
	for i := range raw.parts {
		start := len(minus)
		minus = append(minus, raw.parts[i].minus...)
		raw.parts[i].minus = minus[start:]
	}
	raw.items = make([]tracedItem, len(st.items))
	for i := range st.items {
		raw.items[i] = tracedItem{st.items[i].asked, st.items[i].tool}
	}
	return Trace{raw: raw}
}

// Entries of the trace, in a fixed order.
func (t Trace) Entries() []Entry {
	if t.raw == nil {
		return slices.Clone(t.entries)
	}
	return t.raw.render()
}

// render makes one entry of all events that differ only in their part.
func (r *rawTrace) render() []Entry {
	entries := make([]Entry, 0, len(r.events)+len(r.rows))
	r.each(func(r *rawTrace, same []event) { entries = append(entries, r.entry(same)) })
	return entries
}

// each yields the events, in the order of a trace, those together that differ only in their part.
func (r *rawTrace) each(yield func(r *rawTrace, same []event)) {
	events := append(make([]event, 0, len(r.events)+len(r.rows)), r.events...)
	for i := range r.rows {
		events = append(events, event{kind: kindPart, rule: -1, row: int32(i), who: -1, detail: -1, effect: allowedEffect(!r.rows[i].refused)})
	}
	slices.SortStableFunc(events, compareEvents)
	events = slices.Compact(events)
	for i := 0; i < len(events); {
		next := i + 1
		for next < len(events) && sameButPart(events[next], events[i]) {
			next++
		}
		yield(r, events[i:next])
		i = next
	}
}

func (r *rawTrace) entry(same []event) Entry {
	e := same[0]
	entry := Entry{Kind: entryKinds[e.kind], Part: labels(same), Effect: e.effect.String(), Detail: r.detail(e)}
	if e.rule >= 0 {
		info := &r.rules[e.rule]
		entry.Rule, entry.File, entry.Line = info.name, info.file, info.line
		if info.effect != "" {
			entry.Effect = info.effect
		}
	}
	if e.who >= 0 {
		entry.Principal = r.parties[e.who]
	}
	return entry
}

// labels of the parts that events are about: "p1 p4".
func labels(same []event) string {
	var b strings.Builder
	for _, e := range same {
		if e.row < 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("p" + strconv.Itoa(int(e.row)+1))
	}
	return b.String()
}

// describe is a part in words: its pattern, without what, its tags.
func (r *rawTrace) describe(rw *row) string {
	p, it := &r.parts[rw.part], &r.items[rw.item]
	var b strings.Builder
	b.WriteString(p.base.WithAction(it.tool.Tool.Actions[rw.action]).String())
	for i, m := range p.minus {
		if i == 0 {
			b.WriteString(" without")
		}
		b.WriteString(" " + m.Resource())
	}
	if p.tags.text != "" {
		b.WriteString(" [" + p.tags.text + "]")
	}
	return b.String()
}

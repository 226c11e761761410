package policy

import (
	"fmt"
	"slices"
	"strings"
)

// headings of a trace in words, by kind.
var headings = []struct {
	title string
	kinds []EntryKind
}{
	{"Request", []EntryKind{EntryRequest, EntryProfile}},
	{"Principals", []EntryKind{EntryInventory, EntryBinding, EntryDelegation}},
	{"Parts", []EntryKind{EntryPart, EntryTag}},
	{"Denies", []EntryKind{EntryDeny}},
	{"Ceilings and parent", []EntryKind{EntryCeiling, EntryParent}},
	{"Grants", []EntryKind{EntryGrant}},
	{"Lifetime", []EntryKind{EntryTTL}},
	{"Conditions that failed", []EntryKind{EntryConditionError}},
}

// String explains the trace to the owner of the policy: what was asked in which parts, and what each
// rule said, with its place.
func (t Trace) String() string {
	entries := t.Entries()
	var b strings.Builder
	for _, h := range headings {
		first := true
		for i := range entries {
			e := &entries[i]
			if !containsKind(h.kinds, e.Kind) {
				continue
			}
			if first {
				fmt.Fprintf(&b, "%s\n", h.title)
				first = false
			}
			fmt.Fprintf(&b, "  %s\n", e.line())
		}
	}
	return b.String()
}

func containsKind(kinds []EntryKind, k EntryKind) bool {
	return slices.Contains(kinds, k)
}

// line is an entry in one line: what, for whom and where, its effect, its place.
func (e *Entry) line() string {
	var b strings.Builder
	switch e.Kind {
	case EntryPart:
		return fmt.Sprintf("%-8s %-4s %s", e.Effect, e.Part, e.Detail)
	case EntryTTL:
		b.WriteString(e.Detail)
	case EntryRequest, EntryParent:
	default:
		b.WriteString(string(e.Kind))
	}
	add := func(format, text string) {
		if text == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, format, text)
	}
	add("%s", e.Rule)
	if e.Principal != "" {
		add("for %s", e.Principal)
	}
	add("(%s)", e.Part)
	add("→ %s", e.Effect)
	if e.Kind != EntryTTL {
		add("%s", e.Detail)
	}
	if e.File != "" {
		add("%s", fmt.Sprintf("— %s:%d", e.File, e.Line))
	}
	return b.String()
}

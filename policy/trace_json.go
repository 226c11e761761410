package policy

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// IsEmpty reports whether the trace has no entries, without making them.
func (t Trace) IsEmpty() bool {
	if t.raw != nil {
		return len(t.raw.events)+len(t.raw.rows) == 0
	}
	return len(t.entries) == 0
}

// AppendJSON appends what MarshalJSON gives. Every decision is recorded, so a trace is
// written without making its entries first.
func (t Trace) AppendJSON(dst []byte) []byte {
	w := traceWriter{out: append(dst, '[')}
	if t.raw == nil {
		for i := range t.entries {
			w.entry(&t.entries[i])
		}
	} else {
		t.raw.each(w.group)
	}
	return append(w.out, ']')
}

// MarshalJSON writes the entries as a list.
func (t Trace) MarshalJSON() ([]byte, error) { return t.AppendJSON(nil), nil }

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *Trace) UnmarshalJSON(data []byte) error {
	var entries []Entry
	if err := json.Unmarshal(data, &entries); err != nil {
		return fmt.Errorf("reading a trace: %w", err)
	}
	*t = Trace{entries: entries}
	return nil
}

// traceWriter appends entries in the form that encoding/json gives them.
type traceWriter struct{ out []byte }

func (w *traceWriter) begin(kind EntryKind) {
	if w.out[len(w.out)-1] != '[' {
		w.out = append(w.out, ',')
	}
	w.out = append(append(append(w.out, `{"kind":"`...), kind...), '"')
}

func (w *traceWriter) text(name, value string) {
	if value != "" {
		w.out = appendQuoted(append(append(append(w.out, ',', '"'), name...), '"', ':'), value)
	}
}

func (w *traceWriter) place(file string, line int) {
	w.text("file", file)
	if line != 0 {
		w.out = strconv.AppendInt(append(w.out, `,"line":`...), int64(line), 10)
	}
}

func (w *traceWriter) entry(e *Entry) {
	w.begin(e.Kind)
	w.text("rule", e.Rule)
	w.place(e.File, e.Line)
	w.text("principal", e.Principal)
	w.text("part", e.Part)
	w.text("effect", e.Effect)
	w.text("detail", e.Detail)
	w.out = append(w.out, '}')
}

// group writes one entry: that of events which differ only in their part.
func (w *traceWriter) group(r *rawTrace, same []event) {
	e := same[0]
	w.begin(entryKinds[e.kind])
	effect := e.effect.String()
	if e.rule >= 0 {
		info := &r.rules[e.rule]
		w.text("rule", info.name)
		w.place(info.file, info.line)
		if info.effect != "" {
			effect = info.effect
		}
	}
	if e.who >= 0 {
		w.text("principal", r.parties[e.who])
	}
	w.parts(same)
	w.text("effect", effect)
	w.text("detail", r.detail(e))
	w.out = append(w.out, '}')
}

func (w *traceWriter) parts(same []event) {
	begin := len(w.out)
	for _, e := range same {
		if e.row < 0 {
			continue
		}
		if len(w.out) == begin {
			w.out = append(w.out, `,"part":"p`...)
		} else {
			w.out = append(w.out, " p"...)
		}
		w.out = strconv.AppendInt(w.out, int64(e.row)+1, 10)
	}
	if len(w.out) > begin {
		w.out = append(w.out, '"')
	}
}

// detail of an entry, in words.
func (r *rawTrace) detail(e event) string {
	switch e.kind {
	case kindPart:
		return r.describe(&r.rows[e.row])
	case kindTTL:
		return max(0, r.ttl.Truncate(time.Second)).String()
	default:
	}
	if e.detail >= 0 {
		return r.details[e.detail]
	}
	return ""
}

// appendQuoted appends a JSON string. Nearly all text of a trace is plain.
func appendQuoted(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s) // of a string: it cannot fail
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

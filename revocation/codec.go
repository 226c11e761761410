package revocation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/writbroker/writ/token"
)

// Kinds of log records. 0 is the log's own.
const (
	KindRule    byte = 1
	KindLift    byte = 2
	KindLineage byte = 3 // what a lineage that this log has lost stood for
)

// Codes of selectors in records and masks. They never change.
const (
	codeToken = iota
	codeSubject
	codeAgent
	codeTask
	codeIssuer
	codeRole
	codeAudience
	codeKey
	codeScope
	codePolicy
	codeAll
)

func selectorCode(s Selector) byte {
	for i, have := range [...]Selector{SelectToken, SelectSubject, SelectAgent, SelectTask, SelectIssuer,
		SelectRole, SelectAudience, SelectKey, SelectScope, SelectPolicy, SelectAll} {
		if have == s {
			return byte(i)
		}
	}
	return 0xff
}

// ErrRecord: a record's payload is not what this version writes. A reader that
// meets one must not go on: it would miss a revocation.
var ErrRecord = errors.New("revocation record is malformed")

const (
	recordVersion  = 1
	flagQuarantine = 1
	flagUUID       = 2
)

// AppendRecord appends the payload of a rule, lift or lineage event and returns the
// record's kind. The event must be valid.
func AppendRecord(dst []byte, e *Event) (byte, []byte, error) {
	switch {
	case e.Type == EventRule && e.Rule != nil:
		if err := e.Rule.Validate(); err != nil {
			return 0, dst, err
		}
		return KindRule, appendRule(dst, e.Rule), nil
	case e.Type == EventLift && e.Lift != nil:
		if err := e.Lift.Validate(); err != nil {
			return 0, dst, err
		}
		return KindLift, appendLift(dst, e.Lift), nil
	case e.Type == EventLineage && e.Lineage != nil:
		if err := e.Lineage.Validate(); err != nil {
			return 0, dst, err
		}
		return KindLineage, appendLineage(dst, e.Lineage), nil
	}
	return 0, dst, fmt.Errorf("%w: a %q event is not recorded", ErrRecord, e.Type)
}

// DecodeRecord reads the payload of a record. Its Position is zero.
func DecodeRecord(kind byte, payload []byte) (Event, error) {
	d := recordReader{rest: payload}
	if d.byte() != recordVersion {
		return Event{}, fmt.Errorf("%w: unknown version", ErrRecord)
	}
	var e Event
	var err error
	switch kind {
	case KindRule:
		e = Event{Type: EventRule, Rule: d.rule()}
		err = e.Rule.Validate()
	case KindLift:
		e = Event{Type: EventLift, Lift: d.lift()}
		err = e.Lift.Validate()
	case KindLineage:
		e = Event{Type: EventLineage, Lineage: d.lineage()}
		err = e.Lineage.Validate()
	default:
		return Event{}, fmt.Errorf("%w: unknown kind %d", ErrRecord, kind)
	}
	if d.bad || len(d.rest) > 0 {
		return Event{}, ErrRecord
	}
	if err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return e, nil
}

func appendRule(dst []byte, r *Rule) []byte {
	id, _ := parseUUID(r.ID)
	value, compact := parseUUID(r.Value)
	flags := byte(0)
	if r.Quarantine {
		flags |= flagQuarantine
	}
	if compact {
		flags |= flagUUID
	}
	dst = append(dst, recordVersion)
	dst = append(dst, id[:]...)
	dst = append(dst, selectorCode(r.Selector), flags)
	dst = appendMillis(appendMillis(dst, r.CreatedAt), r.ExpiresAt)
	if compact {
		dst = append(dst, value[:]...)
	} else {
		dst = appendText(dst, r.Value)
	}
	return appendEntries(appendText(appendText(dst, r.Reason), r.By), r.Entries)
}

func appendLift(dst []byte, l *Lift) []byte {
	id, _ := parseUUID(l.ID)
	rule, _ := parseUUID(l.RuleID)
	dst = append(dst, recordVersion)
	dst = append(append(dst, id[:]...), rule[:]...)
	dst = appendMillis(appendMillis(dst, l.At), l.ExpiresAt)
	return appendEntries(appendText(appendText(dst, l.Reason), l.By), l.Entries)
}

func appendLineage(dst []byte, g *Lineage) []byte {
	dst = append(dst, recordVersion)
	dst = binary.BigEndian.AppendUint64(dst, g.ID)
	dst = binary.AppendUvarint(dst, g.Marker)
	return appendEntries(appendMillis(dst, g.OpenedAt), g.Base)
}

func appendMillis(dst []byte, t time.Time) []byte {
	ms := uint64(0)
	if !t.IsZero() {
		ms = uint64(t.UnixMilli())
	}
	return append(dst, byte(ms>>40), byte(ms>>32), byte(ms>>24), byte(ms>>16), byte(ms>>8), byte(ms))
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendEntries(dst []byte, entries []token.Rev) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	for _, e := range entries {
		dst = binary.AppendUvarint(binary.BigEndian.AppendUint64(dst, e.Lineage), e.Seq)
	}
	return dst
}

// recordReader reads the parts of a payload. After the first fault it returns zero
// values.
type recordReader struct {
	rest []byte
	bad  bool
}

func (d *recordReader) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.rest)) {
		d.bad = true
		return nil
	}
	out := d.rest[:n]
	d.rest = d.rest[n:]
	return out
}

func (d *recordReader) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *recordReader) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if d.bad || n <= 0 || (n > 1 && d.rest[n-1] == 0) { // one form only
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *recordReader) word() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *recordReader) uuid() string {
	var id uuid
	if copy(id[:], d.take(uint64(len(id)))) < len(id) {
		return ""
	}
	return id.text()
}

func (d *recordReader) millis() time.Time {
	b := d.take(6)
	if b == nil {
		return time.Time{}
	}
	ms := int64(b[0])<<40 | int64(b[1])<<32 | int64(b[2])<<24 | int64(b[3])<<16 | int64(b[4])<<8 | int64(b[5])
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func (d *recordReader) text() string { return string(d.take(d.uvarint())) }

func (d *recordReader) entries() []token.Rev {
	n := d.uvarint()
	if n > MaxEntries {
		d.bad = true
	}
	if d.bad || n == 0 {
		return nil
	}
	out := make([]token.Rev, 0, n)
	for range n {
		out = append(out, token.Rev{Lineage: d.word(), Seq: d.uvarint()})
	}
	return out
}

func (d *recordReader) rule() *Rule {
	r := &Rule{ID: d.uuid()}
	code, flags := d.byte(), d.byte()
	r.CreatedAt, r.ExpiresAt = d.millis(), d.millis()
	if int(code) >= len(Selectors()) || flags > flagQuarantine|flagUUID {
		d.bad = true
		return r
	}
	r.Selector, r.Quarantine = Selectors()[code], flags&flagQuarantine != 0
	if flags&flagUUID != 0 {
		r.Value = d.uuid()
	} else {
		r.Value = d.text()
		if _, compact := parseUUID(r.Value); compact {
			d.bad = true
		}
	}
	r.Reason, r.By, r.Entries = d.text(), d.text(), d.entries()
	return r
}

func (d *recordReader) lift() *Lift {
	l := &Lift{ID: d.uuid(), RuleID: d.uuid()}
	l.At, l.ExpiresAt = d.millis(), d.millis()
	l.Reason, l.By, l.Entries = d.text(), d.text(), d.entries()
	return l
}

func (d *recordReader) lineage() *Lineage {
	g := &Lineage{ID: d.word(), Marker: d.uvarint()}
	g.OpenedAt, g.Base = d.millis(), d.entries()
	return g
}

// AppendRecords appends records to a list of them: kind, length, payload.
func AppendRecords(dst []byte, events ...Event) ([]byte, error) {
	var payload []byte
	for i := range events {
		kind, p, err := AppendRecord(payload[:0], &events[i])
		if err != nil {
			return dst, err
		}
		payload = p
		dst = binary.AppendUvarint(append(dst, kind), uint64(len(payload)))
		dst = append(dst, payload...)
	}
	return dst, nil
}

// DecodeRecords reads a list of records.
func DecodeRecords(data []byte) ([]Event, error) {
	var out []Event
	d := recordReader{rest: data}
	for len(d.rest) > 0 {
		kind := d.byte()
		payload := d.take(d.uvarint())
		if d.bad {
			return nil, ErrRecord
		}
		e, err := DecodeRecord(kind, payload)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

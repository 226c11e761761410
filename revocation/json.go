package revocation

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/writbroker/writ/token"
)

// The JSON forms of the feed. Unknown members are ignored, so that an older reader
// can follow a newer broker; an unknown selector is an error, since it revokes
// something that the reader would let pass.

type jsonRule struct {
	ID         string      `json:"id"`
	Selector   Selector    `json:"selector"`
	Value      string      `json:"value,omitempty"`
	Quarantine bool        `json:"quarantine,omitempty"`
	CreatedAt  time.Time   `json:"created_at"`
	ExpiresAt  time.Time   `json:"expires_at,omitzero"`
	Reason     string      `json:"reason,omitempty"`
	By         string      `json:"by,omitempty"`
	Entries    []token.Rev `json:"entries,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (r Rule) MarshalJSON() ([]byte, error) {
	j := jsonRule(r)
	j.CreatedAt, j.ExpiresAt = millis(r.CreatedAt), millis(r.ExpiresAt)
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler; what is not valid is an error.
func (r *Rule) UnmarshalJSON(data []byte) error {
	var j jsonRule
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*r = Rule(j)
	r.Entries = someEntries(j.Entries)
	r.CreatedAt, r.ExpiresAt = millis(j.CreatedAt), millis(j.ExpiresAt)
	return r.Validate()
}

// someEntries gives an empty list one form.
func someEntries(entries []token.Rev) []token.Rev {
	if len(entries) == 0 {
		return nil
	}
	return entries
}

type jsonLift struct {
	ID        string      `json:"id"`
	RuleID    string      `json:"rule"`
	At        time.Time   `json:"at"`
	ExpiresAt time.Time   `json:"expires_at,omitzero"`
	Reason    string      `json:"reason,omitempty"`
	By        string      `json:"by,omitempty"`
	Entries   []token.Rev `json:"entries,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (l Lift) MarshalJSON() ([]byte, error) {
	j := jsonLift(l)
	j.At, j.ExpiresAt = millis(l.At), millis(l.ExpiresAt)
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler; what is not valid is an error.
func (l *Lift) UnmarshalJSON(data []byte) error {
	var j jsonLift
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*l = Lift(j)
	l.Entries = someEntries(j.Entries)
	l.At, l.ExpiresAt = millis(j.At), millis(j.ExpiresAt)
	return l.Validate()
}

type jsonLineage struct {
	ID       string      `json:"lineage"` // 16 hex digits: JSON numbers do not hold 64 bits
	Marker   uint64      `json:"marker"`
	Base     []token.Rev `json:"base,omitempty"`
	OpenedAt time.Time   `json:"opened_at"`
}

// MarshalJSON implements json.Marshaler.
func (g Lineage) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonLineage{ID: fmt.Sprintf("%016x", g.ID), Marker: g.Marker, Base: g.Base, OpenedAt: millis(g.OpenedAt)})
}

// UnmarshalJSON implements json.Unmarshaler; what is not valid is an error.
func (g *Lineage) UnmarshalJSON(data []byte) error {
	var j jsonLineage
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	id, err := strconv.ParseUint(j.ID, 16, 64)
	if err != nil || fmt.Sprintf("%016x", id) != j.ID {
		return fmt.Errorf("%w: lineage is not 16 hex digits", ErrRecord)
	}
	*g = Lineage{ID: id, Marker: j.Marker, Base: someEntries(j.Base), OpenedAt: millis(j.OpenedAt)}
	return g.Validate()
}

// jsonSnapshot carries the bulk as records: a million rules are decoded in about a
// second that way, and are a quarter of the size.
type jsonSnapshot struct {
	ID       string    `json:"id"`
	Part     int       `json:"part"`
	Last     bool      `json:"last,omitempty"`
	TakenAt  time.Time `json:"taken_at,omitzero"`
	Position token.Rev `json:"position,omitzero"`
	Since    token.Rev `json:"since,omitzero"`
	Records  []byte    `json:"records,omitempty"` // see AppendRecords; base64
}

// MarshalJSON implements json.Marshaler.
func (s Snapshot) MarshalJSON() ([]byte, error) {
	records, err := s.records()
	if err != nil {
		return nil, err
	}
	return json.Marshal(jsonSnapshot{ID: s.ID, Part: s.Part, Last: s.Last, TakenAt: s.TakenAt, Position: s.Position, Since: s.Since, Records: records})
}

// UnmarshalJSON implements json.Unmarshaler; what is not valid is an error.
func (s *Snapshot) UnmarshalJSON(data []byte) error {
	var j jsonSnapshot
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	if !j.Last && !j.Position.IsZero() {
		return fmt.Errorf("%w: a position in a snapshot's part that is not the last", ErrRecord)
	}
	*s = Snapshot{ID: j.ID, Part: j.Part, Last: j.Last, TakenAt: j.TakenAt, Position: j.Position, Since: j.Since}
	return s.setRecords(j.Records)
}

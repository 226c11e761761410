package revocation

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/writbroker/writ/token"
)

// The compact form of a snapshot: magic, length of the head, the head, then the parts one
// after the other. The head is a compact JWS, type TypeBulk, over a BulkHead, signed by
// the records key; it holds the digest of each part, so that a reader applies a part as
// soon as it has it, and never one that was not signed. A part is what AppendRecords
// writes. Whoever caches or repeats it cannot change it, and what is old is only old:
// merging never takes away, and freshness comes from heartbeats alone.
const (
	bulkMagic = "WRITSNP1"
	// MaxBulkHead and MaxBulkPart bound what a reader holds in memory.
	MaxBulkHead = 1 << 20
	MaxBulkPart = 32 << 20
	maxParts    = 8192
)

// TypeBulk is the typ header of a bulk's head.
const TypeBulk = "writ-bulk+jwt"

// ErrBulk: the bytes are not a snapshot in compact form, or not the signed ones.
var ErrBulk = errors.New("snapshot is malformed or not authentic")

// BulkHead says what the parts are.
type BulkHead struct {
	Position token.Rev // reached when all parts are merged; zero: of no log
	Since    token.Rev // not zero: what changed after it, for a reader that has it all up to there
	TakenAt  time.Time
	Parts    []BulkPart
}

// BulkPart is one part as the head knows it.
type BulkPart struct {
	Bytes  int
	SHA256 []byte
}

type jsonBulkHead struct {
	Position token.Rev  `json:"position,omitzero"`
	Since    token.Rev  `json:"since,omitzero"`
	TakenAt  time.Time  `json:"taken_at,omitzero"`
	Parts    []jsonPart `json:"parts"`
}

type jsonPart struct {
	Bytes  int    `json:"bytes"`
	SHA256 []byte `json:"sha256"`
}

// Bulk is an encoded snapshot: immutable, shared by all its readers.
type Bulk struct {
	Head     []byte // with magic and length
	Parts    [][]byte
	Position token.Rev
}

// NewBulk encodes the parts of a snapshot, and has sign make the head's JWS.
func NewBulk(parts iter.Seq[Snapshot], since token.Rev, takenAt time.Time, sign func(payload []byte) (string, error)) (*Bulk, error) {
	out := &Bulk{}
	head := jsonBulkHead{Since: since, TakenAt: takenAt, Parts: []jsonPart{}}
	for s := range parts {
		records, err := s.records()
		if err != nil {
			return nil, fmt.Errorf("encoding snapshot: %w", err)
		}
		if s.Last {
			head.Position, out.Position = s.Position, s.Position
		}
		if len(records) == 0 {
			continue
		}
		sum := sha256.Sum256(records)
		head.Parts = append(head.Parts, jsonPart{len(records), sum[:]})
		out.Parts = append(out.Parts, records)
	}
	payload, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("encoding head of snapshot: %w", err)
	}
	signed, err := sign(payload)
	if err != nil {
		return nil, fmt.Errorf("signing snapshot: %w", err)
	}
	if len(signed) > MaxBulkHead || len(out.Parts) > maxParts {
		return nil, fmt.Errorf("%w: too large", ErrBulk)
	}
	out.Head = append([]byte(bulkMagic), binary.BigEndian.AppendUint32(nil, uint32(len(signed)))...)
	out.Head = append(out.Head, signed...)
	return out, nil
}

// Size is the number of bytes of the whole.
func (b *Bulk) Size() int {
	n := len(b.Head)
	for _, p := range b.Parts {
		n += len(p)
	}
	return n
}

// ReadBulk reads a bulk. verify checks the head's JWS and returns its payload; merge gets
// the parts in order, each when its digest was found right, the last with the position.
// After an error what was merged holds, and the position was not reached.
func ReadBulk(r io.Reader, verify func(jws string) ([]byte, error), merge func(Snapshot) error) (BulkHead, error) {
	head, err := readHead(r, verify)
	if err != nil {
		return BulkHead{}, err
	}
	last := Snapshot{Part: len(head.Parts) + 1, Last: true, Since: head.Since, Position: head.Position, TakenAt: head.TakenAt}
	var buf []byte
	for i, p := range head.Parts {
		if cap(buf) < p.Bytes {
			buf = make([]byte, p.Bytes)
		}
		buf = buf[:p.Bytes]
		if _, err := io.ReadFull(r, buf); err != nil {
			return head, fmt.Errorf("reading snapshot: %w", err)
		}
		if sum := sha256.Sum256(buf); !bytes.Equal(sum[:], p.SHA256) {
			return head, fmt.Errorf("%w: part %d", ErrBulk, i+1)
		}
		part := Snapshot{Part: i + 1, Since: head.Since}
		if err := part.setRecords(buf); err != nil {
			return head, err
		}
		if err := merge(part); err != nil {
			return head, err
		}
	}
	if n, err := r.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return head, fmt.Errorf("%w: it goes on after its end", ErrBulk)
	}
	return head, merge(last)
}

func readHead(r io.Reader, verify func(jws string) ([]byte, error)) (BulkHead, error) {
	start := make([]byte, len(bulkMagic)+4)
	if _, err := io.ReadFull(r, start); err != nil {
		return BulkHead{}, fmt.Errorf("reading snapshot: %w", err)
	}
	n := binary.BigEndian.Uint32(start[len(bulkMagic):])
	if string(start[:len(bulkMagic)]) != bulkMagic || n > MaxBulkHead {
		return BulkHead{}, fmt.Errorf("%w: it does not begin as one", ErrBulk)
	}
	signed := make([]byte, n)
	if _, err := io.ReadFull(r, signed); err != nil {
		return BulkHead{}, fmt.Errorf("reading snapshot: %w", err)
	}
	payload, err := verify(string(signed))
	if err != nil {
		return BulkHead{}, err
	}
	var j jsonBulkHead
	if err := json.Unmarshal(payload, &j); err != nil {
		return BulkHead{}, fmt.Errorf("%w: %w", ErrBulk, err)
	}
	head := BulkHead{Position: j.Position, Since: j.Since, TakenAt: j.TakenAt}
	if len(j.Parts) > maxParts {
		return head, fmt.Errorf("%w: too many parts", ErrBulk)
	}
	for _, p := range j.Parts {
		if p.Bytes <= 0 || p.Bytes > MaxBulkPart || len(p.SHA256) != sha256.Size {
			return head, fmt.Errorf("%w: a part of %d bytes", ErrBulk, p.Bytes)
		}
		head.Parts = append(head.Parts, BulkPart(p))
	}
	return head, nil
}

// records is the bulk of a snapshot's part: its lineages, lifts and rules.
func (s *Snapshot) records() ([]byte, error) {
	var out []byte
	var err error
	add := func(e Event) {
		if err == nil {
			out, err = AppendRecords(out, e)
		}
	}
	for i := range s.Lineages {
		add(Event{Type: EventLineage, Lineage: &s.Lineages[i]})
	}
	for i := range s.Lifts {
		add(Event{Type: EventLift, Lift: &s.Lifts[i]})
	}
	for i := range s.Rules {
		add(Event{Type: EventRule, Rule: &s.Rules[i]})
	}
	return out, err
}

// setRecords is the reverse.
func (s *Snapshot) setRecords(data []byte) error {
	events, err := DecodeRecords(data)
	if err != nil {
		return err
	}
	for i := range events {
		s.add(&events[i])
	}
	return nil
}

func (s *Snapshot) add(e *Event) {
	switch e.Type {
	case EventRule:
		s.Rules = append(s.Rules, *e.Rule)
	case EventLift:
		s.Lifts = append(s.Lifts, *e.Lift)
	case EventLineage:
		s.Lineages = append(s.Lineages, *e.Lineage)
	case EventSnapshot, EventKeys, EventHeartbeat: // not recorded
	}
}

// Delta makes a snapshot of events that follow a position.
func Delta(since, reached token.Rev, events []Event) Snapshot {
	s := Snapshot{Part: 1, Last: true, Since: since, Position: reached}
	for i := range events {
		s.add(&events[i])
	}
	return s
}

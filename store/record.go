package store

import (
	"bytes"
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"time"
)

// The stored form of a record: version, flags, kind, lineage, seq, expiry, the MAC
// of the record before it, payload, and the MAC over all of that and the log's
// name. Each record can so be verified alone, and a run of them as a chain.
const (
	recordVersion = 1
	flagMarker    = 1
	recordHead    = 3 + 8 + 8 + 8 + len(MAC{})
)

// IntegrityError says where a log was found to be wrong. It unwraps to ErrForged,
// ErrGap, ErrOrder or ErrRollback.
type IntegrityError struct {
	Log   string
	After Position // the last position that verified
	Err   error
}

// Error names the log and the place.
func (e *IntegrityError) Error() string {
	return fmt.Sprintf("log %q after %s: %v", e.Log, e.After, e.Err)
}

// Unwrap returns the sentinel.
func (e *IntegrityError) Unwrap() error { return e.Err }

// Marker is the payload of a marker record.
type Marker struct {
	Instance string    // that opened the lineage; only it may append
	Opened   time.Time // by the opener's clock, to the second; for trimming alone
}

// EncodeMarker makes the payload of a marker record.
func EncodeMarker(m Marker) []byte {
	out := binary.BigEndian.AppendUint64(nil, uint64(m.Opened.Unix()))
	return append(out, m.Instance...)
}

// DecodeMarker reads the payload of a marker record.
func DecodeMarker(payload []byte) (Marker, error) {
	if len(payload) < 8 {
		return Marker{}, fmt.Errorf("decoding marker: %w", ErrForged)
	}
	return Marker{
		Opened:   time.Unix(int64(binary.BigEndian.Uint64(payload)), 0).UTC(),
		Instance: string(payload[8:]),
	}, nil
}

// CheckEntries reports the first entry that no log accepts.
func CheckEntries(entries []Entry) error {
	for i := range entries {
		switch {
		case entries[i].Kind == 0:
			return fmt.Errorf("entry %d: kind 0 is reserved for markers", i)
		case len(entries[i].Payload) > MaxPayload:
			return fmt.Errorf("entry %d: %w: %d bytes", i, ErrTooLarge, len(entries[i].Payload))
		}
	}
	return nil
}

func expirySeconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return max(s, 1)
}

func (s *Sealer) sealRecord(log string, prev MAC, r *Record) ([]byte, MAC) {
	out := make([]byte, 0, recordHead+len(r.Payload)+len(prev))
	flags := byte(0)
	if r.Marker {
		flags = flagMarker
	}
	out = append(out, recordVersion, flags, r.Kind)
	out = binary.BigEndian.AppendUint64(out, uint64(r.Lineage))
	out = binary.BigEndian.AppendUint64(out, r.Seq)
	out = binary.BigEndian.AppendUint64(out, uint64(expirySeconds(r.Expires)))
	out = append(out, prev[:]...)
	out = append(out, r.Payload...)
	mac := s.mac("record", out, log)
	return append(out, mac[:]...), mac
}

// openRecord verifies one stored record by itself and copies what it returns.
func (s *Sealer) openRecord(log string, data []byte) (r Record, prev, mac MAC, err error) {
	if len(data) < recordHead+len(mac) {
		return r, prev, mac, ErrForged
	}
	body, tag := data[:len(data)-len(mac)], data[len(data)-len(mac):]
	mac = s.mac("record", body, log)
	if !hmac.Equal(mac[:], tag) || body[0] != recordVersion {
		return r, prev, mac, ErrForged
	}
	r.Marker = body[1]&flagMarker != 0
	r.Kind = body[2]
	r.Lineage = Lineage(binary.BigEndian.Uint64(body[3:]))
	r.Seq = binary.BigEndian.Uint64(body[11:])
	if at := int64(binary.BigEndian.Uint64(body[19:])); at != 0 {
		r.Expires = time.Unix(at, 0).UTC()
	}
	copy(prev[:], body[27:])
	r.Payload = bytes.Clone(body[recordHead:])
	return r, prev, mac, nil
}

// TrimNote accounts for records that were removed after they had expired: those
// after After up to and including Last. It is written and authenticated by the
// client that trimmed, and names the records' own MACs, so it can excuse nothing
// but exactly them.
type TrimNote struct {
	After, Last       Position
	Count             uint64
	AfterMAC, LastMAC MAC
}

// Holds reports whether a position is surely one of those that the note stands for: an index
// that leads to a note says nothing, since whoever can write to the store can move notes. The
// records of a lineage stand together; of a lineage that lies wholly inside of the run, marker
// and all, nothing is known any more.
func (n TrimNote) Holds(at Position) bool {
	switch at.Lineage {
	case n.After.Lineage:
		return at.Seq > n.After.Seq && (at.Lineage != n.Last.Lineage || at.Seq <= n.Last.Seq)
	case n.Last.Lineage:
		return at.Seq <= n.Last.Seq
	default:
		return false
	}
}

const noteSize = 5*8 + 2*len(MAC{})

// SealNote makes the stored form of a trim note.
func (s *Sealer) SealNote(log string, n TrimNote) []byte {
	out := make([]byte, 0, noteSize+len(MAC{}))
	for _, v := range []uint64{uint64(n.After.Lineage), n.After.Seq, uint64(n.Last.Lineage), n.Last.Seq, n.Count} {
		out = binary.BigEndian.AppendUint64(out, v)
	}
	out = append(out, n.AfterMAC[:]...)
	out = append(out, n.LastMAC[:]...)
	mac := s.mac("note", out, log)
	return append(out, mac[:]...)
}

// OpenNote verifies a stored trim note.
func (s *Sealer) OpenNote(log string, data []byte) (n TrimNote, err error) {
	if len(data) != noteSize+len(MAC{}) {
		return n, ErrForged
	}
	mac := s.mac("note", data[:noteSize], log)
	if !hmac.Equal(mac[:], data[noteSize:]) {
		return n, ErrForged
	}
	word := func(i int) uint64 { return binary.BigEndian.Uint64(data[8*i:]) }
	n.After = Position{Lineage(word(0)), word(1)}
	n.Last = Position{Lineage(word(2)), word(3)}
	n.Count = word(4)
	copy(n.AfterMAC[:], data[40:])
	copy(n.LastMAC[:], data[72:])
	return n, nil
}

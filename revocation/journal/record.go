package journal

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// A frame's payload is a list of records: kind, length, body. Kinds up to 15 are
// those of package revocation, of records that were read from the log; with
// localKind added, of what is not in the log yet.
const (
	localKind = 16

	kindCursor  byte = 64 // where in the log this replica stands
	kindGlass   byte = 65 // a break-glass action
	kindVersion byte = 66 // of the file; its first record

	fileVersion = 1
)

// BreakGlass is a record of an action through the break-glass socket.
type BreakGlass struct {
	At     time.Time `json:"at"`
	Peer   string    `json:"peer"` // uid and, where known, pid
	Action string    `json:"action"`
	Detail string    `json:"detail"`
	Error  string    `json:"error,omitempty"`
}

// cursor is where in the log a replica stands.
type cursor struct {
	at token.Rev // the last record that was applied; zero is before the first
	// ends are the last positions of the lineages from the last complete one on:
	// the base of the next marker. complete says whether the first is complete.
	ends     []token.Rev
	complete bool
}

func (c *cursor) clone() cursor {
	out := *c
	out.ends = slices.Clone(c.ends)
	return out
}

// read notes a record of the log. For a marker it returns the base of its lineage.
func (c *cursor) read(at token.Rev, marker bool) (base []token.Rev) {
	c.at = at
	if n := len(c.ends); n > 0 && c.ends[n-1].Lineage == at.Lineage {
		c.ends[n-1].Seq = at.Seq
	} else {
		c.ends = append(c.ends, at)
	}
	if !marker {
		return nil
	}
	base = append(base, c.ends[:len(c.ends)-1]...)
	if len(base) > revocation.MaxEntries { // what is left out proves less
		base = base[:revocation.MaxEntries]
	}
	c.ends, c.complete = []token.Rev{at}, true
	return base
}

// stampable is the position that may be stamped after the last record: zero while
// its lineage has no marker.
func (c *cursor) stampable() token.Rev {
	if c.complete && len(c.ends) == 1 {
		return c.at
	}
	return token.Rev{}
}

func appendCursor(dst []byte, c *cursor) []byte {
	body := appendRev(nil, c.at)
	if c.complete {
		body = append(body, 1)
	} else {
		body = append(body, 0)
	}
	for _, e := range c.ends {
		body = appendRev(body, e)
	}
	return appendRecord(dst, kindCursor, body)
}

func decodeCursor(body []byte) (cursor, error) {
	if len(body) < 17 || (len(body)-17)%16 != 0 || body[16] > 1 {
		return cursor{}, fmt.Errorf("%w: cursor", ErrCorrupt)
	}
	c := cursor{at: decodeRev(body), complete: body[16] == 1}
	for rest := body[17:]; len(rest) > 0; rest = rest[16:] {
		c.ends = append(c.ends, decodeRev(rest))
	}
	return c, nil
}

func appendRev(dst []byte, r token.Rev) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, r.Lineage), r.Seq)
}

func decodeRev(b []byte) token.Rev {
	return token.Rev{Lineage: binary.BigEndian.Uint64(b), Seq: binary.BigEndian.Uint64(b[8:])}
}

func appendRecord(dst []byte, kind byte, body []byte) []byte {
	return append(binary.AppendUvarint(append(dst, kind), uint64(len(body))), body...)
}

// appendEvent appends a rule, lift or lineage.
func appendEvent(dst []byte, e *revocation.Event, local bool) ([]byte, error) {
	kind, body, err := revocation.AppendRecord(nil, e)
	if err != nil {
		return dst, err
	}
	if local {
		kind += localKind
	}
	return appendRecord(dst, kind, body), nil
}

func appendGlass(dst []byte, b *BreakGlass) ([]byte, error) {
	body, err := json.Marshal(b)
	if err != nil {
		return dst, fmt.Errorf("encoding break-glass record: %w", err)
	}
	return appendRecord(dst, kindGlass, body), nil
}

// eachRecord gives every record of a payload to visit.
func eachRecord(payload []byte, visit func(kind byte, body []byte) error) error {
	for len(payload) > 0 {
		kind := payload[0]
		n, w := binary.Uvarint(payload[1:])
		if w <= 0 || n > uint64(len(payload)-1-w) {
			return fmt.Errorf("%w: record of kind %d", ErrCorrupt, kind)
		}
		body := payload[1+w : 1+w+int(n)]
		if err := visit(kind, body); err != nil {
			return err
		}
		payload = payload[1+w+int(n):]
	}
	return nil
}

package revocation

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/writbroker/writ/token"
)

// ErrFeed: a stream is not what AppendSSE writes. Its reader reconnects.
var ErrFeed = errors.New("revocation feed is malformed")

const defaultMaxEvent = 8 << 20

// AppendSSE appends an event in the form of Server-Sent Events (WHATWG HTML, 9.2):
// its type, its position as id where it has one, and one line of data.
func AppendSSE(dst []byte, e Event) ([]byte, error) {
	data, err := e.data()
	if err != nil {
		return dst, fmt.Errorf("encoding %s event: %w", e.Type, err)
	}
	if bytes.IndexByte(data, '\n') >= 0 || bytes.IndexByte(data, '\r') >= 0 {
		return dst, fmt.Errorf("%w: data of a %s event is more than one line", ErrFeed, e.Type)
	}
	dst = append(append(dst, "event: "...), e.Type...)
	if !e.Position.IsZero() {
		dst = append(append(dst, "\nid: "...), e.Position.String()...)
	}
	dst = append(append(dst, "\ndata: "...), data...)
	return append(dst, "\n\n"...), nil
}

func (e *Event) data() ([]byte, error) {
	switch {
	case e.Type == EventSnapshot && e.Snapshot != "":
		return []byte(e.Snapshot), nil
	case e.Type == EventRule && e.Rule != nil:
		return json.Marshal(e.Rule)
	case e.Type == EventLift && e.Lift != nil:
		return json.Marshal(e.Lift)
	case e.Type == EventLineage && e.Lineage != nil:
		return json.Marshal(e.Lineage)
	case e.Type == EventHeartbeat && e.Heartbeat != nil:
		return json.Marshal(e.Heartbeat)
	case e.Type == EventKeys && len(e.Keys) > 0:
		var out bytes.Buffer
		err := json.Compact(&out, e.Keys)
		return out.Bytes(), err
	}
	return nil, fmt.Errorf("%w: nothing to send", ErrFeed)
}

// Decoder reads events from a stream. Not safe for concurrent use.
type Decoder struct {
	r    *bufio.Reader
	most int
}

// NewDecoder reads from r; an event over maxEvent bytes is an error, 0 means 8 MiB.
func NewDecoder(r io.Reader, maxEvent int) *Decoder {
	if maxEvent <= 0 {
		maxEvent = defaultMaxEvent
	}
	return &Decoder{r: bufio.NewReaderSize(r, 4<<10), most: maxEvent}
}

// Next returns the next event. It returns io.EOF when the stream ends; an event
// that is cut off by the end is dropped. Events of an unknown type are skipped. The
// position of an event is its own id: that of an event without one is zero.
func (d *Decoder) Next() (Event, error) {
	for {
		f, err := d.frame()
		if err != nil {
			return Event{}, err
		}
		e, known, err := f.event()
		if err != nil {
			return Event{}, err
		}
		if known {
			return e, nil
		}
	}
}

// frame is one event as text.
type frame struct {
	typ, id string
	data    []byte
}

func (d *Decoder) frame() (frame, error) {
	var f frame
	size, hasData := 0, false
	for {
		line, err := d.line(d.most - size)
		if err != nil {
			return f, err
		}
		size += len(line)
		if len(line) == 0 {
			if hasData {
				return f, nil
			}
			f = frame{}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			f.typ = string(value)
		case "id":
			f.id = string(value)
		case "data":
			if hasData {
				f.data = append(f.data, '\n')
			}
			f.data = append(f.data, value...)
			hasData = true
		}
	}
}

// line reads one line of at most limit bytes, without its end.
func (d *Decoder) line(limit int) ([]byte, error) {
	var out []byte
	for {
		part, err := d.r.ReadSlice('\n')
		if len(out)+len(part) > limit+2 {
			return nil, fmt.Errorf("%w: event over %d bytes", ErrFeed, d.most)
		}
		out = append(out, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(bytes.TrimSuffix(out, []byte("\n")), []byte("\r")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err // io.EOF included: a line without its end is not whole
		}
	}
}

func (f *frame) event() (e Event, known bool, err error) {
	e.Type = EventType(f.typ)
	if f.id != "" {
		if e.Position, err = token.ParseRev(f.id); err != nil {
			return e, false, fmt.Errorf("%w: %w", ErrFeed, err)
		}
	}
	switch e.Type {
	case EventSnapshot:
		e.Snapshot = string(f.data)
	case EventKeys:
		if !json.Valid(f.data) {
			return e, false, fmt.Errorf("%w: keys event", ErrFeed)
		}
		e.Keys = f.data
	case EventRule:
		e.Rule = new(Rule)
		err = json.Unmarshal(f.data, e.Rule)
	case EventLift:
		e.Lift = new(Lift)
		err = json.Unmarshal(f.data, e.Lift)
	case EventLineage:
		e.Lineage = new(Lineage)
		err = json.Unmarshal(f.data, e.Lineage)
	case EventHeartbeat:
		e.Heartbeat = new(Heartbeat)
		err = json.Unmarshal(f.data, e.Heartbeat)
	default:
		return Event{}, false, nil
	}
	if err != nil {
		return e, false, fmt.Errorf("%w: %s event: %w", ErrFeed, e.Type, err)
	}
	return e, true, nil
}

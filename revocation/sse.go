package revocation

import (
	"errors"
	"io"
)

// AppendSSE appends an event in the form of Server-Sent Events.
func AppendSSE(dst []byte, e Event) ([]byte, error) { return dst, errors.New("revocation: being written") }

// Decoder reads events from a stream.
type Decoder struct{}

// NewDecoder reads from r; an event over maxEvent bytes is an error, 0 means 8 MiB.
func NewDecoder(r io.Reader, maxEvent int) *Decoder { return &Decoder{} }

// Next returns the next event, io.EOF at the end. Events of an unknown type are skipped.
func (d *Decoder) Next() (Event, error) { return Event{}, io.EOF }

package redis

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// The records of a page are read from the raw answer: the client library would
// make a map of each, and a log has millions.

// item is an entry of a stream. Its data aliases the answer, and is nil where its id
// or fields are none that we write.
type item struct {
	index uint64
	data  []byte
}

var errReply = errors.New("answer of redis is not understood")

// replyError is an error that stood inside of an answer.
type replyError struct{ text string }

func (e *replyError) Error() string { return e.text }

// RedisError marks it for the client library.
func (*replyError) RedisError() {}

// decodeItems reads the answer of XRANGE.
func decodeItems(raw []byte) ([]item, error) {
	d := decoder{rest: raw}
	n := d.list()
	if d.err != nil || n > len(raw) {
		return nil, d.fail()
	}
	out := make([]item, 0, n)
	for range n {
		var it item
		if d.list() != 2 {
			return nil, d.fail()
		}
		it.index = parseID(string(d.bulk()))
		fields := d.list()
		for i := range max(fields, 0) {
			part := d.bulk()
			if i == 1 && fields == 2 && it.index > 0 {
				it.data = part
			}
			if d.err != nil {
				return nil, d.fail()
			}
		}
		if d.err != nil {
			return nil, d.fail()
		}
		out = append(out, it)
	}
	if len(d.rest) > 0 {
		return nil, d.fail()
	}
	return out, nil
}

// decoder reads RESP: lists and bulk strings, which is all that XRANGE answers.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail() error {
	if d.err == nil {
		d.err = errReply
	}
	return d.err
}

// line takes a line of the given kind and returns its number, at least 0.
func (d *decoder) line(kind byte) int {
	if d.err != nil {
		return 0
	}
	head, rest, ok := bytes.Cut(d.rest, []byte("\r\n"))
	if !ok || len(head) < 2 {
		d.err = errReply
		return 0
	}
	if head[0] == '-' {
		d.err = &replyError{text: string(head[1:])}
		return 0
	}
	n, err := strconv.Atoi(string(head[1:]))
	if err != nil || head[0] != kind || n < 0 {
		d.err = fmt.Errorf("%w: %q", errReply, head[:min(len(head), 32)])
		return 0
	}
	d.rest = rest
	return n
}

func (d *decoder) list() int { return d.line('*') }

func (d *decoder) bulk() []byte {
	n := d.line('$')
	if d.err != nil {
		return nil
	}
	if n > len(d.rest)-2 || string(d.rest[n:n+2]) != "\r\n" {
		d.err = errReply
		return nil
	}
	out := d.rest[:n:n]
	d.rest = d.rest[n+2:]
	return out
}

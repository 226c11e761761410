package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"
)

// clockSlack is how far the time in a decision's id may be from its record's.
const clockSlack = time.Hour

// Filter selects records. Every set field must hold; the zero value selects all.
type Filter struct {
	Agent       string // client_id or anywhere in the act chain
	Subject     string
	Tool        string // of a scope that was granted, asked for or refused
	Kind        Kind
	Outcome     Outcome
	TokenID     string
	DecisionID  string
	Since       time.Time // inclusive
	Until       time.Time // exclusive
	Limit       int       // 0 = no limit
	NewestFirst bool

	near bool // look only into segments that were written around Since and Until
}

// Query reads the records of a log's directory that the filter selects, oldest
// first unless it says otherwise. It verifies nothing: see Verify. A line that is
// not a record ends the sequence with an error; an unfinished last line is passed
// over. It may run beside the writer, and then may see records that are not
// durable yet.
func Query(dir fs.FS, f Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		names, err := segments(dir)
		if err != nil {
			yield(Record{}, err)
			return
		}
		q := query{Filter: f, dir: dir, needles: f.needles(), yield: yield}
		for i := range names {
			if f.NewestFirst {
				i = len(names) - 1 - i
			}
			if q.skips(names, i) {
				continue
			}
			if !q.segment(names[i]) {
				return
			}
		}
	}
}

// Decision returns the newest record of that decision, or ErrNotFound. An id that
// is a UUIDv7 says when it was made, and that time is searched first.
func Decision(ctx context.Context, dir fs.FS, id string) (Record, error) {
	if id == "" {
		return Record{}, ErrNotFound
	}
	everywhere := Filter{DecisionID: id, NewestFirst: true, Limit: 1}
	filters := []Filter{everywhere}
	if made, ok := uuidTime(id); ok {
		near := everywhere
		near.near = true
		near.Since, near.Until = made.Add(-clockSlack), made.Add(clockSlack)
		filters = []Filter{near, everywhere}
	}
	for _, f := range filters {
		for r, err := range Query(dir, f) {
			return r, err
		}
		if err := ctx.Err(); err != nil {
			return Record{}, err
		}
	}
	return Record{}, fmt.Errorf("%w: decision %q", ErrNotFound, id)
}

// uuidTime reads the time of a UUIDv7 (RFC 9562, section 5.7).
func uuidTime(id string) (time.Time, bool) {
	if len(id) != 36 || id[14] != '7' || id[8] != '-' || id[13] != '-' {
		return time.Time{}, false
	}
	b, err := hex.DecodeString(id[:8] + id[9:13])
	if err != nil {
		return time.Time{}, false
	}
	var ms int64
	for _, c := range b {
		ms = ms<<8 | int64(c)
	}
	return time.UnixMilli(ms), true
}

// needles are texts that each selected line holds. Looking for them first spares
// decoding the lines that are not selected.
func (f *Filter) needles() [][]byte {
	var out [][]byte
	for _, v := range []string{f.Agent, f.Subject, string(f.Kind), string(f.Outcome), f.TokenID, f.DecisionID} {
		if v != "" {
			out = append(out, appendString(nil, v))
		}
	}
	if f.Tool != "" {
		out = append(out, []byte(`"`+f.Tool+":"))
	}
	return out
}

func (f *Filter) selects(r *Record) bool {
	inTool := func(scope string) bool { return strings.HasPrefix(scope, f.Tool+":") }
	switch {
	case f.Subject != "" && r.Subject != f.Subject,
		f.Kind != "" && r.Kind != f.Kind,
		f.Outcome != "" && r.Outcome != f.Outcome,
		f.TokenID != "" && r.TokenID != f.TokenID,
		f.DecisionID != "" && r.DecisionID != f.DecisionID,
		!f.Since.IsZero() && r.Time.Before(f.Since),
		!f.Until.IsZero() && !r.Time.Before(f.Until),
		f.Agent != "" && r.ClientID != f.Agent && !slices.Contains(r.Actors, f.Agent),
		f.Tool != "" && !slices.ContainsFunc(r.Scopes, inTool) && !slices.ContainsFunc(r.Refused, inTool):
		return false
	}
	return true
}

// query is one run of a filter.
type query struct {
	Filter
	dir     fs.FS
	needles [][]byte
	found   int
	yield   func(Record, error) bool
}

// skips reports whether a segment was written outside of the filter's time. An
// event's own time can be any other: tool uses are reported late.
func (q *query) skips(names []string, i int) bool {
	if !q.near {
		return false
	}
	if first, ok := firstTime(q.dir, names[i]); ok && first.After(q.Until) {
		return true
	}
	if i+1 == len(names) {
		return false
	}
	next, ok := firstTime(q.dir, names[i+1])
	return ok && next.Before(q.Since)
}

// firstTime is the time of a segment's first record.
func firstTime(dir fs.FS, name string) (time.Time, bool) {
	f, err := dir.Open(name)
	if err != nil {
		return time.Time{}, false
	}
	line, err := bufio.NewReader(f).ReadBytes('\n')
	if err := errors.Join(err, f.Close()); err != nil {
		return time.Time{}, false
	}
	r, err := decodeRecord(line)
	return r.Time, err == nil
}

// segment reports whether to go on.
func (q *query) segment(name string) (more bool) {
	f, err := q.dir.Open(name)
	if err != nil {
		return q.yield(Record{}, fmt.Errorf("reading audit segment: %w", err)) && false
	}
	defer func() { _ = f.Close() }()
	if !q.NewestFirst {
		more = true
		err = eachLine(f, func(n int, line []byte) bool {
			more = q.line(name, n, line)
			return more
		})
	} else {
		var all []byte
		if all, err = io.ReadAll(f); err == nil {
			return q.backwards(name, all)
		}
	}
	if err != nil {
		return q.yield(Record{}, fmt.Errorf("reading audit segment %s: %w", name, err)) && false
	}
	return more
}

func (q *query) backwards(name string, all []byte) bool {
	end := bytes.LastIndexByte(all, '\n')
	for end > 0 {
		start := bytes.LastIndexByte(all[:end], '\n') + 1
		if !q.line(name, 0, all[start:end]) {
			return false
		}
		end = start - 1
	}
	return true
}

func (q *query) line(name string, n int, line []byte) bool {
	for _, needle := range q.needles {
		if !bytes.Contains(line, needle) {
			return true
		}
	}
	r, err := decodeRecord(line)
	if err != nil {
		_ = q.yield(Record{}, fmt.Errorf("%s, line %d: %w", name, n, err))
		return false
	}
	if !q.selects(&r) {
		return true
	}
	q.found++
	return q.yield(r, nil) && (q.Limit <= 0 || q.found < q.Limit)
}

// eachLine calls fn with each finished line and its number, from 1, until it
// returns false. A line over MaxRecord is cut there, and so is no record.
func eachLine(r io.Reader, fn func(n int, line []byte) bool) error {
	lines := bufio.NewReaderSize(r, MaxRecord+1)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		switch {
		case err == nil:
			line = line[:len(line)-1]
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
		if !fn(n, line) {
			return nil
		}
	}
}

package bolt

import (
	"context"

	"github.com/writbroker/writ/store"
)

// cursor walks a log's records and notes in order and verifies them.
type cursor struct {
	tx    *logTx
	chain *store.Chain
	index uint64 // of the last record that was verified or skipped
	note  func(first, last uint64, n store.TrimNote)
}

func (v *logTx) cursor() *cursor {
	return &cursor{tx: v, chain: store.NewChain(v.log.db.sealer, v.log.name)}
}

// seek places the cursor after a position, or returns ErrUnknownPosition.
func (c *cursor) seek(after store.Position) error {
	if after.IsZero() {
		return nil
	}
	if c.tx.records == nil {
		return store.ErrUnknownPosition
	}
	hint := c.tx.lineages.Get(key(uint64(after.Lineage)))
	if len(hint) < 16 || after.Seq == 0 {
		return store.ErrUnknownPosition
	}
	c.index = number(hint) + after.Seq
	if data := c.tx.records.Get(key(c.index)); data != nil {
		r, err := c.chain.Resume(data)
		if err == nil && r.Position != after {
			err = store.ErrUnknownPosition
		}
		return err
	}
	return c.seekTrimmed(after)
}

// seekTrimmed places the cursor after the trimmed run that its index lies in.
func (c *cursor) seekTrimmed(at store.Position) error {
	notes := c.tx.notes.Cursor()
	first, data := notes.Seek(key(c.index))
	if first == nil || number(first) != c.index {
		first, data = notes.Prev()
	}
	if first == nil || number(data) < c.index || number(first) > c.index {
		return store.ErrUnknownPosition
	}
	c.index = number(data)
	n, err := c.chain.ResumeNote(data[8:])
	if err == nil && !n.Holds(at) {
		return store.ErrUnknownPosition
	}
	return err
}

// each calls fn with every record from the cursor on until it returns false.
func (c *cursor) each(fn func(index uint64, r store.Record) bool) error {
	if c.tx.records == nil {
		return nil
	}
	records := c.tx.records.Cursor()
	for k, data := records.Seek(key(c.index + 1)); k != nil; k, data = records.Next() {
		if number(k) != c.index+1 {
			if err := c.skip(); err != nil {
				return err
			}
		}
		r, err := c.chain.Next(data)
		if err != nil {
			return err
		}
		c.index = number(k)
		if !fn(c.index, r) {
			return nil
		}
	}
	return nil
}

// skip passes a trimmed run. Without a note nothing is passed, and the chain
// finds the gap at the next record.
func (c *cursor) skip() error {
	first := c.index + 1
	data := c.tx.notes.Get(key(first))
	if len(data) < 8 {
		return nil
	}
	n, err := c.chain.Skip(data[8:])
	if err != nil {
		return err
	}
	c.index = number(data)
	if c.note != nil {
		c.note(first, c.index, n)
	}
	return nil
}

// Read is store.Log's.
func (l *Log) Read(ctx context.Context, after store.Position, limit int) (out []store.Record, err error) {
	if limit <= 0 {
		limit = store.ReadLimit
	}
	err = l.read(ctx, "reading log", func(v *logTx) error {
		e, err := v.end()
		if err != nil {
			return err
		}
		l.sawEnd(e)
		c := v.cursor()
		if err := c.seek(after); err != nil {
			return err
		}
		return c.each(func(_ uint64, r store.Record) bool {
			out = append(out, r)
			return len(out) < limit
		})
	})
	return out, err
}

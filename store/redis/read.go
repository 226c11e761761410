package redis

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/store"
)

const (
	firstPage = 512     // records of a first round trip
	pageLimit = 5000    // and of any
	pageBytes = 4 << 20 // what a round trip is meant to carry

	// A page has one note more than it has records, and some more for those that stand for the
	// same; one that begins before it, or many where that one is not what it needs.
	spareNotes = 8
	mostNotes  = 5000
)

// note is a stored trim note, and the indexes that it stands for.
type note struct {
	first, last uint64
	data        []byte
}

// parseNote reads a member of the set of notes; ok is false for what is none.
func parseNote(member string) (n note, ok bool) {
	if len(member) < 16 {
		return n, false
	}
	n.first = binary.BigEndian.Uint64([]byte(member[:8]))
	n.last = binary.BigEndian.Uint64([]byte(member[8:16]))
	n.data = []byte(member[16:])
	return n, n.first > 0 && n.first <= n.last
}

func (n *note) member() string {
	head := binary.BigEndian.AppendUint64(nil, n.first)
	return string(append(binary.BigEndian.AppendUint64(head, n.last), n.data...))
}

// page is a part of a log as it was in one moment.
type page struct {
	items []item
	notes []note // ascending: some that begin before the first item, and as many as the items need
	full  bool   // more may follow
	fits  int    // how many records of this size a round trip is meant to carry
}

// page reads up to count entries from an index on, the notes that go with them and so many
// of those that begin before, and what the log's end looks like.
func (l *Log) page(ctx context.Context, from uint64, count, notes int) (page, error) {
	var p page
	var end any
	var raw []byte
	var before, after []string
	most := count + spareNotes
	args, instance := l.args()
	err := l.db.call(ctx, "reading log", func(ctx context.Context, c *goredis.Client) error {
		tx := c.TxPipeline()
		tail := tx.Eval(ctx, tailScript, l.keys[:3], args...)
		items := goredis.NewRawCmd(ctx, "XRANGE", l.keys[1], itemID(from), "+", "COUNT", count)
		_ = tx.Process(ctx, items) // it only queues
		first := strconv.FormatUint(from, 10)
		under := tx.ZRevRangeByScore(ctx, l.keys[3], &goredis.ZRangeBy{Max: "(" + first, Min: "-inf", Count: int64(notes)})
		over := tx.ZRangeByScore(ctx, l.keys[3], &goredis.ZRangeBy{Min: first, Max: "+inf", Count: int64(most)})
		_, err := tx.Exec(ctx)
		end, raw, before, after = tail.Val(), items.Val(), under.Val(), over.Val()
		return firstError(err, tail, items, under, over)
	})
	if err != nil {
		return p, err
	}
	if _, _, err := l.observe(end, instance); err != nil {
		return p, fmt.Errorf("reading log: %w", err)
	}
	if p.items, err = decodeItems(raw); err != nil {
		return p, fmt.Errorf("reading log: %w", classify(err))
	}
	p.full = len(p.items) == count
	p.fits = min(max(pageBytes*len(p.items)/max(len(raw), 1), 1), pageLimit)
	if len(after) == most {
		p.cut(after[most-1])
	}
	slices.Reverse(before)
	for _, member := range append(before, after...) {
		if n, ok := parseNote(member); ok {
			p.notes = append(p.notes, n)
		}
	}
	return p, nil
}

// cut leaves out the records behind a note, the last of which a page has: there may be more.
func (p *page) cut(last string) {
	n, ok := parseNote(last)
	if !ok {
		return
	}
	keep := sort.Search(len(p.items), func(i int) bool { return p.items[i].index > n.first })
	// What lies before the first record begins where the page does: those notes came first.
	if keep = max(keep, 1); keep < len(p.items) {
		p.items, p.full = p.items[:keep], true
	}
}

// firstError is the error of a transaction: that of the command that was refused
// rather than that it was aborted.
func firstError(err error, commands ...goredis.Cmder) error {
	for _, c := range commands {
		if e := c.Err(); e != nil && !strings.HasPrefix(e.Error(), "EXECABORT") {
			return e
		}
	}
	return err
}

// covering returns the notes that stand for an index, and for nothing that is there: the next
// record is. Where a part of a trim came late there are several; those that reach furthest
// come first.
func (p *page) covering(index, next uint64) []*note {
	var out []*note
	i := sort.Search(len(p.notes), func(i int) bool { return p.notes[i].first > index })
	for ; i > 0; i-- {
		if n := &p.notes[i-1]; index <= n.last && n.last < next {
			out = append(out, n)
		}
	}
	slices.SortStableFunc(out, func(a, b *note) int { return cmp.Compare(b.last, a.last) })
	return out
}

// cursor walks a log and verifies it.
type cursor struct {
	chain store.Chain
	index uint64 // of the last record that was verified or skipped
	note  func(note, store.TrimNote)
}

func (l *Log) cursor() cursor {
	return cursor{chain: *store.NewChain(l.db.cfg.Sealer, l.name)}
}

// next verifies the entry that follows. Where it links to the one before nothing is missing,
// whatever notes there are.
func (c *cursor) next(p *page, it *item) (store.Record, error) {
	if r, err := c.chain.Next(it.data); err == nil {
		c.index = it.index
		return r, nil
	}
	for at := c.index; it.index != c.index+1; at = c.index {
		if err := c.skip(p, it.index); err != nil {
			return store.Record{}, err
		}
		if c.index == at {
			break // nothing stands for what is missing, if anything is
		}
	}
	r, err := c.chain.Next(it.data)
	if err == nil {
		c.index = it.index
	}
	return r, err
}

// skip passes a trimmed run, or a part of one, before a record. Without a note nothing is
// passed, and the chain finds the gap at that record.
func (c *cursor) skip(p *page, next uint64) error {
	var first error
	for _, n := range p.covering(c.index+1, next) {
		err := c.pass(n)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (c *cursor) pass(n *note) error {
	if n.first <= c.index {
		// The run has grown backwards over where the cursor stands.
		return c.inside(n, c.chain.Position())
	}
	t, err := c.chain.Skip(n.data)
	if err != nil {
		return err
	}
	c.passed(n, t)
	return nil
}

// inside goes on after a run that a position lies in: an authentic note must show
// that the position is one of those that it stands for. The indexes are hints, and
// could lead past live records.
func (c *cursor) inside(n *note, at store.Position) error {
	chain := c.chain
	t, err := chain.ResumeNote(n.data)
	if err != nil {
		return err
	}
	if !t.Holds(at) {
		return store.ErrUnknownPosition
	}
	c.chain = chain
	c.passed(n, t)
	return nil
}

func (c *cursor) passed(n *note, t store.TrimNote) {
	c.index = n.last
	if c.note != nil {
		c.note(*n, t)
	}
}

// Read is store.Log's. It takes one round trip for up to 5000 records, by their size,
// and one more where this process does not know the lineage.
func (l *Log) Read(ctx context.Context, after store.Position, limit int) ([]store.Record, error) {
	if limit <= 0 {
		limit = store.ReadLimit
	}
	c := l.cursor()
	p, err := l.seek(ctx, &c, after, min(limit, firstPage)+1)
	if err != nil {
		return nil, err
	}
	out := make([]store.Record, 0, min(limit, len(p.items)))
	for {
		for i := range p.items {
			if len(out) == limit {
				return out, nil
			}
			r, err := c.next(&p, &p.items[i])
			if err != nil {
				return out, fmt.Errorf("reading log: %w", err)
			}
			out = append(out, r)
		}
		if !p.full || len(out) == limit {
			return out, nil
		}
		if p, err = l.following(ctx, &c, min(limit-len(out), p.fits)); err != nil {
			return out, err
		}
	}
}

// following is the page behind a cursor, with the notes that its first record needs.
func (l *Log) following(ctx context.Context, c *cursor, count int) (page, error) {
	p, err := l.page(ctx, c.index+1, count, 1)
	if err == nil && c.reaches(&p) != nil {
		p, err = l.page(ctx, c.index+1, count, mostNotes)
	}
	return p, err
}

// reaches fails where the cursor does not find the way to a page's first record.
func (c *cursor) reaches(p *page) error {
	if len(p.items) == 0 {
		return nil
	}
	probe := cursor{chain: c.chain, index: c.index}
	_, err := probe.next(p, &p.items[0])
	return err
}

// seek places a cursor after a position, and returns what follows there.
func (l *Log) seek(ctx context.Context, c *cursor, after store.Position, count int) (page, error) {
	if after.IsZero() {
		return l.page(ctx, 1, count, 1)
	}
	// Where a lineage lies is a hint: one that leads nowhere, since the log is another one now
	// or Redis has lost it, is followed by a better one.
	for _, place := range []func(context.Context, store.Lineage) (uint64, bool, error){l.hinted, l.noted, l.laid} {
		base, ok, err := place(ctx, after.Lineage)
		if err != nil {
			return page{}, err
		}
		if !ok {
			continue
		}
		p, err := l.seekAt(ctx, c, after, base, count)
		if err == nil {
			l.hint(after.Lineage, base)
			return p, nil
		}
		if !errors.Is(err, store.ErrUnknownPosition) {
			return p, err
		}
	}
	return page{}, fmt.Errorf("reading log: %w", store.ErrUnknownPosition)
}

// hinted is where this process has seen a lineage.
func (l *Log) hinted(_ context.Context, lineage store.Lineage) (base uint64, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	base, ok = l.bases[lineage]
	return base, ok, nil
}

// noted is where whoever opened a lineage says that it lies.
func (l *Log) noted(ctx context.Context, lineage store.Lineage) (base uint64, ok bool, err error) {
	var place string
	err = l.db.call(ctx, "reading log", func(ctx context.Context, c *goredis.Client) error {
		place, err = c.HGet(ctx, l.keys[2], lineageField(lineage)).Result()
		return notNil(err)
	})
	if err != nil {
		return 0, false, err
	}
	_, err = fmt.Sscanf(place, "%d ", &base)
	return base, err == nil, nil
}

// laid is where a lineage lies by what its records say.
func (l *Log) laid(ctx context.Context, lineage store.Lineage) (base uint64, ok bool, err error) {
	out, err := l.db.read(ctx, "reading log", placeScript, l.keys[:2], lineageField(lineage))
	if err != nil {
		return 0, false, err
	}
	text, _ := out.(string)
	base, err = strconv.ParseUint(text, 10, 64)
	return base, err == nil, nil
}

func lineageField(lineage store.Lineage) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(lineage)))
}

func (l *Log) seekAt(ctx context.Context, c *cursor, after store.Position, base uint64, count int) (page, error) {
	if after.Seq == 0 || after.Seq > math.MaxInt64 || base > math.MaxInt64 {
		return page{}, fmt.Errorf("reading log: %w", store.ErrUnknownPosition)
	}
	var err error
	for _, notes := range []int{1, mostNotes} {
		p, failed := l.page(ctx, base+after.Seq, count, notes)
		if failed != nil {
			return p, failed
		}
		if err = c.place(&p, after, base+after.Seq); err == nil {
			return p, nil
		}
	}
	return page{}, fmt.Errorf("reading log: %w", err)
}

// place puts a cursor at a position that has an index, or into the run that it was trimmed with.
func (c *cursor) place(p *page, after store.Position, index uint64) error {
	next := uint64(math.MaxUint64)
	if len(p.items) > 0 {
		next = p.items[0].index
	}
	if next == index {
		chain := c.chain
		r, err := chain.Resume(p.items[0].data)
		if err == nil && r.Position != after {
			err = store.ErrUnknownPosition
		}
		if err == nil {
			c.chain, c.index = chain, index
			p.items = p.items[1:]
		}
		return err
	}
	first := store.ErrUnknownPosition
	for i, n := range p.covering(index, next) {
		in := cursor{chain: c.chain}
		err := in.inside(n, after)
		if err == nil {
			if err = in.reaches(p); err == nil {
				c.chain, c.index = in.chain, in.index
				return nil
			}
		}
		if i == 0 {
			first = err
		}
	}
	return first
}

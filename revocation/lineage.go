package revocation

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/writbroker/writ/token"
)

// lines is an immutable view of the lineages: each has a small number, from 1,
// whether its marker is known yet or only an entry names it.
type lines struct {
	number map[uint64]uint32
	infos  []lineInfo // by number-1
}

type lineInfo struct {
	Lineage
	known bool
	base  []place // Base, by number
}

// place is a position whose lineage is a number of lines.
type place struct {
	seq  uint64
	line uint32
}

func (l *lines) numberOf(lineage uint64) uint32 { return l.number[lineage] }

func (l *lines) info(number uint32) *lineInfo { return &l.infos[number-1] }

// covers reports whether whoever had applied the log up to (line, seq) had applied
// what lies at p.
func (l *lines) covers(line uint32, seq uint64, p place) bool {
	if line == 0 || p.line == 0 || p.seq == 0 {
		return false
	}
	info := l.info(line)
	if !info.known || seq < info.Marker {
		return false
	}
	if p.line == line {
		return p.seq <= seq
	}
	// Bases come from other parties, so the walk is bounded: each step goes to a
	// lineage that was complete before this one.
	for range l.infos {
		for _, b := range info.base {
			if b.line == p.line && p.seq <= b.seq {
				return true
			}
		}
		if len(info.base) == 0 {
			return false
		}
		previous := info.base[0]
		info = l.info(previous.line)
		if !info.known || previous.seq < info.Marker {
			return false
		}
	}
	return false
}

// with returns lines in which a lineage has a number, and that number.
func (l *lines) with(lineage uint64) (*lines, uint32) {
	if n := l.number[lineage]; n != 0 {
		return l, n
	}
	out := l.clone()
	out.infos = append(out.infos, lineInfo{Lineage: Lineage{ID: lineage}})
	n := uint32(len(out.infos))
	out.number[lineage] = n
	return out, n
}

// learn returns lines that know a lineage. Bases that were read from differently
// trimmed logs are joined: each is true by itself.
func (l *lines) learn(g *Lineage) *lines {
	out, n := l.with(g.ID)
	if out == l {
		out = l.clone()
	}
	base := slices.Clone(g.Base)
	if old := out.info(n); old.known {
		base = joinBase(old.Base, g.Base)
	}
	places := make([]place, 0, len(base))
	for _, b := range base {
		var number uint32
		out, number = out.with(b.Lineage)
		places = append(places, place{seq: b.Seq, line: number})
	}
	info := out.info(n)
	info.Lineage = Lineage{ID: g.ID, Marker: g.Marker, Base: base, OpenedAt: millis(g.OpenedAt)}
	info.known, info.base = true, places
	return out
}

// joinBase keeps the first base's head: it says where the chain goes on.
func joinBase(a, b []token.Rev) []token.Rev {
	if len(a) == 0 {
		return slices.Clone(b)
	}
	out := slices.Clone(a)
	for _, e := range b {
		i := slices.IndexFunc(out, func(o token.Rev) bool { return o.Lineage == e.Lineage })
		switch {
		case i >= 0:
			out[i].Seq = max(out[i].Seq, e.Seq)
		case len(out) < MaxEntries:
			out = append(out, e)
		}
	}
	return out
}

func (l *lines) clone() *lines {
	out := &lines{number: make(map[uint64]uint32, len(l.number)+1), infos: slices.Clone(l.infos)}
	maps.Copy(out.number, l.number)
	return out
}

// list returns the known lineages, oldest first.
func (l *lines) list() []Lineage {
	var out []Lineage
	for i := range l.infos {
		if l.infos[i].known {
			g := l.infos[i].Lineage
			g.Base = slices.Clone(g.Base)
			out = append(out, g)
		}
	}
	slices.SortStableFunc(out, func(a, b Lineage) int { return a.OpenedAt.Compare(b.OpenedAt) })
	return out
}

// expire forgets lineages in which no live token can have been minted: a later one
// was opened longer ago than retain, and current is not among them.
func (l *lines) expire(now time.Time, retain time.Duration, current uint64) *lines {
	cut := time.Time{}
	for i := range l.infos {
		info := &l.infos[i]
		if info.known && info.OpenedAt.Add(retain).Before(now) && info.OpenedAt.After(cut) {
			cut = info.OpenedAt
		}
	}
	out := l
	for i := range l.infos {
		info := &l.infos[i]
		if !info.known || info.ID == current || !info.OpenedAt.Before(cut) {
			continue
		}
		if out == l {
			out = l.clone()
		}
		// The number stays: rules refer to it. What is unknown proves nothing.
		out.infos[i] = lineInfo{Lineage: Lineage{ID: info.ID}}
	}
	return out
}

// places is where one rule entered the log: most rules once, after a failover once
// more, in a list. Readers see a consistent pair because seq is written first.
type places struct {
	seq  atomic.Uint64
	line atomic.Uint32 // number of lines; 0 = nowhere yet; dead = lifted or expired
	more atomic.Uint32 // first of the others
}

const dead = ^uint32(0)

// further is one more place. It never changes once it is linked.
type further struct {
	place
	next uint32
}

func (p *places) alive() bool { return p.line.Load() != dead }

// proven reports whether a minter at rev had applied the rule at these places.
func (p *places) proven(others *arena[further], l *lines, rev token.Rev) bool {
	first := p.line.Load()
	if first == 0 || first == dead {
		return first == dead
	}
	line := l.numberOf(rev.Lineage)
	if line == 0 {
		return false
	}
	if l.covers(line, rev.Seq, place{seq: p.seq.Load(), line: first}) {
		return true
	}
	for ref := p.more.Load(); ref != 0; {
		f := others.at(ref)
		if l.covers(line, rev.Seq, f.place) {
			return true
		}
		ref = f.next
	}
	return false
}

// enter adds a place, keeping the earliest of each lineage.
func (p *places) enter(others *arena[further], at place) {
	if line := p.line.Load(); line == 0 {
		p.seq.Store(at.seq)
		p.line.Store(at.line)
		return
	} else if line == at.line {
		if at.seq < p.seq.Load() {
			p.seq.Store(at.seq)
		}
		return
	}
	for ref := p.more.Load(); ref != 0; {
		f := others.at(ref)
		if f.line == at.line && f.seq <= at.seq {
			return
		}
		ref = f.next
	}
	ref, f := others.add()
	f.place, f.next = at, p.more.Load()
	p.more.Store(ref)
}

// entries lists the places as positions, the lineage that was met first first; with
// too many, the last.
func (p *places) entries(others *arena[further], l *lines) []token.Rev {
	line := p.line.Load()
	if l == nil || line == 0 || line == dead {
		return nil
	}
	at := p.list(others)
	if len(at) == 1 {
		return []token.Rev{{Lineage: l.info(at[0].line).ID, Seq: at[0].seq}}
	}
	slices.SortFunc(at, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.seq, b.seq))
	})
	at = slices.CompactFunc(at, func(a, b place) bool { return a.line == b.line })
	at = at[max(0, len(at)-MaxEntries):]
	out := make([]token.Rev, len(at))
	for i, p := range at {
		out[i] = token.Rev{Lineage: l.info(p.line).ID, Seq: p.seq}
	}
	return out
}

// list gives the places themselves.
func (p *places) list(others *arena[further]) []place {
	line := p.line.Load()
	if line == 0 || line == dead {
		return nil
	}
	out := []place{{seq: p.seq.Load(), line: line}}
	for ref := p.more.Load(); ref != 0; {
		f := others.at(ref)
		out, ref = append(out, f.place), f.next
	}
	return out
}

func millis(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

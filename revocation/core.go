package revocation

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/writbroker/writ/scopes"
)

// core holds the rules and answers for them. One writer, any number of readers.
// It only grows: what is lifted or has expired is marked dead, and when that is
// much, the index makes a new core of what is alive.
type core struct {
	seed   maphash.Seed
	tokens arena[tokenRule] // rules about one token: the many
	others arena[otherRule] // all other rules: the few
	places arena[further]

	byToken atomic.Pointer[table] // hash of the jti's text → tokens
	byValue atomic.Pointer[table] // hash of the value, whatever the selector → others
	trie    trie                  // scope → others
	all     atomic.Pointer[[]uint32]
	lengths atomic.Pointer[[]int] // of the values of issuer rules, ascending
	kinds   atomic.Uint32         // which selectors ever had a rule here: see selectorBit

	// The writer's own.
	byID    idTable
	abouts  []about
	aboutOf map[about]uint32
	deaths  int

	liveTokens, liveOthers int
}

// tokenRule is a rule about one token, in one cache line.
type tokenRule struct {
	jti, id uuid
	places
	times stamps
	about uint32
}

// stamps is two times in milliseconds, 48 bits each.
type stamps struct {
	low  uint64 // created, and the low 16 bits of expires above it
	high uint32 // the upper 32 bits of expires; expires 0 is never
}

func packStamps(created, expires time.Time) stamps {
	c, e := uint64(created.UnixMilli()), uint64(0)
	if !expires.IsZero() {
		e = uint64(expires.UnixMilli())
	}
	return stamps{low: c&(1<<48-1) | e<<48, high: uint32(e >> 16)}
}

func (s stamps) created() time.Time { return time.UnixMilli(int64(s.low & (1<<48 - 1))).UTC() }

func (s stamps) expires() time.Time {
	if e := s.expiresMillis(); e != 0 {
		return time.UnixMilli(e).UTC()
	}
	return time.Time{}
}

func (s stamps) expiresMillis() int64 { return int64(s.high)<<16 | int64(s.low>>48) }

// otherRule is a rule of any other kind.
type otherRule struct {
	places
	id         uuid
	selector   Selector
	bit        uint32 // of selector
	value      string
	quarantine bool
	times      stamps
	about      uint32
	scope      scopes.Scope // of a scope rule
}

// about is what a person said about a rule. Equal ones are kept once.
type about struct{ reason, by string }

func newCore(seed maphash.Seed, capacity int) *core {
	k := &core{seed: seed, aboutOf: map[about]uint32{}, byID: newIDTable(capacity)}
	k.byToken.Store(tableFor(capacity))
	k.byValue.Store(newTable(minSlots))
	k.trie.init(seed)
	k.aboutIndex(about{})
	return k
}

func (k *core) hash(s string) uint64 { return maphash.String(k.seed, s) }

func (k *core) hashUUID(u *uuid) uint64 {
	var text [uuidLen]byte
	u.put(&text)
	return maphash.Bytes(k.seed, text[:])
}

// add takes a valid rule whose id is not here yet.
func (k *core) add(id uuid, r *Rule, at []place) {
	var where *places
	var index uint32
	jti, compact := parseUUID(r.Value)
	compact = compact && r.Selector == SelectToken
	if compact {
		var t *tokenRule
		index, t = k.tokens.add()
		t.jti, t.id = jti, id
		t.times, t.about = packStamps(r.CreatedAt, r.ExpiresAt), k.aboutIndex(about{r.Reason, r.By})
		where = &t.places
	} else {
		var o *otherRule
		index, o = k.others.add()
		o.id, o.selector, o.bit = id, r.Selector, selectorBit(r.Selector)
		o.value, o.quarantine = strings.Clone(r.Value), r.Quarantine
		o.times, o.about = packStamps(r.CreatedAt, r.ExpiresAt), k.aboutIndex(about{r.Reason, r.By})
		where = &o.places
	}
	for _, p := range at {
		where.enter(&k.places, p)
	}
	r0 := ref{index, compact}
	k.byID.add(k.hashID(&id), r0, k.hashIDOf)
	if compact {
		k.liveTokens++
		k.link(&k.byToken, k.hash(r.Value), index, k.liveTokens, func(yield func(uint64, uint32)) {
			for i := uint32(1); i <= k.tokens.len(); i++ {
				if t := k.tokens.at(i); t.alive() {
					yield(k.hashUUID(&t.jti), i)
				}
			}
		})
	} else {
		k.liveOthers++
		k.linkOther(index)
	}
	bit := selectorBit(r.Selector)
	if r.Selector == SelectToken && !compact {
		bit = asOddToken
	}
	k.kinds.Store(k.kinds.Load() | bit)
}

func (k *core) linkOther(index uint32) {
	o := k.others.at(index)
	switch o.selector {
	case SelectAll:
		appendTo(&k.all, index)
		return
	case SelectScope:
		o.scope, _ = scopes.Parse(o.value) // Validate has parsed it
		k.trie.add(o.scope, index)
		return
	case SelectIssuer:
		addLength(&k.lengths, len(o.value))
	default:
	}
	k.link(&k.byValue, k.hash(o.value), index, k.liveOthers, func(yield func(uint64, uint32)) {
		for i := uint32(1); i <= k.others.len(); i++ {
			o := k.others.at(i)
			if o.alive() && o.selector != SelectAll && o.selector != SelectScope {
				yield(k.hash(o.value), i)
			}
		}
	})
}

// link adds a reference to a table; to a new one, with all that there is, when it is full.
func (k *core) link(where *atomic.Pointer[table], h uint64, index uint32, live int, all func(yield func(uint64, uint32))) {
	t := where.Load()
	if !t.full() {
		t.add(h, index)
		return
	}
	grown := tableFor(live + live/4)
	all(grown.add)
	where.Store(grown)
}

// kill makes a rule answer for nothing any more.
func (k *core) kill(r ref) {
	k.byID.remove(k.hashID(k.idOf(r)), r, k.hashIDOf)
	if r.token {
		k.liveTokens--
		t := k.tokens.at(r.index)
		t.line.Store(dead)
		k.byToken.Load().remove(k.hashUUID(&t.jti), r.index)
	} else {
		k.liveOthers--
		o := k.others.at(r.index)
		o.line.Store(dead)
		switch o.selector {
		case SelectAll:
			removeFrom(&k.all, r.index)
		case SelectScope:
			k.trie.remove(o.scope, r.index)
		default:
			k.byValue.Load().remove(k.hash(o.value), r.index)
		}
	}
	k.deaths++
}

func (k *core) idOf(r ref) *uuid {
	if r.token {
		return &k.tokens.at(r.index).id
	}
	return &k.others.at(r.index).id
}

func (k *core) placesOf(r ref) *places {
	if r.token {
		return &k.tokens.at(r.index).places
	}
	return &k.others.at(r.index).places
}

func (k *core) hashID(id *uuid) uint64 { return maphash.Bytes(k.seed, id[:]) }

func (k *core) hashIDOf(r ref) uint64 { return k.hashID(k.idOf(r)) }

// find returns the live rule of an id.
func (k *core) find(id uuid) (ref, bool) {
	for r := range k.byID.candidates(k.hashID(&id)) {
		if *k.idOf(r) == id {
			return r, true
		}
	}
	return ref{}, false
}

func (k *core) live() int { return k.liveTokens + k.liveOthers }

func (k *core) aboutIndex(a about) uint32 {
	if i, ok := k.aboutOf[a]; ok {
		return i
	}
	a = about{strings.Clone(a.reason), strings.Clone(a.by)}
	k.abouts = append(k.abouts, a)
	k.aboutOf[a] = uint32(len(k.abouts) - 1)
	return uint32(len(k.abouts) - 1)
}

// rule makes the whole rule again, without entries if l is nil. Only the writer may
// call it.
func (k *core) rule(r ref, l *lines) Rule {
	if r.token {
		t := k.tokens.at(r.index)
		a := k.abouts[t.about]
		return Rule{ID: t.id.text(), Selector: SelectToken, Value: t.jti.text(),
			CreatedAt: t.times.created(), ExpiresAt: t.times.expires(),
			Reason: a.reason, By: a.by, Entries: t.entries(&k.places, l)}
	}
	o := k.others.at(r.index)
	a := k.abouts[o.about]
	return Rule{ID: o.id.text(), Selector: o.selector, Value: o.value, Quarantine: o.quarantine,
		CreatedAt: o.times.created(), ExpiresAt: o.times.expires(),
		Reason: a.reason, By: a.by, Entries: o.entries(&k.places, l)}
}

// expired lists the live rules that end at or before a time.
func (k *core) expired(nowMillis int64) []ref {
	var out []ref
	for i := uint32(1); i <= k.tokens.len(); i++ {
		t := k.tokens.at(i)
		if e := t.times.expiresMillis(); e != 0 && e <= nowMillis && t.alive() {
			out = append(out, ref{i, true})
		}
	}
	for i := uint32(1); i <= k.others.len(); i++ {
		o := k.others.at(i)
		if e := o.times.expiresMillis(); e != 0 && e <= nowMillis && o.alive() {
			out = append(out, ref{i, false})
		}
	}
	return out
}

// refs lists every live rule.
func (k *core) refs(yield func(ref) bool) {
	for i := uint32(1); i <= k.tokens.len(); i++ {
		if k.tokens.at(i).alive() && !yield(ref{i, true}) {
			return
		}
	}
	for i := uint32(1); i <= k.others.len(); i++ {
		if k.others.at(i).alive() && !yield(ref{i, false}) {
			return
		}
	}
}

// compacted makes a core of what is alive. Lineages keep their numbers.
func (k *core) compacted() *core {
	out := newCore(k.seed, k.liveTokens)
	for r := range k.refs {
		rule := k.rule(r, nil)
		p := k.placesOf(r)
		out.add(*k.idOf(r), &rule, p.list(&k.places))
	}
	return out
}

// addLength adds to an ascending list of lengths that readers hold.
func addLength(lengths *atomic.Pointer[[]int], n int) {
	var old []int
	if p := lengths.Load(); p != nil {
		old = *p
	}
	if i, have := slices.BinarySearch(old, n); !have {
		out := slices.Insert(slices.Clone(old), i, n)
		lengths.Store(&out)
	}
}

// appendTo adds to a list that readers hold: they never look beyond the length
// they have seen.
func appendTo(list *atomic.Pointer[[]uint32], index uint32) {
	var out []uint32
	if old := list.Load(); old != nil {
		out = *old
	}
	out = append(out, index)
	list.Store(&out)
}

func removeFrom(list *atomic.Pointer[[]uint32], index uint32) {
	old := list.Load()
	if old == nil {
		return
	}
	out := make([]uint32, 0, len(*old))
	for _, i := range *old {
		if i != index {
			out = append(out, i)
		}
	}
	list.Store(&out)
}

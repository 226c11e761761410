package revocation

import (
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writbroker/writ/token"
)

// Options of an Index.
type Options struct {
	// Retain is how long a lineage is remembered after a later one was opened; at
	// least the longest life of a token plus clock skew. 0 means seven days.
	Retain time.Duration
	// ForeignSkew is how far an identity source's clock may be ahead of ours: a
	// foreign token that says it was issued up to this long after a rule is still
	// refused. 0 means 30 seconds.
	ForeignSkew time.Duration
}

const (
	defaultRetain      = 7 * 24 * time.Hour
	defaultForeignSkew = 30 * time.Second
)

// Index answers from memory whether a token is revoked. All methods may be called
// concurrently. Readers (Position, Covers, Revoked, RefusesForeign, Quarantined)
// never block, and cost the same however many rules there are, but for the rules
// that match; the others take a lock among themselves. The zero value is not
// usable: see NewIndex.
type Index struct {
	retain, foreignSkew time.Duration

	position atomic.Pointer[token.Rev]
	lines    atomic.Pointer[lines]
	core     atomic.Pointer[core]
	changes  atomic.Uint64

	mu     sync.Mutex    // held by writers
	lifted map[uuid]Lift // guarded by mu: by rule
	swept  time.Time     // guarded by mu: what had expired by then does not come back
}

// Hit says which rule revoked a token.
type Hit struct {
	RuleID     string
	Selector   Selector
	Value      string
	Quarantine bool
	CreatedAt  time.Time
}

// ForeignToken is what a rule about principals looks at in a token that an
// identity source issued.
type ForeignToken struct {
	Subject  string   // the principal's id, with its source's prefix
	Actors   []string // those of its act chain
	IssuedAt time.Time
	TokenID  string
}

// NewIndex makes an empty index.
func NewIndex(o Options) *Index {
	x := &Index{retain: o.Retain, foreignSkew: o.ForeignSkew, lifted: map[uuid]Lift{}}
	if x.retain <= 0 {
		x.retain = defaultRetain
	}
	if x.foreignSkew <= 0 {
		x.foreignSkew = defaultForeignSkew
	}
	x.position.Store(&token.Rev{})
	x.lines.Store(&lines{number: map[uint64]uint32{}})
	x.core.Store(newCore(maphash.MakeSeed(), 0))
	return x
}

// Position is the place in the log up to which everything is applied. A minter
// reads it before its first check, and stamps that: what is applied in between
// then lies behind the stamp.
func (x *Index) Position() token.Rev { return *x.position.Load() }

// Changes counts what may have changed the rules: the same number twice means the same
// rules. It is raised after the change.
func (x *Index) Changes() uint64 { return x.changes.Load() }

// Covers reports whether whoever had applied the log up to a had applied what lies
// at b. The zero position is covered by all.
func (x *Index) Covers(a, b token.Rev) bool {
	if b.IsZero() || a == b {
		return true
	}
	l := x.lines.Load()
	return l.covers(l.numberOf(a.Lineage), a.Seq, place{seq: b.Seq, line: l.numberOf(b.Lineage)})
}

// Apply takes events in the order of the log: rules, lifts and lineages. It
// moves Position to that of the last event, never back to one that is covered.
// Applying an event again changes nothing.
//
// An event that is not valid is an error; the others are applied, but Position
// stays before it. The caller must then not apply what comes after in the log: it
// does not know everything that was revoked.
func (x *Index) Apply(events ...Event) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.changes.Add(1)
	var errs []error
	position := token.Rev{}
	for i := range events {
		if err := x.apply(&events[i]); err != nil {
			errs = append(errs, err)
		}
		if len(errs) == 0 && !events[i].Position.IsZero() {
			position = x.later(position, events[i].Position)
		}
	}
	// Last: whoever reads the new position must find every rule before it.
	x.advance(position)
	return errors.Join(errs...)
}

func (x *Index) apply(e *Event) error {
	switch e.Type {
	case EventRule:
		return x.applyRule(e.Rule)
	case EventLift:
		return x.applyLift(e.Lift)
	case EventLineage:
		return x.applyLineage(e.Lineage)
	case EventKeys, EventHeartbeat:
		return nil
	case EventSnapshot:
		return fmt.Errorf("%w: a snapshot is verified, decoded and merged, not applied", ErrRecord)
	}
	return fmt.Errorf("%w: unknown event %q", ErrRecord, e.Type)
}

func (x *Index) applyRule(r *Rule) error {
	if r == nil {
		return fmt.Errorf("%w: an event without its rule", ErrRecord)
	}
	if err := r.Validate(); err != nil {
		return fmt.Errorf("rule %s: %w", r.ID, err)
	}
	id, _ := parseUUID(r.ID)
	if lift, ok := x.lifted[id]; ok {
		lift.ExpiresAt = outlive(lift.ExpiresAt, r)
		x.lifted[id] = lift
		return nil
	}
	if !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(x.swept) {
		return nil
	}
	at := x.number(r.Entries)
	k := x.core.Load()
	have, ok := k.find(id)
	if !ok {
		k.add(id, r, at)
		return nil
	}
	if old := k.rule(have, nil); old.Selector != r.Selector || old.Value != r.Value || old.Quarantine != r.Quarantine {
		return fmt.Errorf("%w: rule %s came with another content", ErrRecord, r.ID)
	}
	for _, p := range at {
		k.placesOf(have).enter(&k.places, p)
	}
	return nil
}

func (x *Index) applyLift(l *Lift) error {
	if l == nil {
		return fmt.Errorf("%w: an event without its lift", ErrRecord)
	}
	if err := l.Validate(); err != nil {
		return fmt.Errorf("lift of %s: %w", l.RuleID, err)
	}
	id, _ := parseUUID(l.RuleID)
	lift := *l
	lift.At, lift.ExpiresAt = millis(l.At), millis(l.ExpiresAt)
	if old, ok := x.lifted[id]; ok {
		for _, e := range l.Entries {
			old.Entries = MergeEntries(old.Entries, e)
		}
		if !old.ExpiresAt.IsZero() && (lift.ExpiresAt.IsZero() || lift.ExpiresAt.After(old.ExpiresAt)) {
			old.ExpiresAt = lift.ExpiresAt
		}
		lift = old
	}
	k := x.core.Load()
	if r, ok := k.find(id); ok {
		rule := k.rule(r, nil)
		lift.ExpiresAt = outlive(lift.ExpiresAt, &rule)
		k.kill(r)
	}
	x.lifted[id] = lift
	return nil
}

// outlive gives a lift's expiry that is not before its rule's.
func outlive(expires time.Time, r *Rule) time.Time {
	if expires.IsZero() || r.ExpiresAt.IsZero() {
		return time.Time{}
	}
	if r.ExpiresAt.After(expires) {
		return millis(r.ExpiresAt)
	}
	return expires
}

func (x *Index) applyLineage(g *Lineage) error {
	if g == nil {
		return fmt.Errorf("%w: an event without its lineage", ErrRecord)
	}
	if err := g.Validate(); err != nil {
		return fmt.Errorf("lineage %016x: %w", g.ID, err)
	}
	x.lines.Store(x.lines.Load().learn(g))
	return nil
}

// number gives the places of entries; lineages that are new get a number.
func (x *Index) number(entries []token.Rev) []place {
	if len(entries) == 0 {
		return nil
	}
	out := make([]place, 0, len(entries))
	l := x.lines.Load()
	for _, e := range entries {
		next, n := l.with(e.Lineage)
		if next != l {
			x.lines.Store(next)
			l = next
		}
		out = append(out, place{seq: e.Seq, line: n})
	}
	return out
}

// later gives b unless a covers it.
func (x *Index) later(a, b token.Rev) token.Rev {
	if !a.IsZero() && x.Covers(a, b) {
		return a
	}
	return b
}

func (x *Index) advance(to token.Rev) {
	if to.IsZero() {
		return
	}
	if at := x.later(x.Position(), to); at != x.Position() {
		x.position.Store(&at)
	}
}

// Rule returns a live rule.
func (x *Index) Rule(id string) (Rule, bool) {
	u, ok := parseUUID(id)
	if !ok {
		return Rule{}, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	k := x.core.Load()
	r, ok := k.find(u)
	if !ok {
		return Rule{}, false
	}
	return k.rule(r, x.lines.Load()), true
}

// Len is the number of live rules.
func (x *Index) Len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.core.Load().live()
}

// Lifted returns the lift of a rule.
func (x *Index) Lifted(ruleID string) (Lift, bool) {
	u, ok := parseUUID(ruleID)
	if !ok {
		return Lift{}, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	l, ok := x.lifted[u]
	return l, ok
}

// Lifts lists what was lifted, the oldest first.
func (x *Index) Lifts() []Lift {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make([]Lift, 0, len(x.lifted))
	for _, l := range x.lifted {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b Lift) int { return a.At.Compare(b.At) })
	return out
}

// Lineages lists the known lineages, the oldest first.
func (x *Index) Lineages() []Lineage { return x.lines.Load().list() }

// Rules yields the rules that are live, and stay so, from the start to the end of
// the walk, and perhaps others; in no particular order. The walk does not hold up
// writers.
func (x *Index) Rules() iter.Seq[Rule] {
	return func(yield func(Rule) bool) {
		k := x.core.Load()
		const burst = 256
		refs := make([]ref, 0, burst)
		flush := func() bool {
			for _, rule := range x.rules(k, refs) {
				if !yield(rule) {
					return false
				}
			}
			refs = refs[:0]
			return true
		}
		for r := range k.refs {
			if refs = append(refs, r); len(refs) == burst && !flush() {
				return
			}
		}
		flush()
	}
}

// rules makes whole rules, under the lock that what only writers touch needs.
func (x *Index) rules(k *core, refs []ref) []Rule {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make([]Rule, 0, len(refs))
	l := x.lines.Load()
	for _, r := range refs {
		if k.placesOf(r).alive() {
			out = append(out, k.rule(r, l))
		}
	}
	return out
}

// Sweep drops what has expired by now: rules, lifts, and lineages in which no live
// token can have been minted. From then on Apply and Merge leave out what had expired
// by then: an old log, or a reader that missed the lift, does not bring it back. Pass a time that lies behind every clock that has a
// say: what is dropped too early is a revocation lost.
func (x *Index) Sweep(now time.Time) (dropped int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now.After(x.swept) {
		x.swept = now
	}
	k := x.core.Load()
	for _, r := range k.expired(now.UnixMilli()) {
		k.kill(r)
		dropped++
	}
	for id, l := range x.lifted {
		if !l.ExpiresAt.IsZero() && !l.ExpiresAt.After(now) {
			delete(x.lifted, id)
			dropped++
		}
	}
	x.lines.Store(x.lines.Load().expire(now, x.retain, x.Position().Lineage))
	if dropped > 0 {
		x.changes.Add(1)
	}
	if k.deaths > k.live()/4+chunkSize {
		x.core.Store(k.compacted())
	}
	return dropped
}

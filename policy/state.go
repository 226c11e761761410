package policy

import (
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/policy/internal/condition"
	"github.com/writbroker/writ/policy/internal/match"
	"github.com/writbroker/writ/scopes"
)

// state is the working memory of one decision. It is reused: nothing in it may outlive the decision.
type state struct {
	b     *Bundle
	r     *Request
	limit time.Duration // no grant of this decision lives longer; windows are looked at so far

	ttl     time.Duration // what the grant may live, as far as is known, and what cut it to that
	ttlKind kindCode
	ttlRule int32

	parties   []party // the subject, then the actors, the current agent first
	items     []item
	parts     []part
	rows      []row
	combos    []combination
	minus     []scopes.Scope
	tagRules  []int32
	overflow  bool
	roleUsed  []bool
	usedRoles []int32

	memo  memo
	input condition.Input

	events  []event
	details []string

	hits    []match.Hit
	denies  []activeDeny
	holding []holding
	union   []scopes.Scope
}

// party is one principal of the chain, and what the bundle gives it for the tools of the request.
type party struct {
	id         string
	kind       identity.Kind
	view       condition.Party
	merged     map[string]any // view.Attributes, where they had to be merged
	roles      []heldRole
	ceilings   []ceiling
	delegated  bool
	candidates []candidate // for the tool at hand
}

// heldRole is a role that a principal holds, through one or more bindings.
type heldRole struct {
	role int32
	// until is how long some binding holds; untilExact, how long one that names the principal
	// exactly does (negative: none does).
	until, untilExact time.Duration
}

// ceiling is a delegation under which an actor acts.
type ceiling struct{ delegation int32 }

// candidate is an entry that may cover a part.
type candidate struct {
	*entry
	until, untilExact time.Duration
}

// item is one requested scope.
type item struct {
	asked   scopes.Scope
	scope   scopes.Scope // folded where the tool is case-insensitive
	tool    *tool
	actions uint64
	parts   [2]int32 // range of state.parts
	refused bool
}

// row is one part of one scope for one action: what is decided on its own.
type row struct {
	index, item, part int32
	action            uint8
	refused           bool
}

// combination is a combination of tags as one tool numbers it.
type combination struct {
	tool   *tool
	number uint64
	tags   *combo
	same   int32 // the first combination of the decision with the same tags
}

// activeDeny is a deny that names some principal of the chain.
type activeDeny struct {
	deny int32
	// who is the actor whom it names, or -1 if it names the subject: then every agent counts.
	who int
}

// holding is an entry that holds for a part, and how long.
type holding struct {
	*entry
	bound time.Duration
}

func (b *Bundle) take(r *Request) *state {
	st, ok := b.pool.Get().(*state)
	if !ok {
		st = &state{roleUsed: make([]bool, len(b.roles))}
	}
	st.b, st.r = b, r
	st.input.Task, st.input.SourceIP, st.input.Env = r.Task, r.SourceIP, b.environment
	st.input.SetTime(r.Time)
	return st
}

// give returns the state to the pool, without references to the request.
func (b *Bundle) give(st *state) {
	for _, role := range st.usedRoles {
		st.roleUsed[role] = false
	}
	for i := range st.parties {
		p := &st.parties[i]
		clear(p.merged)
		*p = party{merged: p.merged, roles: p.roles[:0], ceilings: p.ceilings[:0], candidates: p.candidates[:0]}
	}
	clear(st.items)
	clear(st.parts)
	clear(st.minus)
	clear(st.combos)
	clear(st.details)
	clear(st.union[:cap(st.union)])
	st.parties, st.items, st.parts, st.rows = st.parties[:0], st.items[:0], st.parts[:0], st.rows[:0]
	st.combos, st.minus, st.usedRoles, st.overflow = st.combos[:0], st.minus[:0], st.usedRoles[:0], false
	st.events, st.details, st.denies = st.events[:0], st.details[:0], st.denies[:0]
	st.memo.reset()
	st.input = condition.Input{}
	st.b, st.r = nil, nil
	b.pool.Put(st)
}

// addPart keeps a part that the splitter found, and a row for each action of the item at hand.
func (st *state) addPart(t *tool, base scopes.Scope, minus []scopes.Scope, number uint64, rules []int32) {
	it := &st.items[len(st.items)-1]
	if len(st.rows)+onesCount(it.actions) > MaxParts {
		st.overflow = true
		return
	}
	index := int32(len(st.parts))
	combo := st.intern(t, number)
	st.parts = append(st.parts, part{
		base: base, literal: literalPrefix(base.Resource()), minus: minus, tags: st.combos[combo].tags, combo: combo,
	})
	for action := range t.Tool.Actions {
		if it.actions&(1<<action) == 0 {
			continue
		}
		n := int32(len(st.rows))
		for _, rule := range rules {
			st.event(kindTag, rule, -1, n, effectNone)
		}
		st.rows = append(st.rows, row{index: n, item: int32(len(st.items) - 1), part: index, action: uint8(action)})
	}
}

// intern numbers the combinations of tags of a decision: equal tags, equal number, whatever the tool.
func (st *state) intern(t *tool, number uint64) int32 {
	for i := range st.combos {
		if c := &st.combos[i]; c.number == number && c.tool == t {
			return c.same
		}
	}
	c := combination{t, number, t.combination(number), int32(len(st.combos))}
	for i := range st.combos {
		if st.combos[i].tags.text == c.tags.text {
			c.same = st.combos[i].same
			break
		}
	}
	st.combos = append(st.combos, c)
	return c.same
}

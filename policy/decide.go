package policy

import (
	"cmp"
	"slices"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/scopes"
)

// decide decides every row. Whatever refuses one is found for all of them, so that the trace is
// complete.
func (st *state) decide() Reason {
	if st.overflow {
		st.note(effectTooManyParts)
		return ReasonParts
	}
	reason := ReasonNone
	for who := 1; who < len(st.parties); who++ {
		if !st.parties[who].delegated {
			st.event(kindDelegation, -1, who, -1, effectNotDelegated)
			reason = ReasonDelegation
		}
	}
	var last *tool
	for i := range st.rows {
		rw := &st.rows[i]
		if it := &st.items[rw.item]; it.tool != last {
			last = it.tool
			st.gather(last)
		}
		if !st.decideRow(rw) {
			rw.refused = true
			st.items[rw.item].refused = true
		}
	}
	st.toolLimits()
	for i := range st.items {
		if st.items[i].refused {
			return firstReason(reason, ReasonScope)
		}
	}
	if reason == ReasonNone && st.ttl < time.Second {
		return ReasonTTL
	}
	return reason
}

// gather collects what each principal's roles grant for a tool.
func (st *state) gather(t *tool) {
	for who := range st.parties {
		p := &st.parties[who]
		p.candidates = p.candidates[:0]
		for _, held := range p.roles {
			entries := st.b.roles[held.role].entries.of(t.index)
			for i := range entries {
				p.candidates = append(p.candidates, candidate{&entries[i], held.until, held.untilExact})
			}
		}
	}
}

// decideRow decides one part for one action: the heart of it. Every check is made, whatever those
// before it said.
func (st *state) decideRow(rw *row) bool {
	allowed := st.administration(rw)
	if st.denied(rw) {
		allowed = false
	}
	for who := range st.parties {
		if !st.granted(rw, who) {
			allowed = false
		}
		if who > 0 && !st.underCeiling(rw, who) {
			allowed = false
		}
	}
	return st.withinParent(rw) && allowed
}

// administration is never delegated: neither through actors nor from a token that has some.
func (st *state) administration(rw *row) bool {
	if !st.isAdministration(rw) {
		return true
	}
	if len(st.parties) > 1 || st.r.Parent != nil && st.r.Parent.Depth > 0 {
		st.rowEvent(kindDelegation, -1, 0, rw, effectAdministration)
		return false
	}
	return true
}

func (st *state) isAdministration(rw *row) bool {
	return st.items[rw.item].tool.administration&(1<<rw.action) != 0
}

// granted says whether the roles of a principal cover the row, and cuts the life of the grant to
// the grants' limits and windows.
func (st *state) granted(rw *row, who int) bool {
	p := &st.parties[who]
	exactOnly := st.isAdministration(rw) && p.kind != identity.KindUser
	st.holding = st.holding[:0]
	for i := range p.candidates {
		c := &p.candidates[i]
		held := c.until
		if exactOnly {
			held = c.untilExact
		}
		st.consider(c.entry, held, rw, who, kindGrant)
	}
	ok := st.cover(rw)
	if !ok {
		st.rowEvent(kindGrant, -1, who, rw, effectNotCovered)
		return false
	}
	for i := range st.holding {
		if role := st.holding[i].owner; !st.roleUsed[role] {
			st.roleUsed[role] = true
			st.usedRoles = append(st.usedRoles, role)
		}
	}
	return true
}

// underCeiling says whether the delegations of an actor cover the row.
func (st *state) underCeiling(rw *row, who int) bool {
	st.holding = st.holding[:0]
	t := st.items[rw.item].tool.index
	for _, c := range st.parties[who].ceilings {
		entries := st.b.delegations[c.delegation].entries.of(t)
		for i := range entries {
			st.consider(&entries[i], maxDuration, rw, who, kindCeiling)
		}
	}
	if !st.cover(rw) {
		st.rowEvent(kindCeiling, -1, who, rw, effectNotCovered)
		return false
	}
	return true
}

// consider adds an entry to those that hold for the row, if it does and has to do with it.
func (st *state) consider(e *entry, held time.Duration, rw *row, who int, kind kindCode) {
	p := &st.parts[rw.part]
	if e.actions&(1<<rw.action) == 0 || apart(e.literal, p.literal) || !e.resource.OverlapsResource(p.base) {
		return
	}
	for i := range p.minus {
		if p.minus[i].CoversResource(e.resource) {
			return // it grants only what other parts hold
		}
	}
	v := st.judge(e.when, rw, st.agent(who))
	switch {
	case v.outcome != isTrue:
		st.verdictEvent(kind, e.rule, who, rw.index, v, effectNone)
		return
	case held < 0:
		st.rowEvent(kind, e.rule, who, rw, effectNotExact)
		return
	}
	bound := min(held, v.until)
	if e.maxTTL > 0 {
		bound = min(bound, e.maxTTL)
	}
	st.rowEvent(kind, e.rule, who, rw, effectAllows)
	st.holding = append(st.holding, holding{e, bound})
}

// cover says whether the entries that hold cover the row's part together, and cuts the life of the
// grant to that of the longest-lived ones that do.
func (st *state) cover(rw *row) bool {
	p := &st.parts[rw.part]
	best, longest := time.Duration(-1), time.Duration(-1)
	var by *entry
	for i := range st.holding {
		h := &st.holding[i]
		longest = max(longest, h.bound)
		if h.bound > best && h.resource.CoversResource(p.base) {
			best, by = h.bound, h.entry
		}
	}
	if longest > best && best < st.limit {
		if together, last := st.coverTogether(p, best); together > best {
			best, by = together, last
		}
	}
	if best < 0 {
		return false
	}
	st.cut(best, kindGrant, by.rule)
	return true
}

// coverTogether is the greatest bound, above least, such that the entries which hold that long
// cover the part between them; negative if there is none.
func (st *state) coverTogether(p *part, least time.Duration) (time.Duration, *entry) {
	slices.SortStableFunc(st.holding, func(a, b holding) int { return cmp.Compare(b.bound, a.bound) })
	st.union = append(st.union[:0], p.minus...)
	for i := range st.holding {
		h := &st.holding[i]
		if h.bound <= least {
			break
		}
		st.union = append(st.union, h.resource)
		last := i+1 == len(st.holding) || st.holding[i+1].bound != h.bound
		if last && scopes.MinusIsEmpty(p.base, st.union) {
			return h.bound, h.entry
		}
	}
	return -1, nil
}

// withinParent says whether the parent's scopes cover the row's scope and action.
func (st *state) withinParent(rw *row) bool {
	if st.r.Parent == nil {
		return true
	}
	it := &st.items[rw.item]
	s := it.scope.WithAction(it.tool.Tool.Actions[rw.action])
	if st.r.Parent.Scopes.Covers(s, nil) {
		return true
	}
	st.rowEvent(kindParent, -1, -1, rw, effectOutsideParent)
	return false
}

// cut shortens the life of the grant, and keeps what did.
func (st *state) cut(to time.Duration, kind kindCode, rule int32) {
	if to < st.ttl {
		st.ttl, st.ttlKind, st.ttlRule = to, kind, rule
	}
}

// toolLimits cuts the life of the grant to the tools' limits.
func (st *state) toolLimits() {
	for i := range st.items {
		if t := st.items[i].tool; t != nil && t.MaxTTL > 0 {
			st.cut(t.MaxTTL, kindTool, t.rule)
		}
	}
}

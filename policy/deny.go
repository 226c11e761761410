package policy

import "github.com/writbroker/writ/scopes"

// denied says whether some deny applies to some of the row. A deny that does not apply yet cuts the
// life of the grant to where it starts.
func (st *state) denied(rw *row) bool {
	t := st.items[rw.item].tool
	denied := false
	for i := range t.denies {
		if st.denyMeets(&t.denies[i], rw, -1) {
			denied = true
		}
	}
	for _, active := range st.denies {
		entries := st.b.denies[active.deny].entries.of(t.index)
		for i := range entries {
			if st.denyMeets(&entries[i], rw, active.who) {
				denied = true
			}
		}
	}
	return denied
}

// denyMeets says whether one scope of a deny meets some of the row and the deny applies there.
// Where who is negative, it applies if it does for any agent of the chain.
func (st *state) denyMeets(e *entry, rw *row, who int) bool {
	p := &st.parts[rw.part]
	if e.actions&(1<<rw.action) == 0 || apart(e.literal, p.literal) || !p.meets(e.resource) {
		return false
	}
	d := &st.b.denies[e.owner]
	first, last := who, who
	if who < 0 {
		first, last = st.agent(0), len(st.parties)-1
		if !d.readsAgent {
			last = first
		}
	}
	applies := false
	for agent := first; agent <= last; agent++ {
		if st.denyApplies(d, rw, agent) {
			applies = true
		}
	}
	return applies
}

// meets says whether a pattern matches some resource of the part. Its action must be AnyAction.
func (p *part) meets(pattern scopes.Scope) bool {
	if !pattern.OverlapsResource(p.base) {
		return false
	}
	if len(p.minus) == 0 || pattern.CoversResource(p.base) {
		return true // a part is never empty
	}
	region, ok := p.base.Intersect(pattern)
	return !ok || !scopes.MinusIsEmpty(region, p.minus)
}

// denyApplies evaluates a deny for one agent. An error applies it, in whichever condition. If it
// does not apply now, the life of the grant ends where it might.
func (st *state) denyApplies(d *deny, rw *row, agent int) bool {
	when := st.judge(d.when, rw, agent)
	if when.outcome == isFalse {
		st.rowEvent(kindDeny, d.rule, agent, rw, effectDenyWhen)
		st.cut(when.until, kindDeny, d.rule)
		return false
	}
	if when.outcome == isTrue && d.unless != noCondition {
		unless := st.judge(d.unless, rw, agent)
		if unless.outcome == isTrue {
			st.rowEvent(kindDeny, d.rule, agent, rw, effectDenyUnless)
			st.cut(min(when.until, unless.until), kindDeny, d.rule)
			return false
		}
		when.detail = max(when.detail, unless.detail)
	}
	effect := effectDenies
	if when.detail >= 0 {
		effect = effectDeniesError
	}
	st.add(event{kind: kindDeny, rule: d.rule, who: int8(agent), row: rw.index, effect: effect, detail: when.detail})
	return true
}

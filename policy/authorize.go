package policy

import (
	"maps"
	"slices"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/policy/internal/condition"
	"github.com/writbroker/writ/scopes"
)

// Authorize decides a request. It never stops at the first match, so its trace is complete. It is
// deterministic and safe for concurrent use.
//
// Each requested scope is split into parts of equal tags; each part is decided for each of its
// actions: no deny may apply to any of it, and for the subject and every agent, grants that hold
// must cover all of it, as must the ceilings of each agent's delegations and the parent's scopes.
func (b *Bundle) Authorize(r Request) Decision {
	st := b.take(&r)
	defer b.give(st)
	reason := st.prepare()
	if reason == ReasonNone || reason == ReasonTarget {
		reason = firstReason(reason, st.decide())
	}
	return st.decision(reason)
}

func firstReason(a, b Reason) Reason {
	if a != ReasonNone {
		return a
	}
	return b
}

// prepare reads the request: who, what, and into which parts it falls. The reasons it gives are
// those that leave nothing to decide, and ReasonTarget.
func (st *state) prepare() Reason {
	st.limit = st.b.lifetime(st.r)
	st.ttl, st.ttlKind, st.ttlRule = st.limit, kindRequest, -1
	if !st.chain() {
		return ReasonDelegation
	}
	st.principals()
	asked, ok := st.requested()
	if !ok {
		return ReasonProfile
	}
	if len(asked) > scopes.MaxSetScopes {
		st.note(effectTooManyScopes)
		return ReasonParts
	}
	for _, s := range asked {
		st.resolve(s)
	}
	return st.target()
}

// chain says whether the chain of actors can be looked at: not too long, and no shorter than the
// parent's, whose actors must not be shed by leaving them out.
func (st *state) chain() bool {
	if len(st.r.Actors) > MaxDepth {
		st.note(effectChainTooLong)
		return false
	}
	if st.r.Parent != nil && len(st.r.Actors) < st.r.Parent.Depth {
		st.note(effectActorShed)
		return false
	}
	return true
}

// lifetime is the least of what was asked for, the server's limit and the parent's remaining life.
func (b *Bundle) lifetime(r *Request) time.Duration {
	limit := r.TTL
	if limit == 0 {
		limit = b.options.DefaultTTL
	}
	limit = min(limit, b.options.MaxTTL)
	if r.Parent != nil {
		limit = min(limit, r.Parent.Remaining)
	}
	return limit
}

// principals looks up what the bundle says of each principal of the chain.
func (st *state) principals() {
	st.addParty(&st.r.Subject)
	for i := range st.r.Actors {
		st.addParty(&st.r.Actors[i])
	}
	for i := range st.parties {
		st.holdRoles(i)
	}
	st.namedDenies()
	for i := 1; i < len(st.parties); i++ {
		st.delegate(i)
	}
}

// agent is the index of the agent whom conditions see when the rule is about party who: an agent
// itself, or for the subject the current agent.
func (st *state) agent(who int) int {
	if who == 0 && len(st.parties) > 1 {
		return 1
	}
	return who
}

// addParty makes a principal's view: its verified attributes, over which the inventory's win.
func (st *state) addParty(p *identity.Principal) {
	if len(st.parties) < cap(st.parties) {
		st.parties = st.parties[:len(st.parties)+1]
	} else {
		st.parties = append(st.parties, party{})
	}
	who := len(st.parties) - 1
	to := &st.parties[who]
	to.id, to.kind = p.ID, p.Kind
	to.view = condition.Party{ID: p.ID, Issuer: p.Issuer, Source: p.Source, Kind: string(p.Kind), Attributes: p.Attributes, Partial: p.Partial}
	st.hits = st.b.inventoryIndex.Find(p.ID, st.hits[:0])
	for n, hit := range st.hits {
		rule := &st.b.inventory[hit.Rule]
		if n == 0 && len(st.hits) == 1 && len(p.Attributes) == 0 {
			to.view.Attributes = rule.attributes
		} else {
			st.merge(to, n, p, rule)
		}
		st.event(kindInventory, rule.rule, who, -1, effectAttributes)
	}
}

func (st *state) merge(to *party, n int, p *identity.Principal, rule *inventoryRule) {
	if to.merged == nil {
		to.merged = map[string]any{}
	}
	if n == 0 {
		maps.Copy(to.merged, p.Attributes)
		to.view.Attributes = to.merged
	}
	maps.Copy(to.merged, rule.attributes)
	for _, k := range rule.keys {
		if _, claimed := p.Attributes[k]; claimed {
			st.eventDetail(kindInventory, rule.rule, len(st.parties)-1, effectOverrides, k)
		}
	}
}

// holdRoles finds the bindings of a principal and the roles that they give.
func (st *state) holdRoles(who int) {
	p := &st.parties[who]
	st.hits = st.b.bindingIndex.Find(p.id, st.hits[:0])
	for _, hit := range st.hits {
		binding := &st.b.bindings[hit.Rule]
		v := st.judge(binding.when, nil, st.agent(who))
		st.verdictEvent(kindBinding, binding.rule, who, -1, v, effectBinds)
		if v.outcome != isTrue {
			continue
		}
		exact := time.Duration(-1)
		if hit.Exact {
			exact = v.until
		}
		for _, role := range binding.roles {
			p.roles = append(p.roles, heldRole{role, v.until, exact})
		}
	}
	p.roles = mergeRoles(p.roles)
}

// mergeRoles sorts roles and keeps one of each, with the longest of its bindings' windows.
func mergeRoles(roles []heldRole) []heldRole {
	slices.SortFunc(roles, func(a, b heldRole) int { return int(a.role) - int(b.role) })
	n := 0
	for i, r := range roles {
		if i > 0 && roles[n-1].role == r.role {
			roles[n-1].until = max(roles[n-1].until, r.until)
			roles[n-1].untilExact = max(roles[n-1].untilExact, r.untilExact)
			continue
		}
		roles[n] = r
		n++
	}
	return roles[:n]
}

// namedDenies finds the denies that name some principal of the chain.
func (st *state) namedDenies() {
	for who := range st.parties {
		st.hits = st.b.denyIndex.Find(st.parties[who].id, st.hits[:0])
		for _, hit := range st.hits {
			as := who
			if who == 0 {
				as = -1
			}
			st.denies = append(st.denies, activeDeny{hit.Rule, as})
		}
	}
}

// delegate finds the delegations that allow an actor to act for the subject at its depth: the actor
// nearest to the subject, who is last, has depth 1.
func (st *state) delegate(who int) {
	p := &st.parties[who]
	depth := len(st.parties) - who
	st.hits = st.b.delegationIndex.Find(p.id, st.hits[:0])
	found := len(st.hits)
	for i := range found {
		index := st.hits[i].Rule
		d := &st.b.delegations[index]
		st.hits = d.subjects.Find(st.parties[0].id, st.hits[:found])
		switch {
		case len(st.hits) == found:
			continue // a delegation for other subjects
		case depth > d.maxDepth:
			st.event(kindDelegation, d.rule, who, -1, effectTooDeep)
			continue
		case d.early:
			v := st.judge(d.when, nil, who)
			st.verdictEvent(kindDelegation, d.rule, who, -1, v, effectDelegates)
			if v.outcome != isTrue {
				continue
			}
		default:
			st.event(kindDelegation, d.rule, who, -1, effectDelegatesInParts)
		}
		p.ceilings = append(p.ceilings, ceiling{index})
		p.delegated = true
	}
}

// requested is what was asked for: the scopes of the request, or else the profile of the current
// agent. From a parent without a profile it is all of the parent's scopes; with one, what of the
// profile lies within them.
func (st *state) requested() ([]scopes.Scope, bool) {
	if len(st.r.Scopes) > 0 {
		return st.r.Scopes, true
	}
	named, ok := st.profile()
	switch {
	case !ok:
		return nil, false
	case st.r.Parent == nil:
		return named, len(named) > 0
	case len(named) == 0:
		return slices.Collect(st.r.Parent.Scopes.All()), !st.r.Parent.Scopes.IsEmpty()
	}
	set, err := scopes.NewSet(named...)
	if err == nil {
		set, err = set.Intersect(st.r.Parent.Scopes)
	}
	if err != nil || set.IsEmpty() {
		st.note(effectProfileOutside)
		return nil, false
	}
	return slices.Collect(set.All()), true
}

// profile finds the profile of the current agent: that of a binding that names it exactly, else of
// the one whose pattern fixes most of its id. Two that disagree are no profile.
func (st *state) profile() ([]scopes.Scope, bool) {
	best, rank, clash := int32(-1), -1, false
	st.hits = st.b.bindingIndex.Find(st.r.Agent().ID, st.hits[:0])
	for _, hit := range st.hits {
		binding := &st.b.bindings[hit.Rule]
		who := st.agent(0)
		if binding.profile < 0 || st.judge(binding.when, nil, who).outcome != isTrue {
			continue
		}
		specific := int(hit.Fixed) // an exact id fixes more bytes than any pattern that matches it
		switch {
		case specific > rank:
			best, rank, clash = binding.profile, specific, false
		case specific == rank && binding.profile != best:
			clash = true
		}
	}
	switch {
	case clash:
		st.note(effectProfileClash)
		return nil, false
	case best < 0:
		if st.r.Parent == nil {
			st.note(effectNoProfile)
		}
		return nil, st.r.Parent != nil
	}
	st.event(kindProfile, st.b.profiles[best].rule, st.agent(0), -1, effectProfile)
	return st.b.profiles[best].scopes, true
}

// resolve adds a requested scope and splits it into parts.
func (st *state) resolve(asked scopes.Scope) {
	st.items = append(st.items, item{asked: asked, scope: asked})
	it := &st.items[len(st.items)-1]
	first := len(st.parts)
	t, ok := st.b.catalog.byName[asked.Tool()]
	switch {
	case !ok:
		it.refused = true
		st.eventDetail(kindRequest, -1, -1, effectUnknownTool, asked.String())
	case t.actionSet(asked.Action()) == 0:
		it.refused = true
		st.eventDetail(kindRequest, -1, -1, effectUnknownAction, asked.String())
	default:
		it.tool, it.actions = t, t.actionSet(asked.Action())
		if t.CaseInsensitive {
			folded, err := asked.Fold()
			if err != nil {
				it.refused = true
				st.eventDetail(kindRequest, -1, -1, effectNotASCII, asked.String())
				break
			}
			it.scope = folded
		}
		st.split(t, it.scope)
	}
	it.parts = [2]int32{int32(first), int32(len(st.parts))}
}

// target checks the audiences that were asked for.
func (st *state) target() Reason {
	if len(st.r.Audiences) == 0 {
		return ReasonNone
	}
	reason := ReasonNone
	for _, audience := range st.r.Audiences {
		if len(st.b.catalog.byAudience[audience]) == 0 {
			st.eventDetail(kindRequest, -1, -1, effectUnknownAudience, audience)
			reason = ReasonTarget
		}
	}
	for i := range st.items {
		if it := &st.items[i]; it.tool != nil && !slices.Contains(st.r.Audiences, it.tool.Audience) {
			st.eventDetail(kindRequest, -1, -1, effectOtherAudience, it.asked.String())
			it.refused, reason = true, ReasonTarget
		}
	}
	return reason
}

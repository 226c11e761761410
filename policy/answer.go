package policy

import (
	"slices"
	"time"

	"github.com/writbroker/writ/scopes"
)

// decision makes the answer.
func (st *state) decision(reason Reason) Decision {
	d := Decision{ID: st.r.ID, Reason: reason, PolicyVersion: st.b.version}
	if st.ttlKind != 0 {
		st.event(kindTTL, st.ttlRule, -1, -1, effectCuts)
	}
	if reason == ReasonNone {
		d.Grant, d.Reason = st.grant()
		d.Allowed = d.Grant != nil
	}
	if !d.Allowed {
		d.Refused = st.refusedScopes()
	}
	d.Trace = st.keepTrace(d.Allowed)
	return d
}

// refusedScopes are the scopes that were refused, or all where nothing was decided.
func (st *state) refusedScopes() []scopes.Scope {
	var refused []scopes.Scope
	for i := range st.items {
		if st.items[i].refused {
			refused = append(refused, st.items[i].asked)
		}
	}
	if len(refused) > 0 {
		return refused
	}
	return slices.Clone(st.r.Scopes)
}

// grant makes the grant. It is called only when every row is allowed.
func (st *state) grant() (*Grant, Reason) {
	named := make([]scopes.Scope, 0, len(st.items))
	for i := range st.items {
		it := &st.items[i]
		for action, name := range it.tool.Tool.Actions {
			if it.actions&(1<<action) != 0 {
				named = append(named, it.scope.WithAction(name))
			}
		}
	}
	set, err := scopes.NewSet(named...)
	if err != nil || set.IsEmpty() {
		st.note(effectTooManyScopes)
		return nil, ReasonParts
	}
	g := &Grant{
		decisionID: st.r.ID, policy: st.b.short, subject: st.r.Subject.ID, task: st.r.Task,
		scopes: set, ttl: st.ttl.Truncate(time.Second),
		audience: st.audience(), roles: st.roles(), tags: st.tags(),
	}
	if len(st.r.Actors) > 0 {
		g.actors = make([]string, len(st.r.Actors))
		for i := range st.r.Actors {
			g.actors[i] = st.r.Actors[i].ID
		}
	}
	return g, ReasonNone
}

func (st *state) audience() []string {
	audience := make([]string, 0, 2)
	for i := range st.items {
		if a := st.items[i].tool.Audience; !slices.Contains(audience, a) {
			audience = append(audience, a)
		}
	}
	slices.Sort(audience)
	return audience
}

// roles are the names of the roles that gave something, and the parent's.
func (st *state) roles() []string {
	slices.Sort(st.usedRoles) // in the order of their names
	extra := 0
	if st.r.Parent != nil {
		extra = len(st.r.Parent.Roles)
	}
	names := make([]string, 0, len(st.usedRoles)+extra)
	for _, role := range st.usedRoles {
		names = append(names, st.b.roles[role].name)
	}
	if extra > 0 {
		names = append(names, st.r.Parent.Roles...)
		slices.Sort(names)
		names = slices.Compact(names)
	}
	return names
}

func (st *state) tags() []map[string]string {
	var all []map[string]string
	for i := range st.combos {
		if c := &st.combos[i]; int(c.same) == i && len(c.tags.tags) > 0 {
			all = append(all, c.tags.tags)
		}
	}
	return all
}

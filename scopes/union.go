package scopes

// CoversAll says whether every access that s matches is matched by some member
// of union, which may be of any size. Where the action of s is AnyAction,
// actions are the tool's; if there are none, only members with AnyAction
// count.
func CoversAll(union []Scope, s Scope, actions []string) bool {
	if s.segments == 0 {
		return false
	}
	if !s.anyAction() {
		return coversAction(union, s, s.Action())
	}
	if coversAction(union, s, AnyAction) {
		return true
	}
	for _, action := range actions {
		if !coversAction(union, s, action) {
			return false
		}
	}
	return len(actions) > 0
}

// coversAction is CoversAll for one action of s. The members that hold for it
// are those that name it and those with AnyAction.
func coversAction(union []Scope, s Scope, action string) bool {
	var covered lengths
	for i := range union {
		u := &union[i]
		if u.segments == 0 || !u.sameTool(s) || !u.anyAction() && u.Action() != action {
			continue
		}
		if u.fits(s) && covers(u.Resource(), s.Resource()) {
			return true
		}
		if s.tail && u.reachesBeyond(s) {
			covered |= u.lengthsOf(s)
		}
	}
	return s.tail && covered == s.allLengths()
}

// reachesBeyond says whether s, which does not cover the tail b, may cover it
// at some lengths: a tail that begins no later covers it at all or at none.
func (s Scope) reachesBeyond(b Scope) bool {
	return s.segments > b.segments || s.segments == b.segments && !s.tail
}

// MinusIsEmpty says whether nothing is left of the resources of p once those
// of inner are taken away. Actions are ignored; a member of another tool takes
// nothing away.
func MinusIsEmpty(p Scope, inner []Scope) bool {
	if p.segments == 0 {
		return false
	}
	var covered lengths
	for i := range inner {
		u := &inner[i]
		if u.CoversResource(p) {
			return true
		}
		if p.tail && u.reachesBeyond(p) && u.sameTool(p) {
			covered |= u.lengthsOf(p)
		}
	}
	return p.tail && covered == p.allLengths()
}

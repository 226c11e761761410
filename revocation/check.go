package revocation

import (
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// check is one question to a core. It lives on the stack.
type check struct {
	k     *core
	lines *lines
	rev   token.Rev
}

// unproven reports whether a rule is alive and its minter is not shown to have
// applied it.
func (c *check) unproven(p *places) bool {
	return !p.proven(&c.k.places, c.lines, c.rev)
}

// Masks of selectors that one value of a token answers to.
const (
	asToken    = 1 << codeToken
	asSubject  = 1<<codeSubject | 1<<codeAgent
	asAgent    = 1 << codeAgent
	asTask     = 1 << codeTask
	asIssuer   = 1 << codeIssuer
	asRole     = 1 << codeRole
	asAudience = 1 << codeAudience
	asKey      = 1 << codeKey
	asScope    = 1 << codeScope
	asPolicy   = 1 << codePolicy
	asAll      = 1 << codeAll

	// asOddToken: there is a token rule whose value is no UUID.
	asOddToken = 1 << (codeAll + 1)

	// ignoresRev: whoever holds a leaked key can write any rev, and a bad policy
	// version never becomes good.
	ignoresRev = asKey | asPolicy
)

func selectorBit(s Selector) uint32 { return 1 << selectorCode(s) }

// Revoked reports whether a rule revokes the token that carries these verified
// claims and was signed by the key kid. It allocates only to describe a hit.
//
// Expiry is not looked at: check exp first. A nil c is revoked.
func (x *Index) Revoked(c *token.Claims, kid string) (*Hit, bool) {
	if c == nil {
		return &Hit{}, true
	}
	q := check{k: x.core.Load(), rev: c.Rev}
	kinds := q.k.kinds.Load()
	if kinds == 0 {
		return nil, false
	}
	q.lines = x.lines.Load()
	r, ok := q.revoked(c, kid, kinds)
	if !ok {
		return nil, false
	}
	return q.k.hit(r), true
}

func (q *check) revoked(c *token.Claims, kid string, kinds uint32) (ref, bool) {
	if kinds&(asToken|asOddToken) != 0 {
		if r, ok := q.tokens(c, kinds&asOddToken != 0); ok {
			return r, true
		}
	}
	if kinds&(asSubject|asAgent|asIssuer) != 0 {
		if r, ok := q.principals(c, kinds&asIssuer != 0); ok {
			return r, true
		}
	}
	if kinds&asKey != 0 {
		if r, ok := q.keys(c, kid); ok {
			return r, true
		}
	}
	if r, ok := q.values(c, kinds); ok {
		return r, true
	}
	if kinds&asScope != 0 {
		if r, ok := q.scopes(c.Scope); ok {
			return r, true
		}
	}
	if kinds&asAll != 0 {
		return q.all()
	}
	return ref{}, false
}

func (q *check) tokens(c *token.Claims, odd bool) (ref, bool) {
	if r, ok := q.tokenID(c.ID, odd); ok {
		return r, true
	}
	for i := range c.Ancestors {
		if r, ok := q.tokenID(c.Ancestors[i].ID, odd); ok {
			return r, true
		}
	}
	return ref{}, false
}

func (q *check) tokenID(id string, odd bool) (ref, bool) {
	h := q.k.hash(id)
	if t := q.k.byToken.Load(); t.mayHold(h) {
		if r, ok := q.compact(t, h, id); ok {
			return r, true
		}
	}
	if !odd {
		return ref{}, false
	}
	return q.value(id, asToken)
}

func (q *check) compact(t *table, h uint64, id string) (ref, bool) {
	jti, ok := parseUUID(id)
	if !ok {
		return ref{}, false
	}
	for p := t.probe(h); ; {
		i := p.next()
		if i == 0 {
			return ref{}, false
		}
		if rule := q.k.tokens.at(i); rule.jti == jti && q.unproven(&rule.places) {
			return ref{i, true}, true
		}
	}
}

// value looks for a rule with one of the wanted selectors and this value.
func (q *check) value(v string, want uint32) (ref, bool) {
	h, t := q.k.hash(v), q.k.byValue.Load()
	if !t.mayHold(h) {
		return ref{}, false
	}
	return q.valueAt(t, h, v, want)
}

func (q *check) valueAt(t *table, h uint64, v string, want uint32) (ref, bool) {
	for p := t.probe(h); ; {
		i := p.next()
		if i == 0 {
			return ref{}, false
		}
		rule := q.k.others.at(i)
		if rule.bit&want == 0 || rule.quarantine || rule.value != v {
			continue
		}
		if rule.bit&ignoresRev != 0 && rule.alive() || q.unproven(&rule.places) {
			return ref{i, false}, true
		}
	}
}

// principals looks at sub, client_id and every act.sub. A name that repeats its
// neighbour is looked up once.
func (q *check) principals(c *token.Claims, issuers bool) (ref, bool) {
	if r, ok := q.principal(c.Subject, asSubject, issuers); ok {
		return r, true
	}
	last := c.Subject
	if c.ClientID != last {
		last = c.ClientID
		if r, ok := q.principal(last, asAgent, issuers); ok {
			return r, true
		}
	}
	for a := c.Actor; a != nil; a = a.Actor {
		if a.Subject == last {
			continue
		}
		last = a.Subject
		if r, ok := q.principal(last, asAgent, issuers); ok {
			return r, true
		}
	}
	return ref{}, false
}

func (q *check) principal(id string, want uint32, issuers bool) (ref, bool) {
	if r, ok := q.value(id, want); ok || !issuers {
		return r, ok
	}
	return q.issuer(id)
}

// issuer looks for a rule whose value is a prefix of the id. Prefixes end in ':' or
// '/', so only few lengths are ever hashed.
func (q *check) issuer(id string) (ref, bool) {
	lengths := q.k.lengths.Load()
	if lengths == nil {
		return ref{}, false
	}
	for _, n := range *lengths {
		if n > len(id) {
			break
		}
		if end := id[n-1]; end != ':' && end != '/' {
			continue
		}
		if r, ok := q.value(id[:n], asIssuer); ok {
			return r, true
		}
	}
	return ref{}, false
}

func (q *check) keys(c *token.Claims, kid string) (ref, bool) {
	if r, ok := q.value(kid, asKey); ok {
		return r, true
	}
	last := kid
	for i := range c.Ancestors {
		if c.Ancestors[i].KeyID == last {
			continue
		}
		last = c.Ancestors[i].KeyID
		if r, ok := q.value(last, asKey); ok {
			return r, true
		}
	}
	return ref{}, false
}

func (q *check) values(c *token.Claims, kinds uint32) (ref, bool) {
	if kinds&asPolicy != 0 {
		if r, ok := q.value(c.Policy, asPolicy); ok {
			return r, true
		}
	}
	if kinds&asTask != 0 && c.Task != "" {
		if r, ok := q.value(c.Task, asTask); ok {
			return r, true
		}
	}
	if kinds&asAudience != 0 {
		for _, v := range c.Audience {
			if r, ok := q.value(v, asAudience); ok {
				return r, true
			}
		}
	}
	if kinds&asRole != 0 {
		for _, v := range c.Roles {
			if r, ok := q.value(v, asRole); ok {
				return r, true
			}
		}
	}
	return ref{}, false
}

// scopes asks the trie for each scope. A set is sorted, so neighbours often share
// tool and action.
func (q *check) scopes(set scopes.Set) (ref, bool) {
	s := scopeQuery{trie: &q.k.trie, check: *q}
	heads, tools := q.k.trie.heads.Load(), q.k.trie.tools.Load()
	var last string
	var named, every *node
	for i := range set.Len() {
		scope := set.At(i)
		tool, action := scope.Tool(), scope.Action()
		if action == scopes.AnyAction {
			if r := s.findAnyAction(tool, scope.Resource()); r != 0 {
				return ref{r, false}, true
			}
			continue
		}
		isNamed := heads&headBit(tool, action) != 0
		isTool := tools&headBit(tool, scopes.AnyAction) != 0
		if !isNamed && !isTool {
			continue
		}
		if h := scope.String()[:len(tool)+1+len(action)]; h != last {
			last, named, every = h, nil, nil
			if isNamed {
				named = s.edge(&s.root, s.hash(h), h, false)
			}
			if isTool {
				every = s.edge(&s.root, s.hash(tool), tool, false)
			}
		}
		if named == nil && every == nil {
			continue
		}
		if r := s.find(named, every, scope.Resource()); r != 0 {
			return ref{r, false}, true
		}
	}
	return ref{}, false
}

func (q *check) all() (ref, bool) {
	rules := q.k.all.Load()
	if rules == nil {
		return ref{}, false
	}
	for _, i := range *rules {
		if rule := q.k.others.at(i); !rule.quarantine && q.unproven(&rule.places) {
			return ref{i, false}, true
		}
	}
	return ref{}, false
}

// RefusesForeign reports whether a rule refuses an identity source's token: a rule
// about its jti, or one about its principals or their issuer that is not older than
// the token. Here clocks are compared, there is nothing else: the source's own may
// be Options.ForeignSkew ahead, and a token that does not say when it was issued is
// older than every rule.
func (x *Index) RefusesForeign(t ForeignToken) (*Hit, bool) {
	q := check{k: x.core.Load(), lines: x.lines.Load()}
	if t.TokenID != "" {
		if r, ok := q.tokenID(t.TokenID, true); ok {
			return q.k.hit(r), true
		}
	}
	since := int64(0)
	if !t.IssuedAt.IsZero() {
		since = t.IssuedAt.Add(-x.foreignSkew).UnixMilli()
	}
	older := func(o *otherRule) bool { return !o.quarantine && o.times.created().UnixMilli() >= since }
	if r, ok := q.named(t.Subject, asSubject|asIssuer, older); ok {
		return q.k.hit(r), true
	}
	for _, id := range t.Actors {
		if r, ok := q.named(id, asAgent|asIssuer, older); ok {
			return q.k.hit(r), true
		}
	}
	return nil, false
}

// Quarantined reports whether one of these principals, or the issuer of one, or
// everything is under quarantine.
func (x *Index) Quarantined(ids ...string) (*Hit, bool) {
	q := check{k: x.core.Load()}
	quarantine := func(o *otherRule) bool { return o.quarantine }
	if rules := q.k.all.Load(); rules != nil {
		for _, i := range *rules {
			if o := q.k.others.at(i); o.quarantine && o.alive() {
				return q.k.hit(ref{i, false}), true
			}
		}
	}
	for _, id := range ids {
		if r, ok := q.named(id, asSubject|asIssuer, quarantine); ok {
			return q.k.hit(r), true
		}
	}
	return nil, false
}

// named looks for a live rule about a principal or its issuer that accept takes.
func (q *check) named(id string, want uint32, accept func(*otherRule) bool) (ref, bool) {
	if r, ok := q.accepted(id, want&^asIssuer, accept); ok {
		return r, true
	}
	lengths := q.k.lengths.Load()
	if lengths == nil || want&asIssuer == 0 {
		return ref{}, false
	}
	for _, n := range *lengths {
		if n > len(id) {
			break
		}
		if r, ok := q.accepted(id[:n], asIssuer, accept); ok {
			return r, true
		}
	}
	return ref{}, false
}

func (q *check) accepted(v string, want uint32, accept func(*otherRule) bool) (ref, bool) {
	h := q.k.hash(v)
	t := q.k.byValue.Load()
	if !t.mayHold(h) {
		return ref{}, false
	}
	for p := t.probe(h); ; {
		i := p.next()
		if i == 0 {
			return ref{}, false
		}
		o := q.k.others.at(i)
		if o.bit&want != 0 && o.value == v && o.alive() && accept(o) {
			return ref{i, false}, true
		}
	}
}

func (k *core) hit(r ref) *Hit {
	if r.token {
		t := k.tokens.at(r.index)
		return &Hit{RuleID: t.id.text(), Selector: SelectToken, Value: t.jti.text(), CreatedAt: t.times.created()}
	}
	o := k.others.at(r.index)
	return &Hit{RuleID: o.id.text(), Selector: o.selector, Value: o.value, Quarantine: o.quarantine, CreatedAt: o.times.created()}
}

package awssts

import (
	"cmp"
	"slices"
	"strings"

	"github.com/writbroker/writ/mint/awssts/iam"
)

// need is a pattern of an action that IAM's '*' takes too far: what has at least depth
// segments must be denied.
type need struct {
	grant  *grant
	action string
	depth  int
}

// ban is a deny: a pattern of all that is deeper, or, where that would hit too much, the
// IAM pattern of what one scope takes besides itself.
type ban struct {
	family family
	deeper *pattern
	over   *pattern // whose pattern it is of what is too long
	text   string   // IAM pattern of ARNs
	least  int      // segments that it matches at least
}

// barred is the denies that were chosen.
type barred struct {
	k        *compilation
	bans     []ban
	anywhere map[string]*element // for each action of a service
	for1     map[string]*element // for single actions
}

// denies are the statements that hold IAM's wildcards to what the scopes mean.
func (k *compilation) denies(inline []grant) ([]statement, error) {
	b := &barred{k: k, anywhere: map[string]*element{}, for1: map[string]*element{}}
	needs, strays := k.needs(inline)
	for _, n := range needs {
		if err := b.cut(n); err != nil {
			return nil, err
		}
	}
	for _, s := range strays {
		if err := b.stray(s); err != nil {
			return nil, err
		}
	}
	return b.statements(), nil
}

// statements writes the denies, those for all actions apart or with the others, as is shorter.
func (b *barred) statements() []statement {
	const why = "IAM's '*' takes separators, and nothing, where a scope's does not"
	var services []string
	together := map[string]*element{}
	for text, e := range b.anywhere {
		services = append(services, e.actions...)
		together[text] = &element{actions: b.k.reaching(e.actions), scopes: e.scopes}
	}
	for text, e := range b.for1 {
		if together[text] == nil {
			together[text] = &element{}
		}
		for _, action := range e.actions {
			add(together, text, action, e.scopes)
		}
	}
	slices.Sort(services)
	if services = slices.Compact(services); len(services) > 1 {
		services = []string{"*"}
	}
	for _, e := range b.anywhere {
		e.actions = services
	}
	apart := append(shortest(iam.Deny, b.anywhere, nil, why), shortest(iam.Deny, b.for1, nil, why)...)
	if one := shortest(iam.Deny, together, nil, why); size(one) < size(apart) {
		return one
	}
	return apart
}

// reaching are the granted actions of services that reach resources by the scopes' paths.
func (k *compilation) reaching(services []string) []string {
	var all []string
	for i := range k.all {
		t := k.all[i].target
		for _, action := range t.actions {
			if t.place != nil && t.prefix == "" && slices.Contains(services, every(action)) {
				all = append(all, action)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// stray is what a grant takes that no scope can name.
type stray struct {
	grant *grant
	texts []string
}

// needs finds what must be denied, action by action, the least deep first: a deny of it may
// serve for others.
func (k *compilation) needs(inline []grant) ([]need, []stray) {
	var needs []need
	var strays []stray
	for i := range inline {
		g := &inline[i]
		if !g.deny {
			continue
		}
		kinds := g.path.strays()
		for _, action := range g.target.actions {
			if w := widest(inline, g, action, g.target.under); w != g || g.path.tail || g.target.closed {
				continue // what holds it is cut, it reaches on by itself, or there is nothing beyond
			}
			depth, raised := k.depth(g, action)
			if depth > 0 {
				needs = append(needs, need{g, action, depth})
			}
			if raised {
				kinds |= everyStray
				if g.path.lead() == 0 {
					kinds |= everyStray << first
				}
			}
		}
		if g.target.loose && kinds != 0 {
			strays = append(strays, stray{g, kinds.texts(g.target.place.deny)})
		}
	}
	slices.SortStableFunc(needs, func(a, b need) int { return cmp.Compare(a.depth, b.depth) })
	return needs, strays
}

// maxDepth is above what any scope and mapping can have together.
const maxDepth = 128

// depth is from how many segments on what g's pattern takes is granted by nothing; zero if
// all of it is granted. Raised says that some of what is longer than g's own is.
func (k *compilation) depth(g *grant, action string) (depth int, raised bool) {
	head := g.path.segments[:g.path.lead()]
	for depth = len(g.path.segments) + 1; depth < maxDepth; depth++ {
		if k.granted(g, action, deeper(head, depth)) {
			return 0, true
		}
		if !k.granted(g, action, under(head, depth)) {
			return depth, depth > len(g.path.segments)+1
		}
	}
	return depth, true
}

// granted says whether one grant of the action holds a pattern, under no more conditions.
func (k *compilation) granted(like *grant, action string, p pattern) bool {
	key := like.target.under
	return slices.ContainsFunc(k.all, func(g grant) bool {
		return g.target.place != nil && g.target.prefix == "" && g.target.place.family == like.target.place.family &&
			slices.Contains(g.target.actions, action) && g.path.covers(p) &&
			(len(g.target.conditions) == 0 || g.target.under == key)
	})
}

// cut chooses the deny for a need: the most general that hits nothing granted, for every
// action if it can be.
func (b *barred) cut(n need) error {
	path := &n.grant.path
	head := path.segments[:path.lead()]
	if b.serves(n, head) {
		return nil
	}
	for _, action := range []string{"", n.action} {
		for length := range len(head) + 1 {
			p := deeper(head[:length], n.depth)
			family := n.grant.target.place.deny
			d := ban{family: family, deeper: &p, text: family.glob(p), least: n.depth}
			if b.hits(d, action) == 0 {
				b.keep(d, n, action)
				return nil
			}
		}
		if b.tight(n, action) {
			return nil
		}
	}
	p := deeper(head, n.depth)
	family := n.grant.target.place.deny
	return b.k.conflict(n.grant.scope, b.hits(ban{family: family, deeper: &p, text: family.glob(p), least: n.depth}, n.action))
}

// tight denies only what the pattern itself takes, if that hits nothing granted.
func (b *barred) tight(n need, action string) bool {
	path, family := &n.grant.path, n.grant.target.place.deny
	if n.depth != len(path.segments)+1 {
		return false
	}
	var bans []ban
	for _, text := range path.overflows(family.separator) {
		d := ban{family: family, over: path, text: family.root + text + family.suffix, least: n.depth}
		if b.hits(d, action) != 0 {
			return false
		}
		bans = append(bans, d)
	}
	for _, d := range bans {
		b.keep(d, n, action)
	}
	return true
}

// serves says whether a deny that was chosen already cuts all that n needs cut.
func (b *barred) serves(n need, head []segment) bool {
	for i := range b.bans {
		d := &b.bans[i]
		if d.deeper == nil || d.family != n.grant.target.place.deny || !d.deeper.covers(deeper(head, n.depth)) {
			continue
		}
		e, everywhere := b.anywhere[d.text]
		if !everywhere || !slices.Contains(e.actions, every(n.action)) {
			e = b.for1[d.text]
			if e == nil || !slices.Contains(e.actions, n.action) {
				continue
			}
		}
		e.scopes |= only(n.grant.scope)
		return true
	}
	return false
}

func (b *barred) keep(d ban, n need, action string) {
	b.bans = append(b.bans, d)
	if action == "" {
		add(b.anywhere, d.text, every(n.action), only(n.grant.scope))
	} else {
		add(b.for1, d.text, action, only(n.grant.scope))
	}
}

// every is every action of an action's service.
func every(action string) string {
	prefix, _, _ := strings.Cut(action, ":")
	return prefix + ":*"
}

// hits are the scopes of an action (of all, if it is empty) that a deny would cut.
func (b *barred) hits(d ban, action string) members {
	var hit members
	for i := range b.k.all {
		g := &b.k.all[i]
		if action != "" && !slices.Contains(g.target.actions, action) || !d.meets(g) {
			continue
		}
		hit |= only(g.scope)
	}
	return hit
}

// meets says whether a deny may cut a grant: yes, at least where it does. Within a family
// both are read by their segments, in time that grows with those alone.
func (d *ban) meets(g *grant) bool {
	if g.target.place == nil || g.target.prefix != "" || g.target.place.deny != d.family {
		return g.resource != "*" && iam.Overlap(d.text, g.resource)
	}
	if d.deeper != nil {
		return d.deeper.overlaps(g.path)
	}
	return (g.path.tail || len(g.path.segments) >= d.least) && d.over.begins(g.path) && d.over.ends(g.path)
}

// stray denies what no scope can name. In the same family that hits nothing that is granted.
func (b *barred) stray(s stray) error {
	specific := false
	for i := range b.k.all {
		g := &b.k.all[i]
		list := g.target.prefix != ""
		if g.resource == "*" || !list && g.target.place != nil && g.target.place.deny == s.grant.target.place.deny {
			continue
		}
		cut := slices.ContainsFunc(s.texts, func(text string) bool { return iam.Overlap(text, g.resource) })
		if cut && slices.ContainsFunc(g.target.actions, func(a string) bool { return slices.Contains(s.grant.target.actions, a) }) {
			return b.k.conflict(s.grant.scope, only(g.scope))
		}
		// Some stand-ins for S3 take a bucket that is listed for the bucket and a slash.
		specific = specific || cut || list && slices.ContainsFunc(s.texts, func(text string) bool { return iam.Overlap(text, g.resource+"/") })
	}
	for _, text := range s.texts {
		for _, action := range s.grant.target.actions {
			if specific {
				add(b.for1, text, action, only(s.grant.scope))
			} else {
				add(b.anywhere, text, every(action), only(s.grant.scope))
			}
		}
	}
	return nil
}

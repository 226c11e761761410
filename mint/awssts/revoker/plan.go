package revoker

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts/denylist"
)

const (
	// maxRole is how many denies of a role are told apart. A policy has room for about 150
	// sessions: beyond this, the whole role is what it comes to anyway.
	maxRole = 300
	// afterlife is how long a spent deny stays in the plan, so that each replica looks at its
	// role once more.
	afterlife = time.Hour
)

// plan is what should stand, and which rules were lifted. It is a set that only grows until its
// parts are spent: join is commutative, associative and idempotent but for what is over
// maxRole, where it errs on the side of more denied.
type plan struct {
	Denies map[mint.Deny]bool   // times are in UTC and whole seconds
	Lifted map[string]time.Time // rules, until when nobody can bring them back
}

func newPlan() *plan { return &plan{Denies: map[mint.Deny]bool{}, Lifted: map[string]time.Time{}} }

// add notes denies; it reports whether any was new. One that cannot be written is an error, and
// the others are added all the same.
func (p *plan) add(denies []mint.Deny, now time.Time) (grew bool, wrong error) {
	for _, d := range denies {
		e, err := entryOf(d).Rounded()
		if err != nil {
			wrong = err
			continue
		}
		d.Before, d.Expires = e.Before, e.Expires
		if !p.held(d) {
			p.Denies[d], grew = true, true
		}
	}
	p.coarsen(now)
	return grew, wrong
}

// held reports whether the same rule denies all of this already: a rule is looked at again and
// again, and what it came to at first stands.
func (p *plan) held(d mint.Deny) bool {
	if p.Denies[d] {
		return true
	}
	for other := range p.Denies {
		if other.Role == d.Role && (other.Rule == d.Rule || other.Rule == "") && entryOf(other).Holds(entryOf(d)) {
			return true
		}
	}
	return false
}

// lift notes that a rule is no more.
func (p *plan) lift(rule string, until time.Time) bool {
	if old, ok := p.Lifted[rule]; ok && !until.After(old) {
		return false
	}
	p.Lifted[rule] = until.UTC().Truncate(time.Second).Add(time.Second)
	return true
}

// join takes in another plan, and reports whether it held anything new.
func (p *plan) join(other *plan, now time.Time) bool {
	grew := false
	for d := range other.Denies {
		if !p.held(d) {
			p.Denies[d], grew = true, true
		}
	}
	for rule, until := range other.Lifted {
		grew = p.lift(rule, until.Add(-time.Second)) || grew
	}
	p.coarsen(now)
	return grew
}

// coarsen has one deny stand for many of a role with more than maxRole: of a source identity for
// those of its sessions, or else of the whole role. It belongs to no rule: lifting one of many
// does not end it.
func (p *plan) coarsen(now time.Time) {
	live := map[string]int{}
	for d := range p.Denies {
		if d.Expires.After(now) && p.stands(d) {
			live[d.Role]++
		}
	}
	for role, n := range live {
		if p.coarsenIdentities(role, n, now) <= maxRole {
			continue
		}
		whole := mint.Deny{Role: role, Kind: mint.DenyRole}
		for d := range p.Denies {
			if d.Role == role && d.Expires.After(now) && p.stands(d) {
				whole.Before, whole.Expires = later(whole.Before, d.Before), later(whole.Expires, d.Expires)
			}
		}
		maps.DeleteFunc(p.Denies, func(d mint.Deny, _ bool) bool { return d.Role == role })
		p.Denies[whole] = true
	}
}

// coarsenIdentities has denies of identities stand for those of their sessions, the most first,
// until n, what stands in the role, is no more than maxRole. It gives what is left of n.
func (p *plan) coarsenIdentities(role string, n int, now time.Time) int {
	sessions := map[string][]mint.Deny{}
	for d := range p.Denies {
		if d.Role == role && d.Identity != "" && d.Expires.After(now) && p.stands(d) {
			sessions[d.Identity] = append(sessions[d.Identity], d)
		}
	}
	identities := slices.SortedFunc(maps.Keys(sessions), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(sessions[b]), len(sessions[a])), strings.Compare(a, b))
	})
	for _, identity := range identities {
		if n <= maxRole || len(sessions[identity]) < 2 {
			break
		}
		one := mint.Deny{Role: role, Kind: mint.DenyIdentity, Value: identity}
		for _, d := range sessions[identity] {
			one.Before, one.Expires = later(one.Before, d.Before), later(one.Expires, d.Expires)
			delete(p.Denies, d)
		}
		p.Denies[one] = true
		n -= len(sessions[identity]) - 1
	}
	return n
}

// prune drops what nobody needs any more.
func (p *plan) prune(now time.Time) {
	maps.DeleteFunc(p.Denies, func(d mint.Deny, _ bool) bool { return d.Expires.Add(afterlife).Before(now) })
	kept := map[string]bool{}
	for d := range p.Denies {
		kept[d.Rule] = true
	}
	maps.DeleteFunc(p.Lifted, func(rule string, until time.Time) bool { return !kept[rule] && until.Add(afterlife).Before(now) })
}

func (p *plan) stands(d mint.Deny) bool {
	_, lifted := p.Lifted[d.Rule]
	return !lifted
}

// roles are those of the plan, sorted.
func (p *plan) roles() []string {
	all := map[string]bool{}
	for d := range p.Denies {
		all[d.Role] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// rules are those that something stands for.
func (p *plan) rules() []string {
	all := map[string]bool{}
	for d := range p.Denies {
		if d.Rule != "" && p.stands(d) {
			all[d.Rule] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// want is what one role's policy should say, and what it should not say any more.
type want struct{ stand, lifted []denylist.Entry }

func (p *plan) want(role string, now time.Time) want {
	var w want
	for d := range p.Denies {
		switch {
		case d.Role != role || !d.Expires.After(now):
		case p.stands(d):
			w.stand = append(w.stand, entryOf(d))
		default:
			w.lifted = append(w.lifted, entryOf(d))
		}
	}
	return w
}

func (p *plan) clone() *plan { return &plan{maps.Clone(p.Denies), maps.Clone(p.Lifted)} }

func entryOf(d mint.Deny) denylist.Entry {
	e := denylist.Entry{Value: d.Value, Identity: d.Identity, Before: d.Before, Expires: d.Expires}
	switch d.Kind {
	case mint.DenySession:
		e.Kind = denylist.SessionName
	case mint.DenyIdentity:
		e.Kind = denylist.SourceIdentity
	case mint.DenyRole:
		e.Kind = denylist.WholeRole
	}
	return e
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// planText is a plan as the cell holds it: by role and rule, which are long.
type planText struct {
	Roles  map[string]map[string][]denyText `json:"roles"`
	Lifted map[string]int64                 `json:"lifted,omitempty"`
}

type denyText struct {
	Kind     mint.DenyKind `json:"k"`
	Value    string        `json:"v,omitempty"`
	Identity string        `json:"i,omitempty"`
	Before   int64         `json:"b"`
	Expires  int64         `json:"e"`
}

func (p *plan) encode() ([]byte, error) {
	t := planText{Roles: map[string]map[string][]denyText{}, Lifted: map[string]int64{}}
	for d := range p.Denies {
		if t.Roles[d.Role] == nil {
			t.Roles[d.Role] = map[string][]denyText{}
		}
		t.Roles[d.Role][d.Rule] = append(t.Roles[d.Role][d.Rule], denyText{d.Kind, d.Value, d.Identity, d.Before.Unix(), d.Expires.Unix()})
	}
	for _, rules := range t.Roles {
		for _, list := range rules {
			slices.SortFunc(list, func(a, b denyText) int {
				return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Value, b.Value), cmp.Compare(a.Before, b.Before), cmp.Compare(a.Expires, b.Expires))
			})
		}
	}
	for rule, until := range p.Lifted {
		t.Lifted[rule] = until.Unix()
	}
	data, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encoding the plan of denies: %w", err)
	}
	return data, nil
}

func decodePlan(data []byte) (*plan, error) {
	var t planText
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("reading the plan of denies: %w", err)
	}
	p := newPlan()
	for role, rules := range t.Roles {
		for rule, list := range rules {
			for _, d := range list {
				p.Denies[mint.Deny{
					Rule: rule, Role: role, Kind: d.Kind, Value: d.Value, Identity: d.Identity, Before: time.Unix(d.Before, 0).UTC(), Expires: time.Unix(d.Expires, 0).UTC(),
				}] = true
			}
		}
	}
	for rule, until := range t.Lifted {
		p.Lifted[rule] = time.Unix(until, 0).UTC()
	}
	return p, nil
}

package awssts

import (
	"slices"

	"github.com/writbroker/writ/scopes"
)

// withManaged lets policies of the account stand for scopes until the rest fits. A policy is
// taken only if the set holds all that it allows. It returns nil if that is not enough.
func (c *Catalog) withManaged(k *compilation, role string, limit int) (*Policy, error) {
	usable := c.usable(k.set, role)
	var taken []string
	inline := k.all
	for len(taken) < MaxManagedARNs {
		var best *Policy
		var left []grant
		for _, m := range usable {
			rest := k.without(inline, m)
			if len(rest) == len(inline) {
				continue // it stands for nothing that is still there
			}
			arns := append(slices.Clone(taken), m.arn)
			written, err := k.statements(rest, arns)
			if err != nil {
				return nil, err
			}
			slices.Sort(arns)
			if p := k.policy(role, written, arns); best == nil || p.Size < best.Size {
				best, left = p, rest
			}
		}
		if best == nil {
			return nil, nil
		}
		if best.Size <= limit {
			return best, nil
		}
		taken, inline = best.ManagedARN, left
	}
	return nil, nil
}

// usable are the managed policies that allow no more than the set.
func (c *Catalog) usable(set scopes.Set, role string) []managed {
	var all []managed
	var seen string
	for s := range set.All() {
		if s.Tool() == seen {
			continue // a set is sorted by tool
		}
		seen = s.Tool()
		for _, m := range c.tools[seen].managed[role] {
			if set.CoversSet(m.scopes, nil) {
				all = append(all, m)
			}
		}
	}
	return all
}

// without are the grants of scopes that a managed policy does not hold.
func (k *compilation) without(inline []grant, m managed) []grant {
	var rest []grant
	for i := range inline {
		if !m.scopes.Covers(k.set.At(inline[i].scope), nil) {
			rest = append(rest, inline[i])
		}
	}
	return rest
}

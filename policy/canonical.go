package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/writbroker/writ/policy/internal/condition"
	"github.com/writbroker/writ/scopes"
)

// canonicalFormat is part of the canonical form: it changes whenever the same form would mean
// something else.
const canonicalFormat = "writ-policy-1"

// version is the SHA-256 of the canonical form: JSON with sorted keys, lists whose order means nothing
// sorted and without repetitions, conditions as CEL writes them. Tests are left out: they decide
// nothing.
func (c *compiler) version(s *source) string {
	form := map[string]any{
		"format": canonicalFormat,
		"tools":  canonicalList(s.tools, c.canonicalTool), "roles": canonicalList(s.roles, c.canonicalRole),
		"bindings": canonicalList(s.bindings, c.canonicalBinding), "profiles": canonicalList(s.profiles, c.canonicalProfile),
		"denies": canonicalList(s.denies, c.canonicalDeny), "delegations": canonicalList(s.delegations, c.canonicalDelegation),
		"inventory": canonicalList(s.inventory, c.canonicalInventory),
	}
	sum := sha256.Sum256([]byte(encode(form)))
	return hex.EncodeToString(sum[:])
}

// encode writes a value of maps, lists, texts, numbers and booleans; encoding/json sorts keys.
func encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		// Only what the strict reader let through can be here: NaN and infinities of an inventory.
		return err.Error()
	}
	return string(data)
}

// canonicalList writes rules and sorts what it wrote.
func canonicalList[T any](rules []T, write func(*T) map[string]any) []string {
	texts := make([]string, 0, len(rules))
	for i := range rules {
		form := write(&rules[i])
		maps.DeleteFunc(form, func(_ string, v any) bool { return v == "" || v == nil })
		texts = append(texts, encode(form))
	}
	slices.Sort(texts)
	return texts
}

func canonicalMeta(m *meta, form map[string]any) map[string]any {
	form["name"], form["description"], form["owner"], form["review_by"] = m.name, m.description, m.owner, m.reviewBy
	return form
}

func canonicalTexts(written []text) []string {
	values := make([]string, 0, len(written))
	for _, w := range written {
		values = append(values, w.Value)
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// canonicalScopes folds the scopes of case-insensitive tools.
func (c *compiler) canonicalScopes(written []text) []string {
	values := canonicalTexts(written)
	for i, value := range values {
		s, err := scopes.Parse(value)
		if err != nil {
			continue // a fault already
		}
		if t := c.bundle.catalog.byName[s.Tool()]; t != nil && t.CaseInsensitive {
			if folded, err := s.Fold(); err == nil {
				values[i] = folded.String()
			}
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}

func canonicalTTL(d time.Duration) any {
	if d == 0 {
		return nil
	}
	return int64(d / time.Second)
}

func (c *compiler) canonicalTool(s *toolSource) map[string]any {
	tags := make([]string, 0, len(s.tags))
	for i := range s.tags {
		match := s.tags[i].match.Value
		if s.caseInsensitive {
			match = strings.ToLower(match)
		}
		for _, pair := range s.tags[i].tags {
			tags = append(tags, encode([]string{match, pair.key, pair.value.Value}))
		}
	}
	slices.Sort(tags)
	return canonicalMeta(&s.meta, map[string]any{
		"audience": s.audience.Value, "actions": canonicalTexts(s.actions), "case_insensitive": s.caseInsensitive,
		"max_ttl": canonicalTTL(s.maxTTL), "tags": tags, "aws": canonicalAWS(s.aws),
	})
}

func (c *compiler) canonicalRole(s *roleSource) map[string]any {
	grants := make([]string, 0, len(s.grants))
	for i := range s.grants {
		g := &s.grants[i]
		grants = append(grants, encode([]any{
			c.canonicalScopes(g.scopes), c.canonicalCondition(g.when, condition.OnResource), canonicalTTL(g.maxTTL),
		}))
	}
	slices.Sort(grants)
	return canonicalMeta(&s.meta, map[string]any{"grants": slices.Compact(grants)})
}

func (c *compiler) canonicalBinding(s *bindingSource) map[string]any {
	return canonicalMeta(&s.meta, map[string]any{
		"principals": canonicalTexts(s.principals), "when": c.canonicalCondition(s.when, condition.OnPrincipal),
		"roles": canonicalTexts(s.roles), "profile": s.profile.Value,
	})
}

func (c *compiler) canonicalProfile(s *profileSource) map[string]any {
	return canonicalMeta(&s.meta, map[string]any{"scopes": c.canonicalScopes(s.scopes)})
}

func (c *compiler) canonicalDeny(s *denySource) map[string]any {
	return canonicalMeta(&s.meta, map[string]any{
		"scopes": c.canonicalScopes(s.scopes), "principals": canonicalTexts(s.principals),
		"when": c.canonicalCondition(s.when, condition.OnResource), "unless": c.canonicalCondition(s.unless, condition.OnResource),
	})
}

func (c *compiler) canonicalDelegation(s *delegationSource) map[string]any {
	return canonicalMeta(&s.meta, map[string]any{
		"agents": canonicalTexts(s.agents), "subjects": canonicalTexts(s.subjects), "max_depth": s.maxDepth,
		"ceiling": c.canonicalScopes(s.ceiling), "when": c.canonicalCondition(s.when, condition.OnResource),
	})
}

func (c *compiler) canonicalInventory(s *inventorySource) map[string]any {
	return canonicalMeta(&s.meta, map[string]any{"attributes": s.attributes})
}

package policy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/writbroker/writ/policy"
)

// Whatever ends, or begins to deny, within the life of a grant cuts it there.
func TestWindows(t *testing.T) {
	const at10 = `timestamp("2026-07-08T12:10:00Z")`
	for _, tt := range []struct {
		name                         string
		grant, binding, deny, unless string
		delegation                   string
		want                         time.Duration
	}{
		{name: "no window", want: 15 * time.Minute},
		{name: "a grant until", grant: "request.time < " + at10, want: 10 * time.Minute},
		{name: "a grant until and including", grant: "request.time <= " + at10, want: 10 * time.Minute},
		{name: "a binding until", binding: "request.time < " + at10, want: 10 * time.Minute},
		{name: "a delegation until", delegation: "request.time < " + at10, want: 10 * time.Minute},
		{name: "a delegation until, in parts", delegation: "request.time < " + at10 + ` && tool == "t"`, want: 10 * time.Minute},
		{name: "a grant whose condition starts to fail", grant: "request.time < " + at10 + " || agent.attributes.x == 1", want: 10 * time.Minute},
		{name: "a window that ends and goes on at once", grant: "request.time < " + at10 + " || request.time >= " + at10, want: 15 * time.Minute},
		{name: "a deny from", deny: "request.time >= " + at10, want: 10 * time.Minute},
		{name: "a deny that starts to fail", deny: "request.time >= " + at10 + " && agent.attributes.x == 1", want: 10 * time.Minute},
		{name: "an excuse until", deny: "true", unless: "request.time < " + at10, want: 10 * time.Minute},
		{name: "a deny that ends while it is excused", deny: "request.time < " + at10, unless: "true", want: 10 * time.Minute},
		{name: "a minute of the hour", grant: "request.time.getMinutes() < 7", want: 7 * time.Minute},
		{name: "an hour in a zone of its own", grant: `request.time.getHours("+05:50") == 17`, want: 10 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			when := func(key, cel string) string {
				if cel == "" {
					return ""
				}
				return fmt.Sprintf(", %s: %q", key, cel)
			}
			yaml := "kind: catalog\ntools: [{name: t, audience: a, actions: [r]}]\n---\nkind: roles\nroles:\n" +
				"- {name: main, grants: [{scopes: [\"t:r:**\"]" + when("when", tt.grant) + "}]}\n" +
				"- {name: other, grants: [{scopes: [\"t:r:**\"]}]}\n---\nkind: bindings\nbindings:\n" +
				"- {name: main, principals: [\"k:*\"], roles: [main]" + when("when", tt.binding) + "}\n" +
				"- {name: other, principals: [\"u:*\"], roles: [other]}\n---\nkind: delegations\ndelegations:\n" +
				"- {name: d, agents: [\"k:*\"], subjects: [\"u:*\"], ceiling: [\"t:r:**\"]" + when("when", tt.delegation) + "}\n"
			if tt.deny != "" {
				yaml += "---\nkind: denies\ndenies:\n- {name: d, scopes: [\"t:r:**\"]" + when("when", tt.deny) + when("unless", tt.unless) + "}\n"
			}
			b := load(t, yaml)
			check(t, b, ask(t, user("u:ann"), "t:r:x", by(workload("k:a"))), "ok", "t:r:x", tt.want)
		})
	}
}

// A grant that lives longer takes the place of one that ends, and of the limits of one.
func TestTheLongestLivedGrantsCount(t *testing.T) {
	b := load(t, `
kind: catalog
tools: [{name: t, audience: a, actions: [r]}]
---
kind: roles
roles:
- name: r
  grants:
  - {scopes: ["t:r:**"], max_ttl: 1m}
  - {scopes: ["t:r:a/**"], max_ttl: 10m}
  - {scopes: ["t:r:a/*"], max_ttl: 3m}
  - {scopes: ["t:r:a"]}
  - {scopes: ["t:r:*/**"], max_ttl: 4m}
  - {scopes: ["t:r:*"], max_ttl: 5m}
---
kind: bindings
bindings: [{name: b, principals: ["**"], roles: [r]}]
`)
	for asked, want := range map[string]time.Duration{
		"t:r:x": 5 * time.Minute, "t:r:a": 15 * time.Minute, "t:r:a/x": 10 * time.Minute,
		"t:r:x/**": 4 * time.Minute, "t:r:**": 4 * time.Minute, "t:r:a/**": 10 * time.Minute,
	} {
		check(t, b, ask(t, workload("k:a"), asked), "ok", asked, want)
	}
}

// A request that falls into too many parts is refused with a reason of its own; a smaller one is decided.
func TestTooManyParts(t *testing.T) {
	yaml := "kind: catalog\ntools:\n- name: t\n  audience: a\n  actions: [r, w]\n  tags:\n"
	for i := range 300 {
		yaml += fmt.Sprintf("  - {match: \"p%d/**\", tags: {team: \"%d\"}}\n", i, i)
	}
	b := load(t, yaml+`
---
kind: roles
roles: [{name: r, grants: [{scopes: ["t:*:**"]}]}]
---
kind: bindings
bindings: [{name: b, principals: ["**"], roles: [r]}]
`)
	check(t, b, ask(t, workload("k:a"), "t:*:**"), "parts t:*:**", "", 0)
	check(t, b, ask(t, workload("k:a"), "t:r:**"), "ok", "t:r:**", 15*time.Minute)
	check(t, b, ask(t, workload("k:a"), "t:*:p7/x"), "ok", "t:r:p7/x t:w:p7/x", 15*time.Minute)
	r := ask(t, workload("k:a"), "t:r:x")
	for range policy.MaxDepth + 1 {
		r.Actors = append(r.Actors, workload("k:b"))
	}
	if d := b.Authorize(r); d.Reason != policy.ReasonDelegation {
		t.Errorf("a chain of %d agents: %s", len(r.Actors), outcome(d))
	}
}

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Principals and scopes of the bundle.
const (
	source        = "bench" // the identity source: a cluster, by the preset for Kubernetes
	prefix        = "k8s:" + source + ":"
	probeAgent    = "team-1:probe" // matched by 20 bindings; what package policy is measured with
	securityAgent = "ops:security"
	serverAgent   = "data:warehouse"
	massRole      = "role-0" // every agent of a team has it
	toolAudience  = "https://warehouse.example.com"
	tool          = "warehouse"

	probeBindings = 20 // of which five name it by pattern
	teams         = 200
)

// probeScopes are what the probe asks for: two actions on four patterns, which the catalog's
// tags split into six parts.
var probeScopes = []string{
	"warehouse:read:sales/**", "warehouse:list:sales/**",
	"warehouse:read:hr/*/reports/**", "warehouse:list:hr/*/reports/**",
	"warehouse:read:logs/eu/*", "warehouse:list:logs/eu/*",
	"warehouse:read:ledger/**", "warehouse:list:ledger/**",
}

const catalog = `kind: catalog
tools:
  - name: warehouse
    audience: ` + toolAudience + `
    actions: [read, list, write]
    tags:
      - {match: "sales/**", tags: {classification: internal}}
      - {match: "sales/pii/**", tags: {classification: restricted}}
      - {match: "hr/**", tags: {classification: confidential}}
      - {match: "logs/**", tags: {classification: internal, region: world}}
      - {match: "logs/eu/**", tags: {region: eu}}
      - {match: "ledger/**", tags: {classification: confidential}}
      - {match: "ledger/closed/**", tags: {classification: restricted}}
  - name: mail
    audience: https://mail.example.com
    actions: [send, read]
`

// conditions are those of grants that apply to the probe; each is another one, so that none is
// answered by the evaluation of one before.
var conditions = []string{
	`resource.tags.classification != "restricted" || subject.attributes.clearance == "high"`,
	`subject.attributes.environment == "production"`,
	`resource.tags.classification in ["internal", "confidential", "restricted"]`,
	`request.task == "" || request.task.startsWith("report-")`,
	`agent.attributes.owner == "data-platform"`,
	`env.stage == "prod" || resource.tags.classification == "internal"`,
	`agent.id.startsWith("` + prefix + `")`,
	`has(subject.attributes.clearance) && subject.attributes.clearance != "none"`,
	`action != "write"`,
	`subject.source == "` + source + `"`,
}

// denies are three that overlap what the probe asks for, and do not apply to it.
const denies = `kind: denies
denies:
  - {name: sandboxes-see-no-people, scopes: ["warehouse:*:sales/pii/**"], when: subject.attributes.environment == "sandbox"}
  - {name: freeze, scopes: ["warehouse:*:ledger/closed/**"], when: env.freeze == "true"}
  - {name: eu-logs-stay, scopes: ["warehouse:*:logs/eu/**"], unless: agent.attributes.region == "eu"}
`

const inventory = `kind: inventory
principals:
  - match: ` + prefix + probeAgent + `
    attributes: {clearance: high, environment: production, owner: data-platform, region: eu}
`

// writeBundle writes a policy of so many roles and bindings to a folder.
func writeBundle(dir string, roles, bindings int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("writing policy bundle: %w", err)
	}
	for name, text := range map[string]string{
		"catalog.yaml": catalog, "denies.yaml": denies, "inventory.yaml": inventory,
		"roles.yaml": rolesYAML(roles), "bindings.yaml": bindingsYAML(roles, bindings),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("writing policy bundle: %w", err)
		}
	}
	return nil
}

// rolesYAML has a role for the probe for each of its bindings, one for each of the broker's own
// callers, and fills up with roles of teams.
func rolesYAML(n int) string {
	var b strings.Builder
	b.WriteString("kind: roles\nroles:\n")
	b.WriteString("  - {name: security, grants: [{scopes: [\"writ:revoke:**\"]}]}\n")
	b.WriteString("  - {name: resource-server, grants: [{scopes: [\"writ:feed:read\"]}]}\n")
	for i := range probeBindings {
		fmt.Fprintf(&b, "  - name: probe-%d\n    grants:\n", i)
		scope := probeScopes[i%len(probeScopes)]
		if i < len(conditions) {
			fmt.Fprintf(&b, "      - {scopes: [%q], when: %q}\n", scope, conditions[i])
		} else {
			fmt.Fprintf(&b, "      - {scopes: [%q]}\n", scope)
		}
	}
	for i := range max(0, n-probeBindings-2) {
		fmt.Fprintf(&b, "  - name: role-%d\n    grants:\n", i)
		fmt.Fprintf(&b, "      - {scopes: [\"warehouse:read:sales/eu/*\", \"warehouse:list:sales/eu/*\"], when: 'resource.tags.classification == \"internal\"'}\n")
		fmt.Fprintf(&b, "      - {scopes: [\"warehouse:write:tmp/%d/**\", \"mail:send:team-%d/*\"], max_ttl: 30m}\n", i, i%teams)
	}
	return b.String()
}

// bindingsYAML binds the probe 20 times, the broker's own callers, each team by a pattern, and
// fills up with agents, each of a team and with a binding of its own.
func bindingsYAML(roles, n int) string {
	var b strings.Builder
	b.WriteString("kind: bindings\nbindings:\n")
	bind := func(name, principal string, roles ...string) {
		fmt.Fprintf(&b, "  - {name: %s, principals: [%q], roles: [%s]}\n", name, principal, strings.Join(roles, ", "))
	}
	bind("security", prefix+securityAgent, "security")
	bind("server", prefix+serverAgent, "resource-server")
	patterns := []string{"team-1:*", "team-*:probe", "*:probe", "team-1:pro*", "**"}
	for i := range probeBindings {
		principal := probeAgent
		if i >= probeBindings-len(patterns) {
			principal = patterns[i-(probeBindings-len(patterns))]
		}
		bind(fmt.Sprintf("probe-%d", i), prefix+principal, fmt.Sprintf("probe-%d", i))
	}
	left, others := max(0, n-probeBindings-2), max(1, roles-probeBindings-2)
	byTeam := min(teams, left/4)
	for i := range byTeam {
		bind(fmt.Sprintf("team-%d", i), fmt.Sprintf("%sagents-%d:*", prefix, i), massRole)
	}
	for i := range left - byTeam {
		bind(fmt.Sprintf("agent-%d", i), prefix+agent(i), fmt.Sprintf("role-%d", 1+i%max(1, others-1)))
	}
	return b.String()
}

// agent is the id of one of the agents without the source's prefix: namespace and account.
func agent(i int) string { return fmt.Sprintf("agents-%d:agent-%d", i%teams, i) }

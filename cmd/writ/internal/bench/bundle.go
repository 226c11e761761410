package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Principals and the tool of the bundle.
const (
	source        = "bench" // the identity source: a cluster, by the preset for Kubernetes
	prefix        = "k8s:" + source + ":"
	securityAgent = "ops:security"
	serverAgent   = "data:warehouse"
	massRole      = "reader" // every agent has it
	toolAudience  = "https://warehouse.example.com"
	tool          = "warehouse"
	teams         = 200 // each is a namespace
)

const catalog = `kind: catalog
tools:
  - name: warehouse
    audience: ` + toolAudience + `
    actions: [read, list, write]
    tags:
      - {match: "sales/**", tags: {classification: internal}}
      - {match: "sales/pii/**", tags: {classification: restricted}}
      - {match: "*/eu/**", tags: {region: eu}}
  - name: mail
    audience: https://mail.example.com
    actions: [send, read]
---
kind: denies
denies:
  - {name: freeze, scopes: ["warehouse:*:sales/**"], when: env.freeze == "true"}
  - {name: restricted, scopes: ["warehouse:*:**"], when: resource.tags.classification == "restricted"}
`

// writeBundle writes a policy of so many roles and bindings to a folder. An agent holds two
// bindings: its team's, by a pattern, and its own.
func writeBundle(dir string, roles, bindings int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("writing policy bundle: %w", err)
	}
	for name, text := range map[string]string{
		"catalog.yaml": catalog, "roles.yaml": rolesYAML(roles), "bindings.yaml": bindingsYAML(roles, bindings),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("writing policy bundle: %w", err)
		}
	}
	return nil
}

const fixedRoles = 3 // those of the broker's own callers, and the one of every agent

func rolesYAML(n int) string {
	var b strings.Builder
	b.WriteString("kind: roles\nroles:\n")
	b.WriteString("  - {name: security, grants: [{scopes: [\"writ:revoke:**\", \"writ:keys:**\"]}]}\n")
	b.WriteString("  - {name: resource-server, grants: [{scopes: [\"writ:feed:read\"]}]}\n")
	fmt.Fprintf(&b, "  - {name: %s, grants: [{scopes: [\"warehouse:read:sales/**\"], when: 'resource.tags.classification == \"internal\"'}]}\n", massRole)
	for i := range max(1, n-fixedRoles) {
		fmt.Fprintf(&b, "  - name: role-%d\n    grants:\n", i)
		fmt.Fprintf(&b, "      - {scopes: [\"warehouse:list:sales/eu/*\"], when: 'resource.tags.region == \"eu\" && subject.attributes.namespace.startsWith(\"agents-\")'}\n")
		fmt.Fprintf(&b, "      - {scopes: [\"warehouse:write:tmp/%d/**\", \"mail:send:team-%d/*\"], max_ttl: 30m}\n", i, i%teams)
	}
	return b.String()
}

func bindingsYAML(roles, n int) string {
	var b strings.Builder
	b.WriteString("kind: bindings\nbindings:\n")
	bind := func(name, principal, role string) {
		fmt.Fprintf(&b, "  - {name: %s, principals: [%q], roles: [%s]}\n", name, prefix+principal, role)
	}
	bind("security", securityAgent, "security")
	bind("server", serverAgent, "resource-server")
	for i := range teams {
		bind(fmt.Sprintf("team-%d", i), fmt.Sprintf("agents-%d:*", i), massRole)
	}
	for i := range agents(n) {
		bind(fmt.Sprintf("agent-%d", i), agent(i), fmt.Sprintf("role-%d", i%max(1, roles-fixedRoles)))
	}
	return b.String()
}

// agents is how many of so many bindings are an agent's own.
func agents(bindings int) int { return max(1, bindings-teams-2) }

// agent is the id of one of the agents without the source's prefix: namespace and account.
func agent(i int) string { return fmt.Sprintf("agents-%d:agent-%d", i%teams, i) }

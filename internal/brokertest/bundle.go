package brokertest

// Bundle is the policy of a World.
const Bundle = `
kind: catalog
tools:
  - name: warehouse
    audience: https://warehouse.example
    actions: [read, write]
    tags:
      - {match: "sales/pii/**", tags: {classification: restricted}}
  - name: tickets
    audience: https://tickets.example
    actions: [read, close]
  - name: cloud
    audience: https://cloud.example
    actions: [read]
---
kind: roles
roles:
  - {name: reader, grants: [{scopes: ["warehouse:read:sales/**"]}]}
  - {name: writer, grants: [{scopes: ["warehouse:write:sales/eu/**"], max_ttl: 10m}]}
  - {name: triage, grants: [{scopes: ["tickets:*:open/**"]}]}
  - {name: cloud, grants: [{scopes: ["cloud:read:**"]}]}
  - {name: data-team, grants: [{scopes: ["warehouse:read:hr/**"], when: 'subject.attributes.team == "data"'}]}
  - {name: secops, grants: [{scopes: ["writ:revoke:**", "writ:lift:**", "writ:keys:**", "writ:policy:**", "writ:audit:**", "writ:feed:**"]}]}
  - {name: warehouse-server, grants: [{scopes: ["writ:feed:read", "writ:introspect:warehouse"]}]}
  - {name: tickets-server, grants: [{scopes: ["writ:feed:read", "writ:introspect:tickets"]}]}
---
kind: bindings
bindings:
  - {name: agents, principals: ["k8s:*", "spiffe://prod.example/**"], roles: [reader, triage, data-team]}
  - {name: analyst, principals: ["k8s:analyst"], roles: [writer, cloud], profile: analyst}
  - {name: people, principals: ["user:*", "staff:*"], roles: [reader, writer, triage, data-team]}
  - {name: security, principals: ["user:sec", "k8s:sentinel"], roles: [secops]}
  - {name: warehouse, principals: ["k8s:warehouse-api", "spiffe://prod.example/warehouse-api"], roles: [warehouse-server]}
  - {name: tickets, principals: ["k8s:tickets-api"], roles: [tickets-server]}
---
kind: profiles
profiles:
  - {name: analyst, scopes: ["warehouse:read:sales/eu/*"]}
---
kind: denies
denies:
  - {name: pii, scopes: ["warehouse:*:sales/pii/**"], when: 'resource.tags.classification == "restricted"'}
---
kind: delegations
delegations:
  - name: agents-for-people
    agents: ["k8s:analyst", "k8s:helper", "k8s:helper*", "spiffe://prod.example/agent"]
    subjects: ["user:*", "staff:*", "k8s:analyst"]
    max_depth: 8
    ceiling: ["warehouse:*:sales/**", "warehouse:read:hr/**", "tickets:read:**", "writ:revoke:**", "writ:feed:read"]
`

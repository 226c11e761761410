package policy_test

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
)

// noon is a Wednesday.
var noon = time.Date(2026, time.July, 8, 12, 0, 0, 0, time.UTC)

func load(t testing.TB, yaml string) *policy.Bundle {
	t.Helper()
	b, err := policy.Load(fstest.MapFS{"bundle.yaml": {Data: []byte(yaml)}}, policy.Options{Issuer: "https://writ.example"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func scope(t testing.TB, text string) scopes.Scope {
	t.Helper()
	s, err := scopes.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(t testing.TB, text string) scopes.Set {
	t.Helper()
	s, err := scopes.ParseSet(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func workload(id string) identity.Principal {
	return identity.Principal{ID: id, Kind: identity.KindWorkload, Attributes: map[string]any{}}
}

func user(id string) identity.Principal {
	return identity.Principal{ID: id, Kind: identity.KindUser, Attributes: map[string]any{}}
}

// ask is a request at noon; change adjusts it.
func ask(t testing.TB, subject identity.Principal, wanted string, change ...func(*policy.Request)) policy.Request {
	t.Helper()
	r := policy.Request{ID: "d1", Subject: subject, Time: noon}
	for text := range strings.FieldsSeq(wanted) {
		r.Scopes = append(r.Scopes, scope(t, text))
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func by(actors ...identity.Principal) func(*policy.Request) {
	return func(r *policy.Request) { r.Actors = actors }
}

func refusedText(d policy.Decision) string {
	var texts []string
	for _, s := range d.Refused {
		texts = append(texts, s.String())
	}
	return strings.Join(texts, " ")
}

// outcome is a decision in a few words: "ok", or the reason and the refused scopes.
func outcome(d policy.Decision) string {
	if d.Allowed {
		return "ok"
	}
	return strings.TrimSpace(string(d.Reason) + " " + refusedText(d))
}

const warehouse = `
kind: catalog
tools:
- name: warehouse
  audience: https://warehouse.example
  actions: [read, write, list]
  max_ttl: 30m
  tags:
  - {match: "sales/**", tags: {classification: internal}}
  - {match: "sales/pii/**", tags: {classification: restricted}}
  - {match: "sales/pii/masked/**", tags: {classification: internal}}
  - {match: "*/eu/**", tags: {region: eu}}
- name: mail
  audience: https://mail.example
  actions: [send]
  case_insensitive: true
---
kind: roles
roles:
- name: analyst
  grants:
  - scopes: ["warehouse:read:sales/**", "warehouse:list:**"]
    when: resource.tags.classification != "restricted"
- name: pii-reader
  grants:
  - scopes: ["warehouse:read:sales/pii/**"]
    when: agent.attributes.clearance == "high"
    max_ttl: 5m
- name: writer
  grants:
  - scopes: ["warehouse:*:tmp/**"]
- name: mailer
  grants:
  - scopes: ["mail:send:Team/*"]
- name: admin
  grants:
  - scopes: ["writ:*:**"]
- name: shift
  grants:
  - scopes: ["warehouse:read:shift/**"]
    when: request.time.getHours("UTC") >= 8 && request.time.getHours("UTC") < 13
- name: halves
  grants:
  - scopes: ["warehouse:read:half/*"]
  - scopes: ["warehouse:read:half/*/**"]
    max_ttl: 2m
---
kind: profiles
profiles:
- {name: default, scopes: ["warehouse:read:tmp/*"]}
- {name: other, scopes: ["warehouse:read:tmp/x"]}
---
kind: bindings
bindings:
- {name: analysts, principals: ["k8s:*:analyst", "corp:ann"], roles: [analyst, halves, shift]}
- {name: cleared, principals: ["k8s:prod:analyst"], roles: [pii-reader]}
- {name: everybody, principals: ["k8s:**", "corp:*"], roles: [writer, mailer], profile: default}
- {name: special, principals: ["k8s:prod:special"], profile: other}
- {name: ops-pattern, principals: ["k8s:ops:*", "corp:ops-*"], roles: [admin]}
- {name: ops-exact, principals: ["k8s:ops:bot"], roles: [admin]}
---
kind: denies
denies:
- {name: freeze, scopes: ["warehouse:write:**"], when: 'env.freeze == "on"'}
- {name: no-sandbox, scopes: ["warehouse:*:tmp/prod/**"], when: 'has(agent.attributes.sandbox) && agent.attributes.sandbox'}
- {name: secrets, scopes: ["warehouse:*:tmp/secret/**"], unless: 'request.task == "audit"'}
- {name: mallory, scopes: ["warehouse:*:**"], principals: ["k8s:prod:mallory"]}
- {name: evening, scopes: ["warehouse:*:tmp/day/**"], when: request.time >= timestamp("2026-07-08T12:10:00Z")}
---
kind: delegations
delegations:
- {name: analysts-for-people, agents: ["k8s:*:analyst"], subjects: ["corp:*"], ceiling: ["warehouse:read:**", "writ:*:**"]}
- {name: helpers, agents: ["k8s:prod:helper"], subjects: ["corp:ann"], max_depth: 2, ceiling: ["warehouse:*:tmp/**"]}
---
kind: inventory
principals:
- {match: "k8s:prod:*", attributes: {clearance: low, sandbox: false}}
- {match: "k8s:prod:analyst", attributes: {clearance: high}}
- {match: "k8s:dev:*", attributes: {sandbox: true}}
---
kind: tests
cases:
- name: analysts-read-sales
  subject: {id: "k8s:dev:analyst"}
  scopes: ["warehouse:read:sales/orders/*"]
  expect: {allow: true, ttl: 15m}
- name: analysts-do-not-read-pii
  subject: {id: "k8s:dev:analyst"}
  scopes: ["warehouse:read:sales/**", "warehouse:read:tmp/x"]
  expect: {allow: false, refused: ["warehouse:read:sales/**"], reason: scope}
`

func loadWarehouse(t testing.TB, freeze string) *policy.Bundle {
	t.Helper()
	b, err := policy.Load(fstest.MapFS{"bundle.yaml": {Data: []byte(warehouse)}}, policy.Options{
		Issuer: "https://writ.example", Environment: map[string]string{"freeze": freeze},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAuthorize(t *testing.T) {
	b := loadWarehouse(t, "off")
	analyst, dev := workload("k8s:prod:analyst"), workload("k8s:dev:analyst")
	ann, helper := user("corp:ann"), workload("k8s:prod:helper")
	for _, tt := range []struct {
		name    string
		request policy.Request
		want    string
		granted string
		ttl     time.Duration
	}{
		{"a grant covers a pattern", ask(t, dev, "warehouse:read:sales/orders/**"), "ok", "warehouse:read:sales/orders/**", 15 * time.Minute},
		{"an inner tag refuses the outer pattern", ask(t, dev, "warehouse:read:sales/**"), "scope warehouse:read:sales/**", "", 0},
		{"the innermost tag wins", ask(t, dev, "warehouse:read:sales/pii/masked/**"), "ok", "warehouse:read:sales/pii/masked/**", 15 * time.Minute},
		{"two roles cover the parts between them, the shorter life counts", ask(t, analyst, "warehouse:read:sales/**"), "ok", "warehouse:read:sales/**", 5 * time.Minute},
		{"a literal that an inner tag holds", ask(t, dev, "warehouse:read:sales/pii/x"), "scope warehouse:read:sales/pii/x", "", 0},
		{"any action is every action of the catalog", ask(t, dev, "warehouse:*:tmp/a"), "ok", "warehouse:list:tmp/a warehouse:read:tmp/a warehouse:write:tmp/a", 15 * time.Minute},
		{"any action needs all of them", ask(t, dev, "warehouse:*:sales/a"), "scope warehouse:*:sales/a", "", 0},
		{"one refused scope refuses the request, and only it is named", ask(t, dev, "warehouse:read:tmp/x warehouse:write:sales/x"), "scope warehouse:write:sales/x", "", 0},
		{"an unknown tool", ask(t, dev, "nothing:read:x"), "scope nothing:read:x", "", 0},
		{"an unknown action", ask(t, dev, "warehouse:drop:tmp/x"), "scope warehouse:drop:tmp/x", "", 0},
		{"an unknown principal", ask(t, workload("gh:x"), "warehouse:read:tmp/x"), "scope warehouse:read:tmp/x", "", 0},
		{"case-insensitive resources are folded", ask(t, dev, "mail:send:TEAM/Sales"), "ok", "mail:send:team/sales", 15 * time.Minute},
		{"two grants cover together", ask(t, dev, "warehouse:read:half/**"), "ok", "warehouse:read:half/**", 2 * time.Minute},
		{"one grant covers alone", ask(t, dev, "warehouse:read:half/*"), "ok", "warehouse:read:half/*", 15 * time.Minute},
		{"what was asked is not exceeded", ask(t, dev, "warehouse:read:tmp/x", func(r *policy.Request) { r.TTL = 90 * time.Second }), "ok", "warehouse:read:tmp/x", 90 * time.Second},
		{"nor the tool's limit", ask(t, dev, "warehouse:read:tmp/x", func(r *policy.Request) { r.TTL = 50 * time.Minute }), "ok", "warehouse:read:tmp/x", 30 * time.Minute},
		{"nor the server's", ask(t, dev, "mail:send:team/x", func(r *policy.Request) { r.TTL = 5 * time.Hour }), "ok", "mail:send:team/x", time.Hour},
		{"the window of a condition cuts the life", ask(t, dev, "warehouse:read:shift/x", func(r *policy.Request) { r.Time = noon.Add(55 * time.Minute) }), "ok", "warehouse:read:shift/x", 5 * time.Minute},
		{"outside the window nothing is granted", ask(t, dev, "warehouse:read:shift/x", func(r *policy.Request) { r.Time = noon.Add(time.Hour) }), "scope warehouse:read:shift/x", "", 0},
		{"less than a second is left", ask(t, dev, "warehouse:read:shift/x", func(r *policy.Request) { r.Time = noon.Add(time.Hour - time.Millisecond) }), "ttl warehouse:read:shift/x", "", 0},
		{"a deny that starts later cuts the life", ask(t, dev, "warehouse:read:tmp/day/x"), "ok", "warehouse:read:tmp/day/x", 10 * time.Minute},
		{"a deny beats every grant", ask(t, dev, "warehouse:read:tmp/secret/x"), "scope warehouse:read:tmp/secret/x", "", 0},
		{"a deny refuses a pattern that meets it", ask(t, dev, "warehouse:read:tmp/*/x"), "scope warehouse:read:tmp/*/x", "", 0},
		{"unless excuses", ask(t, analyst, "warehouse:read:tmp/secret/x", func(r *policy.Request) { r.Task = "audit" }), "ok", "warehouse:read:tmp/secret/x", 15 * time.Minute},
		{"a deny for one principal", ask(t, workload("k8s:prod:mallory"), "warehouse:read:tmp/x"), "scope warehouse:read:tmp/x", "", 0},
		{"the inventory's attributes count", ask(t, dev, "warehouse:read:tmp/prod/x"), "scope warehouse:read:tmp/prod/x", "", 0},
		{"the inventory wins over a claim", ask(t, identity.Principal{ID: "k8s:dev:x", Kind: identity.KindWorkload, Attributes: map[string]any{"sandbox": false}}, "warehouse:read:tmp/prod/x"), "scope warehouse:read:tmp/prod/x", "", 0},
		{"the profile stands in for scopes", ask(t, dev, ""), "ok", "warehouse:read:tmp/*", 15 * time.Minute},
		{"no profile", ask(t, workload("gh:x"), ""), "profile", "", 0},
		{"the exact binding's profile wins", ask(t, workload("k8s:prod:special"), ""), "ok", "warehouse:read:tmp/x", 15 * time.Minute},
		{"an audience that is the tool's", ask(t, dev, "warehouse:read:tmp/x", func(r *policy.Request) { r.Audiences = []string{"https://warehouse.example"} }), "ok", "warehouse:read:tmp/x", 15 * time.Minute},
		{"an audience of another tool", ask(t, dev, "warehouse:read:tmp/x", func(r *policy.Request) { r.Audiences = []string{"https://mail.example"} }), "target warehouse:read:tmp/x", "", 0},
		{"an unknown audience", ask(t, dev, "warehouse:read:tmp/x", func(r *policy.Request) { r.Audiences = []string{"https://warehouse.example", "https://x"} }), "target warehouse:read:tmp/x", "", 0},
		{"a negative lifetime", ask(t, dev, "warehouse:read:tmp/x", func(r *policy.Request) { r.TTL = -1 }), "ttl warehouse:read:tmp/x", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, b, tt.request, tt.want, tt.granted, tt.ttl)
		})
	}
	for _, tt := range []struct {
		name    string
		request policy.Request
		want    string
		granted string
		ttl     time.Duration
	}{
		{"an agent acts for a user", ask(t, ann, "warehouse:read:sales/x", by(dev)), "ok", "warehouse:read:sales/x", 15 * time.Minute},
		{"the user's roles must cover too", ask(t, user("corp:bob"), "warehouse:read:sales/x", by(dev)), "scope warehouse:read:sales/x", "", 0},
		{"the agent's roles must cover too", ask(t, ann, "warehouse:read:sales/x", by(helper)), "scope warehouse:read:sales/x", "", 0},
		{"the ceiling must cover too", ask(t, ann, "warehouse:write:tmp/x", by(dev)), "scope warehouse:write:tmp/x", "", 0},
		{"no delegation for the pair", ask(t, user("corp:bob"), "warehouse:read:tmp/x", by(helper)), "delegation warehouse:read:tmp/x", "", 0},
		{"no delegation at all", ask(t, ann, "warehouse:read:tmp/x", by(workload("k8s:prod:special"))), "delegation warehouse:read:tmp/x", "", 0},
		{"a chain of two", ask(t, ann, "warehouse:read:tmp/x", by(helper, dev)), "ok", "warehouse:read:tmp/x", 15 * time.Minute},
		{"the depth is that of the agent, counted from the subject", ask(t, ann, "warehouse:read:tmp/x", by(dev, helper)), "delegation warehouse:read:tmp/x", "", 0},
		{"a chain of three", ask(t, ann, "warehouse:read:tmp/x", by(helper, helper, dev)), "delegation warehouse:read:tmp/x", "", 0},
		{"a middle agent's roles must cover", ask(t, ann, "warehouse:write:tmp/x", by(helper, dev)), "scope warehouse:write:tmp/x", "", 0},
		{"a deny on a middle agent's attributes", ask(t, ann, "warehouse:read:tmp/prod/x", by(helper, dev)), "scope warehouse:read:tmp/prod/x", "", 0},
		{"a user administers", ask(t, user("corp:ops-1"), "writ:revoke:**"), "ok", "writ:revoke:**", 15 * time.Minute},
		{"a workload does not, by a pattern", ask(t, workload("k8s:ops:any"), "writ:revoke:**"), "scope writ:revoke:**", "", 0},
		{"nor one of unknown kind", ask(t, identity.Principal{ID: "k8s:ops:any"}, "writ:revoke:**"), "scope writ:revoke:**", "", 0},
		{"but does by its exact name", ask(t, workload("k8s:ops:bot"), "writ:revoke:**"), "ok", "writ:revoke:**", 15 * time.Minute},
		{"reading the feed is no administration", ask(t, workload("k8s:ops:any"), "writ:feed:read"), "ok", "writ:feed:read", 15 * time.Minute},
		{"administration is not delegated", ask(t, user("corp:ops-1"), "writ:revoke:x", by(dev)), "scope writ:revoke:x", "", 0},
		{"nor inherited from a token with actors", ask(t, user("corp:ops-1"), "writ:revoke:x", func(r *policy.Request) {
			r.Parent = &policy.Parent{Scopes: set(t, "writ:revoke:**"), Remaining: time.Hour, Depth: 1}
		}), "delegation writ:revoke:x", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, b, tt.request, tt.want, tt.granted, tt.ttl)
		})
	}
}

func TestAuthorizeFromParent(t *testing.T) {
	b := loadWarehouse(t, "off")
	dev := workload("k8s:dev:analyst")
	from := func(text string, remaining time.Duration, depth int) func(*policy.Request) {
		return func(r *policy.Request) {
			r.Parent = &policy.Parent{Scopes: set(t, text), Remaining: remaining, Roles: []string{"zoo", "analyst"}, Depth: depth}
		}
	}
	for _, tt := range []struct {
		name    string
		request policy.Request
		want    string
		granted string
		ttl     time.Duration
	}{
		{"narrower than the parent", ask(t, dev, "warehouse:read:tmp/x", from("warehouse:read:tmp/*", time.Hour, 0)), "ok", "warehouse:read:tmp/x", 15 * time.Minute},
		{"wider than the parent", ask(t, dev, "warehouse:read:tmp/**", from("warehouse:read:tmp/*", time.Hour, 0)), "scope warehouse:read:tmp/**", "", 0},
		{"an action that the parent lacks", ask(t, dev, "warehouse:*:tmp/x", from("warehouse:read:tmp/*", time.Hour, 0)), "scope warehouse:*:tmp/x", "", 0},
		{"never longer than the parent", ask(t, dev, "warehouse:read:tmp/x", from("warehouse:read:tmp/*", 61500*time.Millisecond, 0)), "ok", "warehouse:read:tmp/x", 61 * time.Second},
		{"an expired parent", ask(t, dev, "warehouse:read:tmp/x", from("warehouse:read:tmp/*", 0, 0)), "ttl warehouse:read:tmp/x", "", 0},
		{"an actor that was shed", ask(t, dev, "warehouse:read:tmp/x", from("warehouse:read:tmp/*", time.Hour, 1)), "delegation warehouse:read:tmp/x", "", 0},
		{"nothing asked: the profile within the parent", ask(t, dev, "", from("warehouse:read:tmp/a warehouse:read:sales/a", time.Hour, 0)), "ok", "warehouse:read:tmp/a", 15 * time.Minute},
		{"nothing asked, nothing of the profile in the parent", ask(t, dev, "", from("warehouse:read:sales/a", time.Hour, 0)), "profile", "", 0},
		{"nothing asked, no profile: the parent's scopes", ask(t, user("corp:ops-x"), "", from("mail:send:team/x", time.Hour, 0)), "profile", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, b, tt.request, tt.want, tt.granted, tt.ttl)
		})
	}
	d := b.Authorize(ask(t, dev, "warehouse:read:sales/x", from("warehouse:read:**", time.Hour, 0)))
	if got := strings.Join(d.Grant.Roles(), " "); got != "analyst zoo" {
		t.Errorf("roles of the child are %q: its own and the parent's are wanted, each once", got)
	}
}

// An environment that a deny's condition needs and does not have denies.
func TestDenyThatCannotBeEvaluated(t *testing.T) {
	b := load(t, strings.ReplaceAll(warehouse, "kind: tests\ncases:", "kind: tests\ncases: []\n---\nkind: tests\ncases:"))
	d := b.Authorize(ask(t, workload("k8s:dev:x"), "warehouse:write:tmp/x"))
	if got := outcome(d); got != "scope warehouse:write:tmp/x" {
		t.Error(got)
	}
	if text := d.Trace.String(); !strings.Contains(text, "could not be evaluated") {
		t.Errorf("the trace does not say so:\n%s", text)
	}
	if got := outcome(loadWarehouse(t, "on").Authorize(ask(t, workload("k8s:dev:x"), "warehouse:write:tmp/x"))); got != "scope warehouse:write:tmp/x" {
		t.Error(got)
	}
	if got := outcome(loadWarehouse(t, "off").Authorize(ask(t, workload("k8s:dev:x"), "warehouse:write:tmp/x"))); got != "ok" {
		t.Error(got)
	}
}

func check(t *testing.T, b *policy.Bundle, r policy.Request, want, granted string, ttl time.Duration) {
	t.Helper()
	d := b.Authorize(r)
	if got := outcome(d); got != want {
		t.Fatalf("got %q, want %q\n%s", got, want, d.Trace)
	}
	if !d.Allowed {
		if d.Grant != nil {
			t.Error("a refused request has a grant")
		}
		return
	}
	if got := d.Grant.Scopes().String(); got != granted {
		t.Errorf("granted %q, want %q", got, granted)
	}
	if d.Grant.TTL() != ttl {
		t.Errorf("lives %s, want %s\n%s", d.Grant.TTL(), ttl, d.Trace)
	}
	if d.ID != r.ID || d.Grant.DecisionID() != r.ID || d.Grant.Policy() != b.Short() || d.PolicyVersion != b.Version() {
		t.Error("the grant does not carry its decision or policy")
	}
}

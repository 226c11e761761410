package policy_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/policy"
)

const tools = "kind: catalog\ntools: [{name: t, audience: a, actions: [read, write]}]\n---\n"

// Each fault is found with its line, and says what to do.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name, yaml string
		want       []string // "line: part of the message" each, all of them
	}{
		{"not yaml", "kind: [", []string{"1: "}},
		{"no kind", "tools: []", []string{"1: no kind"}},
		{"unknown kind", "kind: rolls\nroles: []", []string{`1: unknown kind "rolls"`}},
		{"no list", "kind: roles", []string{`1: has no "roles"`}},
		{"an unknown key", tools + "kind: roles\nroles:\n- name: r\n  grant: []\n  grants: [{scopes: [\"t:read:x\"]}]", []string{`7: unknown key "grant"`}},
		{"a key twice", tools + "kind: roles\nroles:\n- name: r\n  name: r\n  grants: [{scopes: [\"t:read:x\"]}]", []string{`7: key "name" is here twice`}},
		{"an anchor", tools + "kind: roles\nroles:\n- &r {name: r}", []string{"6: anchors", "6: grants nothing"}},
		{"a number for a name", tools + "kind: profiles\nprofiles: [{name: 7, scopes: [\"t:read:x\"]}]", []string{"5: expected text", "5: no name"}},
		{"an unknown tool and an unknown action, both at once", tools + "kind: profiles\nprofiles:\n- name: p\n  scopes:\n  - t2:read:x\n  - t:raed:x", []string{`8: no tool "t2"`, `9: no action "raed"`}},
		{"a scope that is none", tools + "kind: profiles\nprofiles: [{name: p, scopes: [\"t:read:/x\"]}]", []string{"5: is not a scope"}},
		{"the built-in tool", "kind: catalog\ntools: [{name: writ, audience: a, actions: [read]}]", []string{"2: built in"}},
		{"no audience", "kind: catalog\ntools: [{name: t, actions: [read]}]", []string{"2: no audience"}},
		{"the broker's audience", "kind: catalog\ntools: [{name: t, audience: \"https://writ.example\", actions: [read]}]", []string{"2: broker's own"}},
		{"an audience that a cloud trusts", "kind: catalog\ntools: [{name: t, audience: sts.amazonaws.com, actions: [read]}]", []string{"2: reserved"}},
		{"an unknown key of AWS", "kind: catalog\ntools:\n- name: t\n  audience: a\n  actions: [read]\n  aws:\n    servce: s3\n    actions:\n      read:\n      - {action: [\"s3:GetObject\"], segments: 0, list: [], conditions: {StringEquals: [x]}}\n    managed: [{arn: x}]",
			[]string{`7: unknown key "servce"`, "10: unknown key \"action\"", "10: segments must be at least 1", "10: expected keys and values", `11: unknown key "arn"`}},
		{"a role of AWS that is a number, and a merge of mappings", "kind: catalog\ntools:\n- name: t\n  audience: a\n  actions: [read]\n  aws: {role: 7, with: &w {a: b}, roles: {a: [x]}}", []string{"6: expected text", "6: anchors", "6: expected text"}},
		{"tags that cross", "kind: catalog\ntools:\n- name: t\n  audience: a\n  actions: [read]\n  tags:\n  - {match: \"a/*\", tags: {c: x}}\n  - {match: \"*/b\", tags: {c: y, d: z}}", []string{"8: overlap"}},
		{"tags that are given twice", "kind: catalog\ntools:\n- name: t\n  audience: a\n  actions: [read]\n  tags:\n  - {match: \"a/*\", tags: {c: x}}\n  - {match: \"a/*\", tags: {c: y}}", []string{"8: twice"}},
		{"an unknown role and profile", tools + "kind: bindings\nbindings:\n- name: b\n  principals: [\"k:a\"]\n  roles: [reader]\n  profile: p", []string{"8: unknown role", "9: unknown profile"}},
		{"nobody", tools + "kind: bindings\nbindings:\n- name: b\n  roles: []", []string{"6: gives nothing", "6: names no principals"}},
		{"a bad pattern", tools + "kind: denies\ndenies:\n- {name: d, scopes: [\"t:read:x\"], principals: [\"**a\"]}", []string{"6: not at its end"}},
		{"a deny for an empty list", tools + "kind: denies\ndenies:\n- {name: d, scopes: [\"t:read:x\"], principals: []}", []string{"6: is empty"}},
		{"a deny of nothing", tools + "kind: denies\ndenies:\n- {name: d}", []string{"6: no scopes"}},
		{"a name twice", tools + "kind: denies\ndenies:\n- {name: d, scopes: [\"t:read:x\"]}\n- {name: d, scopes: [\"t:read:x\"]}", []string{"7: taken"}},
		{"bad conditions, all of them", tools + "kind: denies\ndenies:\n- name: d\n  scopes: [\"t:read:x\"]\n  when: subject.nam == \"x\"\n  unless: 1 +", []string{"8: type-check", "9: not CEL"}},
		{"a binding that reads tags", tools + "kind: bindings\nbindings:\n- {name: b, principals: [\"k:a\"], roles: [], profile: p, when: 'resource.tags.x == \"\"'}\n---\nkind: profiles\nprofiles: [{name: p, scopes: [\"t:read:x\"]}]", []string{"6: type-check"}},
		{"a delegation without a ceiling", tools + "kind: delegations\ndelegations:\n- {name: d, agents: [\"k:a\"], subjects: [\"u:b\"], max_depth: 9}", []string{"6: max_depth is 9", "6: no ceiling"}},
		{"durations and dates", tools + "kind: roles\nroles:\n- name: r\n  review_by: soon\n  grants:\n  - scopes: [\"t:read:x\"]\n    max_ttl: 1500ms", []string{"7: date", "10: duration"}},
		{"a test that fails", tools + "kind: tests\ncases:\n- {name: c, subject: {id: \"k:a\"}, scopes: [\"t:read:x\"], expect: {allow: true}}", []string{"6: expected to be allowed"}},
		{"a test of nothing", tools + "kind: tests\ncases:\n- {name: c}", []string{"6: no subject", "6: expects nothing"}},
		{"an inventory that names nobody, and null", tools + "kind: inventory\nprincipals:\n- {attributes: {a: null}}", []string{"6: not supported", "6: names nobody"}},
		{"a principal that no source has", tools + "kind: bindings\nbindings:\n- {name: b, principals: [\"k9s:a\"], profile: p}\n---\nkind: profiles\nprofiles: [{name: p, scopes: [\"t:read:x\"]}]", []string{"6: no identity source"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := policy.Load(fstest.MapFS{"b.yaml": {Data: []byte(tt.yaml)}, "notes.md": {Data: []byte("x")}, "..data/b.yaml": {Data: []byte("kind: x")}}, policy.Options{
				Issuer:  "https://writ.example",
				Sources: []identity.Source{{Name: "k", SubjectPrefix: "k:"}, {Name: "u", SubjectPrefix: "u:"}},
			})
			var bundle *policy.BundleError
			if !errors.As(err, &bundle) {
				t.Fatalf("got %v", err)
			}
			if len(bundle.Faults) != len(tt.want) {
				t.Fatalf("got %d faults, want %d:\n%v", len(bundle.Faults), len(tt.want), err)
			}
			for i, want := range tt.want {
				f := bundle.Faults[i]
				line, message, _ := strings.Cut(want, ": ")
				if !strings.Contains(f.String(), "b.yaml:"+line+": ") || !strings.Contains(f.Message, message) || f.Hint == "" {
					t.Errorf("got %s, want %s and a hint", f, want)
				}
			}
		})
	}
}

// The version covers what can change a decision or be read by a person, and nothing else.
func TestVersion(t *testing.T) {
	const base = tools + "kind: roles\nroles:\n- {name: a, grants: [{scopes: [\"t:read:x\", \"t:read:y\"], when: 'env.a==\"1\"'}]}\n- {name: b, grants: [{scopes: [\"t:read:z\"]}]}\n"
	version := func(yaml string) string { return load(t, yaml).Version() }
	want := version(base)
	if len(want) != 64 || load(t, base).Short() != want[:16] {
		t.Errorf("version %q", want)
	}
	for name, yaml := range map[string]string{
		"comments and layout":        "# x\n" + strings.ReplaceAll(base, "{name: b,", "{ name:   b,"),
		"the order of scopes":        strings.ReplaceAll(base, `"t:read:x", "t:read:y"`, `"t:read:y", "t:read:x"`),
		"the spacing of a condition": strings.ReplaceAll(base, `env.a=="1"`, `env.a == "1"`),
		"tests":                      base + "---\nkind: tests\ncases: [{name: c, subject: {id: \"k:a\"}, scopes: [\"t:read:x\"], expect: {allow: false}}]",
	} {
		if version(yaml) != want {
			t.Errorf("%s: the version changes", name)
		}
	}
	for name, yaml := range map[string]string{
		"a condition":   strings.ReplaceAll(base, `"1"`, `"2"`),
		"a scope":       strings.ReplaceAll(base, "read:z", "read:zz"),
		"a description": strings.ReplaceAll(base, "{name: b,", "{name: b, description: x,"),
		"a lifetime":    strings.ReplaceAll(base, `["t:read:z"]`, `["t:read:z"], max_ttl: 5m`),
		"the catalog":   strings.ReplaceAll(base, "[read, write]", "[read, write, list]"),
	} {
		if version(yaml) == want {
			t.Errorf("%s: the version stays", name)
		}
	}
}

// Whatever is in the files, loading ends with a bundle or with faults that have a place and a hint.
func FuzzLoad(f *testing.F) {
	f.Add(warehouse)
	f.Add(tools)
	f.Add(awsTool)
	f.Add("kind: inventory\nprincipals: [{match: \"a\", attributes: {a: [1, 2.5, {b: true}]}}]")
	f.Fuzz(func(t *testing.T, yaml string) {
		_, err := policy.Load(fstest.MapFS{"b.yaml": {Data: []byte(yaml)}}, policy.Options{Environment: map[string]string{"freeze": "off"}})
		var bundle *policy.BundleError
		if err != nil && !errors.As(err, &bundle) {
			t.Fatal(err)
		}
		if err != nil {
			for _, fault := range bundle.Faults {
				if fault.File == "" || fault.Message == "" || fault.Hint == "" {
					t.Errorf("%+v", fault)
				}
			}
		}
	})
}

// awsTool is a tool whose mapping to AWS is written out.
const awsTool = `
kind: catalog
tools:
- name: t
  audience: a
  actions: [read, list]
  aws:
    roles: {prod: "arn:aws:iam::1:role/p", dev: "arn:aws:iam::2:role/d"}
    with: {region: eu-west-1, bucket: b}
    conditions: {StringEquals: {"aws:SourceVpc": [v2, v1]}}
    actions:
      read:
      - {actions: ["s3:GetObject", "s3:GetObjectTagging"], resource: "arn:aws:s3:::{bucket}/{path}", segments: 2, closed: true}
      list:
      - {actions: ["s3:ListBucket"], resource: "arn:aws:s3:::{bucket}", list: {prefix: "s3:prefix", delimiter: "s3:delimiter", value: "{path}"}}
    managed:
    - {policy: "arn:aws:iam::aws:policy/x", scopes: ["t:read:a/**", "t:read:b/**"]}
`

// What the catalog says of AWS is carried as it was written, with its lines, and the version
// covers all of it.
func TestAWS(t *testing.T) {
	b := load(t, awsTool)
	tool, ok := b.Catalog().Tool("t")
	if !ok || tool.AWS == nil {
		t.Fatal("the tool has no mapping")
	}
	a := tool.AWS
	switch {
	case a.File == "" || a.Line != 8 || len(a.Roles) != 2 || a.Roles[0].Name != "dev" || a.Roles[1].Value != "arn:aws:iam::1:role/p" || a.Roles[1].Line != 8,
		len(a.With) != 2 || a.With[0].Name != "bucket" || a.With[0].Value != "b",
		len(a.Conditions) != 1 || a.Conditions[0].Operator != "StringEquals" || a.Conditions[0].Key != "aws:SourceVpc" || len(a.Conditions[0].Values) != 2,
		len(a.Actions) != 2 || a.Actions[0].Name != "list" || a.Actions[1].Targets[0].Segments != 2 || !a.Actions[1].Targets[0].Closed,
		a.Actions[0].Targets[0].List == nil || a.Actions[0].Targets[0].List.Value.Value != "{path}",
		len(a.Managed) != 1 || a.Managed[0].Line != 17 || len(a.Managed[0].Scopes) != 2:
		t.Errorf("%+v", a)
	}
	for from, to := range map[string]string{
		"v2, v1": "v1, v2", `"s3:GetObject", "s3:GetObjectTagging"`: `"s3:GetObjectTagging", "s3:GetObject"`,
		`"t:read:a/**", "t:read:b/**"`: `"t:read:b/**", "t:read:a/**"`, "segments: 2,": "segments: 2, separator: /,",
		"{region: eu-west-1, bucket: b}": "{bucket: b, region: eu-west-1}",
	} {
		if load(t, strings.Replace(awsTool, from, to, 1)).Version() != b.Version() {
			t.Errorf("%s for %s: the version changes", to, from)
		}
	}
	for from, to := range map[string]string{
		"v2": "v3", "role/p": "role/q", "bucket: b": "bucket: c", "segments: 2": "segments: 3", "closed: true": "closed: false",
		"s3:ListBucket": "s3:ListBuckets", "s3:prefix": "s3:suffix", "policy/x": "policy/y", "t:read:a/": "t:read:c/", "{prod:": "{stage:",
		"segments: 2,": "segments: 2, separator: \":\",", "closed: true}": "closed: true, clean: true}", "StringEquals": "StringLike",
	} {
		if load(t, strings.Replace(awsTool, from, to, 1)).Version() == b.Version() {
			t.Errorf("%s for %s: the version stays", to, from)
		}
	}
}

func TestCatalog(t *testing.T) {
	c := loadWarehouse(t, "off").Catalog()
	if tool, ok := c.Tool("warehouse"); !ok || strings.Join(tool.Actions, " ") != "list read write" {
		t.Errorf("%+v", tool)
	}
	if got := c.Audience("writ"); got != "https://writ.example" {
		t.Errorf("the audience of writ is %q", got)
	}
	if got := strings.Join(c.ToolsByAudience("https://mail.example"), " "); got != "mail" || c.Actions("nothing") != nil {
		t.Error(got)
	}
}

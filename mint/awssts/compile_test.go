package awssts_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/mint/awssts/iam"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
)

func compile(t testing.TB, c *awssts.Catalog, text string, opt awssts.Options) *awssts.Policy {
	t.Helper()
	p, err := c.Compile(parseSet(t, text), opt)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What each shape of scope becomes, to the letter.
func TestCompiled(t *testing.T) {
	c := loadWorld(t)
	for name, row := range map[string]struct{ scopes, want string }{
		"one object": {"lake:read:a/b",
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-lake/a/b"},` +
				`{"Effect":"Deny","NotAction":"s3:GetObject","Resource":"*"}`},
		"one level": {"lake:read:a/b/*",
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-lake/a/b/*"},` +
				`{"Effect":"Deny","Action":"s3:*","Resource":["arn:aws:s3:::*/","arn:aws:s3:::*/*/*/*/*","arn:aws:s3:::*/.","arn:aws:s3:::*/.."]},` +
				`{"Effect":"Deny","NotAction":"s3:GetObject","Resource":"*"}`},
		"all below": {"lake:read:a/**",
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-lake/a/*"},` +
				`{"Effect":"Deny","Action":"s3:*","Resource":["arn:aws:s3:::*/","arn:aws:s3:::*/.","arn:aws:s3:::*/..","arn:aws:s3:::*/../*","arn:aws:s3:::*/./*","arn:aws:s3:::*//*"]},` +
				`{"Effect":"Deny","NotAction":"s3:GetObject","Resource":"*"}`},
		"a prefix takes nothing that no scope names": {"lake:read:a/b*",
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-lake/a/b*"},` +
				`{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::*/*/*/*"},` +
				`{"Effect":"Deny","NotAction":"s3:GetObject","Resource":"*"}`},
		"a deny for one action, where another reaches deeper": {"lake:read:a/b* lake:write:a/b/c",
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-lake/a/b*"},` +
				`{"Effect":"Allow","Action":["s3:AbortMultipartUpload","s3:PutObject"],"Resource":"arn:aws:s3:::acme-lake/a/b/c"},` +
				`{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::*/*/*/*"},` +
				`{"Effect":"Deny","NotAction":["s3:AbortMultipartUpload","s3:GetObject","s3:PutObject"],"Resource":"*"}`},
		"a deny no wider than it may be": {"lake:read:a/b* lake:read:c/d/e",
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":["arn:aws:s3:::acme-lake/a/b*","arn:aws:s3:::acme-lake/c/d/e"]},` +
				`{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::acme-lake/a/*/*"},` +
				`{"Effect":"Deny","NotAction":"s3:GetObject","Resource":"*"}`},
		"two depths of one name": {"lake:read:a/*/x lake:read:a/*/y/z",
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":["arn:aws:s3:::acme-lake/a/*/x","arn:aws:s3:::acme-lake/a/*/y/z"]},` +
				`{"Effect":"Deny","Action":"s3:*","Resource":["arn:aws:s3:::*/*/*/*/*/*","arn:aws:s3:::*/../*","arn:aws:s3:::*/./*","arn:aws:s3:::*//*","arn:aws:s3:::acme-lake/a/*/*/x"]},` +
				`{"Effect":"Deny","NotAction":"s3:GetObject","Resource":"*"}`},
		"escapes": {"lake:read:%2A%3F%24%7Ba%7D/%24",
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-lake/${*}${?}${$}{a}/$"},` +
				`{"Effect":"Deny","NotAction":"s3:GetObject","Resource":"*"}`},
		"a list of all below": {"lake:list:a/**",
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::acme-lake","Condition":{"StringLike":{"s3:prefix":"a/*"},"StringNotLike":{"s3:prefix":["*/../*","*/./*","*//*"]}}},` +
				`{"Effect":"Deny","NotAction":"s3:ListBucket","Resource":"*"}`},
		"a list of one level": {"raw:list:b*",
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::acme-lake","Condition":{"StringEquals":{"s3:delimiter":"/"},"StringLike":{"s3:prefix":"a/raw/b*"},"StringNotLike":{"s3:prefix":"*/*/*/*"}}},` +
				`{"Effect":"Deny","NotAction":"s3:ListBucket","Resource":"*"}`},
		"a secret": {"secrets:read:prod/db",
			`{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-??????"},` +
				`{"Effect":"Deny","NotAction":"secretsmanager:GetSecretValue","Resource":"*"}`},
		"a function, and none of its aliases": {"functions:invoke:etl-*",
			`{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"arn:aws:lambda:eu-west-1:123456789012:function:etl-*"},` +
				`{"Effect":"Deny","Action":"lambda:*","Resource":"arn:aws:lambda:*:*:*:*:*"},` +
				`{"Effect":"Deny","NotAction":"lambda:InvokeFunction","Resource":"*"}`},
		"a queue": {"queues:send:jobs-*",
			`{"Effect":"Allow","Action":"sqs:SendMessage","Resource":"arn:aws:sqs:eu-west-1:123456789012:jobs-*"},` +
				`{"Effect":"Deny","NotAction":"sqs:SendMessage","Resource":"*"}`},
		"tables of a database": {"glue:read:sales/**",
			`{"Effect":"Allow","Action":["glue:GetPartition","glue:GetPartitions","glue:GetTable"],"Resource":["arn:aws:glue:eu-west-1:123456789012:catalog","arn:aws:glue:eu-west-1:123456789012:database/sales","arn:aws:glue:eu-west-1:123456789012:table/sales/*"]},` +
				`{"Effect":"Deny","NotAction":["glue:GetPartition","glue:GetPartitions","glue:GetTable"],"Resource":"*"}`},
		"a log group": {"logs:read:aws/lambda/etl",
			`{"Effect":"Allow","Action":["logs:FilterLogEvents","logs:GetLogEvents"],"Resource":"arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/etl:*"},` +
				`{"Effect":"Deny","NotAction":["logs:FilterLogEvents","logs:GetLogEvents"],"Resource":"*"}`},
		"actions that share a resource": {"lake:read:a lake:write:a lake:delete:a",
			`{"Effect":"Allow","Action":["s3:AbortMultipartUpload","s3:DeleteObject","s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::acme-lake/a"},` +
				`{"Effect":"Deny","NotAction":["s3:AbortMultipartUpload","s3:DeleteObject","s3:GetObject","s3:PutObject"],"Resource":"*"}`},
		"what another tool holds is not said twice": {"lake:read:a/** raw:read:b/*",
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-lake/a/*"},` +
				`{"Effect":"Deny","Action":"s3:*","Resource":["arn:aws:s3:::*/","arn:aws:s3:::*/.","arn:aws:s3:::*/..","arn:aws:s3:::*/../*","arn:aws:s3:::*/./*","arn:aws:s3:::*//*"]},` +
				`{"Effect":"Deny","NotAction":"s3:GetObject","Resource":"*"}`},
		"two depths together": {"lake:read:* lake:read:*/*",
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":["arn:aws:s3:::acme-lake/*","arn:aws:s3:::acme-lake/*/*"]},` +
				`{"Effect":"Deny","Action":"s3:*","Resource":["arn:aws:s3:::*/","arn:aws:s3:::*/*/*/*","arn:aws:s3:::*/.","arn:aws:s3:::*/..","arn:aws:s3:::*/../*","arn:aws:s3:::*/./*","arn:aws:s3:::*//*"]},` +
				`{"Effect":"Deny","NotAction":"s3:GetObject","Resource":"*"}`},
	} {
		t.Run(name, func(t *testing.T) {
			p := compile(t, c, row.scopes, awssts.Options{})
			want := `{"Version":"2012-10-17","Statement":[` + row.want + `]}`
			if p.JSON != want {
				t.Errorf("got  %s\nwant %s", p.JSON, want)
			}
			if p.Role != role || p.Size != len(p.JSON) || len(p.Digest()) != 64 {
				t.Errorf("%s, %d characters, digest %s", p.Role, p.Size, p.Digest())
			}
			var again iam.Document
			for _, s := range p.Statements {
				again.Statements = append(again.Statements, s.Statement)
				if s.Why == "" || s.Size != s.Statement.Size() {
					t.Errorf("not explained: %+v", s)
				}
			}
			if again.Encode() != p.JSON {
				t.Error("the explanation is of another policy")
			}
		})
	}
}

// Closed says that no name has a separator, and not that no name is empty.
func TestClosedIsNotClean(t *testing.T) {
	c, err := awssts.NewCatalog(loadBundle(t, `
kind: catalog
tools:
- {name: t, audience: t, actions: [read], aws: {role: "`+role+`", actions: {read: [{actions: ["x:Get"], resource: "arn:aws:x:::y/{path}", segments: 1, closed: true}]}}}
`).Catalog(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"x:Get","Resource":"arn:aws:x:::y/*"},` +
		`{"Effect":"Deny","Action":"x:*","Resource":["arn:aws:x:::*/","arn:aws:x:::*/.","arn:aws:x:::*/.."]},{"Effect":"Deny","NotAction":"x:Get","Resource":"*"}]}`
	if p := compile(t, c, "t:read:*", awssts.Options{}); p.JSON != want {
		t.Errorf("got  %s\nwant %s", p.JSON, want)
	}
}

// What is denied of objects is not denied of their bucket, also where a bucket is taken for
// itself and a slash.
func TestBucketsStayOpen(t *testing.T) {
	c := loadWorld(t)
	for _, text := range []string{"lake:read:** lake:list:**", "lake:read:a/* lake:list:a/* lake:write:a/b/c", "lake:read:* lake:list:*"} {
		r, err := parseRules(compile(t, c, text, awssts.Options{}).JSON)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.statements {
			if s.deny && s.applies(newQuery(access{action: "s3:ListBucket", resource: "arn:aws:s3:::acme-lake/"}), wide) {
				t.Errorf("%s denies lists by %+v", text, s)
			}
		}
	}
}

func TestRefusedScopes(t *testing.T) {
	c := loadWorld(t)
	for name, row := range map[string]struct{ scopes, want string }{
		"a name behind a wildcard, before **":          {"lake:read:*/a/**", "crosses separators"},
		"one level, and a name below it":               {"lake:read:a/* lake:read:a/b/c", "lake:read:a/b/c"},
		"one level, and all from the third on":         {"lake:read:a/* lake:read:a/*/*/**", "lake:read:a/*/*/**"},
		"one level, and a name below it in a prefix":   {"lake:read:a/* raw:read:c", "raw:read:c"},
		"a segment with a slash in it":                 {"lake:read:a%2Fb", `"/" ends a segment`},
		"a function with a colon in it":                {"functions:invoke:a%3Ab", `":" ends a segment`},
		"a log group with a colon in it":               {"logs:read:a%3Ab", `":" ends a segment`},
		"a letter that STS does not take":              {"lake:read:%E4%B8%AD", "U+4E2D"},
		"bytes that are no text":                       {"lake:read:%FF", "byte 0xFF"},
		"a control character":                          {"lake:read:a%0Ab", "U+000A"},
		"a list of one name":                           {"lake:list:a/b", "every name that begins"},
		"a list behind a wildcard":                     {"lake:list:*/a/**", "crosses separators"},
		"a queue below a queue":                        {"queues:send:a/b", "never has 1 segments"},
		"all below a queue":                            {"queues:send:a/**", "never has 1 segments"},
		"a database":                                   {"glue:read:sales", "never has 2 segments"},
		"an action of every name":                      {"lake:*:a", "not in AWS"},
		"an action that the mapping does not have":     {"desk:close:a", "not in AWS"},
		"what is granted under a condition lies below": {"files:tag:a/* files:tag:a/b/c", "files:tag:a/b/c"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(row.scopes, "desk") {
				c := loadBundle(t, "kind: catalog\ntools:\n- {name: desk, audience: d, actions: [read, close], aws: {service: s3, role: \""+role+"\", with: {bucket: acme-lake}}}")
				catalog, err := awssts.NewCatalog(c.Catalog(), nil)
				if err != nil {
					t.Fatal(err)
				}
				refused(t, catalog, row.scopes, awssts.Options{}, row.want)
				return
			}
			refused(t, c, row.scopes, awssts.Options{}, row.want)
		})
	}
	refused(t, c, "lake:read:a%2A", awssts.Options{Plain: true}, "by AWS alone")
	if p := compile(t, c, "lake:read:a%24b/*", awssts.Options{Plain: true}); strings.Contains(p.JSON, "${") || strings.Contains(p.JSON, "NotAction") {
		t.Error(p.JSON)
	}
}

func refused(t *testing.T, c *awssts.Catalog, text string, opt awssts.Options, want string) {
	t.Helper()
	p, err := c.Compile(parseSet(t, text), opt)
	var refused *awssts.ScopeError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) || refused.Ask == "" {
		t.Fatalf("got %v, %v", p, err)
	}
	for _, s := range append([]scopes.Scope{refused.Scope}, refused.With...) {
		if !strings.Contains(" "+text+" ", " "+s.String()+" ") {
			t.Errorf("it blames %s", s)
		}
	}
}

// A short life is an instant in everything that is allowed, and so fails closed.
func TestUntil(t *testing.T) {
	c := loadWorld(t)
	until := time.Date(2026, time.July, 8, 12, 5, 0, 999, time.UTC)
	p := compile(t, c, "lake:read:a/* lake:list:a/* other:read:b queues:send:q", awssts.Options{Until: until})
	r, err := parseRules(p.JSON)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]bool{"2026-07-08T12:04:59Z": true, "2026-07-08T12:05:00Z": false, "2026-07-09T00:00:00Z": false, "": false} {
		for _, a := range []access{
			{action: "s3:GetObject", resource: "arn:aws:s3:::acme-lake/a/x"},
			{action: "s3:ListBucket", resource: "arn:aws:s3:::acme-lake", context: map[string]string{"s3:prefix": "a/", "s3:delimiter": "/"}},
			{action: "s3:GetObject", resource: "arn:aws:s3:::acme-other/b", context: map[string]string{"aws:sourcevpc": "vpc-1"}},
			{action: "sqs:SendMessage", resource: inAccount("sqs") + "q"},
		} {
			context := map[string]string{}
			maps.Copy(context, a.context)
			if at != "" {
				context["aws:currenttime"] = at
			}
			a.context = context
			if r.allows(a, narrow, wide) != want {
				t.Errorf("at %q: %s on %s is not %v", at, a.action, a.resource, want)
			}
		}
	}
}

// many is a set of n concrete scopes and the size that they would have.
func many(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("lake:read:reports/2026/department-%03d/summary.parquet", i))
	}
	return strings.Join(all, " ")
}

// A policy that is too long is refused with what each scope costs.
func TestTooLarge(t *testing.T) {
	c := loadWorld(t)
	compile(t, c, many(25), awssts.Options{})
	_, err := c.Compile(parseSet(t, many(30)+" lake:read:a lake:write:a"), awssts.Options{})
	var size *awssts.SizeError
	if !errors.As(err, &size) {
		t.Fatalf("got %v", err)
	}
	total := size.Shared
	for i, c := range size.Costs {
		if total += c.Size; i > 0 && c.Size > size.Costs[i-1].Size {
			t.Error("the dearest does not come first")
		}
	}
	if size.Limit != awssts.MaxPolicySize || size.Size <= size.Limit || total != size.Size || len(size.Costs) != 32 {
		t.Errorf("%+v adds up to %d", size, total)
	}
	if want := len(`"arn:aws:s3:::acme-lake/reports/2026/department-000/summary.parquet",`); size.Costs[0].Size != want {
		t.Errorf("the first costs %d, not %d", size.Costs[0].Size, want)
	}
	if !strings.Contains(err.Error(), "lake:read:reports/2026/department-000/summary.parquet 69") {
		t.Error(err)
	}
}

const managedYAML = `
kind: catalog
tools:
- name: lake
  audience: lake
  actions: [read, write]
  aws:
    service: s3
    role: ` + role + `
    with: {bucket: acme-lake}
    managed:
    - {policy: "arn:aws:iam::123456789012:policy/reports", scopes: ["lake:read:reports/**"]}
    - {policy: "arn:aws:iam::123456789012:policy/more", scopes: ["lake:*:reports/**"]}
    - {policy: "arn:aws:iam::123456789012:policy/archive", scopes: ["lake:read:archive/**", "lake:read:old/*"]}
    - {policy: "arn:aws:iam::999999999999:policy/elsewhere", scopes: ["lake:read:reports/**"]}
`

// A managed policy stands for scopes where the rest has no room, if the set holds all that it
// allows; the inline policy still holds all to their actions and their time.
func TestManaged(t *testing.T) {
	c, err := awssts.NewCatalog(loadBundle(t, managedYAML).Catalog(), nil)
	if err != nil {
		t.Fatal(err)
	}
	long := func(folder string, n int) string { // scopes that no pattern holds
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("lake:read:%s/department-of-all-things-%02d/summary.parquet", folder, i))
		}
		return strings.Join(all, " ")
	}
	for name, row := range map[string]struct {
		scopes string
		want   []string // nil: too large
	}{
		"what fits needs none":             {"lake:read:reports/**", []string{}},
		"one that helps":                   {"lake:read:reports/** lake:read:archive/** lake:read:old/* " + long("x", 22), []string{"archive", "reports"}},
		"one that allows more is not used": {"lake:read:archive/** " + long("x", 23), nil},
		"nothing stands for the rest":      {"lake:read:reports/** " + long("x", 26), nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := c.Compile(parseSet(t, row.scopes), awssts.Options{Until: time.Unix(1e9, 0)})
			if row.want == nil {
				if _, ok := errors.AsType[*awssts.SizeError](err); !ok {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var arns []string
			for _, w := range row.want {
				arns = append(arns, "arn:aws:iam::123456789012:policy/"+w)
			}
			if !slices.Equal(p.ManagedARN, arns) || p.Size > awssts.MaxPolicySize {
				t.Errorf("%d characters and %v", p.Size, p.ManagedARN)
			}
			if len(arns) > 0 && (strings.Contains(p.JSON, "archive") || !strings.Contains(p.JSON, `"DateGreaterThanEquals":{"aws:CurrentTime":"2001-09-09T01:46:40Z"}`)) {
				t.Error(p.JSON)
			}
		})
	}
}

func TestRoles(t *testing.T) {
	c, err := awssts.NewCatalog(loadBundle(t, `
kind: catalog
tools:
- {name: a, audience: a, actions: [read], aws: {service: s3, roles: {prod: "arn:aws:iam::111111111111:role/p", stage: "arn:aws:iam::222222222222:role/s"}, with: {bucket: acme-a}}}
- {name: b, audience: b, actions: [read], aws: {service: s3, roles: {default: "arn:aws:iam::111111111111:role/p", stage: "arn:aws:iam::222222222222:role/s"}, with: {bucket: acme-b}}}
- {name: c, audience: c, actions: [send], aws: {service: sqs, role: "arn:aws:iam::{env.account}:role/{env.stage}", with: {region: eu-west-1}}}
- {name: d, audience: d, actions: [send]}
`).Catalog(), map[string]string{"account": "333333333333", "stage": "dev"})
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct{ scopes, asked, want, fault string }{
		"the default":             {"b:read:x", "", "arn:aws:iam::111111111111:role/p", ""},
		"by name":                 {"a:read:x b:read:x", "stage", "arn:aws:iam::222222222222:role/s", ""},
		"by ARN":                  {"a:read:x b:read:x", "arn:aws:iam::111111111111:role/p", "arn:aws:iam::111111111111:role/p", ""},
		"of the environment":      {"c:send:x", "", "arn:aws:iam::333333333333:role/dev", ""},
		"several and none asked":  {"a:read:x", "", "", "several roles"},
		"one that is not there":   {"a:read:x", "dev", "", "no such role"},
		"two roles at once":       {"b:read:x c:send:x", "", "", "different roles"},
		"a tool that has no role": {"d:send:x", "", "", "not in AWS"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := c.Compile(parseSet(t, row.scopes), awssts.Options{Role: row.asked})
			var role *awssts.RoleError
			switch {
			case row.fault != "":
				if !errors.As(err, &role) || !strings.Contains(err.Error(), row.fault) {
					t.Errorf("got %v", err)
				}
			case err != nil || p.Role != row.want:
				t.Errorf("got %v, %v", p, err)
			}
		})
	}
	if p := compile(t, c, "c:send:x", awssts.Options{}); !strings.Contains(p.JSON, "arn:aws:sqs:eu-west-1:333333333333:x") {
		t.Error(p.JSON)
	}
	if _, err := c.Compile(scopes.Set{}, awssts.Options{}); !errors.Is(err, awssts.ErrNothing) {
		t.Errorf("nothing: got %v", err)
	}
	if got := len(c.RoleARNs()); got != 3 || len(c.Roles("a")) != 2 || c.Roles("d") != nil || len(c.Tools()) != 3 {
		t.Errorf("%v", c.RoleARNs())
	}
}

// Each fault of a mapping is found, with its line and what to do.
func TestFaults(t *testing.T) {
	const tool = "kind: catalog\ntools:\n- name: t\n  audience: a\n  actions: [read, list]\n  aws:\n    "
	good := `role: ` + role + "\n    "
	for name, row := range map[string]struct {
		yaml string
		want []string // "line: part of the message"
	}{
		"no role":                               {"service: s3\n    with: {bucket: acme-lake}", []string{"7: no role"}},
		"a role and roles":                      {good + "roles: {a: x}\n    service: s3\n    with: {bucket: acme-lake}", []string{"7: both role and roles"}},
		"a role that is none":                   {"role: lake\n    service: s3\n    with: {bucket: acme-lake}", []string{"7: not the ARN of a role"}},
		"an environment without it":             {"role: arn:aws:iam::{env.x}:role/r\n    service: s3\n    with: {bucket: acme-lake}", []string{`7: environment has no "x"`}},
		"neither service nor actions":           {good, []string{"7: neither a service nor actions"}},
		"both":                                  {good + "service: s3\n    with: {bucket: acme-lake}\n    actions: {read: [{actions: [\"s3:GetObject\"], resource: \"*\"}]}", []string{"8: both service and actions"}},
		"an unknown service":                    {good + "service: s4", []string{`8: unknown service "s4"`}},
		"a service without actions of the tool": {good + "service: sqs\n    with: {region: eu-west-1}", []string{"8: no action of the service"}},
		"a parameter that is missing":           {good + "service: s3", []string{"7: needs a bucket"}},
		"a parameter that is unknown":           {good + "service: s3\n    with: {bucket: acme-lake, buckets: x}", []string{`9: no parameter "buckets"`}},
		"a bucket that is a pattern":            {good + "service: s3\n    with: {bucket: \"acme-*\"}", []string{"9: the bucket \"acme-*\" is not valid"}},
		"a prefix with an empty segment":        {good + "service: s3\n    with: {bucket: acme-lake, prefix: a//b}", []string{"7: empty, '.' or '..'", "7: list is not valid"}},
		"an action that the tool has not":       {good + "actions:\n      write: [{actions: [\"s3:PutObject\"], resource: \"arn:aws:s3:::b/{path}\"}]", []string{`9: no action "write"`}},
		"an action that reaches nothing":        {good + "actions: {read: []}", []string{"8: reaches nothing"}},
		"an IAM action with a wildcard":         {good + "actions:\n      read:\n      - {actions: [\"s3:Get*\"], resource: \"arn:aws:s3:::b/{path}\"}", []string{"10: not an IAM action"}},
		"an IAM action that gives out more":     {good + "actions:\n      read:\n      - {actions: [\"sts:AssumeRole\"], resource: \"arn:aws:iam::1:role/{path}\"}", []string{"10: more than any scope"}},
		"no IAM actions":                        {good + "actions:\n      read:\n      - {resource: \"arn:aws:s3:::b/{path}\"}", []string{"10: no IAM actions"}},
		"a resource that is no ARN":             {good + "actions:\n      read:\n      - {actions: [\"s3:GetObject\"], resource: \"b/{path}\"}", []string{"10: "}},
		"a placeholder of nothing":              {good + "actions:\n      read:\n      - {actions: [\"s3:GetObject\"], resource: \"arn:aws:s3:::{b}/{path}\"}", []string{"10: nothing gives {b}"}},
		"two paths":                             {good + "actions:\n      read:\n      - {actions: [\"s3:GetObject\"], resource: \"arn:aws:s3:::{path}/{path}\"}", []string{"10: one placeholder"}},
		"a path in the middle of a name":        {good + "actions:\n      read:\n      - {actions: [\"s3:GetObject\"], resource: \"arn:aws:s3:::b-{path}\"}", []string{"10: must follow"}},
		"what follows the path":                 {good + "actions:\n      read:\n      - {actions: [\"s3:GetObject\"], resource: \"arn:aws:s3:::b/{path}/*\"}", []string{"10: could be a part of it"}},
		"a variable in an ARN":                  {good + "actions:\n      read:\n      - {actions: [\"s3:GetObject\"], resource: \"arn:aws:s3:::b/${aws:username}\"}", []string{"10: no ARN has", "10: "}},
		"a segment that is not there":           {good + "actions:\n      read:\n      - {actions: [\"s3:GetObject\"], resource: \"arn:aws:s3:::{2}\", segments: 1, closed: true}", []string{"10: no segment {2}"}},
		"a segment of an open target":           {good + "actions:\n      read:\n      - {actions: [\"s3:GetObject\"], resource: \"arn:aws:s3:::{1}\", segments: 1}", []string{"10: only in a closed target"}},
		"closed without a number":               {good + "actions:\n      read:\n      - {actions: [\"s3:GetObject\"], resource: \"arn:aws:s3:::b/{path}\", closed: true}", []string{"10: has a number of segments"}},
		"a separator":                           {good + "actions:\n      read:\n      - {actions: [\"s3:GetObject\"], resource: \"arn:aws:s3:::b/{path}\", separator: \"-\"}", []string{"10: the separator"}},
		"a condition that is none":              {good + "actions:\n      read:\n      - {actions: [\"s3:GetObject\"], resource: \"arn:aws:s3:::b/{path}\", conditions: {string equals: {a: b}}}", []string{"10: is not a condition"}},
		"a condition on the time":               {good + "service: s3\n    with: {bucket: acme-lake}\n    conditions: {DateLessThan: {\"aws:CurrentTime\": \"2027-01-01T00:00:00Z\"}}", []string{"7: is taken"}},
		"a list with a path":                    {good + "actions:\n      list:\n      - {actions: [\"s3:ListBucket\"], resource: \"arn:aws:s3:::b/{path}\", list: {prefix: \"s3:prefix\", delimiter: \"s3:delimiter\", value: \"{path}\"}}", []string{"10: a list is of a resource without {path}"}},
		"a list of what":                        {good + "actions:\n      list:\n      - {actions: [\"s3:ListBucket\"], resource: \"arn:aws:s3:::b\", list: {prefix: prefix, delimiter: \"s3:delimiter\", value: \"{path}\"}}", []string{"10: condition keys"}},
		"a managed policy that is none":         {good + "service: s3\n    with: {bucket: acme-lake}\n    managed: [{policy: x, scopes: [\"t:read:**\"]}]", []string{"10: not the ARN of a managed policy"}},
		"a managed policy for other scopes":     {good + "service: s3\n    with: {bucket: acme-lake}\n    managed: [{policy: \"arn:aws:iam::aws:policy/x\", scopes: [\"u:read:**\", \"t:write:**\", t]}]", []string{"10: of another tool", "10: not in AWS", "10: is not a scope"}},
		"a managed policy for nothing":          {good + "service: s3\n    with: {bucket: acme-lake}\n    managed: [{policy: \"arn:aws:iam::aws:policy/x\"}]", []string{"10: stands for no scopes"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := awssts.NewCatalog(loadBundle(t, tool+row.yaml).Catalog(), map[string]string{"stage": "dev"})
			var faults *policy.BundleError
			if !errors.As(err, &faults) {
				t.Fatalf("got %v", err)
			}
			if len(faults.Faults) != len(row.want) {
				t.Fatalf("got %d faults, want %d: %v", len(faults.Faults), len(row.want), err)
			}
			for i, want := range row.want {
				f := faults.Faults[i]
				at, message, _ := strings.Cut(want, ": ")
				if f.File != "catalog.yaml" || fmt.Sprint(f.Line) != at || !strings.Contains(f.Message, message) || f.Hint == "" || f.Rule != "tool t" {
					t.Errorf("got %s, want %s and a hint", f, want)
				}
			}
		})
	}
}

package awssts_test

import (
	"strings"
	"testing"

	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
)

const role = "arn:aws:iam::123456789012:role/writ-agents"

// worldYAML has a tool for each ready mapping, some that share a bucket or a family of ARNs,
// and one that is written out.
const worldYAML = `
kind: catalog
tools:
- {name: lake, audience: lake, actions: [read, write, delete, list], aws: {service: s3, role: ` + "&" + `, with: {bucket: acme-lake}}}
- {name: raw, audience: raw, actions: [read, write, delete, list], aws: {service: s3, role: &, with: {bucket: acme-lake, prefix: a/raw}}}
- {name: other, audience: other, actions: [read, write, delete, list], aws: {service: s3, role: &, with: {bucket: acme-other}, conditions: {StringEquals: {"aws:SourceVpc": vpc-1}}}}
- {name: tables, audience: tables, actions: [read, scan, write, delete], aws: {service: dynamodb, role: &, with: {region: eu-west-1}}}
- {name: queues, audience: queues, actions: [send, receive, describe], aws: {service: sqs, role: &, with: {region: eu-west-1}}}
- {name: topics, audience: topics, actions: [publish], aws: {service: sns, role: &, with: {region: eu-west-1}}}
- {name: secrets, audience: secrets, actions: [read, describe, write], aws: {service: secretsmanager, role: &, with: {region: eu-west-1}}}
- {name: parameters, audience: parameters, actions: [read, write, delete], aws: {service: ssm, role: &, with: {region: eu-west-1}}}
- {name: functions, audience: functions, actions: [invoke], aws: {service: lambda, role: &, with: {region: eu-west-1}}}
- {name: models, audience: models, actions: [invoke], aws: {service: bedrock, role: &, with: {region: eu-west-1}}}
- {name: queries, audience: queries, actions: [query], aws: {service: athena, role: &, with: {region: eu-west-1}}}
- {name: glue, audience: glue, actions: [read], aws: {service: glue, role: &, with: {region: eu-west-1}}}
- {name: keys, audience: keys, actions: [decrypt, encrypt, sign, verify], aws: {service: kms, role: &, with: {region: eu-west-1}}}
- {name: images, audience: images, actions: [pull], aws: {service: ecr, role: &, with: {region: eu-west-1}}}
- {name: logs, audience: logs, actions: [read, write], aws: {service: logs, role: &, with: {region: eu-west-1, prefix: /}}}
- name: files
  audience: files
  actions: [read, export, tag]
  aws:
    role: &
    actions:
      read: [{actions: ["s3:GetObject"], resource: "arn:aws:s3:::acme-lake/{path}"}]
      export:
      - {actions: ["s3:GetObject", "s3:GetObjectVersion"], resource: "arn:aws:s3:::acme-lake/{path}"}
      - {actions: ["s3:PutObject"], resource: "arn:aws:s3:::acme-exports/done"}
      tag: [{actions: ["s3:PutObjectTagging", "s3:GetObject"], resource: "arn:aws:s3:::acme-lake/{path}", conditions: {StringLike: {"s3:RequestObjectTag/team": "eu-*"}}}]
`

func loadBundle(t testing.TB, yaml string) *policy.Bundle {
	t.Helper()
	b, err := policy.Parse(map[string][]byte{"catalog.yaml": []byte(yaml)}, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func loadWorld(t testing.TB) *awssts.Catalog {
	t.Helper()
	c, err := awssts.NewCatalog(loadBundle(t, strings.ReplaceAll(worldYAML, "role: &", "role: "+role)).Catalog(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func parseSet(t testing.TB, text string) scopes.Set {
	t.Helper()
	set, err := scopes.ParseSet(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// The reference says of an access whether scopes name it, by what the ready mappings are
// documented to mean. It reads ARNs backwards, segment by segment, and knows no patterns of
// IAM.

// meaning is one way in which an ARN is a resource of a tool.
type meaning struct {
	tool    string
	actions map[string][]string // IAM action, in lower case → actions of the tool
	parse   func(arn string) ([]string, bool)
	holds   func(context map[string]string) bool // nil: always
}

func always(map[string]string) bool { return true }

// path reads what lies behind a prefix of ARNs.
func path(prefix, separator, suffix string) func(string) ([]string, bool) {
	return func(arn string) ([]string, bool) {
		rest, ok := strings.CutPrefix(arn, prefix)
		if !ok {
			return nil, false
		}
		switch suffix {
		case "-??????":
			if len(rest) < 7 || rest[len(rest)-7] != '-' {
				return nil, false
			}
			rest = rest[:len(rest)-7]
		case ":*":
			name, _, found := strings.Cut(rest, ":")
			if !found {
				return nil, false
			}
			rest = name
		}
		segments := strings.Split(rest, separator)
		for _, s := range segments {
			if s == "" || s == "." || s == ".." {
				return nil, false
			}
		}
		return segments, true
	}
}

func inAccount(service string) string { return "arn:aws:" + service + ":eu-west-1:123456789012:" }

func vpc(context map[string]string) bool { return context["aws:sourcevpc"] == "vpc-1" }

func team(context map[string]string) bool {
	return strings.HasPrefix(context["s3:requestobjecttag/team"], "eu-")
}

var object = map[string][]string{"s3:getobject": {"read"}, "s3:putobject": {"write"}, "s3:abortmultipartupload": {"write"}, "s3:deleteobject": {"delete"}}

func doing(action string, iamActions ...string) map[string][]string {
	m := map[string][]string{}
	for _, a := range iamActions {
		m[strings.ToLower(a)] = append(m[strings.ToLower(a)], action)
	}
	return m
}

func merged(all ...map[string][]string) map[string][]string {
	m := map[string][]string{}
	for _, one := range all {
		for k, v := range one {
			m[k] = append(m[k], v...)
		}
	}
	return m
}

func meanings() []meaning {
	return []meaning{
		{"lake", object, path("arn:aws:s3:::acme-lake/", "/", ""), always},
		{"raw", object, path("arn:aws:s3:::acme-lake/a/raw/", "/", ""), always},
		{"other", object, path("arn:aws:s3:::acme-other/", "/", ""), vpc},
		{"files", merged(doing("read", "s3:GetObject"), doing("export", "s3:GetObject", "s3:GetObjectVersion")), path("arn:aws:s3:::acme-lake/", "/", ""), always},
		{"files", doing("tag", "s3:PutObjectTagging", "s3:GetObject"), path("arn:aws:s3:::acme-lake/", "/", ""), team},
		{"tables", merged(doing("read", "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"), doing("scan", "dynamodb:Scan"),
			doing("write", "dynamodb:PutItem", "dynamodb:UpdateItem"), doing("delete", "dynamodb:DeleteItem")), path(inAccount("dynamodb")+"table/", "/", ""), always},
		{"queues", merged(doing("send", "sqs:SendMessage"), doing("receive", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"),
			doing("describe", "sqs:GetQueueAttributes", "sqs:GetQueueUrl")), path(inAccount("sqs"), "/", ""), always},
		{"topics", doing("publish", "sns:Publish"), path(inAccount("sns"), "/", ""), always},
		{"secrets", merged(doing("read", "secretsmanager:GetSecretValue"), doing("describe", "secretsmanager:DescribeSecret"),
			doing("write", "secretsmanager:PutSecretValue")), path(inAccount("secretsmanager")+"secret:", "/", "-??????"), always},
		{"parameters", merged(doing("read", "ssm:GetParameter", "ssm:GetParameters"), doing("write", "ssm:PutParameter"), doing("delete", "ssm:DeleteParameter")),
			path(inAccount("ssm")+"parameter/", "/", ""), always},
		{"functions", doing("invoke", "lambda:InvokeFunction"), path(inAccount("lambda")+"function:", ":", ""), always},
		{"models", doing("invoke", "bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"), path("arn:aws:bedrock:eu-west-1::foundation-model/", "/", ""), always},
		{"queries", doing("query", "athena:StartQueryExecution", "athena:StopQueryExecution", "athena:GetQueryExecution", "athena:GetQueryResults"),
			path(inAccount("athena")+"workgroup/", "/", ""), always},
		{"glue", doing("read", "glue:GetTable", "glue:GetPartition", "glue:GetPartitions"), path(inAccount("glue")+"table/", "/", ""), always},
		{"keys", merged(doing("decrypt", "kms:Decrypt"), doing("encrypt", "kms:Encrypt", "kms:GenerateDataKey"), doing("sign", "kms:Sign"), doing("verify", "kms:Verify")),
			path(inAccount("kms")+"key/", "/", ""), always},
		{"images", doing("pull", "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"), path(inAccount("ecr")+"repository/", "/", ""), always},
		{"logs", merged(doing("read", "logs:FilterLogEvents", "logs:GetLogEvents"), doing("write", "logs:CreateLogStream", "logs:PutLogEvents")),
			path(inAccount("logs")+"log-group:/", "/", ":*"), always},
	}
}

// part is one segment of a scope, percent-decoded; wild: the rest is free.
type part struct {
	text string
	wild bool
}

func decode(text string) part {
	raw, wild := strings.CutSuffix(text, "*")
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			b.WriteByte(raw[i])
			continue
		}
		const digits = "0123456789ABCDEF"
		b.WriteByte(byte(strings.IndexByte(digits, raw[i+1])<<4 | strings.IndexByte(digits, raw[i+2])))
		i += 2
	}
	return part{b.String(), wild}
}

// reads says whether the pattern of a scope's text matches segments.
func reads(pattern []string, segments []string) bool {
	if len(pattern) == 1 && pattern[0] == "**" {
		return len(segments) >= 1
	}
	if len(pattern) == 0 || len(segments) == 0 {
		return len(pattern) == len(segments)
	}
	p := decode(pattern[0])
	if p.wild && !strings.HasPrefix(segments[0], p.text) || !p.wild && segments[0] != p.text {
		return false
	}
	return reads(pattern[1:], segments[1:])
}

// reference is a set of scopes, as it is meant.
type reference struct {
	scopes   []referenceScope
	meanings []meaning
}

type referenceScope struct {
	tool, action string
	pattern      []string
}

func newReference(set scopes.Set) *reference {
	r := &reference{meanings: meanings()}
	for s := range set.All() {
		r.scopes = append(r.scopes, referenceScope{s.Tool(), s.Action(), strings.Split(s.Resource(), "/")})
	}
	return r
}

func (r *reference) grants(tool string, actions []string, segments []string) bool {
	for _, s := range r.scopes {
		if s.tool != tool {
			continue
		}
		for _, a := range actions {
			if s.action == a && reads(s.pattern, segments) {
				return true
			}
		}
	}
	return false
}

// alone are the references of each scope by itself.
func (r *reference) alone() []*reference {
	var all []*reference
	for _, s := range r.scopes {
		all = append(all, &reference{[]referenceScope{s}, r.meanings})
	}
	return all
}

// allows says whether the scopes name the access.
func (r *reference) allows(a access) bool {
	action := strings.ToLower(a.action)
	for i := range r.meanings {
		m := &r.meanings[i]
		if m.actions[action] == nil || !m.holds(a.context) {
			continue
		}
		if segments, ok := m.parse(a.resource); ok && r.grants(m.tool, m.actions[action], segments) {
			return true
		}
	}
	switch {
	case action == "s3:listbucket":
		return r.lists(a)
	case action == "s3:putobject" && a.resource == "arn:aws:s3:::acme-exports/done":
		return r.has("files", "export")
	case action == "ecr:getauthorizationtoken" && a.resource == "*":
		return r.has("images", "pull")
	case strings.HasPrefix(action, "glue:get"):
		return r.glue(action, a.resource)
	}
	return false
}

func (r *reference) has(tool, action string) bool {
	for _, s := range r.scopes {
		if s.tool == tool && s.action == action {
			return true
		}
	}
	return false
}

// glue: whoever reads a table asks its database and the catalog too.
func (r *reference) glue(action, arn string) bool {
	if action != "glue:gettable" && action != "glue:getpartition" && action != "glue:getpartitions" {
		return false
	}
	if arn == inAccount("glue")+"catalog" {
		return r.has("glue", "read")
	}
	database, ok := strings.CutPrefix(arn, inAccount("glue")+"database/")
	if !ok || database == "" || strings.Contains(database, "/") {
		return false
	}
	for _, s := range r.scopes {
		if s.tool != "glue" {
			continue
		}
		first := decode(s.pattern[0])
		if s.pattern[0] == "**" || first.wild && strings.HasPrefix(database, first.text) || first.text == database {
			return true
		}
	}
	return false
}

// lists: a list with a delimiter shows the names of one level that begin with its prefix; one
// without shows all that lie below too. All of them must be named by the scopes.
func (r *reference) lists(a access) bool {
	prefix := a.context["s3:prefix"]
	for _, bucket := range []struct {
		tool, arn, inside string
		holds             func(map[string]string) bool
	}{
		{"lake", "arn:aws:s3:::acme-lake", "", always},
		{"raw", "arn:aws:s3:::acme-lake", "a/raw/", always},
		{"other", "arn:aws:s3:::acme-other", "", vpc},
	} {
		rest, ok := strings.CutPrefix(prefix, bucket.inside)
		if !ok || a.resource != bucket.arn || !bucket.holds(a.context) {
			continue
		}
		whole := strings.Split(rest, "/")
		for _, s := range whole[:len(whole)-1] {
			if s == "" || s == "." || s == ".." {
				ok = false
			}
		}
		if !ok {
			continue
		}
		// A name that nothing but a wildcard matches stands for all names.
		whole[len(whole)-1] += "~fresh~"
		levels := 1
		if a.context["s3:delimiter"] != "/" {
			levels = 8
		}
		for n := range levels {
			shown := append([]string{}, whole...)
			for range n {
				shown = append(shown, "~fresh~")
			}
			ok = ok && r.grants(bucket.tool, []string{"list"}, shown)
		}
		if ok {
			return true
		}
	}
	return false
}

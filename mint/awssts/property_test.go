package awssts_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/scopes"
)

// dice draws scopes and accesses that are made to meet at their edges.
type dice struct {
	*rand.Rand
	actions map[string][]string // of IAM, by tool
}

func (d dice) one(from ...string) string { return from[d.IntN(len(from))] }

// odds that a tool is drawn: those with paths are where it is difficult.
var tools = []string{
	"lake", "lake", "lake", "lake", "lake", "raw", "raw", "other", "files", "files", "tables", "secrets", "secrets", "parameters", "functions",
	"images", "logs", "logs", "queues", "topics", "models", "queries", "glue", "keys",
}

var actionsOf = map[string][]string{
	"lake": {"read", "read", "write", "delete", "list", "list"}, "raw": {"read", "write", "list"}, "other": {"read", "list"},
	"files": {"read", "export", "tag"}, "tables": {"read", "scan", "write", "delete"}, "queues": {"send", "receive", "describe"},
	"topics": {"publish"}, "secrets": {"read", "describe", "write"}, "parameters": {"read", "write", "delete"}, "functions": {"invoke"},
	"models": {"invoke"}, "queries": {"query"}, "glue": {"read"}, "keys": {"decrypt", "encrypt", "sign", "verify"}, "images": {"pull"},
	"logs": {"read", "write"},
}

func (d dice) segment() string {
	if d.IntN(6) == 0 {
		return d.one("%2A", "x%3Fy", "%24%7Baws%3Ausername%7D", "%24", "%24%2A", "a%20b", ".a", ".*", "..*", "A", "...", "%C3%A9", "%24%7B", "raw", "a%22b", "a%5Cb", "-a", "%E4%B8%AD", "a%3Ab")
	}
	return d.one("a", "a", "b", "ab", "a*", "b*", "*", "*", "*")
}

func (d dice) scope() string {
	tool := tools[d.IntN(len(tools))]
	n := 1 + d.IntN(4)
	switch tool {
	case "queues", "topics", "models", "queries", "keys":
		n = 1
	case "glue":
		n = 2
	}
	parts := make([]string, n)
	for i := range parts {
		parts[i] = d.segment()
	}
	if d.IntN(3) == 0 {
		parts[n-1] = "**"
	}
	return tool + ":" + d.one(actionsOf[tool]...) + ":" + strings.Join(parts, "/")
}

func (d dice) set() string {
	n := 1 + d.IntN(5)
	all := make([]string, n)
	for i := range all {
		all[i] = d.scope()
		if i > 0 && d.IntN(2) == 0 { // the same tool and action again, so that they meet
			first, again := strings.SplitN(all[0], ":", 3), strings.SplitN(all[i], ":", 3)
			all[i] = first[0] + ":" + d.one(first[1], d.one(actionsOf[first[0]]...)) + ":" + again[2]
		}
	}
	return strings.Join(all, " ")
}

// value is a text for a wildcard.
func (d dice) value() string {
	switch d.IntN(4) {
	case 0:
		return d.one("", ".", "..", "a/b", "/", "x/", "/x", "//", "../x", "*", "?", "bob", ":", "a:b", "${*}", "é")
	case 1:
		return d.one("a", "b", "ab", "A", "c", "raw")
	}
	return d.one("a", "b", "fresh", "x.y")
}

// resource is a path near one that the pattern matches.
func (d dice) resource(pattern string) string {
	var parts []string
	for text := range strings.SplitSeq(pattern, "/") {
		if text == "**" {
			for range 1 + d.IntN(3) {
				parts = append(parts, d.value())
			}
			break
		}
		p := decode(text)
		if p.wild {
			p.text += d.value()
		}
		parts = append(parts, p.text)
	}
	switch d.IntN(12) {
	case 0:
		parts = append(parts, d.value())
	case 1:
		parts = parts[:len(parts)-1]
	case 2:
		parts = slices.Insert(parts, d.IntN(len(parts)+1), d.one("", ".", "..", "a", "b", "x"))
	case 3:
		i := d.IntN(len(parts))
		parts[i] = d.one(d.value(), strings.ToUpper(parts[i]), parts[i]+"x", parts[i]+d.value(), strings.ReplaceAll(parts[i], "${aws:username}", "bob"))
	}
	return strings.Join(parts, "/")
}

func (d dice) context(set []string) map[string]string {
	c := map[string]string{"aws:username": "bob", "aws:currenttime": noonUTC.Add(time.Duration(d.IntN(3)-1) * time.Second).Format(time.RFC3339)}
	if d.IntN(4) > 0 {
		c["aws:sourcevpc"] = "vpc-1"
	}
	if d.IntN(4) > 0 {
		c["s3:requestobjecttag/team"] = d.one("eu-1", "us-1")
	}
	if d.IntN(8) > 0 {
		_, path := d.near(set)
		c["s3:prefix"] = path
		if d.IntN(3) == 0 {
			c["s3:prefix"] = d.one("", "a/raw/", "a/", "/") + path + d.one("", "/", "a", ".")
		}
	}
	if d.IntN(3) > 0 {
		c["s3:delimiter"] = d.one("/", "/", "/", "", "x")
	}
	return c
}

// near picks a scope of the set and a path near it.
func (d dice) near(set []string) (tool, path string) {
	parts := strings.SplitN(set[d.IntN(len(set))], ":", 3)
	return parts[0], d.resource(parts[2])
}

func (d dice) access(set []string) access {
	tool, near := d.near(set)
	if d.IntN(10) == 0 {
		tool = tools[d.IntN(len(tools))]
	}
	a := access{context: d.context(set), action: d.action(tool), resource: d.elsewhere(d.arn(tool, near))}
	if d.IntN(10) == 0 {
		a.action = d.one(strings.ToUpper(a.action), strings.ToLower(a.action), "sts:AssumeRole", "iam:PassRole", "s3:GetObjectAcl", "s3:GetObject", "s3:DeleteBucket", "kms:CreateGrant", "glue:GetTables")
	}
	return a
}

// elsewhere moves some resources to another account, region or partition, where they are others.
func (d dice) elsewhere(arn string) string {
	if d.IntN(20) > 0 {
		return arn
	}
	from := d.one("123456789012", "eu-west-1", "arn:aws:")
	return strings.Replace(arn, from, map[string]string{"123456789012": "210987654321", "eu-west-1": "us-east-1", "arn:aws:": "arn:aws-cn:"}[from], 1)
}

var noonUTC = time.Date(2026, 7, 8, 12, 0, 0, 0, time.UTC)

// options are those of AWS or of a MinIO, for a life that ends at noon or later.
func (d dice) options() awssts.Options {
	o := awssts.Options{Limit: 1 << 16, Plain: d.IntN(4) == 0}
	if d.IntN(4) == 0 {
		o.Until = noonUTC
	}
	return o
}

func (d dice) action(tool string) string {
	if (tool == "lake" || tool == "raw" || tool == "other") && d.IntN(4) == 0 {
		return "s3:ListBucket"
	}
	if tool == "images" && d.IntN(8) == 0 {
		return "ecr:GetAuthorizationToken"
	}
	return d.one(d.actions[tool]...)
}

func (d dice) arn(tool, path string) string {
	if d.IntN(40) == 0 {
		return d.one("*", "arn:aws:s3:::acme-lake", "arn:aws:s3:::acme-exports/done", "arn:aws:s3:::acme-lake/", "arn:aws:iam::123456789012:role/writ-agents", inAccount("glue")+"catalog")
	}
	noColon := strings.ReplaceAll(path, ":", "_") // which no name there has
	flat := strings.NewReplacer("/", "_", ":", "_").Replace(path)
	switch tool {
	case "lake":
		return d.one("arn:aws:s3:::acme-lake/"+path, "arn:aws:s3:::acme-lake/"+path, "arn:aws:s3:::acme-lake/a/raw/"+path, "arn:aws:s3:::acme-lake", "arn:aws:s3:::acme-lake2/"+path)
	case "raw":
		return d.one("arn:aws:s3:::acme-lake/a/raw/"+path, "arn:aws:s3:::acme-lake/a/raw/"+path, "arn:aws:s3:::acme-lake/"+path, "arn:aws:s3:::acme-lake")
	case "other":
		return d.one("arn:aws:s3:::acme-other/"+path, "arn:aws:s3:::acme-other", "arn:aws:s3:::acme-lake/"+path)
	case "files":
		return "arn:aws:s3:::acme-lake/" + path
	case "tables":
		return inAccount("dynamodb") + "table/" + noColon
	case "secrets":
		return inAccount("secretsmanager") + "secret:" + noColon + d.one("-AbC123", "-000000", "-zzzzzz-QWERTY")
	case "parameters":
		return inAccount("ssm") + "parameter/" + noColon
	case "functions":
		return inAccount("lambda") + "function:" + strings.ReplaceAll(path, "/", ":")
	case "images":
		if d.IntN(6) == 0 {
			return "*"
		}
		return inAccount("ecr") + "repository/" + noColon
	case "logs":
		return inAccount("logs") + "log-group:/" + noColon + d.one(":*", ":log-stream:2026/01/[$LATEST]0a", ":log-stream:a//b", "")
	case "queues":
		return inAccount("sqs") + flat
	case "topics":
		return inAccount("sns") + flat
	case "models":
		return "arn:aws:bedrock:eu-west-1::foundation-model/" + strings.ReplaceAll(path, "/", "_")
	case "queries":
		return inAccount("athena") + "workgroup/" + flat
	case "keys":
		return inAccount("kms") + "key/" + flat
	}
	database, table, _ := strings.Cut(path, "/")
	return inAccount("glue") + d.one("table/"+database+"/"+strings.ReplaceAll(table, "/", "_"), "database/"+database, "catalog")
}

// exists says whether there is such an access: of services whose names are clean, and whose
// mappings lean on that, only those are asked about.
func exists(a access) bool {
	if strings.EqualFold(a.action, "ecr:GetAuthorizationToken") {
		return a.resource == "*" // it is about no resource
	}
	for _, clean := range []string{"dynamodb", "lambda", "ecr", "sqs", "sns", "bedrock", "athena", "glue", "kms"} {
		if !strings.HasPrefix(a.resource, "arn:aws:"+clean+":") {
			continue
		}
		parts := strings.SplitN(a.resource, ":", 6)
		text := "/" + strings.ReplaceAll(parts[5], ":", "/") + "/"
		if strings.Contains(text, "//") || strings.Contains(text, "/./") || strings.Contains(text, "/../") {
			return false
		}
	}
	return true
}

// checkSet compiles one set and holds the policy against the reference, access by access.
func checkSet(t *testing.T, c *awssts.Catalog, d dice, text string, accesses int, tally *tally) {
	t.Helper()
	set, err := scopes.ParseSet(text)
	if err != nil {
		t.Fatal(err)
	}
	o := d.options()
	p, err := c.Compile(set, o)
	if err != nil {
		var refused *awssts.ScopeError
		if !errors.As(err, &refused) || refused.Problem == "" || refused.Ask == "" {
			t.Fatalf("%s: %v", text, err)
		}
		tally.refused++
		return
	}
	tally.compiled++
	r, err := parseRules(p.JSON)
	if err != nil {
		t.Fatalf("%s: %v\n%s", text, err, p.JSON)
	}
	against(t, d, set, o.Until, r, text+"\n"+p.JSON, accesses, tally)
}

// against holds rules to a set, that nothing of is left from a time on, unless that is zero.
func against(t *testing.T, d dice, set scopes.Set, until time.Time, r *rules, about string, accesses int, tally *tally) {
	t.Helper()
	want := newReference(set)
	alone := want.alone()
	written := strings.Fields(set.String())
	for range accesses {
		a := d.access(written)
		if !exists(a) {
			continue
		}
		tally.checks++
		meant := want.allows(a) && (until.IsZero() || a.context["aws:currenttime"] < until.Format(time.RFC3339))
		if meant {
			tally.granted++
		}
		if !meant && (r.allows(a, wide, narrow) || r.allows(a, narrow, narrow)) {
			t.Fatalf("WIDER than the scopes: %s\n%s on %q, %v", about, a.action, a.resource, a.context)
		}
		byOne := meant && slices.ContainsFunc(alone, func(one *reference) bool { return one.allows(a) })
		if byOne && (!r.allows(a, narrow, wide) || !r.allows(a, narrow, narrow)) {
			t.Fatalf("a granted access is refused: %s\n%s on %q, %v", about, a.action, a.resource, a.context)
		}
	}
}

type tally struct{ compiled, refused, checks, granted int }

func (t tally) String() string {
	return fmt.Sprintf("%d sets compiled, %d refused; %d accesses checked, %d of them granted", t.compiled, t.refused, t.checks, t.granted)
}

func newDice(seed uint64) dice {
	d := dice{rand.New(rand.NewPCG(seed, 5)), map[string][]string{}}
	for _, m := range meanings() {
		d.actions[m.tool] = append(d.actions[m.tool], slices.Sorted(maps.Keys(m.actions))...)
	}
	return d
}

// What is compiled allows what the scopes name, and nothing else: over generated sets and
// accesses, with an evaluator that shares nothing with the compiler.
func TestPolicyIsTheScopes(t *testing.T) {
	const workers, checks = 2, 1_000_000
	c := loadWorld(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var parts [workers]tally
	t.Run("worker", func(t *testing.T) {
		for i := range parts {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				d := newDice(seed + uint64(i))
				for parts[i].checks < checks/workers {
					checkSet(t, c, d, d.set(), 200, &parts[i])
				}
			})
		}
	})
	var n tally
	for _, p := range parts {
		n = tally{n.compiled + p.compiled, n.refused + p.refused, n.checks + p.checks, n.granted + p.granted}
	}
	t.Log(n)
	if !t.Failed() && (n.checks < checks || n.granted < n.checks/20 || n.compiled < n.refused/2) {
		t.Errorf("the checks say too little: %s", n)
	}
}

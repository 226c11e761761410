package condition_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/policy/internal/condition"
	"pgregory.net/rapid"
)

func newEnv(t rapid.TB) *condition.Env {
	t.Helper()
	env, err := condition.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func input() *condition.Input {
	in := &condition.Input{
		Subject: &condition.Party{ID: "corp:ann", Issuer: "https://idp", Source: "corp", Kind: "user", Attributes: map[string]any{
			"groups": []any{"data", "eu"}, "level": int64(3), "nested": map[string]any{"team": "x"},
		}},
		Agent: &condition.Party{ID: "k8s:a", Source: "k8s", Kind: "workload", Attributes: map[string]any{}},
		Tool:  condition.Box("warehouse"), Action: condition.Box("read"), Audience: condition.Box("https://wh"),
		Tags: condition.BoxMap(map[string]string{"region": "eu"}), Task: "t-1",
		SourceIP: netip.MustParseAddr("::ffff:10.1.2.3"), Env: condition.BoxMap(map[string]string{"stage": "prod"}),
	}
	in.SetTime(time.Date(2026, 7, 6, 22, 30, 0, 0, time.FixedZone("", 7200)))
	return in
}

func TestEval(t *testing.T) {
	env, in := newEnv(t), input()
	for _, tt := range []struct {
		expression string
		want       bool
		wantError  bool
	}{
		{`subject.id == "corp:ann" && subject.kind == "user" && subject.issuer == "https://idp"`, true, false},
		{`"eu" in subject.attributes.groups`, true, false},
		{`subject.attributes.level >= 3`, true, false},
		{`subject.attributes.nested.team == "x"`, true, false},
		{`resource.tags.region == "eu"`, true, false},
		{`resource.tags["region"] in ["eu", "us"]`, true, false},
		{`has(resource.tags.classification)`, false, false},
		{`resource.tags.classification == "x"`, false, true},
		{`agent.attributes.missing == 1`, false, true},
		{`has(agent.attributes.missing) && agent.attributes.missing == 1`, false, false},
		{`tool == "warehouse" && action == "read" && request.audience == "https://wh"`, true, false},
		{`env.stage == "prod" && request.task.startsWith("t-")`, true, false},
		{`cidr("10.0.0.0/8").containsIP(request.source_ip)`, true, false},
		{`request.time.getHours() == 20`, true, false},
		{`request.time.getHours("Europe/Berlin") == 22 && request.time.getMinutes("+05:45") == 15`, true, false},
		{`request.time.getDayOfWeek() == 1`, true, false},
		{`request.time < timestamp("2026-07-06T20:30:01Z") && timestamp(1) < request.time`, true, false},
		{`subject.attributes.groups.exists(g, g == resource.tags.region)`, true, false},
		{`subject.id.matches("^corp:[a-z]+$")`, true, false},
	} {
		t.Run(tt.expression, func(t *testing.T) {
			c, err := env.Compile(tt.expression, condition.OnResource)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Eval(in)
			if got != tt.want || (err != nil) != tt.wantError {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	env := newEnv(t)
	for _, tt := range []struct{ name, expression, message string }{
		{"syntax", `1 +`, "not CEL"},
		{"empty", ` `, "empty"},
		{"unknown variable", `user.id == ""`, "undeclared"},
		{"unknown field", `request.path == ""`, "undeclared"},
		{"the path is not visible", `resource.path == ""`, "undeclared"},
		{"not bool", `subject.id`, "not bool"},
		{"dyn is not bool", `agent.attributes.admin`, "not bool"},
		{"type error", `subject.id == 3`, "type-check"},
		{"time in arithmetic", `request.time + duration("1h") > timestamp("2026-01-01T00:00:00Z")`, "end cannot be computed"},
		{"time as text", `string(request.time) == ""`, "end cannot be computed"},
		{"time against a claim", `request.time < timestamp(subject.attributes.until)`, "end cannot be computed"},
		{"time in a list", `request.time in [timestamp("2026-01-01T00:00:00Z")]`, "end cannot be computed"},
		{"time hidden in dyn", `dyn(request.time) == 3`, "end cannot be computed"},
		{"time through a loop", `[request.time].exists(t, t.getSeconds() == 3)`, "end cannot be computed"},
		{"seconds", `request.time.getSeconds() < 30`, "end cannot be computed"},
		{"zone from a claim", `request.time.getHours(subject.attributes.tz) < 3`, "time zone"},
		{"zone of the host", `request.time.getHours("Local") < 3`, "time zone"},
		{"zone unknown", `request.time.getHours("Mars/Base") < 3`, "time zone"},
		{"zone of another time", `timestamp("2026-01-01T00:00:00Z").getHours("Local") == 1`, "time zone"},
		{"no such instant", `request.time < timestamp("soon")`, "end cannot be computed"},
		{"hidden variable", `[1].exists(request, request == 1)`, "hides"},
		{"too long", `subject.id == "` + strings.Repeat("x", condition.MaxTextBytes) + `"`, "not CEL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := env.Compile(tt.expression, condition.OnResource)
			var fault *condition.Error
			if !errors.As(err, &fault) || !strings.Contains(fault.Message, tt.message) || fault.Hint == "" {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := env.Compile(`resource.tags.a == ""`, condition.OnPrincipal); err == nil {
		t.Error("a condition on a principal reads tags")
	}
}

// What would cost too much for one set of attributes stops with an error, whatever they are.
func TestCostIsBounded(t *testing.T) {
	env, in := newEnv(t), input()
	big := make([]any, 1000)
	for i := range big {
		big[i] = int64(i)
	}
	in.Subject.Attributes["big"] = big
	c, err := env.Compile(`subject.attributes.big.all(x, subject.attributes.big.all(y, x + y >= 0))`, condition.OnResource)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Eval(in); err == nil {
		t.Error("a million steps were taken")
	}
}

func TestReads(t *testing.T) {
	env := newEnv(t)
	for expression, want := range map[string]condition.Reads{
		`subject.id == ""`:                          0,
		`agent.attributes.a == 1`:                   condition.ReadsAgent,
		`has(resource.tags.x)`:                      condition.ReadsTags,
		`request.audience == tool`:                  condition.ReadsTool,
		`action == ""`:                              condition.ReadsAction,
		`[1].exists(x, request.time.getHours()==x)`: condition.ReadsTime,
	} {
		c, err := env.Compile(expression, condition.OnResource)
		if err != nil {
			t.Fatal(err)
		}
		if c.Reads() != want {
			t.Errorf("%s reads %b, want %b", expression, c.Reads(), want)
		}
	}
}

// Between two instants that Next gives, a condition's result is the same. The property is checked
// where it is most likely to fail: around midnights, hours and changes of the offset.
func TestNextIsNeverLate(t *testing.T) {
	env := newEnv(t)
	var conditions []*condition.Condition
	for _, expression := range []string{
		`request.time.getHours("Europe/Berlin") < 9`,
		`request.time.getMinutes("Australia/Lord_Howe") < 30`,
		`request.time.getHours("Australia/Lord_Howe") % 2 == 0`,
		`request.time.getDayOfWeek("America/New_York") in [1, 3]`,
		`request.time.getDate("+05:45") % 2 == 0`,
		`request.time.getMonth() == 2 && request.time.getDayOfMonth() == 28`,
		`request.time < timestamp("2026-03-29T01:00:00Z")`,
		`request.time <= timestamp("2026-03-29T01:00:00Z")`,
		`request.time == timestamp("2026-03-29T01:00:00Z") || request.time.getHours("-03:30") == 1`,
	} {
		c, err := env.Compile(expression, condition.OnResource)
		if err != nil {
			t.Fatal(err)
		}
		conditions = append(conditions, c)
	}
	starts := []time.Time{
		time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC), time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC),
		time.Date(2026, 4, 4, 15, 0, 0, 0, time.UTC), time.Date(2026, 12, 31, 23, 59, 59, 999, time.UTC),
	}
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(conditions).Draw(t, "condition")
		start := rapid.SampledFrom(starts).Draw(t, "start").
			Add(time.Duration(rapid.Int64Range(-int64(3*time.Hour), int64(3*time.Hour)).Draw(t, "offset")))
		next, ok := c.Next(start)
		if ok && !next.After(start) {
			t.Fatalf("next of %v is %v", start, next)
		}
		end := start.Add(48 * time.Hour)
		if ok && next.Before(end) {
			end = next
		}
		at := start.Add(time.Duration(rapid.Int64Range(0, int64(end.Sub(start))-1).Draw(t, "at")))
		in := input()
		in.SetTime(start)
		before, _ := c.Eval(in)
		in.SetTime(at)
		if after, _ := c.Eval(in); before != after {
			t.Fatalf("%s: %v at %v, %v at %v, next is %v", c, before, start, after, at, next)
		}
	})
}

package condition_test

import (
	"slices"
	"testing"

	"github.com/writbroker/writ/policy/internal/condition"
)

func TestAttributesThatAConditionReads(t *testing.T) {
	env, err := condition.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		text string
		want []string
		all  bool
	}{
		"a member":             {text: `subject.attributes.team == "x"`, want: []string{"team"}},
		"has":                  {text: `has(agent.attributes.team)`, want: []string{"team"}},
		"an index":             {text: `agent.attributes["team"] == "x"`, want: []string{"team"}},
		"a member of a member": {text: `subject.attributes.a.b == 1`, want: []string{"a"}},
		"of both":              {text: `subject.attributes.a == agent.attributes.b`, want: []string{"a", "b"}},
		"in a list":            {text: `"x" in subject.attributes.groups`, want: []string{"groups"}},
		"in a loop":            {text: `subject.attributes.groups.exists(g, g == "x")`, want: []string{"groups"}},
		"a computed index":     {text: `subject.attributes[request.task] == 1`, all: true},
		"as a whole":           {text: `"team" in subject.attributes`, all: true},
		"as an index":          {text: `{"a": true}[subject.attributes.a]`, want: []string{"a"}},
		"none":                 {text: `agent.id == "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := env.Compile(row.text, condition.OnPrincipal)
			if err != nil {
				t.Fatal(err)
			}
			got := c.Attributes()
			names, all := slices.Concat(got.Subject.Names, got.Agent.Names), got.Subject.All || got.Agent.All
			if !slices.Equal(names, row.want) || all != row.all {
				t.Errorf("reads %v, all %v; want %v, all %v", names, all, row.want, row.all)
			}
		})
	}
}

// What nobody has proven to be absent is not absent: neither a deny nor a grant may rest on it.
func TestUnknownAttributes(t *testing.T) {
	env, err := condition.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]any{"team": "a"}
	for name, row := range map[string]struct {
		text             string
		subject, agent   bool // partial
		want, cannotTell bool
	}{
		"has, complete":             {text: `has(subject.attributes.gone)`},
		"has, partial":              {text: `has(subject.attributes.gone)`, subject: true, cannotTell: true},
		"not has, partial":          {text: `!has(agent.attributes.gone)`, agent: true, cannotTell: true},
		"what is carried, partial":  {text: `subject.attributes.team == "a"`, subject: true, want: true},
		"of the other one, partial": {text: `has(agent.attributes.gone)`, subject: true},
		"as a whole, partial":       {text: `size(agent.attributes) == 1`, agent: true, cannotTell: true},
		"hidden behind an or":       {text: `subject.id != "" || has(subject.attributes.gone)`, subject: true, cannotTell: true},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := env.Compile(row.text, condition.OnPrincipal)
			if err != nil {
				t.Fatal(err)
			}
			in := &condition.Input{
				Subject: &condition.Party{ID: "s", Attributes: known, Partial: row.subject},
				Agent:   &condition.Party{ID: "a", Attributes: known, Partial: row.agent},
			}
			got, err := c.Eval(in)
			if (err != nil) != row.cannotTell || got != row.want {
				t.Errorf("gave %v, %v", got, err)
			}
		})
	}
}

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
			if !slices.Equal(got.Names, row.want) || got.All != row.all {
				t.Errorf("reads %v, all %v; want %v, all %v", got.Names, got.All, row.want, row.all)
			}
		})
	}
}

package setup_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/writbroker/writ/mint/awssts/setup"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	roleA = "arn:aws:iam::123456789012:role/writ/lake-reader"
	roleB = "arn:aws:iam::210987654321:role/lake-reader"
)

func plans() map[string]setup.Plan {
	return map[string]setup.Plan{
		"assume_role": {
			Mode: setup.AssumeRole, Roles: []string{roleA, roleB}, Broker: "arn:aws:iam::123456789012:role/writ-broker",
			ExternalID: "writ-7f3a", Revoke: true,
		},
		"web_identity": {
			Mode: setup.WebIdentity, Roles: []string{roleA, roleB}, Issuer: "https://writ.example.com/prod",
			Subjects: []string{"k8s:prod:agents:*", "k8s:prod:${x}:analyst"}, Revoke: true,
		},
		"web_identity_any": {Mode: setup.WebIdentity, Roles: []string{roleB}, Issuer: "https://writ.example.com", Audience: "aws.writ"},
		"web_identity_one": {Mode: setup.WebIdentity, Roles: []string{roleB}, Issuer: "https://writ.example.com:443", Subjects: []string{"corp:ann"}},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got\n%s", name, got)
	}
}

func TestOutput(t *testing.T) {
	for name, plan := range plans() {
		t.Run(name, func(t *testing.T) {
			out, err := plan.Output()
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.MarshalIndent(out, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".json", string(text)+"\n")
			hcl, err := plan.Terraform()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".tf", hcl)
		})
	}
}

func TestPlansThatAreRefused(t *testing.T) {
	for name, row := range map[string]struct {
		of     string
		change func(*setup.Plan)
		want   string
	}{
		"no mode":              {"assume_role", func(p *setup.Plan) { p.Mode = "" }, "mode"},
		"no roles":             {"assume_role", func(p *setup.Plan) { p.Roles = nil }, "no role"},
		"a role of no ARN":     {"assume_role", func(p *setup.Plan) { p.Roles = []string{"lake"} }, "not the ARN of a role"},
		"everybody":            {"assume_role", func(p *setup.Plan) { p.Broker = "*" }, "role or user"},
		"a whole account":      {"assume_role", func(p *setup.Plan) { p.Broker = "arn:aws:iam::123456789012:root" }, "role or user"},
		"a bad external id":    {"assume_role", func(p *setup.Plan) { p.ExternalID = "a b" }, "external id"},
		"plain http":           {"web_identity", func(p *setup.Plan) { p.Issuer = "http://writ.example.com" }, "https"},
		"a query":              {"web_identity", func(p *setup.Plan) { p.Issuer = "https://writ.example.com?x" }, "https"},
		"a port AWS is not at": {"web_identity", func(p *setup.Plan) { p.Issuer = "https://writ.example.com:8443" }, "443"},
	} {
		t.Run(name, func(t *testing.T) {
			plan := plans()[row.of]
			row.change(&plan)
			if _, err := plan.Output(); !errors.Is(err, setup.ErrPlan) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v", err)
			}
			if _, err := plan.Terraform(); !errors.Is(err, setup.ErrPlan) {
				t.Errorf("terraform: got %v", err)
			}
		})
	}
}

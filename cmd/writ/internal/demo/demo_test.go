package demo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/writbroker/writ/cmd/writ/internal/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// That each step fails when the product does is shown by internal/mutants/demofaults.
func TestTheStoryHolds(t *testing.T) {
	var out bytes.Buffer
	dir := filepath.Join(t.TempDir(), "data")
	p := &demo.Printer{Out: &out}
	report, err := demo.Run(t.Context(), demo.Config{DataDir: dir, Started: p.Started, Done: p.Done})
	p.End(report)
	if err != nil || !report.OK {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(report.Steps) != 9 {
		t.Errorf("%d steps", len(report.Steps))
	}
	for i, s := range report.Steps {
		if !s.OK || s.Skipped || s.Fault != "" || s.Number != i+1 || len(s.Exchanges) == 0 {
			t.Errorf("step %d: %+v", i+1, s)
		}
		if !strings.Contains(out.String(), s.Title) {
			t.Errorf("%q is not printed", s.Title)
		}
	}
	asJSON, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"text": out.String(), "JSON": string(asJSON)} {
		if strings.Contains(text, "eyJ") {
			t.Errorf("a token is in the %s", name)
		}
		if !strings.Contains(text, "insufficient_scope") {
			t.Errorf("what came back is not in the %s", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "audit")); err != nil {
		t.Errorf("the data directory was not kept: %v", err)
	}
}

// A second story in the same directory finds rules, keys and records of the first.
func TestTheStoryHoldsAgainInTheSameDirectory(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if _, err := demo.Run(t.Context(), demo.Config{DataDir: dir}); err != nil {
			t.Fatal(err)
		}
	}
}

// The story is of the shipped bundle: with another one it does not hold, and says where.
func TestAnotherPolicyIsAnotherStory(t *testing.T) {
	dir := t.TempDir()
	if _, err := demo.Run(t.Context(), demo.Config{DataDir: dir}); err != nil {
		t.Fatal(err)
	}
	roles := filepath.Join(dir, "bundle", "roles.yaml")
	text, err := os.ReadFile(roles)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `when: resource.tags.classification == "internal"`, `when: "true"`, 1)
	if changed == string(text) {
		t.Fatal("the bundle does not restrict sales-reader any more")
	}
	if err := os.WriteFile(roles, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "bundle", "tests.yaml")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := &demo.Printer{Out: &out}
	report, err := demo.Run(t.Context(), demo.Config{DataDir: dir, Done: p.Done})
	fault := (*demo.StepError)(nil)
	if !errors.As(err, &fault) || fault.Name != "restricted" || fault.Number != 3 {
		t.Fatalf("%v", err)
	}
	if report.OK || !report.Steps[1].OK || report.Steps[2].OK || !report.Steps[3].Skipped {
		t.Errorf("%+v", report)
	}
	if text := out.String(); !strings.Contains(text, "DID NOT HOLD: restricted: POST /token answered 200") || !strings.Contains(text, "skipped") {
		t.Errorf("%s", text)
	}
}

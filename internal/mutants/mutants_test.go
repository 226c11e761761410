//go:build mutants

package mutants_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/writbroker/writ/internal/mutants"
)

// retries are further runs that a mutant has to survive: property tests look at other cases
// each time, and one that finds the fault in most runs holds it.
const retries = 2

func TestMutants(t *testing.T) { killAll(t, mutants.All()) }

// TestForgettingMutants is apart: each of its mutants takes half a minute.
func TestForgettingMutants(t *testing.T) { killAll(t, mutants.Forgetting()) }

// killAll applies each mutant and runs its tests.
func killAll(t *testing.T, all []mutants.Mutant) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	healthy, named := map[string]bool{}, map[string]bool{}
	for _, m := range all {
		if named[m.Name] {
			t.Errorf("two mutants are named %q", m.Name)
		}
		named[m.Name] = true
		t.Run(m.Name, func(t *testing.T) {
			// A test that fails anyway kills nothing.
			tests := strings.Join(m.Packages, " ") + " " + m.Run
			if !healthy[tests] {
				if r := run(t, root, m, nil); !r.passed || r.tests == 0 {
					t.Fatalf("without the mutant, of %d tests %q fail:\n%s", r.tests, r.failed, r.output)
				}
				healthy[tests] = true
			}
			flags := []string{"-count=1", "-overlay=" + overlay(t, root, m)}
			r := run(t, root, m, flags)
			for range retries {
				if !r.passed {
					break
				}
				r = run(t, root, m, flags)
			}
			switch {
			case r.passed:
				t.Errorf("SURVIVED  %s", m.Name)
			case len(r.failed) == 0:
				t.Errorf("NOT BUILT %s: no test failed, but go test did:\n%s", m.Name, r.output)
			default:
				t.Logf("killed    %s, by %s", m.Name, r.failed[0])
			}
		})
	}
}

// overlay writes the mutated file and returns the path of the overlay.
func overlay(t *testing.T, root string, m mutants.Mutant) string {
	t.Helper()
	path := filepath.Join(root, filepath.FromSlash(m.File))
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.Old); n != 1 || m.Old == m.New {
		t.Fatalf("%s has the text to replace %d times, not once:\n%s", m.File, n, m.Old)
	}
	mutated := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(mutated, []byte(strings.Replace(string(source), m.Old, m.New, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{path: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return list
}

type result struct {
	passed bool
	tests  int
	failed []string // tests, the innermost first; none if it did not even compile
	output string
}

// run runs the tests of m and reads the outcome of each.
func run(t *testing.T, root string, m mutants.Mutant, flags []string) result {
	t.Helper()
	arguments := append([]string{"test", "-json", "-vet=off", "-timeout=5m", "-run=" + m.Run}, flags...)
	command := exec.CommandContext(t.Context(), "go", append(arguments, m.Packages...)...)
	command.Dir = root
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r := result{passed: err == nil}
	var output strings.Builder
	for decoder := json.NewDecoder(&stdout); ; {
		var event struct{ Action, Test, Output string }
		if err := decoder.Decode(&event); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		output.WriteString(event.Output)
		if event.Test == "" {
			continue
		}
		switch event.Action {
		case "run":
			r.tests++
		case "fail":
			r.failed = append(r.failed, event.Test)
		}
	}
	output.WriteString(stderr.String())
	r.output = output.String()
	return r
}

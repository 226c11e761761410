//go:build mutants

package demofaults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/mutants/demofaults"
)

func TestDemoNoticesFaults(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	// A demo that fails anyway notices nothing.
	if r := demo(t, build(t, root, "")); r.code != 0 || !r.OK || strings.Join(r.names(), " ") != strings.Join(demofaults.Steps(), " ") {
		t.Fatalf("without a fault, writ demo exits %d: %+v", r.code, r)
	}
	broken := map[string]bool{}
	for _, f := range demofaults.All() {
		broken[f.Step] = true
		t.Run(f.Step+"/"+f.Name, func(t *testing.T) {
			t.Parallel()
			r := demo(t, build(t, root, overlay(t, root, f)))
			for _, s := range r.Steps {
				switch {
				case s.Name == f.Step && (s.OK || s.Skipped):
					t.Errorf("SURVIVED: step %s held", s.Name)
				case s.Name != f.Step && !s.OK && !s.Skipped:
					t.Errorf("step %s did not hold: %s", s.Name, s.Fault)
				}
			}
			if want := "(" + f.Step + ") did not hold"; r.code == 0 || r.OK || !strings.Contains(r.stderr, want) {
				t.Errorf("writ demo exited %d and said %q, not %q", r.code, r.stderr, want)
			}
			if !t.Failed() {
				t.Logf("noticed: %s", r.fault(f.Step))
			}
		})
	}
	for _, step := range demofaults.Steps() {
		if !broken[step] {
			t.Errorf("no fault is aimed at step %s", step)
		}
	}
}

// overlay writes the changed file and returns the path of the overlay.
func overlay(t *testing.T, root string, f demofaults.Fault) string {
	t.Helper()
	path := filepath.Join(root, filepath.FromSlash(f.File))
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), f.Old); n != 1 || f.Old == f.New {
		t.Fatalf("%s has the text to replace %d times, not once:\n%s", f.File, n, f.Old)
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), f.Old, f.New, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return list
}

// build makes the binary, with the overlay if there is one.
func build(t *testing.T, root, overlay string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "writ")
	arguments := []string{"build", "-o", out, "-ldflags=-s -w"}
	if overlay != "" {
		arguments = append(arguments, "-overlay="+overlay)
	}
	command := exec.CommandContext(t.Context(), "go", append(arguments, "./cmd/writ")...)
	command.Dir = root
	if text, err := command.CombinedOutput(); err != nil {
		t.Fatalf("NOT BUILT: %v\n%s", err, text)
	}
	return out
}

// report is what `writ demo --json` prints.
type report struct {
	OK    bool `json:"ok"`
	Steps []struct {
		Name    string `json:"name"`
		OK      bool   `json:"ok"`
		Skipped bool   `json:"skipped"`
		Fault   string `json:"fault"`
	} `json:"steps"`

	code   int
	stderr string
}

func (r report) names() []string {
	var out []string
	for _, s := range r.Steps {
		out = append(out, s.Name)
	}
	return out
}

func (r report) fault(step string) string {
	for _, s := range r.Steps {
		if s.Name == step {
			return s.Fault
		}
	}
	return ""
}

func demo(t *testing.T, binary string) report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, binary, "demo", "--json")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	r := report{}
	err := command.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	r.stderr = stderr.String()
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("writ demo --json printed %q and %q: %v", stdout.String(), r.stderr, err)
	}
	if len(r.Steps) != len(demofaults.Steps()) {
		t.Fatalf("writ demo has %d steps: %q", len(r.Steps), r.names())
	}
	return r
}

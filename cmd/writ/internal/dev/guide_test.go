package dev_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

// TestTheGuideWorks pastes every line that `writ dev` prints into a shell.
func TestTheGuideWorks(t *testing.T) {
	want := []string{
		"",
		"200 OK|sales/eu/orders",
		"403 Forbidden|insufficient_scope",
		`"error":"invalid_scope"|"decision_id"`,
		"",
		`"for":"user:1b4e28ba"|"by":["k8s:prod:agents:analyst"]`,
		"",
		`"active":true`,
		"",
		`"applied":true|"acknowledged":1`,
		"401 Unauthorized|invalid_token",
		`{"active":false}`,
		"",
		"200 OK|sales/eu/orders",
	}
	curls := map[string]string{"our own curl": ownCurl(t)}
	if path, err := exec.LookPath("curl"); err == nil {
		curls["the machine's curl"] = filepath.Dir(path)
	}
	for name, dir := range curls {
		t.Run(name, func(t *testing.T) {
			w := start(t, dev.Config{})
			lines := w.Lines()
			if len(lines) != len(want) {
				t.Fatalf("%d lines, and %d answers to expect", len(lines), len(want))
			}
			guide := w.Guide()
			for i, line := range lines {
				if !strings.Contains(guide, line.Command+"\n") {
					t.Errorf("the guide does not print %q", line.Command)
				}
				out := paste(t, dir, line.Command)
				for text := range strings.SplitSeq(want[i], "|") {
					if !strings.Contains(out, text) {
						t.Errorf("%s: %q is not in what came back:\n%s\n%s", line.Title, text, line.Command, out)
					}
				}
			}
		})
	}
}

// ownCurl is a directory in which this test binary is called curl.
func ownCurl(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "curl")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func paste(t *testing.T, dir, line string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "no_proxy=*")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("%s\n%v\n%s", line, err, stderr.Bytes())
	}
	return string(out)
}

package e2e_test

import (
	"bytes"
	"os/exec"
	"testing"
)

// TestOAuth4WebAPI lets npm's oauth4webapi exchange, introspect, revoke and
// validate: a strict client that knows nothing of Writ.
func TestOAuth4WebAPI(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("this test needs Node.js: apt-get install -y --no-install-recommends nodejs npm, then make e2e")
	}
	_, line := startDev(t)
	check := exec.CommandContext(t.Context(), node, "check.mjs")
	check.Dir = "oauth4webapi"
	// By standard input: tokens on a command line are every process's to read.
	check.Stdin = bytes.NewReader(line)
	out, err := check.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

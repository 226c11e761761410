//go:build unix

package awsagent_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/writbroker/writ/client/awsagent"
)

// A pipe that nobody writes to is not waited for.
func TestTokenFileThatIsAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := awsagent.TokenFile(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// sample is a principal of the development broker with a token that proves it.
type sample struct {
	ID           string `json:"id"`
	Token        string `json:"token"`
	TokenType    string `json:"token_type"`
	Audience     string `json:"audience"`
	Scope        string `json:"scope"`
	RefusedScope string `json:"refused_scope"`
}

// dev is the line that `writ dev --json` prints once it serves.
type dev struct {
	Issuer   string            `json:"issuer"`
	Admin    string            `json:"admin"`
	Resource string            `json:"resource"`
	Samples  map[string]sample `json:"samples"`
}

var binary string

// TestMain builds the binary that all tests run, once.
func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "writ-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "writ")
	build := exec.Command("go", "build", "-o", binary, "./cmd/writ")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building writ: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// startDev runs `writ dev` until the test ends, and fails the test if it does not
// end well when it is told to.
func startDev(t *testing.T) (dev, []byte) {
	t.Helper()
	return startDevWith(t, "--data-dir", t.TempDir())
}

func startDevWith(t *testing.T, args ...string) (dev, []byte) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"dev", "--listen", "127.0.0.1:0", "--json"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan []byte, 1)
	ended := make(chan error, 1)
	go func() {
		reader := bufio.NewReader(stdout)
		line, _ := reader.ReadBytes('\n')
		lines <- line
		_, _ = reader.WriteTo(&bytes.Buffer{})
		ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("writ dev ended with %v after SIGTERM:\n%s", err, stderr.Bytes())
			}
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			t.Errorf("writ dev did not end within 30 s of SIGTERM:\n%s", stderr.Bytes())
		}
	})
	select {
	case line := <-lines:
		var d dev
		if err := json.Unmarshal(line, &d); err != nil || d.Issuer == "" {
			t.Fatalf("writ dev printed %q: %v", line, err)
		}
		return d, line
	case <-time.After(60 * time.Second):
		t.Fatal("writ dev printed nothing within 60 s")
		return dev{}, nil
	}
}

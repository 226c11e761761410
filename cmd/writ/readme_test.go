package main_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

// readme is what a reader of the README has at hand.
type readme struct {
	t     *testing.T
	world *dev.World
	ran   map[string]string // what each command printed
}

// TestReadme runs every line of the README's shell blocks, in order, in one shell a block.
// What builds, and what runs tests, is only looked for.
func TestReadme(t *testing.T) {
	dir := t.TempDir()
	more, err := withAWS(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	w, err := dev.Start(t.Context(), dev.Config{DataDir: dir, More: more})
	if err != nil {
		t.Fatal(err)
	}
	open := true
	closeWorld := func() {
		if open {
			open = false
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	defer closeWorld()
	r := &readme{t: t, world: w, ran: map[string]string{}}
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 5 {
		t.Fatalf("%d shell blocks", len(blocks))
	}
	for _, block := range blocks {
		var shell []string
		for _, command := range commands(block[1]) {
			switch {
			case strings.HasPrefix(command, "make "):
				r.target(strings.Fields(command)[1])
			case command == "bash .ci/run":
				if _, err := os.Stat("../../.ci/run"); err != nil {
					t.Error(err)
				}
			case command == "go run ./cmd/writ dev":
				r.interrupted("Stop it with Ctrl-C", "dev", "--listen", "127.0.0.1:0")
			case strings.Contains(command, "writ serve"):
				closeWorld() // serve takes its place, with what it left behind
				r.interrupted(`"msg":"serving"`, "serve", "--config", w.ConfigFile())
			default:
				shell = append(shell, command)
			}
		}
		r.shell(shell)
	}
	for command, want := range map[string]string{
		"go run ./cmd/writ demo": "9 of 9 steps held", "curl": `"access_token":"eyJ`, "--wait": "1 of 1 verifiers have applied it",
		"revocations list": "incident 4711", "config check": ": ok: issuer", "policy check": ": ok: version",
		"aws exec": "credentials ASIA", "aws credential-process": `{"Version":1,"AccessKeyId":"ASIA`,
	} {
		found := false
		for ran, output := range r.ran {
			found = found || strings.Contains(ran, command) && strings.Contains(output, want)
		}
		if !found {
			t.Errorf("the README has no %s that prints %q; it has %q", command, want, r.ran)
		}
	}
}

// commands are the commands of a block, each in one line, without comments.
func commands(block string) []string {
	var out []string
	for line := range strings.Lines(strings.ReplaceAll(block, "\\\n", "")) {
		line, _, _ = strings.Cut(line, " # ")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

func (r *readme) target(name string) {
	r.t.Helper()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		r.t.Fatal(err)
	}
	if !strings.Contains(string(makefile), "\n"+name+": ") {
		r.t.Errorf("the Makefile has no %s", name)
	}
}

// shell runs commands one after the other, each of which must succeed.
func (r *readme) shell(commands []string) {
	r.t.Helper()
	agent, err := r.world.Sample(r.t.Context(), dev.SampleAgent)
	if err != nil {
		r.t.Fatal(err)
	}
	other, err := r.world.Sample(r.t.Context(), dev.SampleSubAgent) // the first one is revoked on the way
	if err != nil {
		r.t.Fatal(err)
	}
	security, err := r.world.Sample(r.t.Context(), dev.SampleSecurity)
	if err != nil {
		r.t.Fatal(err)
	}
	// The test's binary is called writ and curl, and the configuration lies elsewhere.
	short := strings.NewReplacer("go run ./cmd/writ ", "writ ", "bin/writ ", "writ ", "/etc/writ/writ.yaml", r.world.ConfigFile())
	exports := ""
	for _, command := range commands {
		if strings.HasPrefix(command, "export ") {
			exports = command + "\n"
			continue
		}
		cmd := exec.CommandContext(r.t.Context(), "sh", "-c", exports+short.Replace(command))
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "WRIT="+r.world.Issuer(), "ADMIN="+r.world.Admin(),
			"WORKLOAD_TOKEN="+agent.Token, "WORKLOAD_TOKEN_FILE="+other.TokenFile, "ID_TOKEN_FILE="+security.TokenFile)
		out, err := cmd.CombinedOutput()
		if err != nil {
			r.t.Errorf("%s: %v\n%s", command, err, out)
		}
		r.ran[command] = string(out)
	}
}

// interrupted runs what goes on until Ctrl-C, until it has printed this.
func (r *readme) interrupted(until string, args ...string) {
	r.t.Helper()
	var out output
	cmd := exec.CommandContext(r.t.Context(), "writ", args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !strings.Contains(out.String(), until); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Errorf("writ %s has not printed %q within a minute:\n%s", args[0], until, out.String())
			break
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		r.t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		r.t.Errorf("writ %s did not end well: %v\n%s", args[0], err, out.String())
	}
}

// output may be read while it is written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// curl is as much of curl as the README uses: not every machine has it.
func curl(args []string) int {
	form := url.Values{}
	flags := flag.NewFlagSet("curl", flag.ContinueOnError)
	_ = flags.Bool("sS", false, "no progress, but errors")
	flags.Func("data-urlencode", "a parameter", func(text string) error {
		name, value, _ := strings.Cut(text, "=")
		form.Add(name, value)
		return nil
	})
	if len(args) < 2 || flags.Parse(append([]string{args[0]}, args[2:]...)) != nil || flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: curl -sS URL [--data-urlencode NAME=VALUE]...")
		return 2
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, args[1], strings.NewReader(form.Encode()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		return 1
	}
	return 0
}

// TestReadmeNamesWhatIsThere follows the README's links into the tree.
func TestReadmeNamesWhatIsThere(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\]\(([^)#]+)`).FindAllStringSubmatch(string(text), -1)
	if len(links) < 15 {
		t.Errorf("%d links", len(links))
	}
	for _, link := range links {
		if strings.HasPrefix(link[1], "https://") {
			continue
		}
		if _, err := os.Stat(filepath.Join("../..", link[1])); err != nil {
			t.Error(err)
		}
	}
}

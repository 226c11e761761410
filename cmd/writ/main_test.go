package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/cmd/writ/internal/cli"
	"github.com/writbroker/writ/cmd/writ/internal/dev"
	"github.com/writbroker/writ/internal/porttest"
)

// TestMain makes the test's binary the command writ too, for the scripts to run.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"writ":  func() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		"curl":  func() { os.Exit(curl(os.Args[1:])) },
		"aws":   func() { os.Exit(awsCLI(os.Args[1:])) },
		"probe": func() { os.Exit(probe(os.Args[1:])) },
	})
}

// TestScripts runs one script a command; testdata/script/README.md says what they have
// besides what testscript gives them.
func TestScripts(t *testing.T) {
	bundle, err := filepath.Abs("../../examples/bundle")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("NOBODY", "http://"+porttest.Address(t))
			e.Setenv("EXAMPLE", bundle)
			e.Values[worldKey{}] = new(*dev.World)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"world": world, "aws-world": func(ts *testscript.TestScript, _ bool, _ []string) { awsWorld(t, ts) }, "capture": capture, "mute-verifier": muteVerifier, "exits": exits, "follow": follow, "until": until,
			"fetch": fetch, "write": write, "tamper": tamper, "anchors": anchors,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// worldKey is where a script's world is kept.
type worldKey struct{}

// world starts a broker with all around it, ends it with the script, and says in the
// environment where it is: as security ops, unless the script chooses somebody else.
func world(ts *testscript.TestScript, _ bool, _ []string) { openWorld(ts, "") }

func openWorld(ts *testscript.TestScript, more string) {
	w, err := dev.Start(context.Background(), dev.Config{DataDir: ts.MkAbs("world"), More: more})
	ts.Check(err)
	ts.Defer(func() { ts.Check(w.Close()) })
	*ts.Value(worldKey{}).(**dev.World) = w
	tokens := filepath.Join(w.DataDir(), "tokens")
	for name, value := range map[string]string{
		"WRIT_BROKER": w.Issuer(), "WRIT_ADMIN": w.Admin(), "WRIT_IDENTITY_FILE": filepath.Join(tokens, dev.SampleSecurity+".jwt"),
		"ADMIN": w.Admin(), "ISSUER": w.Issuer(), "RESOURCE": w.Resource(), "SOCKET": w.Socket(), "TOKENS": tokens,
		"BUNDLE": w.BundleDir(), "AUDIT": w.AuditDir(), "CONFIG": w.ConfigFile(),
	} {
		ts.Setenv(name, value)
	}
}

// capture NAME REGEXP puts what the parentheses matched in the last command's output, or in
// its errors, into the environment.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout") + ts.ReadFile("stderr"))
	if len(m) != 2 {
		ts.Fatalf("no %s in the output", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// exits CODE COMMAND... runs a command that must end with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("%s exited with %s, not %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// muteVerifier connects a reader of the revocation feed that never says how far it has got.
func muteVerifier(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: mute-verifier NAME")
	}
	ctx, cancel := context.WithCancel(context.Background())
	c, err := client.New(client.Config{Issuer: ts.Getenv("ISSUER")})
	ts.Check(err)
	proof, err := client.File(filepath.Join(ts.Getenv("TOKENS"), dev.SampleServer+".jwt"))(ctx)
	ts.Check(err)
	t, err := c.Exchange(ctx, client.Request{SubjectToken: proof, Scopes: []string{"writ:feed:read"}})
	ts.Check(err)
	meta, err := c.Metadata(ctx)
	ts.Check(err)
	connected, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- c.Watch(ctx, client.Watch{
			URL: meta.RevocationFeed, Verifier: args[0] + "-1", Name: args[0],
			Handle: func(client.FeedEvent) error {
				select {
				case connected <- struct{}{}:
				default:
				}
				return nil
			},
		}, t.Secret.Reveal())
	}()
	ts.Defer(func() {
		cancel()
		<-ended
	})
	select {
	case <-connected:
	case err := <-ended:
		ended <- errors.New("ended")
		ts.Fatalf("feed: %v", err)
	}
}

// follow FILE COMMAND... runs a command until the end of the script, its output in a file.
func follow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: follow FILE COMMAND...")
	}
	file, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	command := exec.CommandContext(context.Background(), args[1], args[2:]...)
	command.Dir, command.Stdout, command.Stderr = ts.MkAbs("."), file, file
	for _, name := range []string{"PATH", "WRIT_BROKER", "WRIT_ADMIN", "WRIT_IDENTITY_FILE", "WRIT_SUBJECT_TOKEN_FILE"} {
		command.Env = append(command.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(command.Start())
	ts.Defer(func() {
		ts.Check(command.Process.Signal(os.Interrupt))
		ts.Check(command.Wait())
		ts.Check(file.Close())
	})
}

// until FILE REGEXP waits for what a followed command prints.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: until FILE REGEXP")
	}
	want := regexp.MustCompile("(?m)" + args[1])
	for end := time.Now().Add(time.Minute); !want.MatchString(ts.ReadFile(args[0])); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("no %s in %s within a minute:\n%s", args[1], args[0], ts.ReadFile(args[0]))
		}
	}
}

// write FILE LINE... makes a file.
func write(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: write FILE LINE...")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(args[1:], "\n")+"\n"), 0o600))
}

// fetch FILE URL gets what anybody may get.
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fetch FILE URL")
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, args[1], nil)
	ts.Check(err)
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	ts.Check(err)
	body, err := io.ReadAll(resp.Body)
	ts.Check(errors.Join(err, resp.Body.Close()))
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("%s answered %d", args[1], resp.StatusCode)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), body, 0o600))
}

// anchors FILE waits until all that the audit log holds now is under a checkpoint that left
// the machine, and writes what the witness of the world was sent.
func anchors(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: anchors FILE")
	}
	w := *ts.Value(worldKey{}).(**dev.World)
	var last uint64
	for r, err := range audit.Query(os.DirFS(w.AuditDir()), audit.Filter{}) {
		ts.Check(err)
		if r.Kind != audit.KindCheckpoint { // the last of them waits for something to vouch for
			last = r.Seq
		}
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		seen := w.Anchors()
		if n := len(seen); n > 0 && seen[n-1].Seq >= last {
			file, err := os.Create(ts.MkAbs(args[0]))
			ts.Check(err)
			for _, c := range seen {
				ts.Check(json.NewEncoder(file).Encode(c))
			}
			ts.Check(file.Close())
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("record %d is not anchored after a minute", last)
		}
	}
}

// tamper COPY LOG change|remove|cut TEXT copies an audit log, and in the copy changes the
// text, removes the records that hold it, or cuts off what follows the first that does.
func tamper(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: tamper COPY LOG change|remove|cut TEXT")
	}
	segments, err := filepath.Glob(filepath.Join(ts.MkAbs(args[1]), "*.jsonl"))
	ts.Check(err)
	ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o700))
	for _, segment := range segments {
		var out []string
		for line := range strings.Lines(ts.ReadFile(segment)) {
			hit := strings.Contains(line, args[3])
			if hit && args[2] == "change" {
				line = strings.ReplaceAll(line, args[3], strings.ToUpper(args[3]))
			}
			if hit && args[2] == "remove" {
				continue
			}
			out = append(out, line)
			if hit && args[2] == "cut" {
				break
			}
		}
		copied := filepath.Join(ts.MkAbs(args[0]), filepath.Base(segment))
		ts.Check(os.WriteFile(copied, []byte(strings.Join(out, "")), 0o600))
	}
}

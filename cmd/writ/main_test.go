package main_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/cmd/writ/internal/cli"
	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

// TestMain makes the test's binary the command writ too, for the scripts to run.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"writ": func() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
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
			e.Setenv("EXAMPLE", bundle)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"world": world, "capture": capture, "mute-verifier": muteVerifier, "exits": exits,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// world starts a broker with all around it, ends it with the script, and says in the
// environment where it is: as security ops, unless the script chooses somebody else.
func world(ts *testscript.TestScript, _ bool, _ []string) {
	w, err := dev.Start(context.Background(), dev.Config{DataDir: ts.MkAbs("world")})
	ts.Check(err)
	ts.Defer(func() { ts.Check(w.Close()) })
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

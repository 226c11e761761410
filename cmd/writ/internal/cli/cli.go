// Package cli is the command line of Writ: what each command takes, prints and exits with.
//
// A command reads its flags, calls one thing (the admin API through package client, a
// package that is pure, or package app to serve) and prints its answer, as text for a
// person or, with --json, as one JSON value. What changes state is a dry run until --apply.
// An error is printed with a hint of what to do. It must never print a token or a key but
// where that is what was asked for.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
)

// Exit codes, the same for every command.
const (
	ExitOK          = 0
	ExitFailed      = 1 // what was asked for failed, or a check found a fault
	ExitUsage       = 2 // the command line is wrong
	ExitIncomplete  = 3 // done, but not seen everywhere within --wait
	ExitRefused     = 4 // the broker refused: policy, or a token without the scope
	ExitUnavailable = 5 // the broker could not answer; trying again may help
)

const exitHelp = `
Exit codes: 0 done; 1 failed, or a check found a fault; 2 wrong usage;
3 done, but not confirmed by every verifier within --wait; 4 refused; 5 unavailable.`

// version is set by the linker for releases.
var version = "dev" //nolint:gochecknoglobals // -ldflags -X writes to a variable, there is no other way

// env is what a command sees of the world.
type env struct {
	in       io.Reader
	out, err io.Writer
	json     bool
}

// exitError carries an exit code, and a hint for the person.
type exitError struct {
	code int
	err  error
	hint string
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{code: ExitUsage, err: fmt.Errorf(format, args...)}
}

func hinted(code int, err error, hint string) error {
	return &exitError{code: code, err: err, hint: hint}
}

// Main runs one command line and returns its exit code.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &env{in: in, out: out, err: errOut}
	root := e.root()
	e.json = slices.Contains(args, "--json") // for faults that end the parsing before it gets there
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	if err := root.ExecuteContext(ctx); err != nil {
		return e.report(err)
	}
	return ExitOK
}

func (e *env) root() *cobra.Command {
	root := &cobra.Command{
		Use: "writ", Short: "short-lived, narrow credentials for AI agents",
		Long:    "Writ exchanges the identity that an agent already has for a credential that says exactly\nwhat it may do now, and that can be taken back in milliseconds.\n" + exitHelp,
		Version: version, SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().BoolVar(&e.json, "json", false, "print one JSON value")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	root.AddCommand(
		e.demoCommand(), e.devCommand(), e.serveCommand(), e.configCommand(), e.healthCommand(),
		e.tokenCommand(), e.revokeCommand(), e.revocationsCommand(), e.keysCommand(),
		e.policyCommand(), e.awsCommand(), e.auditCommand(), e.benchCommand(),
	)
	for _, c := range root.Commands() {
		strict(c)
	}
	return root
}

// strict makes a group of commands refuse a name that it does not know.
func strict(c *cobra.Command) {
	if c.HasSubCommands() && c.RunE == nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q for %q", args[0], c.CommandPath())
			}
			return c.Help()
		}
	}
	for _, sub := range c.Commands() {
		strict(sub)
	}
}

// report prints an error with its hint and returns its exit code.
func (e *env) report(err error) int {
	code, hint := ExitFailed, ""
	var exit *exitError
	var resp *client.ResponseError
	var unanswered *net.OpError
	switch {
	case errors.As(err, &exit):
		code, hint = exit.code, exit.hint
	case errors.As(err, &resp):
		code, hint = responseExit(resp)
	case errors.As(err, &unanswered):
		code, hint = ExitUnavailable, "nothing answers there; look at --admin and --broker, or use --socket where the broker runs"
	case strings.HasPrefix(err.Error(), "unknown command"), strings.HasPrefix(err.Error(), "required flag"),
		strings.HasPrefix(err.Error(), "unknown shorthand"), strings.Contains(err.Error(), "arg(s)"):
		code = ExitUsage
	}
	if errors.Is(err, errSilent) {
		return code
	}
	if code == ExitUsage && hint == "" {
		hint = "writ --help shows the commands, and --help after one what it takes"
	}
	if e.json {
		_ = json.NewEncoder(e.err).Encode(map[string]any{"error": err.Error(), "hint": hint, "exit": code})
		return code
	}
	_, _ = fmt.Fprintf(e.err, "writ: error: %v\n", err)
	if hint != "" {
		_, _ = fmt.Fprintf(e.err, "writ: hint: %s\n", hint)
	}
	return code
}

func responseExit(r *client.ResponseError) (int, string) {
	switch r.Body.Code {
	case wire.ErrCodeTemporarilyUnavailable, wire.ErrCodeSlowDown:
		return ExitUnavailable, "try again; writ health --url …/readyz says what is not well"
	case wire.ErrCodeInsufficientScope:
		return ExitRefused, "ask for a token with the scope named above: writ token exchange --scope …"
	case wire.ErrCodeInvalidScope, wire.ErrCodeInvalidTarget, wire.ErrCodeInvalidRequest:
		if r.Body.DecisionID != "" {
			return ExitRefused, "the owner of the policy can open it: writ policy explain --decision " + r.Body.DecisionID
		}
		return ExitRefused, ""
	case wire.ErrCodeInvalidToken, wire.ErrCodeInvalidClient:
		return ExitRefused, "the token is missing, expired or revoked; --token-file names one, --identity-file exchanges for one"
	}
	return ExitFailed, ""
}

// print writes a value as JSON, or its text.
func (e *env) print(v any, text func(w io.Writer)) error {
	if e.json {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		return nil
	}
	text(e.out)
	return nil
}

// line prints one line of text.
func line(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format+"\n", args...)
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/writbroker/writ/client/awsagent"
)

// Exit codes of exec that are not the command's, as shells have them.
const (
	exitCannotRun = 126
	exitNotFound  = 127
	exitSignal    = 128 // plus the signal's number
)

type awsExecFlags struct {
	awsFlags
	config string
}

func (e *env) awsExecCommand() *cobra.Command {
	var f awsExecFlags
	c := &cobra.Command{
		Use: "exec --scope SCOPE -- COMMAND [ARGUMENT]...", Short: "run a command with AWS credentials for these scopes, and no others", Args: cobra.MinimumNArgs(1),
		Long: "Serves the command's AWS SDKs on loopback, as writ aws agent does, for as long as it runs; other AWS credentials of\n" +
			"the environment are kept from it, and so are the profiles in ~/.aws, which SDKs ask first: AWS_CONFIG_FILE and\n" +
			"AWS_SHARED_CREDENTIALS_FILE name nothing, but for --aws-config; nor does BOTO_CONFIG. AWS_REGION and the like stay. Signals are passed on.\n\n" +
			"Exit codes: the command's; 128 + N where signal N ended it. Before it runs: 1 failed; 2 wrong usage; 4 the broker\n" +
			"refused; 5 unavailable; 126 the command cannot be run; 127 it is not found.",
		RunE: func(c *cobra.Command, args []string) error { return e.awsExec(c.Context(), &f, args) },
	}
	f.flags(c.Flags())
	c.Flags().StringVar(&f.config, "aws-config", "", "file for AWS_CONFIG_FILE; its profiles must name no credentials")
	c.Flags().SetInterspersed(false) // what follows the command is the command's
	return c
}

func (e *env) awsExec(ctx context.Context, f *awsExecFlags, args []string) error {
	fetch, err := f.source(0)
	if err != nil {
		return err
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return cannotRun(err)
	}
	first, err := fetch(ctx) // nothing runs without credentials
	if err != nil {
		return err
	}
	secret := awsagent.NewToken()
	a, err := e.newAgent(ctx, awsagent.Config{Fetch: fetch, Held: first, Token: secret})
	if err != nil {
		return err
	}
	// The signal that ends this process is the command's: until it has ended, it has credentials.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(running) }()
	defer func() { stop(); <-ended }()
	// #nosec G204 -- to run what it is told is what the command is for
	cmd := exec.CommandContext(running, path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Env = append(awsEnvironment(os.Environ(), f.config), envAWSURI+"="+a.URL(), envAWSToken+"="+secret.Reveal())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.in, e.out, e.err
	return child(cmd, e.in)
}

// child runs a command to its end, passes signals on to it, and gives its exit code.
func child(cmd *exec.Cmd, in io.Reader) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	typed := atTerminal(in)
	if err := cmd.Start(); err != nil {
		return cannotRun(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			// What a terminal sends it sends to the command too: passed on, it would arrive
			// twice, which many programs take for impatience.
			if !typed || s != syscall.SIGINT && s != syscall.SIGQUIT {
				_ = cmd.Process.Signal(s) // it may have ended
			}
		case err := <-ended:
			return exitOf(err)
		}
	}
}

// atTerminal reports whether in is a terminal whose keys signal this process.
func atTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

func exitOf(err error) error {
	if err == nil {
		return nil
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return fmt.Errorf("running the command: %w", err)
	}
	code := exit.ExitCode()
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = exitSignal + int(status.Signal())
	}
	return &exitError{code: code, err: errSilent}
}

// errSilent is an end that has been told already: by the command that was run.
var errSilent = errors.New("the command has failed")

func cannotRun(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return hinted(exitNotFound, err, "name a command of PATH, or a file, after --")
	}
	return hinted(exitCannotRun, err, "")
}

// awsEnvironment is the environment without credentials for AWS, and without the places where
// SDKs look for some before, or after, they ask the agent.
func awsEnvironment(environment []string, config string) []string {
	if config == "" {
		config = os.DevNull
	}
	drop := map[string]bool{
		"AWS_ACCESS_KEY_ID": true, "AWS_SECRET_ACCESS_KEY": true, "AWS_SESSION_TOKEN": true, "AWS_SECURITY_TOKEN": true,
		"AWS_ACCESS_KEY": true, "AWS_SECRET_KEY": true, "AWS_CREDENTIAL_EXPIRATION": true, "AWS_CREDENTIAL_FILE": true,
		"AWS_PROFILE": true, "AWS_DEFAULT_PROFILE": true, "AWS_SHARED_CREDENTIALS_FILE": true, "AWS_CONFIG_FILE": true,
		"AWS_ROLE_ARN": true, "AWS_ROLE_SESSION_NAME": true, "AWS_WEB_IDENTITY_TOKEN_FILE": true, "AWS_BEARER_TOKEN_BEDROCK": true,
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": true, envAWSURI: true, envAWSToken: true, envAWSTokenFile: true,
		"AWS_EC2_METADATA_DISABLED": true,
		// The SDK for Ruby reads these, and Python's a file of boto's, its predecessor, before an agent.
		"AMAZON_ACCESS_KEY_ID": true, "AMAZON_SECRET_ACCESS_KEY": true, "AMAZON_SESSION_TOKEN": true, "BOTO_CONFIG": true,
	}
	kept := make([]string, 0, len(environment)+4)
	for _, variable := range environment {
		if name, _, _ := strings.Cut(variable, "="); !drop[name] {
			kept = append(kept, variable)
		}
	}
	return append(kept, "AWS_CONFIG_FILE="+config, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_EC2_METADATA_DISABLED=true",
		"BOTO_CONFIG="+os.DevNull) // nor ~/.boto and /etc/boto.cfg
}

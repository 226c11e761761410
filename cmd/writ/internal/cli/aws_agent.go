package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/client/awsagent"
)

// Variables of AWS SDKs.
const (
	envAWSURI       = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	envAWSToken     = "AWS_CONTAINER_AUTHORIZATION_TOKEN"      //nolint:gosec // the name of a variable
	envAWSTokenFile = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" //nolint:gosec // the name of a variable
)

type awsAgentFlags struct {
	awsFlags
	listen, authFile string
}

func (e *env) awsAgentCommand() *cobra.Command {
	var f awsAgentFlags
	c := &cobra.Command{
		Use: "agent --scope SCOPE", Short: "serve AWS credentials to the SDKs of this machine, on loopback", Args: cobra.NoArgs,
		Long: "For machines where the broker is elsewhere. One session is kept fresh, by one call in its life however many\n" +
			"SDKs ask; it is served until it expires while the broker is away. SDKs find the agent by " + envAWSURI + ",\n" +
			"and show its own token, which is in a file that its owner alone may read (" + envAWSTokenFile + ").\n" +
			"Programs that do not read that variable, such as version 2.9 of the AWS CLI, take the token itself from\n" + envAWSToken + ".\n" +
			"With --json it prints one line that says where it is. It runs until it is interrupted.\n" + awsExitHelp,
		RunE: func(c *cobra.Command, _ []string) error { return e.awsAgent(c.Context(), &f) },
	}
	f.flags(c.Flags())
	c.Flags().StringVar(&f.listen, "listen", "127.0.0.1:0", "address on loopback; port 0 chooses a free one")
	c.Flags().StringVar(&f.authFile, "auth-file", "", "file for the agent's own token, made if there is none (default: a temporary one, removed at the end)")
	return c
}

func (e *env) awsAgent(ctx context.Context, f *awsAgentFlags) (err error) {
	fetch, err := f.source(1) // the agent tries again by itself
	if err != nil {
		return err
	}
	if f.authFile == "" {
		dir, err := os.MkdirTemp("", "writ-aws-agent-")
		if err != nil {
			return fmt.Errorf("making a directory for the token: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		f.authFile = filepath.Join(dir, "token")
	}
	if f.authFile, err = filepath.Abs(f.authFile); err != nil {
		return fmt.Errorf("finding --auth-file: %w", err)
	}
	secret, err := awsagent.TokenFile(f.authFile)
	if err != nil {
		return err
	}
	a, err := e.newAgent(ctx, awsagent.Config{Fetch: fetch, Listen: f.listen, Token: secret})
	if err != nil {
		return err
	}
	if err := e.introduceAgent(a, f.authFile); err != nil {
		return errors.Join(err, a.Close())
	}
	return a.Run(ctx)
}

// newAgent logs to standard error: renewals that fail are nobody's answer.
func (e *env) newAgent(ctx context.Context, cfg awsagent.Config) (*awsagent.Agent, error) {
	cfg.Logger = slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	a, err := awsagent.New(ctx, cfg)
	switch {
	case errors.Is(err, awsagent.ErrNotLoopback):
		return nil, hinted(ExitUsage, err, "AWS SDKs send their token there in the clear, and the answer is the credentials")
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, hinted(ExitFailed, err, "another process has that port; --listen 127.0.0.1:0 takes a free one")
	}
	return a, err
}

// introduceAgent says what programs need to find the agent: one line of JSON, or lines for a shell.
func (e *env) introduceAgent(a *awsagent.Agent, authFile string) error {
	var err error
	if e.json {
		err = json.NewEncoder(e.out).Encode(map[string]string{"url": a.URL(), "auth_file": authFile})
	} else {
		_, err = io.WriteString(e.out, "export "+envAWSURI+"="+a.URL()+"\nexport "+envAWSTokenFile+"='"+authFile+"'\n"+
			"# For programs that do not read that file:\n# export "+envAWSToken+"=\"$(cat '"+authFile+"')\"\n")
	}
	if err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

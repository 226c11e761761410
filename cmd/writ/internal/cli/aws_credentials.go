package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/writbroker/writ/client"
)

// envSubject stands in for --subject-token-file of the commands that give AWS credentials: a
// platform that mounts a workload's token says so once.
const envSubject = "WRIT_SUBJECT_TOKEN_FILE"

const awsExitHelp = `
Exit codes: 0 credentials; 1 failed; 2 wrong usage; 4 the broker refused: policy, or the
workload's token; 5 the broker or AWS could not answer; trying again may help.`

// awsFlags say whose session is asked for, and which.
type awsFlags struct {
	exchangeFlags
	role string
}

func (f *awsFlags) flags(s *pflag.FlagSet) {
	f.brokerFlags(s)
	s.StringVar(&f.subject, "subject-token-file", os.Getenv(envSubject), "file with the workload's own token, read anew each time ["+envSubject+"]")
	s.StringVar(&f.subjectType, "subject-token-type", "jwt", "jwt, id_token or access_token")
	s.StringVar(&f.actor, "actor-token-file", "", "file with the agent's own token, when it acts for the subject")
	s.StringVar(&f.actorType, "actor-token-type", "jwt", "jwt or access_token")
	s.StringArrayVar(&f.scopes, "scope", nil, "a scope to ask for; repeatable, none asks for the profile")
	s.StringVar(&f.role, "role", "", "role to be of, by name or ARN, where the scopes leave a choice")
	s.StringVar(&f.task, "task", "", "name of the task that the credentials are for")
	s.DurationVar(&f.ttl, "ttl", 0, "life to ask for")
}

// source makes what gets credentials from the broker. Tokens are read at each call: platforms
// replace them while a process runs.
func (f *awsFlags) source(attempts int) (func(context.Context) (*client.AWSCredentials, error), error) {
	if f.subject == "" || f.subject == "-" || f.actor == "-" {
		return nil, hinted(ExitUsage, fmt.Errorf("which workload is it?"), "set --subject-token-file (or "+envSubject+") to the file with its token")
	}
	if _, err := tokenType(f.subjectType); err != nil {
		return nil, err
	}
	if _, err := tokenType(f.actorType); err != nil {
		return nil, err
	}
	transport, err := f.transport()
	if err != nil {
		return nil, err
	}
	c, err := f.connectTo(transport, attempts)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*client.AWSCredentials, error) {
		req, err := f.request(ctx, nil)
		if err != nil {
			return nil, err
		}
		req.Role = f.role
		return c.AWSCredentials(ctx, *req)
	}, nil
}

func (e *env) awsProcessCommand() *cobra.Command {
	var f awsFlags
	c := &cobra.Command{
		Use: "credential-process --scope SCOPE", Short: "print AWS credentials, as an AWS SDK's credential_process does", Args: cobra.NoArgs,
		Long: "For a profile of ~/.aws/config:\n\n    credential_process = writ aws credential-process --broker URL --subject-token-file FILE --scope SCOPE\n\n" +
			"Standard output has the credentials, as one JSON value, and nothing else. Whoever reads it has\nthem: no file has to hold them.\n" + awsExitHelp,
		RunE: func(c *cobra.Command, _ []string) error { return e.awsProcess(c.Context(), &f) },
	}
	f.flags(c.Flags())
	return c
}

func (e *env) awsProcess(ctx context.Context, f *awsFlags) error {
	fetch, err := f.source(0)
	if err != nil {
		return err
	}
	got, err := fetch(ctx)
	if err != nil {
		return err
	}
	text, err := got.Process()
	if err != nil {
		return err
	}
	if _, err := e.out.Write(text); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

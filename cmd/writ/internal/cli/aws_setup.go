package cli

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/mint/awssts/setup"
)

type awsSetupFlags struct {
	bundleFlags
	plan   setup.Plan
	mode   string
	format string
}

// flags are those of both commands. The issuer is that of the bundle's options.
func (f *awsSetupFlags) flags(c *cobra.Command) {
	f.bundleFlags.flags(c)
	c.Flags().StringVar(&f.mode, "mode", string(setup.AssumeRole), "assume_role: the broker has AWS credentials; web_identity: AWS trusts it as an OIDC provider")
	c.Flags().StringVar(&f.plan.Broker, "broker", "", "ARN of the broker's own role or user, for assume_role")
	c.Flags().StringVar(&f.plan.ExternalID, "external-id", "", "external id that the broker shows, for assume_role")
	c.Flags().StringVar(&f.plan.Audience, "audience", "", "audience of the broker's tokens for AWS, for web_identity (default "+setup.DefaultAudience+")")
	c.Flags().StringArrayVar(&f.plan.Subjects, "subject", nil, "agents that AWS lets in, ids or patterns with *, for web_identity; repeatable")
	c.Flags().StringArrayVar(&f.plan.Roles, "role", nil, "ARN of a role; repeatable")
}

func (e *env) awsTrustCommand() *cobra.Command {
	var f awsSetupFlags
	c := &cobra.Command{
		Use: "trust-policy --role ARN", Short: "print the trust policy of a role", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return e.awsTrust(&f) },
	}
	f.flags(c)
	_ = c.MarkFlagRequired("role")
	return c
}

func (e *env) awsTrust(f *awsSetupFlags) error {
	if len(f.plan.Roles) != 1 {
		return usage("one --role, not %d", len(f.plan.Roles))
	}
	if err := f.complete(); err != nil {
		return err
	}
	out, err := f.plan.Output()
	if err != nil {
		return setupError(err)
	}
	document := f.plan.Trust(f.plan.Roles[0])
	return e.print(out.Trust[f.plan.Roles[0]], func(w io.Writer) { line(w, "%s", document.Indent()) })
}

func (e *env) awsSetupCommand() *cobra.Command {
	var f awsSetupFlags
	c := &cobra.Command{
		Use: "setup", Short: "print all that AWS needs: trust policies, the broker's own policies, the OIDC provider", Args: cobra.NoArgs,
		Long: "The roles are those of the bundle's catalog, or those of --role. What the roles themselves may do\nis not printed: it bounds what any scope can give, and is the account's business.",
		RunE: func(*cobra.Command, []string) error { return e.awsSetup(&f) },
	}
	f.flags(c)
	c.Flags().StringVar(&f.dir, "bundle", "", "take the roles from the catalog of this policy bundle")
	c.Flags().StringVar(&f.format, "format", "json", "json or terraform")
	c.Flags().BoolVar(&f.plan.Revoke, "revoke", false, "print the policy of the credentials that take sessions back, too")
	return c
}

func (e *env) awsSetup(f *awsSetupFlags) error {
	if f.format != "json" && f.format != "terraform" {
		return usage("--format is json or terraform, not %q", f.format)
	}
	if f.dir != "" {
		if _, err := f.load(); err != nil {
			return err
		}
		f.plan.Roles = append(f.plan.Roles, f.aws.RoleARNs()...)
	}
	if err := f.complete(); err != nil {
		return err
	}
	out, err := f.plan.Output()
	if err != nil {
		return setupError(err)
	}
	if f.format == "json" {
		e.json = true
		return e.print(out, nil)
	}
	text, err := f.plan.Terraform()
	if err != nil {
		return setupError(err)
	}
	return e.print(map[string]string{"terraform": text}, func(w io.Writer) { line(w, "%s", text) })
}

// complete fills in what comes from the broker's configuration.
func (f *awsSetupFlags) complete() error {
	f.plan.Mode, f.plan.Issuer = setup.Mode(f.mode), f.issuer
	if f.config == "" {
		return nil
	}
	cfg, err := loadConfig(f.config)
	if err != nil {
		return err
	}
	f.plan.Issuer = cfg.Issuer
	return nil
}

func setupError(err error) error {
	if errors.Is(err, setup.ErrPlan) {
		return hinted(ExitUsage, err, "writ aws setup --help shows what each mode needs; --bundle takes the roles from a catalog")
	}
	return err
}

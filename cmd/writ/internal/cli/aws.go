package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
)

func (e *env) awsCommand() *cobra.Command {
	group := &cobra.Command{Use: "aws", Short: "get AWS credentials; see what scopes are in AWS, and set AWS up for the broker"}
	group.AddCommand(e.awsProcessCommand(), e.awsExecCommand(), e.awsAgentCommand())
	group.AddCommand(e.awsCompileCommand(), e.awsTrustCommand(), e.awsSetupCommand())
	return group
}

type awsCompileFlags struct {
	bundleFlags
	scopes      []string
	role, until string
	plain       bool
}

func (e *env) awsCompileCommand() *cobra.Command {
	var f awsCompileFlags
	c := &cobra.Command{
		Use: "compile --bundle DIR --scope SCOPE", Short: "print the session policy of scopes, its size, and why each statement is there", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return e.awsCompile(&f) },
	}
	f.flags(c)
	c.Flags().StringVar(&f.dir, "bundle", "", "directory of the policy bundle (required)")
	c.Flags().StringArrayVar(&f.scopes, "scope", nil, "a scope; repeatable (required)")
	c.Flags().StringVar(&f.role, "role", "", "role to be of, by name or ARN, where the catalog has several")
	c.Flags().StringVar(&f.until, "until", "", "when the policy ends to allow anything, as 2027-01-31T12:00:00Z")
	c.Flags().BoolVar(&f.plain, "plain", false, "for a target without policy variables and NotAction, such as MinIO")
	_ = c.MarkFlagRequired("bundle")
	_ = c.MarkFlagRequired("scope")
	return c
}

// compiled is what the command prints as JSON.
type compiled struct {
	Role       string          `json:"role"`
	Policy     json.RawMessage `json:"policy"`
	Size       int             `json:"size"`
	Limit      int             `json:"limit"`
	Managed    []string        `json:"managed_policies,omitempty"`
	Digest     string          `json:"digest"`
	Statements []explained     `json:"statements"`
}

type explained struct {
	Size   int            `json:"size"`
	Scopes []scopes.Scope `json:"scopes,omitempty"` // none: for all
	Why    string         `json:"why"`
}

func (e *env) awsCompile(f *awsCompileFlags) error {
	opt := awssts.Options{Role: f.role, Plain: f.plain}
	if f.until != "" {
		until, err := time.Parse(time.RFC3339, f.until)
		if err != nil {
			return usage("--until is a time such as 2027-01-31T12:00:00Z, not %q", f.until)
		}
		opt.Until = until
	}
	b, err := f.load()
	if err != nil {
		return err
	}
	set, err := scopeSet(b.Catalog(), f.scopes)
	if err != nil {
		return err
	}
	p, err := f.aws.Compile(set, opt)
	if err != nil {
		return compileError(err)
	}
	out := compiled{
		Role: p.Role, Policy: json.RawMessage(p.JSON), Size: p.Size, Limit: awssts.MaxPolicySize, Managed: p.ManagedARN, Digest: p.Digest(),
	}
	for _, s := range p.Statements {
		out.Statements = append(out.Statements, explained{Size: s.Size, Scopes: s.Scopes, Why: s.Why})
	}
	return e.print(out, func(w io.Writer) { printCompiled(w, p) })
}

// scopeSet reads scopes as a request would be read: their tools and actions exist, and are
// all named.
func scopeSet(catalog *policy.Catalog, written []string) (scopes.Set, error) {
	all := make([]scopes.Scope, 0, len(written))
	for _, text := range written {
		s, err := scopes.Parse(text)
		if err != nil {
			return scopes.Set{}, hinted(ExitUsage, err, "write tool:action:resource, such as lake:read:sales/**")
		}
		tool, ok := catalog.Tool(s.Tool())
		if !ok {
			return scopes.Set{}, hinted(ExitFailed, fmt.Errorf("the catalog has no tool %q", s.Tool()), "writ policy check DIR says what is wrong with a bundle")
		}
		if tool.CaseInsensitive {
			if s, err = s.Fold(); err != nil {
				return scopes.Set{}, err
			}
		}
		all = append(all, s)
	}
	set, err := scopes.NewSet(all...)
	if err != nil {
		return scopes.Set{}, err
	}
	return set.Expand(catalog.Actions)
}

// compileError gives an error of the compiler its hint: each says itself what to ask for.
func compileError(err error) error {
	if _, ok := errors.AsType[*awssts.SizeError](err); ok {
		return hinted(ExitRefused, err, "policies of the account can stand for scopes: managed: in the tool's aws section")
	}
	return hinted(ExitRefused, err, "the broker refuses the same request with the same reason")
}

func printCompiled(w io.Writer, p *awssts.Policy) {
	line(w, "%s", p.JSON)
	line(w, "")
	line(w, "%d of %d characters, role %s", p.Size, awssts.MaxPolicySize, p.Role)
	for _, arn := range p.ManagedARN {
		line(w, "with the managed policy %s", arn)
	}
	for i, s := range p.Statements {
		line(w, "statement %d, %s, %d characters: %s", i+1, s.Statement.Effect, s.Size, s.Why)
		for _, scope := range s.Scopes {
			line(w, "  %s", scope)
		}
	}
}

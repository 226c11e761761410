package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/policy"
)

type bundleFlags struct {
	dir, config, issuer string
	environment         map[string]string
	aws                 *awssts.Catalog // what the loaded bundle says of AWS
}

func (e *env) policyCommand() *cobra.Command {
	group := &cobra.Command{Use: "policy", Short: "check, test and explain policy"}
	group.AddCommand(e.policyCheckCommand(), e.policyTestCommand(), e.explainCommand())
	return group
}

func (f *bundleFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.config, "config", "", "take limits, issuer and environment from this configuration")
	c.Flags().StringVar(&f.issuer, "issuer", "https://writ.invalid", "issuer, without --config")
	c.Flags().StringToStringVar(&f.environment, "env", nil, "environment for conditions, without --config: stage=prod,…")
}

// load loads the bundle, or turns its faults into one error that lists them all.
func (f *bundleFlags) load() (*policy.Bundle, error) {
	def := config.Default()
	opt := policy.Options{MaxTTL: def.Tokens.MaxTTL, DefaultTTL: def.Tokens.DefaultTTL, Issuer: f.issuer, Environment: f.environment}
	if f.config != "" {
		cfg, err := loadConfig(f.config)
		if err != nil {
			return nil, err
		}
		opt = policy.Options{
			MaxTTL: cfg.Tokens.MaxTTL, DefaultTTL: cfg.Tokens.DefaultTTL, Issuer: cfg.Issuer, Environment: cfg.Environment,
		}
	}
	b, err := policy.Load(os.DirFS(f.dir), opt)
	if err == nil {
		f.aws, err = awssts.NewCatalog(b.Catalog(), opt.Environment)
	}
	if err != nil {
		return nil, hinted(ExitFailed, fmt.Errorf("bundle %s: %w", f.dir, err), f.hint(""))
	}
	return b, nil
}

// hint adds to a hint what is easily forgotten.
func (f *bundleFlags) hint(text string) string {
	if f.config != "" || len(f.environment) > 0 {
		return text
	}
	if text != "" {
		text += "; "
	}
	return text + "what conditions read as env comes from --config, or from --env"
}

func (e *env) policyCheckCommand() *cobra.Command {
	var f bundleFlags
	c := &cobra.Command{
		Use: "check DIR", Short: "report every fault of a bundle, with file, line and what to do", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f.dir = args[0]
			return e.policyCheck(&f)
		},
	}
	f.flags(c)
	return c
}

func (e *env) policyCheck(f *bundleFlags) error {
	b, err := f.load()
	var faults *policy.BundleError
	if errors.As(err, &faults) && e.json {
		if perr := e.print(map[string]any{"ok": false, "faults": faults.Faults}, nil); perr != nil {
			return perr
		}
		return hinted(ExitFailed, fmt.Errorf("%d faults", len(faults.Faults)), f.hint(""))
	}
	if err != nil {
		return err
	}
	out := map[string]any{"ok": true, "version": b.Version(), "pol": b.Short(), "tools": len(b.Catalog().Tools())}
	return e.print(out, func(w io.Writer) { line(w, "%s: ok: version %s", f.dir, b.Version()) })
}

func (e *env) policyTestCommand() *cobra.Command {
	var f bundleFlags
	var explain bool
	c := &cobra.Command{
		Use: "test DIR", Short: "run the bundle's own test cases", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f.dir = args[0]
			return e.policyTest(&f, explain)
		},
	}
	f.flags(c)
	c.Flags().BoolVar(&explain, "explain", false, "show the whole decision of each case that fails")
	return c
}

// testCase is the result of one case, as it is printed.
type testCase struct {
	policy.TestResult
	Trace string `json:"trace,omitempty"`
}

func (e *env) policyTest(f *bundleFlags, explain bool) error {
	b, err := f.load()
	var results []policy.TestResult
	var faults *policy.BundleError
	switch {
	case errors.As(err, &faults) && faults.Tests != nil:
		results = faults.Tests
	case err != nil:
		return err
	default:
		results = b.RunTests()
	}
	var failed int
	cases := make([]testCase, 0, len(results))
	for _, r := range results {
		c := testCase{TestResult: r}
		if !r.OK {
			failed++
			if explain {
				c.Trace = r.Decision.Trace.String()
			}
		}
		cases = append(cases, c)
	}
	err = e.print(map[string]any{"passed": len(cases) - failed, "failed": failed, "cases": cases}, func(w io.Writer) {
		printCases(w, cases)
		line(w, "%d passed, %d failed", len(cases)-failed, failed)
	})
	if err == nil && failed > 0 {
		return hinted(ExitFailed, fmt.Errorf("%d of %d cases failed", failed, len(cases)), f.hint("--explain shows the decisions"))
	}
	return err
}

func printCases(w io.Writer, cases []testCase) {
	for _, c := range cases {
		if c.OK {
			line(w, "ok    %s", c.Name)
			continue
		}
		line(w, "FAIL  %s (%s:%d): %s", c.Name, c.File, c.Line, c.Message)
		if c.Trace != "" {
			line(w, "%s", c.Trace)
		}
	}
}

func (e *env) explainCommand() *cobra.Command {
	var a access
	var decision string
	c := &cobra.Command{
		Use: "explain --decision ID", Short: "open a decision: every rule that took part", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return e.explain(c.Context(), &a, decision) },
	}
	a.flags(c.Flags())
	c.Flags().StringVar(&decision, "decision", "", "id of the decision, as the refusal gave it (required)")
	_ = c.MarkFlagRequired("decision")
	return c
}

func (e *env) explain(ctx context.Context, a *access, id string) error {
	admin, err := a.connect("writ:policy:read")
	if err != nil {
		return err
	}
	d, err := admin.Decision(ctx, id)
	if err != nil {
		return err
	}
	return e.print(d, func(w io.Writer) {
		r := d.Record
		line(w, "decision %s at %s: %s %s", r.DecisionID, r.Time.Format("2006-01-02T15:04:05Z07:00"), r.Outcome, r.Error)
		line(w, "subject %s, agent %s, actors %v", r.Subject, r.ClientID, r.Actors)
		line(w, "scopes %v, refused %v, policy %s", r.Scopes, r.Refused, r.Policy)
		line(w, "%s", d.Text)
	})
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/cmd/writ/internal/demo"
)

func (e *env) demoCommand() *cobra.Command {
	var dataDir string
	c := &cobra.Command{
		Use: "demo", Short: "run the whole story in one process, and check each step", Args: cobra.NoArgs,
		Long: "Starts an identity provider, a broker and a resource server on loopback, plays the whole story over HTTP,\n" +
			"prints what was sent and what came back, and checks every step. It exits with 0 only if all of them held.",
		RunE: func(c *cobra.Command, _ []string) error { return e.demo(c.Context(), dataDir) },
	}
	c.Flags().StringVar(&dataDir, "data-dir", "", "keep what is written in this directory (default: a temporary one, removed at the end)")
	return c
}

func (e *env) demo(ctx context.Context, dataDir string) error {
	cfg := demo.Config{DataDir: dataDir}
	printer := &demo.Printer{Out: e.out}
	if !e.json {
		cfg.Started, cfg.Done = printer.Started, printer.Done
	}
	report, err := demo.Run(ctx, cfg)
	if len(report.Steps) > 0 {
		if e.json {
			enc := json.NewEncoder(e.out)
			enc.SetIndent("", "  ")
			if fault := enc.Encode(report); fault != nil {
				err = errors.Join(err, fmt.Errorf("printing: %w", fault))
			}
		} else {
			printer.End(report)
		}
	}
	if fault := (*demo.StepError)(nil); errors.As(err, &fault) {
		return hinted(ExitFailed, err, "writ demo --data-dir DIR keeps the audit log and the store for a look")
	}
	return err
}

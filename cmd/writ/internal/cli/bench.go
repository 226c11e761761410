package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/cmd/writ/internal/bench"
)

func (e *env) benchCommand() *cobra.Command {
	var cfg bench.Config
	c := &cobra.Command{
		Use: "bench", Short: "measure speed and memory on this machine, against a floor", Args: cobra.NoArgs,
		Long: "Measures a broker and resource servers in this process, over loopback, with 32 connections,\n" +
			"and prints what it found beside its goals. A goal that is missed is not an error.\n" +
			"Run it on a machine that does nothing else: the ratios bear some noise, not all of it.",
		RunE: func(c *cobra.Command, _ []string) error { return e.bench(c.Context(), cfg) },
	}
	c.Flags().StringVar(&cfg.Only, "only", "", "one part: "+strings.Join(bench.Parts(), ", "))
	c.Flags().DurationVar(&cfg.Duration, "duration", 20*time.Second, "how long each part measures")
	c.Flags().StringVar(&cfg.Vault.Binary, "vault", "", "program that serves the Vault of the part custody; the one that make has built, if it is not named")
	c.Flags().StringVar(&cfg.MinIO.Binary, "minio", "", "program of MinIO, whose STS the part aws asks; the one that make has built, if it is not named")
	c.Flags().StringVar(&cfg.Dir, "dir", "", "where to make the temporary folder; its disk is the one that is measured")
	return c
}

func (e *env) bench(ctx context.Context, cfg bench.Config) error {
	if cfg.Duration <= 0 {
		return usage("--duration must be positive")
	}
	if !e.json {
		cfg.Progress = func(what string) { line(e.err, "measuring %s", what) }
	}
	app.Tune() // as serve does; the floor and the client have the same
	report, err := bench.Run(ctx, cfg)
	switch {
	case errors.Is(err, bench.ErrPart):
		return usage("--only: %w", err)
	case err != nil:
		return err
	}
	if err := e.print(report, func(w io.Writer) { err = report.WriteText(w) }); err != nil {
		return err
	}
	return err
}

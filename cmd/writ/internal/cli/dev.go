package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

func (e *env) devCommand() *cobra.Command {
	var cfg dev.Config
	var more string
	var verbose bool
	c := &cobra.Command{
		Use: "dev", Short: "run a broker with an identity provider and a resource server, to develop against", Args: cobra.NoArgs,
		Long: "Starts a broker on the embedded store, an identity provider and a resource server, all on loopback, with the\n" +
			"shipped example bundle, and keeps them running until it is interrupted. Policy can be edited while it runs.\n" +
			"With --json it prints one line that says where everything is, sample tokens included.",
		RunE: func(c *cobra.Command, _ []string) error { return e.dev(c.Context(), cfg, more, verbose) },
	}
	c.Flags().StringVar(&cfg.Listen, "listen", "127.0.0.1:8443", "the broker's public address, on loopback; port 0 chooses a free one")
	c.Flags().StringVar(&cfg.DataDir, "data-dir", "", "directory for store, audit log, bundle and tokens (default: a temporary one, removed at the end)")
	c.Flags().StringVar(&more, "more-config", "", "file with further sections of the broker's configuration, such as aws")
	c.Flags().BoolVar(&verbose, "verbose", false, "log what broker and resource server do")
	return c
}

func (e *env) dev(ctx context.Context, cfg dev.Config, more string, verbose bool) error {
	if more != "" {
		text, err := os.ReadFile(more)
		if err != nil {
			return hinted(ExitUsage, fmt.Errorf("reading --more-config: %w", err), "it holds sections as examples/writ.yaml has them")
		}
		cfg.More = string(text)
	}
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	cfg.Logger = slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: level}))
	w, err := dev.Start(ctx, cfg)
	if errors.Is(err, syscall.EADDRINUSE) {
		return hinted(ExitFailed, err, "another process has that port; --listen 127.0.0.1:0 takes a free one")
	}
	if err != nil {
		return err
	}
	if err := e.introduce(ctx, w); err != nil {
		return errors.Join(err, w.Close())
	}
	select {
	case <-ctx.Done():
		return w.Close()
	case err := <-w.Failed():
		return errors.Join(err, w.Close())
	}
}

// introduce says where everything is: one line of JSON, or text with lines to paste.
func (e *env) introduce(ctx context.Context, w *dev.World) error {
	if !e.json {
		_, err := io.WriteString(e.out, w.Guide())
		return err
	}
	about, err := w.Describe(ctx)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(e.out).Encode(about); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

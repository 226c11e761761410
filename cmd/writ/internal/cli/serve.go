package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/httpapi/wire"
)

func (e *env) serveCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "serve --config FILE", Short: "run a broker", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return e.serve(c.Context(), file) },
	}
	c.Flags().StringVar(&file, "config", "", "configuration file (required)")
	_ = c.MarkFlagRequired("config")
	return c
}

func (e *env) serve(ctx context.Context, file string) error {
	cfg, err := loadConfig(file)
	if err != nil {
		return err
	}
	logger, err := newLogger(e.err, cfg.Log)
	if err != nil {
		return err
	}
	app.Tune()
	a, err := app.Start(ctx, cfg, app.Options{Logger: logger})
	if err != nil {
		return hinted(ExitFailed, err, "writ config check "+file+" looks at the configuration alone")
	}
	logger.InfoContext(ctx, "serving", "issuer", cfg.Issuer, "public", a.PublicAddr().String(), "admin", a.AdminAddr().String())
	return a.Run(ctx)
}

func loadConfig(file string) (*config.Config, error) {
	cfg, err := config.Load(file)
	if err != nil {
		return nil, hinted(ExitFailed, err, "docs/protocol.md and examples/writ.yaml say what each key means")
	}
	return cfg, nil
}

func newLogger(w io.Writer, l config.Log) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	opt := &slog.HandlerOptions{Level: level}
	if l.Format == "text" {
		return slog.New(slog.NewTextHandler(w, opt)), nil
	}
	return slog.New(slog.NewJSONHandler(w, opt)), nil
}

func (e *env) configCommand() *cobra.Command {
	group := &cobra.Command{Use: "config", Short: "look at a configuration"}
	group.AddCommand(&cobra.Command{
		Use: "check FILE", Short: "report every fault of a configuration, its files and its policy bundle", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return e.configCheck(args[0]) },
	})
	return group
}

func (e *env) configCheck(file string) error {
	cfg, err := loadConfig(file)
	if err != nil {
		return err
	}
	if err := cfg.CheckFiles(); err != nil {
		return hinted(ExitFailed, err, "run this where the broker runs: the files that it names must be there")
	}
	bundle, err := app.LoadBundle(cfg)
	if err != nil {
		return err
	}
	out := map[string]any{"ok": true, "issuer": cfg.Issuer, "policy": bundle.Version(), "sources": len(cfg.Identity.Sources)}
	return e.print(out, func(w io.Writer) {
		line(w, "%s: ok: issuer %s, %d identity sources, policy %s", file, cfg.Issuer, len(cfg.Identity.Sources), bundle.Short())
	})
}

func (e *env) healthCommand() *cobra.Command {
	var url, file string
	c := &cobra.Command{
		Use: "health [--url URL | --config FILE]", Short: "ask a broker whether it is well (for container health checks)", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if file != "" {
				return e.healthHere(c.Context(), file)
			}
			return e.health(c.Context(), url, nil)
		},
	}
	c.Flags().StringVar(&url, "url", "http://127.0.0.1:8444/readyz", "what to ask")
	c.Flags().StringVar(&file, "config", "", "ask the broker of this configuration, on this machine, whether it is alive")
	c.MarkFlagsMutuallyExclusive("url", "config")
	return c
}

// healthHere asks the admin listener of a configuration by loopback. Its certificate names the broker
// and not this address, so it is not looked at: nothing secret is sent, and only this check believes
// the answer.
func (e *env) healthHere(ctx context.Context, file string) error {
	cfg, err := loadConfig(file)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(cfg.Admin.Address)
	if err != nil {
		return fmt.Errorf("reading admin.address: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme, conf := "http", (*tls.Config)(nil)
	if cfg.Admin.TLS.Enabled() {
		scheme, conf = "https", &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // see above
	}
	return e.health(ctx, scheme+"://"+net.JoinHostPort(host, port)+wire.PathHealth, conf)
}

func (e *env) health(ctx context.Context, url string, conf *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return usage("--url: %w", err)
	}
	resp, err := (&http.Client{Transport: client.NewTransport(conf)}).Do(req)
	if err != nil {
		return hinted(ExitFailed, fmt.Errorf("asking broker: %w", err), "--url names its admin or public listener")
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	var health wire.Health
	if err := json.Unmarshal(body, &health); err != nil {
		return hinted(ExitFailed, fmt.Errorf("%s answered %d, and not as a broker does", url, resp.StatusCode), "--url is that of /healthz or /readyz")
	}
	if err := e.print(health, func(w io.Writer) {
		line(w, "%s", health.Status)
		for _, name := range slices.Sorted(mapsKeys(health.Checks)) {
			line(w, "  %s: %s", name, health.Checks[name])
		}
	}); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New("not well")
	}
	return nil
}

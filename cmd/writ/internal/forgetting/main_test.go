package forgetting_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/store/redis"
)

// replicaConfig makes this binary a replica of the broker instead of a test, so that it
// can be killed as a process and is still built with the test's own flags.
const replicaConfig = "WRIT_FORGETTING_REPLICA"

func TestMain(m *testing.M) {
	redis.SetLibraryLogger(slog.New(slog.DiscardHandler))
	if file := os.Getenv(replicaConfig); file != "" {
		if err := serve(file); err != nil {
			fmt.Fprintln(os.Stderr, "replica:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// serve runs a replica until it is told to end, or until the test that started it has
// ended, which closes its standard input.
func serve(file string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	a, err := app.Start(ctx, cfg, app.Options{Logger: logger})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/writbroker/writ/config"
)

// custodyWorld is what the measurements of custody have in common.
type custodyWorld struct {
	*run
	vault *vaultPlace // the step's own: what is anchored there is one broker's
	load  *load
}

// custody measures what it costs to keep keys in Vault's custody, and what a rotation does to others.
func (r *run) custody(ctx context.Context) error {
	server, err := r.cfg.Vault.open(ctx)
	if err != nil {
		return err
	}
	err = r.inVault(ctx, server)
	return errors.Join(err, server.close())
}

func (r *run) inVault(ctx context.Context, server *vaultServer) error {
	if err := r.tellVault(ctx, server); err != nil {
		return err
	}
	dir := filepath.Join(r.dir, "vault")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making folder: %w", err)
	}
	w := &custodyWorld{run: r, load: newLoad(r.sizes.Connections)}
	defer w.load.close()
	for _, step := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{"exchange", w.compareCustodies}, {"signing in Vault", w.transit}, {"rotation", w.rotation}, {"emergency", w.emergencies},
	} {
		r.cfg.Progress("custody: " + step.name)
		var err error
		if w.vault, err = server.place(ctx, dir); err != nil {
			return err
		}
		if err := errors.Join(step.measure(ctx), w.vault.remove(ctx)); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// tellVault says what is measured with: figures of a Vault that somebody brought are of another kind.
func (r *run) tellVault(ctx context.Context, server *vaultServer) error {
	var health struct {
		Version string `json:"version"`
	}
	if err := server.call(ctx, http.MethodGet, "sys/health", nil, &health); err != nil {
		return err
	}
	kind := "real" // started for this run
	if r.cfg.Vault.Address != "" {
		kind = "given"
	}
	r.report.tell("vault", kind)
	r.report.tell("vault_version", health.Version)
	return nil
}

func (w *custodyWorld) figure(name string, value float64, goal Goal, about string) {
	w.report.add(PartCustody, name, value, goal, about)
}

// compareCustodies compares a broker whose keys Vault seals with one that seals them itself. Both sign
// alone, so that Vault should cost an exchange nothing.
func (w *custodyWorld) compareCustodies(ctx context.Context) error {
	alone, err := w.startBroker(ctx, "file")
	if err != nil {
		return err
	}
	sealed, err := w.startConfigured(ctx, "vault-sealed", nil, w.vault.keys(config.CustodyVault))
	if err != nil {
		return errors.Join(err, stopAll(alone))
	}
	p, err := w.compare(ctx, w.load, sealed, alone)
	if err := errors.Join(err, stopAll(sealed, alone)); err != nil {
		return err
	}
	w.figure("vault_exchange_ratio", p.ratio(rateOf), AtLeast(0.97), "rate of exchange, token presented again, with custody vault over that with custody file")
	w.figure("vault_exchange_cpu_ratio", p.ratio(cpuOf), Goal{}, "processor time of one exchange, likewise: what else the machine does counts less in it")
	w.figure("vault_exchange_rps", middle(p.of.samples, rateOf), Goal{}, "")
	w.figure("vault_exchange_p99_ms", middle(p.of.samples, p99Of), Goal{}, "")
	w.figure("file_exchange_rps", middle(p.over.samples, rateOf), Goal{}, "")
	return nil
}

package app

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/awskms"
	"github.com/writbroker/writ/keys/file"
	"github.com/writbroker/writ/keys/vault"
)

// newCustodyCalls counts the calls of the services that keep keys. Both labels are constant
// words of the adapters.
func newCustodyCalls() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "writ_custody_calls_total", Help: "Calls of the service that keeps the signing keys, by what was asked and how it ended.",
	}, []string{"call", "end"})
}

// custodies is all that keys of the ring can be kept in here.
type custodies struct {
	makes  keys.Custody
	others []keys.Custody
	anchor keys.Anchor // nil where there is none
}

// openCustody opens every custody that is configured: a change from one to another needs
// both until the last key of the one is gone.
func (a *App) openCustody(ctx context.Context) (*custodies, error) {
	sealed, err := file.New(a.root.SealKey())
	if err != nil {
		return nil, err
	}
	all, out := []keys.Custody{sealed}, &custodies{}
	if a.cfg.Keys.Vault.Enabled() {
		more, err := a.openVault(out)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	if a.cfg.Keys.KMS.Enabled() {
		more, err := a.openKMS(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	for _, c := range all {
		if c.Name() == a.cfg.Keys.Custody {
			out.makes = c
		} else {
			out.others = append(out.others, c)
		}
	}
	if out.makes == nil { // config.Validate has looked at this
		return nil, fmt.Errorf("custody %q is not configured", a.cfg.Keys.Custody)
	}
	return out, nil
}

func (a *App) openVault(out *custodies) (all []keys.Custody, err error) {
	cfg := VaultConfig(a.cfg)
	cfg.Now, cfg.Logger = a.now, a.logger
	cfg.Observe = func(op string, err error) { a.custodyCalls.WithLabelValues("vault:"+op, vault.What(err)).Inc() }
	client, err := vault.New(cfg)
	if err != nil {
		return nil, err
	}
	a.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeVault)
		defer cancel()
		return client.Close(ctx)
	})
	a.running = append(a.running, client.Run)
	if cfg.SealKey != "" {
		c, err := client.Sealing()
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if cfg.SignKeys != "" {
		c, err := client.Signing()
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if cfg.KV != "" {
		if out.anchor, err = client.Anchor(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// closeVault bounds the giving back of the broker's token.
const closeVault = 2 * time.Second

// VaultConfig is keys.vault of a configuration, as the adapter takes it; without clock and
// logger.
func VaultConfig(c *config.Config) vault.Config {
	v := c.Keys.Vault
	return vault.Config{
		Address: v.Address, Namespace: v.Namespace, CAFile: v.CAFile, InsecureHTTP: v.InsecurePlaintext,
		Login: vault.Login{
			Method: v.Login.Method, Mount: v.Login.Mount, Role: v.Login.Role, RoleID: v.Login.RoleID,
			SecretIDFile: v.Login.SecretIDFile, Wrapped: v.Login.Wrapped, JWTFile: v.Login.JWTFile,
			TokenFile: v.Login.TokenFile, CertFile: v.Login.CertFile, KeyFile: v.Login.KeyFile,
		},
		Rings: []string{ringName}, Transit: v.TransitMount, SealKey: v.SealKey, SignKeys: v.SignKeys,
		KV: v.KVMount, KVPath: v.KVPath, Timeout: v.Timeout,
	}
}

func (a *App) openKMS(ctx context.Context) ([]keys.Custody, error) {
	m := a.cfg.Keys.KMS
	client, err := awskms.New(ctx, awskms.Config{
		Region: m.Region, Profile: m.Profile, Endpoint: m.Endpoint, InsecureHTTP: m.InsecurePlaintext,
		SealKey: m.SealKey, Tags: m.Tags, Timeout: m.Timeout, Now: a.now, Logger: a.logger,
		Observe: func(action string, err error) { a.custodyCalls.WithLabelValues(action, awskms.What(err)).Inc() },
	})
	if err != nil {
		return nil, err
	}
	return []keys.Custody{client.Sealing(), client.Signing()}, nil
}

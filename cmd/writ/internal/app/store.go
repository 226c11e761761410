package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
	"github.com/writbroker/writ/store/redis"
)

// shared is what replicas have in common, whichever adapter keeps it.
type shared interface {
	Log(name string) store.LiveLog
	Cells() store.Cell
	Tally() store.Tally
	Close() error
}

// embedded is the store of a broker that stands alone.
type embedded struct{ *bolt.DB }

// Log is shared's.
func (e embedded) Log(name string) store.LiveLog { return e.DB.Log(name) }

// Cells is shared's.
func (e embedded) Cells() store.Cell { return e.DB.Cells() }

// Tally is shared's.
func (e embedded) Tally() store.Tally { return e.DB.Tally() }

// remote is the store of many replicas.
type remote struct{ *redis.DB }

// Log is shared's.
func (r remote) Log(name string) store.LiveLog { return r.DB.Log(name) }

// Cells is shared's.
func (r remote) Cells() store.Cell { return r.DB.Cells() }

// Tally is shared's.
func (r remote) Tally() store.Tally { return r.DB.Tally() }

// openStore opens the configured store. The one that replicas share may be away: then it
// is used when it answers.
func (a *App) openStore(ctx context.Context, root *keys.Root) (shared, error) {
	sealer, err := store.NewSealer(root.StoreMACKey())
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	if a.cfg.Store.Kind == config.StoreRedis {
		c, err := redisConfig(a.cfg.Store.Redis)
		if err != nil {
			return nil, err
		}
		redis.SetLibraryLogger(a.logger) // the library's own goes to standard error
		c.Sealer, c.Now, c.Logger, c.AllowAway = sealer, a.now, a.logger, true
		db, err := redis.Open(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("opening store: %w", err)
		}
		return remote{db}, nil
	}
	if err := os.MkdirAll(filepath.Dir(a.cfg.Store.Path), 0o700); err != nil {
		return nil, fmt.Errorf("making data folder: %w", err)
	}
	db, err := bolt.Open(ctx, bolt.Config{Path: a.cfg.Store.Path, Sealer: sealer, Now: a.now})
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	return embedded{db}, nil
}

func redisConfig(r config.Redis) (redis.Config, error) {
	c := redis.Config{
		Addrs: r.Addresses, MasterName: r.MasterName, Cluster: r.Cluster, DB: r.Database,
		Username: r.Username, PasswordFile: r.PasswordFile,
		SentinelUsername: r.SentinelUsername, SentinelPasswordFile: r.SentinelPasswordFile,
		MinReplicas: r.MinReplicas, Timeout: r.Timeout, InsecureAllowEviction: r.InsecureAllowEviction,
	}
	if !r.TLS.Enabled {
		return c, nil
	}
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: r.TLS.ServerName}
	if r.TLS.CAFile != "" {
		pem, err := os.ReadFile(r.TLS.CAFile)
		if err != nil {
			return c, fmt.Errorf("loading CA of redis: %w", err)
		}
		c.TLS.RootCAs = x509.NewCertPool()
		if !c.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return c, fmt.Errorf("no certificate in %s", r.TLS.CAFile)
		}
	}
	if r.TLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(r.TLS.CertFile, r.TLS.KeyFile)
		if err != nil {
			return c, fmt.Errorf("loading certificate for redis: %w", err)
		}
		c.TLS.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// anchorCell names the cell of a replica's newest audit checkpoint: each replica has a log
// of its own.
func anchorCell(cfg *config.Config, replica string) string {
	if cfg.Store.Kind == config.StoreRedis {
		return cellAnchor + "/" + replica
	}
	return cellAnchor
}

// ttlFile keeps the greatest TTL where a replica finds it while the store is away. It is
// kept as the store's cell is: it only grows.
const ttlFile = "greatest-ttl"

// keepsTTL reports whether this replica knows better than a store that was tampered with. One
// that does not must not start on a guess.
func (a *App) keepsTTL() bool {
	_, err := os.Stat(filepath.Join(a.cfg.DataDir, ttlFile))
	return err == nil
}

func (a *App) knownTTL() time.Duration {
	data, err := keys.PrivateFile(filepath.Join(a.cfg.DataDir, ttlFile)).Read(64)
	if err != nil {
		return a.cfg.Tokens.MaxTTL
	}
	d, err := time.ParseDuration(string(data))
	if err != nil {
		return a.cfg.Tokens.MaxTTL
	}
	return max(d, a.cfg.Tokens.MaxTTL)
}

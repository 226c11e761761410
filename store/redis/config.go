package redis

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/writbroker/writ/store"
)

// Config says how to reach Redis. Nothing of it is changed.
type Config struct {
	// Addrs are host:port: the server; or, with MasterName, the Sentinels; or,
	// with Cluster, some of its nodes.
	Addrs      []string
	MasterName string
	Cluster    bool
	DB         int // not in a Cluster

	Username string
	// PasswordFile is read anew for every connection, so that a password can be
	// changed without a restart. Its last line break does not count.
	PasswordFile         string
	SentinelUsername     string
	SentinelPasswordFile string      // read once
	TLS                  *tls.Config // nil = no TLS; for Sentinels too

	Sealer *store.Sealer    // required
	Now    func() time.Time // required: marks when lineages open and which buckets have expired
	Logger *slog.Logger     // nil = none; for what is worth knowing at the start

	// Timeout bounds one round trip, waiting for a connection included; 0 = 2 s. A
	// deadline that comes sooner is kept; a call that is cancelled while it waits for
	// an answer may take as long.
	Timeout  time.Duration
	PoolSize int // connections to a node at most; 0 = 16

	// MinReplicas is how many replicas of Redis must have a write before it is
	// acknowledged. Where fewer confirm it in half of Timeout, the write fails with
	// store.ErrUnavailable and may persist all the same.
	MinReplicas int
	// AllowAway lets Open succeed while Redis does not answer. It is checked before
	// it is used.
	AllowAway bool
	// InsecureAllowEviction lets a server be used that drops keys when its memory is
	// full: rules, keys and counts can then vanish at any time. They are missed and
	// put back, but are not in force for replicas that start meanwhile.
	InsecureAllowEviction bool

	dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil = the network; a seam for tests
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Sealer == nil || c.Now == nil || len(c.Addrs) == 0:
		return c, errors.New("addresses, sealer and clock are required")
	case c.Cluster && (c.MasterName != "" || c.DB != 0):
		return c, errors.New("a cluster has neither Sentinels nor databases")
	case !c.Cluster && c.MasterName == "" && len(c.Addrs) > 1:
		return c, errors.New("several addresses are those of Sentinels (say the master's name) or of a cluster")
	case c.Timeout < 0 || c.PoolSize < 0 || c.MinReplicas < 0:
		return c, errors.New("a bound is negative")
	case c.Username != "" && c.PasswordFile == "":
		return c, errors.New("a user needs a password file")
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.PoolSize == 0 {
		c.PoolSize = defaultPool
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// client makes a client that never repeats a command: a write that is repeated
// after its answer was lost would find its own work and call it a conflict.
func (c Config) client() (goredis.UniversalClient, error) {
	o := &goredis.UniversalOptions{
		Addrs: c.Addrs, MasterName: c.MasterName, IsClusterMode: c.Cluster, DB: c.DB,
		ClientName: "writ", Protocol: 2, TLSConfig: c.TLS, Dialer: c.dial,
		MaxRetries: -1, MaxRedirects: -1, DialerRetries: 1,
		DialTimeout: c.Timeout, ReadTimeout: c.Timeout, WriteTimeout: c.Timeout, PoolTimeout: c.Timeout,
		ContextTimeoutEnabled: true, PoolSize: c.PoolSize, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		SentinelUsername:         c.SentinelUsername,
	}
	if c.PasswordFile != "" {
		if _, err := readSecret(c.PasswordFile); err != nil {
			return nil, err
		}
		o.CredentialsProviderContext = func(context.Context) (string, string, error) {
			password, err := readSecret(c.PasswordFile)
			return c.Username, password, err
		}
	}
	if c.SentinelPasswordFile != "" {
		password, err := readSecret(c.SentinelPasswordFile)
		if err != nil {
			return nil, err
		}
		o.SentinelPassword = password
	}
	return goredis.NewUniversalClient(o), nil
}

func readSecret(path string) (string, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if err != nil {
		return "", fmt.Errorf("reading password: %w", err)
	}
	data = bytes.TrimRight(data, "\r\n")
	if len(data) == 0 {
		return "", fmt.Errorf("reading password: %s is empty", path)
	}
	return string(data), nil
}

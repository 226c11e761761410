package config

import (
	"cmp"
	"path/filepath"
	"time"
)

// Default returns the configuration of an empty file. It is not valid as it is:
// an issuer, an identity source and a bundle have no safe default.
func Default() *Config {
	return &Config{
		Public:   Listener{Address: "127.0.0.1:8443"},
		Admin:    Listener{Address: "127.0.0.1:8444"},
		DataDir:  "/var/lib/writ",
		Store:    Store{Kind: StoreBolt, Redis: Redis{Timeout: 2 * time.Second}},
		Bundle:   Bundle{Reload: 10 * time.Second},
		Identity: Identity{JWKSMaxStale: time.Hour, CacheEntries: 20_000},
		Keys: Keys{
			Custody:     "file",
			Algorithm:   "ES256",
			RotateEvery: 7 * 24 * time.Hour,
			Prepublish:  time.Hour,
			RetireAfter: 2 * time.Hour,
			JWKSMaxAge:  10 * time.Minute,
			ClockSkew:   5 * time.Minute,
		},
		Tokens: Tokens{
			MaxTTL:     time.Hour,
			DefaultTTL: 15 * time.Minute,
			Skew:       30 * time.Second,
			MaxDepth:   4,
			MaxBytes:   6 << 10,
		},
		Revocation: Revocation{MaxStaleness: 30 * time.Second, Heartbeat: 5 * time.Second},
		RateLimits: RateLimits{
			PerAgent:        Rate{Rate: 50, Burst: 100},
			Unauthenticated: Rate{Rate: 10, Burst: 20},
		},
		AWS: AWS{Timeout: 10 * time.Second},
		Audit: Audit{
			SegmentSize:     64 << 20,
			CheckpointEvery: time.Second,
			Anchor:          Anchor{Log: true, Every: time.Minute, Webhook: Webhook{Timeout: 5 * time.Second}},
		},
		Log:           Log{Level: "info", Format: "json"},
		Metrics:       Metrics{Enabled: true},
		ShutdownGrace: 20 * time.Second,
	}
}

// activateWithin is how long a rotation waits for verifiers, where nothing else is said.
const activateWithin = 10 * time.Minute

// settle fills in what hangs on other settings, and makes all paths absolute: a
// relative one starts at the folder of the configuration file, so that the
// broker means the same files whatever directory it is started in.
func (c *Config) settle(base string) {
	c.Keys.ActivateWithin = cmp.Or(c.Keys.ActivateWithin, min(activateWithin, c.Keys.Prepublish))
	c.Revocation.ReplicaAbsence = cmp.Or(c.Revocation.ReplicaAbsence, c.Revocation.MaxStaleness/2)
	for _, p := range c.derivedPaths() {
		if *p.value == "" {
			*p.value = filepath.Join(c.DataDir, p.name)
		}
	}
	for _, p := range c.paths() {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
}

type derivedPath struct {
	value *string
	name  string
}

func (c *Config) derivedPaths() []derivedPath {
	return []derivedPath{
		{&c.RootKeyFile, "root.key"},
		{&c.Store.Path, "store.db"},
		{&c.Revocation.JournalDir, "journal"},
		{&c.Audit.Dir, "audit"},
		{&c.BreakGlass.Socket, "break-glass.sock"},
	}
}

func (c *Config) paths() []*string {
	p := []*string{
		&c.DataDir, &c.RootKeyFile, &c.Store.Path, &c.Bundle.Dir, &c.Revocation.JournalDir,
		&c.Audit.Dir, &c.Audit.Anchor.Webhook.TokenFile, &c.BreakGlass.Socket,
		&c.Public.TLS.CertFile, &c.Public.TLS.KeyFile, &c.Public.TLS.ClientCAFile,
		&c.Admin.TLS.CertFile, &c.Admin.TLS.KeyFile, &c.Admin.TLS.ClientCAFile,
		&c.Store.Redis.PasswordFile, &c.Store.Redis.SentinelPasswordFile,
		&c.Store.Redis.TLS.CAFile, &c.Store.Redis.TLS.CertFile, &c.Store.Redis.TLS.KeyFile,
		&c.AWS.CAFile, &c.AWS.ConfigFile, &c.AWS.CredentialsFile,
	}
	for i := range c.Identity.Sources {
		s := &c.Identity.Sources[i]
		p = append(p, &s.JWKSFile, &s.CAFile, &s.TokenFile)
		if s.X509 != nil {
			p = append(p, &s.X509.BundleFile)
		}
	}
	if r := c.AWS.Revoker; r != nil {
		p = append(p, &r.ConfigFile, &r.CredentialsFile, &r.CAFile)
	}
	return append(p, c.custodyPaths()...)
}

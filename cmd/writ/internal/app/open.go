package app

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/httpapi"
	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/identity/jwks"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/file"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/fleet"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/revocation/roll"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

// Names of what replicas share in the store.
const (
	logRevocations = "revocations"
	ringName       = "signing-keys"
	cellTTL        = "greatest-ttl"
	cellAnchor     = "audit-anchor"
)

const (
	confirmEvery = time.Second // the tail of the revocation log is confirmed at least so often,
	confirmTimes = 8           // and so many times within max_staleness
)

// maxAncestors bounds how many tokens a token descends from; each adds about 90 bytes.
const maxAncestors = 8

func (a *App) openData(ctx context.Context, _ Options) error {
	for _, dir := range []string{a.cfg.DataDir, filepath.Dir(a.cfg.RootKeyFile)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making data folder: %w", err)
		}
	}
	if a.cfg.Store.Kind == config.StoreRedis {
		if _, err := os.Stat(a.cfg.RootKeyFile); err != nil {
			return fmt.Errorf("opening root key, which all replicas of a shared store have in common: %w", err)
		}
	}
	root, err := keys.LoadOrCreateRoot(a.cfg.RootKeyFile)
	if err != nil {
		return fmt.Errorf("opening root key: %w", err)
	}
	a.root = root
	if a.replica, err = replicaID(a.cfg.DataDir); err != nil {
		return err
	}
	if a.store, err = a.openStore(ctx, root); err != nil {
		return err
	}
	a.onClose(a.store.Close)
	a.greatest, err = a.greatestTTL(ctx)
	return err
}

func (a *App) openAudit(ctx context.Context, opt Options) error {
	a.outside = newOutside(a.anchorOutside, a.cfg.Audit.Anchor.Every, a.logger)
	a.onClose(func() error { a.outside.flush(context.WithoutCancel(ctx)); return nil })
	log, err := audit.Open(ctx, audit.Config{
		Dir: a.cfg.Audit.Dir, FS: opt.auditFS, Signer: a.root.RecordsKey(), Now: a.now, Logger: a.logger,
		Anchor: a.anchor, SegmentBytes: int64(a.cfg.Audit.SegmentSize), CheckpointEvery: a.cfg.Audit.CheckpointEvery,
	})
	if err != nil {
		return fmt.Errorf("opening audit log: %w", err)
	}
	a.audit = log
	a.onClose(log.Close)
	return nil
}

func (a *App) openKeys(ctx context.Context, _ Options) error {
	custody, err := a.openCustody(ctx)
	if err != nil {
		return fmt.Errorf("opening custody of keys: %w", err)
	}
	a.rotator, err = keys.New(ctx, keys.Config{
		Ring: ringName, Cell: a.store.Cells(), Custody: custody.makes, Others: custody.others, Anchor: custody.anchor,
		MACKey: a.root.RingMACKey(),
		Backup: file.NewBackup(filepath.Join(a.cfg.DataDir, "keys.backup")),
		Schedule: keys.Schedule{
			RotateEvery: a.cfg.Keys.RotateEvery, Prepublish: a.cfg.Keys.Prepublish, RetireAfter: a.cfg.Keys.RetireAfter,
			Algorithm: a.cfg.Keys.Algorithm, JWKSMaxAge: a.cfg.Keys.JWKSMaxAge, MaxTTL: a.greatest, Skew: a.cfg.Skew(),
			ActivateWithin: a.cfg.Keys.ActivateWithin,
		},
		Now: a.now, Logger: a.logger, OnChange: a.keysChanged, Lacking: a.lacking,
	})
	if err != nil {
		return fmt.Errorf("opening key ring: %w", err)
	}
	return nil
}

// keysChanged tells verifiers of a new ring at once, and leaves its record to recordKeys.
func (a *App) keysChanged(r *keys.Ring) {
	// There is no journal for the first ring, before anybody can have subscribed. A ring that lacks
	// a key would take it from verifiers that have it.
	if a.journal != nil && !r.Lacks() {
		event := revocation.Event{Type: revocation.EventKeys, Keys: json.RawMessage(r.JWKS())}
		if err := a.journal.Publish(event); err != nil {
			a.logger.Error("key change not published", "error", err)
		}
	}
	select {
	case a.rings <- r:
	default:
		a.logger.Error("key change not in audit log", "version", r.Version())
	}
}

// recordKeys writes a record of each new ring until ctx ends.
func (a *App) recordKeys(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-a.rings:
			e := audit.Event{Time: a.now(), Kind: audit.KindKeys, Outcome: audit.Allow, Detail: map[string]string{
				"version": strconv.FormatUint(r.Version(), 10),
			}}
			for _, k := range r.Keys() {
				e.Detail[k.ID] = string(k.Stage)
				if k.Reason != "" {
					e.Detail[k.ID+".reason"] = k.Reason
				}
			}
			if _, err := a.audit.Append(ctx, e); err != nil {
				a.logger.ErrorContext(ctx, "key change not in audit log", "error", err)
			}
		}
	}
}

// greatestTTL is the greatest max_ttl that was ever in force here: tokens of an earlier,
// longer one may still live, and rules and keys have to outlast them. While the store is
// away, what this replica has known has to do.
func (a *App) greatestTTL(ctx context.Context) (time.Duration, error) {
	greatest, err := a.sharedTTL(ctx)
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return a.knownTTL(), nil
	case err != nil:
		return 0, err
	}
	file := keys.PrivateFile(filepath.Join(a.cfg.DataDir, ttlFile))
	if err := file.Replace([]byte(greatest.String())); err != nil {
		return 0, fmt.Errorf("keeping greatest ttl: %w", err)
	}
	return greatest, nil
}

func (a *App) sharedTTL(ctx context.Context) (time.Duration, error) {
	cells, want := a.store.Cells(), a.knownTTL() // a store that was wiped knows less
	for {
		v, err := cells.Get(ctx, cellTTL)
		var known time.Duration
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil && store.IsIntegrity(err) && a.keepsTTL():
			a.logger.ErrorContext(ctx, "greatest ttl in the store is not what was put there", store.AlarmKey, "greatest_ttl", "error", err)
		case err != nil:
			return 0, fmt.Errorf("reading greatest ttl: %w", err)
		default:
			if known, err = time.ParseDuration(string(v.Value)); err != nil {
				return 0, fmt.Errorf("reading greatest ttl: %w", err)
			}
		}
		if known >= want {
			return known, nil
		}
		_, err = cells.Swap(ctx, cellTTL, v.Version, []byte(want.String()))
		if err == nil {
			return want, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return 0, fmt.Errorf("writing greatest ttl: %w", err)
		}
	}
}

// tokenLife is how long a token that was ever minted here can live, by any clock that has a say.
func (a *App) tokenLife() time.Duration { return a.greatest + 2*a.cfg.Tokens.Skew }

func (a *App) openRevocation(ctx context.Context, opt Options) error {
	var err error
	life := a.tokenLife()
	a.index = revocation.NewIndex(revocation.Options{Retain: 2 * life, ForeignSkew: a.cfg.Tokens.Skew})
	a.acks = revocation.NewAcks(a.now, a.index.Covers)
	cfg := journal.Config{
		Dir: a.cfg.Revocation.JournalDir, Log: a.store.Log(logRevocations), Index: a.index, Now: a.now,
		Logger: a.logger, MaxStaleness: a.cfg.Revocation.MaxStaleness, TokenLife: life, FS: opt.journalFS,
		Replica: a.replica, Confirm: min(confirmEvery, a.cfg.Revocation.MaxStaleness/confirmTimes),
	}
	if a.cfg.Store.Kind == config.StoreRedis {
		if a.roll, err = a.openRoll(cfg.Confirm / 2); err != nil {
			return err
		}
		cfg.Roll = a.roll
	}
	a.journal, err = journal.Open(ctx, cfg)
	if err != nil {
		return fmt.Errorf("opening revocation journal: %w", err)
	}
	a.onClose(a.journal.Close)
	return a.openFleet()
}

// openRoll makes this replica wait for what the others may know, where there can be others.
func (a *App) openRoll(every time.Duration) (*roll.Roll, error) {
	r, err := roll.New(roll.Config{
		Replica: a.replica, Cell: a.store.Cells(), Kept: keptNames(filepath.Join(a.cfg.DataDir, "replicas")),
		Absence: a.cfg.Revocation.ReplicaAbsence, Every: every, Now: a.now, Logger: a.logger,
	})
	if err != nil {
		return nil, fmt.Errorf("opening roll of replicas: %w", err)
	}
	return r, nil
}

// openFleet makes the verifiers of all replicas known to each, where there can be others.
func (a *App) openFleet() (err error) {
	if a.cfg.Store.Kind != config.StoreRedis {
		return nil
	}
	a.fleet, err = fleet.New(fleet.Config{
		Replica: a.replica, Cell: a.store.Cells(), Acks: a.acks, Now: a.now, Logger: a.logger,
	})
	return err
}

func (a *App) openPolicy(ctx context.Context, _ Options) error {
	opt := policyOptions(a.cfg)
	dir := a.cfg.Bundle.Dir
	b, seen, err := settled(ctx, os.DirFS(dir), func() (*policy.Bundle, error) { return loadBundle(dir, opt) })
	if err != nil {
		return err
	}
	a.policy = policy.NewHolder(b)
	a.watcher = &watcher{
		dir: dir, every: a.cfg.Bundle.Reload, opt: opt, holder: a.policy,
		audit: a.audit, now: a.now, logger: a.logger, seen: seen, loaded: a.now(),
	}
	return a.watcher.record(ctx, audit.Allow, b.Version())
}

func policyOptions(cfg *config.Config) policy.Options {
	sources := cfg.Identity.Sources
	if registry, err := identity.Compile(sources); err == nil {
		sources = registry.Sources() // with the presets applied; a fault is reported where they are opened
	}
	return policy.Options{
		MaxTTL: cfg.Tokens.MaxTTL, DefaultTTL: cfg.Tokens.DefaultTTL,
		Issuer: cfg.Issuer, Environment: cfg.Environment, Sources: sources,
	}
}

func (a *App) openBroker(ctx context.Context, _ Options) error {
	registry, err := identity.Compile(a.cfg.Identity.Sources)
	if err != nil {
		return fmt.Errorf("compiling identity sources: %w", err)
	}
	a.jwks, err = jwks.New(jwks.Config{
		Sources: registry.Sources(), OnAuthorities: registry.SetAuthorities,
		MaxStale: a.cfg.Identity.JWKSMaxStale, Now: a.now, Logger: a.logger,
	})
	if err != nil {
		return fmt.Errorf("opening keys of identity sources: %w", err)
	}
	a.onClose(func() error { a.jwks.Close(); return nil })
	a.ledger = broker.NewLedger(broker.LedgerConfig{Now: a.now, Tally: &alarmedTally{a.store.Tally(), a.logger}, MaxTTL: a.greatest})
	minter, err := mint.New(mint.Config{Issuer: a.cfg.Issuer, MaxBytes: int(a.cfg.Tokens.MaxBytes)})
	if err != nil {
		return fmt.Errorf("opening minter: %w", err)
	}
	sessions, reserved, err := a.openAWS(ctx)
	if err != nil {
		return err
	}
	taker, err := a.openRevoker(ctx)
	if err != nil {
		return err
	}
	a.broker, err = broker.New(broker.Config{
		AWS: sessions, Revoker: taker, Reserved: reserved,
		Issuer: a.cfg.Issuer, Policy: a.policy.Current, Keys: a.rotator, Index: a.index,
		Identity: &proofs{Registry: registry, cache: identity.NewCache(registry, a.jwks, a.cfg.Identity.CacheEntries)},
		Recorder: a.journal, Acks: a.acks, Minter: minter, Audit: a.audit, Ledger: a.ledger,
		Limits: broker.Limits{
			MaxTTL: a.cfg.Tokens.MaxTTL, GreatestTTL: a.greatest, Skew: a.cfg.Tokens.Skew,
			MaxStaleness: a.cfg.Revocation.MaxStaleness, MaxDepth: a.cfg.Tokens.MaxDepth, MaxAncestors: maxAncestors,
			AgentRate: a.cfg.RateLimits.PerAgent.Rate, AgentBurst: a.cfg.RateLimits.PerAgent.Burst,
			FailureRate: a.cfg.RateLimits.Unauthenticated.Rate, FailureBurst: a.cfg.RateLimits.Unauthenticated.Burst,
		},
		Now: a.now, Logger: a.logger, Component: a.replica,
	})
	return err
}

func (a *App) openAPI(_ context.Context, _ Options) error {
	records := a.root.RecordsKey()
	pub, _ := records.Public().(ed25519.PublicKey)
	kid, err := token.Thumbprint(pub)
	if err != nil {
		return fmt.Errorf("naming records key: %w", err)
	}
	signer, err := token.NewLocalSigner(kid, token.Ed25519, records)
	if err != nil {
		return fmt.Errorf("opening records key: %w", err)
	}
	cfg := httpapi.Config{
		Issuer: a.cfg.Issuer, Replica: a.replica, Broker: a.broker, Index: a.index, Acks: a.acks, Feed: a.journal, Keys: a.rotator,
		Records: signer, RecordKey: token.Key{ID: kid, Algorithm: token.Ed25519, Public: pub, Use: "sig"},
		Audit: auditReader{log: a.audit}, Policy: a.watcher.status, Ready: a.ready,
		JWKSMaxAge: a.cfg.Keys.JWKSMaxAge, RotateEvery: a.cfg.Keys.RotateEvery, Heartbeat: a.cfg.Revocation.Heartbeat,
		MaxTTL: a.cfg.Tokens.MaxTTL, MaxStaleness: a.cfg.Revocation.MaxStaleness,
		TrustedProxies: a.cfg.Proxies(), Now: a.now, Logger: a.logger, Stop: a.stop,
	}
	if a.cfg.Metrics.Enabled {
		a.metrics = newMetrics()
		a.metrics.registry.MustRegister(a.alarms, a.custodyCalls)
		a.gauges()
		cfg.Metrics = a.metrics.handler()
	}
	a.api, err = httpapi.New(cfg)
	return err
}

// LoadBundle loads the policy bundle of a configuration, as serve would.
func LoadBundle(cfg *config.Config) (*policy.Bundle, error) {
	return loadBundle(cfg.Bundle.Dir, policyOptions(cfg))
}

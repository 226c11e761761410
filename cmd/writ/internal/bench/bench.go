// Package bench measures what Writ promises of its speed and memory, on this machine and in
// one run, and says what a figure is worth beside its goal.
//
// Most figures are ratios of two things measured in turn within the same seconds: a machine
// that is slow, or busy with something else, slows both. What is measured is the product:
// the broker is one that package app starts, with its listeners, its audit log on a real disk and
// its policy read from files; the resource servers run package verifier. Only the floor that
// the broker is held against is code of this package (floor.go).
//
// It is called by the command bench alone. It writes to one temporary folder, which it
// removes, and talks over loopback.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Parts of a run, in their order.
const (
	PartExchange   = "exchange"
	PartVerify     = "verify"
	PartAuthorize  = "authorize"
	PartRevocation = "revocation"
	PartRedis      = "redis"   // measured only where redis-server is installed, or on demand
	PartCustody    = "custody" // likewise where there is a Vault
	PartAWS        = "aws"     // and where there is a MinIO
)

// Parts lists the names that Config.Only takes.
func Parts() []string {
	return []string{PartExchange, PartVerify, PartAuthorize, PartRevocation, PartRedis, PartCustody, PartAWS}
}

// Config says what to measure. Its zero value measures everything as the goals say.
type Config struct {
	// Only is the one part to measure; empty is all.
	Only string
	// Duration is how long each part measures, preparations aside; 0 = 20 s.
	Duration time.Duration
	// Sizes of what is measured; zero fields are those that the goals name.
	Sizes Sizes
	// Dir is where the temporary folder is made; its disk is the audit log's. Empty: the
	// system's place for temporary files.
	Dir string
	// Vault is what keys are kept in where their custody is measured.
	Vault Vault
	// MinIO is whose STS is asked where AWS credentials are measured.
	MinIO MinIO
	// Progress, if set, is told what is being done.
	Progress func(string)
}

// Sizes are how much of everything there is. Figures of other sizes than the goals' say
// nothing about the goals.
type Sizes struct {
	Connections int // 32
	Roles       int // 1,000
	Bindings    int // 10,000
	Rules       int // 1,000,000
	Verifiers   int // 200
	Tokens      int // 10,000,000, that one rule hits
	Spread      int // 1,000 verifiers over two replicas on Redis
	Readers     int // 5,000 of the feed of one replica
	Backlog     int // 60,000 rules, that a reader which does not read lacks
}

func (s Sizes) withDefaults() Sizes {
	for _, size := range []struct {
		of    *int
		usual int
	}{
		{&s.Connections, 32}, {&s.Roles, 1_000}, {&s.Bindings, 10_000},
		{&s.Rules, 1_000_000}, {&s.Verifiers, 200}, {&s.Tokens, 10_000_000},
		{&s.Spread, 1_000}, {&s.Readers, 5_000}, {&s.Backlog, 60_000},
	} {
		if *size.of <= 0 {
			*size.of = size.usual
		}
	}
	return s
}

// ErrPart is an Only that names no part.
var ErrPart = errors.New("no such part")

// run is one run of the benchmark.
type run struct {
	cfg    Config
	sizes  Sizes
	dir    string // this run's own
	report *Report
}

// Run measures. The report holds what was measured; an error means that something did not
// work, not that a goal was missed.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.Only != "" && !slices.Contains(Parts(), cfg.Only) {
		return nil, fmt.Errorf("%w: %q; there are %s", ErrPart, cfg.Only, strings.Join(Parts(), ", "))
	}
	if cfg.Duration <= 0 {
		cfg.Duration = 20 * time.Second
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	dir, err := os.MkdirTemp(cfg.Dir, "writ-bench-")
	if err != nil {
		return nil, fmt.Errorf("making temporary folder: %w", err)
	}
	r := &run{cfg: cfg, sizes: cfg.Sizes.withDefaults(), dir: dir, report: newReport()}
	err = r.parts(ctx)
	return r.report, errors.Join(err, os.RemoveAll(dir))
}

func (r *run) parts(ctx context.Context) error {
	for _, part := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{PartExchange, r.exchange}, {PartVerify, r.verify}, {PartAuthorize, r.authorize}, {PartRevocation, r.revocation},
		{PartRedis, r.redis}, {PartCustody, r.custody}, {PartAWS, r.aws},
	} {
		if r.cfg.Only != "" && r.cfg.Only != part.name {
			continue
		}
		if why := r.missing(part.name); r.cfg.Only == "" && why != nil {
			r.cfg.Progress(part.name + ": left out: " + why.Error())
			continue
		}
		r.cfg.Progress(part.name)
		began := time.Now()
		if err := part.measure(ctx); err != nil {
			return fmt.Errorf("measuring %s: %w", part.name, err)
		}
		r.report.took(part.name, time.Since(began))
		runtime.GC() // what one part held must not be collected in the next one's time
	}
	return nil
}

// missing is what a part lacks on this machine; nil if nothing.
func (r *run) missing(part string) error {
	switch part {
	case PartRedis:
		if !haveRedis() {
			return ErrNoRedis
		}
	case PartCustody:
		return r.cfg.Vault.missing()
	case PartAWS:
		return r.cfg.MinIO.missing()
	}
	return nil
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
)

const (
	awsRounds = 9
	// tokenRounds are more, and as much shorter: what is compared hardly differs, and what disturbs the
	// machine comes and goes.
	tokenRounds = 6 * awsRounds
	// awsKept is how many sessions are kept, each of an agent of its own.
	awsKept = 64
	// AWSRole is the role of every session. A MinIO takes any.
	AWSRole     = "arn:aws:iam::123456789012:role/writ-bench"
	awsAudience = "https://lake.example.com"
	awsScopes   = "lake:read:sales/** lake:list:sales/** lake:write:reports/eu/* lake:delete:tmp/*"
)

// awsBundle is added to the bundle of the other parts.
const awsBundle = `kind: catalog
tools:
  - name: lake
    audience: ` + awsAudience + `
    actions: [read, write, delete, list]
    aws: {service: s3, role: "` + AWSRole + `", with: {bucket: acme-lake}}
---
kind: roles
roles:
  - {name: lake, grants: [{scopes: ["lake:*:**"]}]}
---
kind: bindings
bindings:
  - {name: lake, principals: ["` + prefix + `**"], roles: [lake]}
`

// awsWorld is what the broker's policy says of AWS, and the scopes that every session is for.
type awsWorld struct {
	bundle  *policy.Bundle
	catalog *awssts.Catalog
	set     scopes.Set
}

func newAWSWorld() (*awsWorld, error) {
	w := &awsWorld{}
	var err error
	if w.bundle, err = policy.Parse(map[string][]byte{"aws.yaml": []byte(awsBundle)}, policy.Options{}); err != nil {
		return nil, fmt.Errorf("reading policy: %w", err)
	}
	if w.catalog, err = awssts.NewCatalog(w.bundle.Catalog(), nil); err != nil {
		return nil, err
	}
	w.set, err = scopes.ParseSet(awsScopes)
	return w, err
}

// awsTask names a task; all names are of one length. Sessions of different tasks are different ones.
func awsTask(n int) string { return fmt.Sprintf("bench-%09d", n) }

// awsRun measures AWS sessions: what one costs through a broker over the SDK's bare call to the same STS,
// and what one that is kept does over one that is made.
type awsRun struct {
	*run
	sts     *stsServer
	broker  *broker
	minter  *awsMinter
	minted  int // sessions asked for so far
	again   [][]byte
	single  *load
	several *load

	bare, alone   []*sample // one a round: the bare call, and through the broker, with one caller each
	direct, held  []*sample // likewise by the minter alone: made, and kept
	making, given []*sample // made and kept, with as many connections as elsewhere

	besideUp, besideDown []*sample // tokens, with an STS that answers and one that is down
}

func (r *run) aws(ctx context.Context) error {
	dir := filepath.Join(r.dir, "minio")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making folder: %w", err)
	}
	server, err := r.cfg.MinIO.open(ctx, dir)
	if err != nil {
		return err
	}
	r.report.tell("minio", server.kind)
	return errors.Join(r.atSTS(ctx, server), server.close())
}

// startAWS starts a broker that knows the tools in AWS, with an STS at the address that knows its credentials.
func (r *run) startAWS(ctx context.Context, name, address string, server *stsServer) (*broker, error) {
	bundle := filepath.Join(r.dir, name, "bundle")
	if err := os.MkdirAll(bundle, 0o700); err != nil {
		return nil, fmt.Errorf("writing policy bundle: %w", err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "aws.yaml"), []byte(awsBundle), 0o600); err != nil {
		return nil, fmt.Errorf("writing policy bundle: %w", err)
	}
	return r.startConfigured(ctx, name, nil, fmt.Sprintf(
		"aws: {mode: assume_role, region: %q, endpoint: %q, plain_policies: true, credentials_file: %q}\n", server.region, address, server.credentials))
}

func (r *run) atSTS(ctx context.Context, server *stsServer) error {
	b, err := r.startAWS(ctx, "aws", server.address, server)
	if err != nil {
		return err
	}
	a := &awsRun{run: r, sts: server, broker: b, single: newLoad(1), several: newLoad(r.sizes.Connections)}
	if a.minter, err = server.minter(ctx, b.issuer.signer); err == nil {
		err = a.measure(ctx)
		a.minter.close()
	}
	a.single.close()
	a.several.close()
	return errors.Join(err, b.stop())
}

func (a *awsRun) measure(ctx context.Context) error {
	r := a.cfg.Duration / (8*awsRounds + 8)
	if err := a.overhead(ctx, r); err != nil {
		return fmt.Errorf("minting: %w", err)
	}
	if err := a.cached(ctx, r); err != nil {
		return fmt.Errorf("giving out again: %w", err)
	}
	if err := a.tokens(ctx, r); err != nil {
		return fmt.Errorf("exchanging while STS is down: %w", err)
	}
	compile, err := a.compile(ctx)
	if err != nil {
		return err
	}
	a.tell(compile)
	return nil
}

// overhead compares, in turn, the bare call with a session through the broker, of a workload token that
// was never seen before. Each has one caller and keeps its one connection; the first round warms up.
func (a *awsRun) overhead(ctx context.Context, each time.Duration) error {
	one := func(call func(context.Context) error) func(time.Duration, float64) (*sample, error) {
		return func(d time.Duration, _ float64) (*sample, error) {
			return drive(ctx, 1, d, func(ctx context.Context, _ int) (bool, error) { return true, call(ctx) })
		}
	}
	return a.turns(awsRounds, each, []turn{
		{&a.bare, one(a.sts.ask)},
		{&a.direct, one(func(ctx context.Context) error { return a.minter.session(ctx, false) })},
		{&a.held, one(func(ctx context.Context) error { return a.minter.session(ctx, true) })},
		{&a.alone, func(d time.Duration, rate float64) (*sample, error) { return a.mint(ctx, a.single, d, rate) }},
	})
}

// cached compares, in turn, sessions that are made with those that are given out again.
func (a *awsRun) cached(ctx context.Context, each time.Duration) error {
	n := agents(a.sizes.Bindings)
	var err error
	if a.again, err = a.requests(ctx, min(awsKept, n)); err != nil {
		return err
	}
	if _, err := a.several.post(ctx, a.url(), a.again, true, tooLong); err != nil {
		return err
	}
	return a.turns(awsRounds, each, []turn{
		{&a.making, func(d time.Duration, rate float64) (*sample, error) { return a.mint(ctx, a.several, d, rate) }},
		{&a.given, func(d time.Duration, _ float64) (*sample, error) {
			return a.several.post(ctx, a.url(), a.again, false, d)
		}},
	})
}

// turn is one of several that are measured in turn. It is told its own rate of the round before.
type turn struct {
	into  *[]*sample
	drive func(d time.Duration, rate float64) (*sample, error)
}

func (a *awsRun) turns(rounds int, each time.Duration, turns []turn) error {
	rates := make([]float64, len(turns))
	for round := range rounds + 1 {
		for i := range turns {
			at := (i + round) % len(turns)
			runtime.GC() // none pays for the garbage of the one before
			s, err := turns[at].drive(each, rates[at])
			if err != nil {
				return err
			}
			if rates[at] = s.rate; round > 0 {
				*turns[at].into = append(*turns[at].into, s)
			}
		}
	}
	return nil
}

// mint has sessions made. The requests are made ahead: twice as many as there is time for at this rate.
func (a *awsRun) mint(ctx context.Context, l *load, d time.Duration, rate float64) (*sample, error) {
	const slow = 500 // a second, where none was measured yet
	bodies, err := a.requests(ctx, int(max(rate, slow)*d.Seconds()*2)+l.conns)
	if err != nil {
		return nil, err
	}
	return l.post(ctx, a.url(), bodies, true, d)
}

func (a *awsRun) url() string { return a.broker.url + wire.PathToken }

// requests are n for sessions, with a workload token, an agent and a task for each.
func (a *awsRun) requests(ctx context.Context, n int) ([][]byte, error) {
	return a.requestsTo(ctx, a.broker, n)
}

func (a *awsRun) requestsTo(ctx context.Context, b *broker, n int) ([][]byte, error) {
	all := agents(a.sizes.Bindings)
	bodies := make([][]byte, n)
	for i := range bodies {
		raw, err := b.issuer.token(ctx, agent(a.minted%all))
		if err != nil {
			return nil, err
		}
		bodies[i] = []byte(url.Values{
			wire.ParamGrantType: {wire.GrantTokenExchange}, wire.ParamSubjectToken: {raw}, wire.ParamSubjectTokenType: {wire.TokenTypeJWT},
			wire.ParamRequestedTokenType: {wire.TokenTypeAWSCredentials}, wire.ParamAudience: {awsAudience}, wire.ParamScope: {awsScopes},
			wire.ParamTask: {awsTask(a.minted)}, wire.ParamRequestedTTL: {strconv.Itoa(int(stsSession / time.Second))},
		}.Encode())
		a.minted++
	}
	return bodies, nil
}

// compile times the compiler on the scopes of the sessions, as for AWS, in µs.
func (a *awsRun) compile(ctx context.Context) (float64, error) {
	catalog, set := a.minter.world.catalog, a.minter.world.set
	if _, err := catalog.Compile(set, awssts.Options{}); err != nil {
		return 0, fmt.Errorf("compiling session policy: %w", err)
	}
	const stretches = 51
	var costs []float64
	for range stretches {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		costs = append(costs, timed(a.cfg.Duration/(20*stretches), func() { _, _ = catalog.Compile(set, awssts.Options{}) }))
	}
	return median(costs) / float64(time.Microsecond), nil
}

func (a *awsRun) tell(compile float64) {
	add := func(name string, value float64, goal Goal, about string) {
		a.report.add(PartAWS, name, value, goal, about)
	}
	add("aws_overhead_ratio", ratio(a.alone, a.bare, p50Of), AtMost(1.1), "p50 of a session by assume_role through the broker, over the SDK's bare call to the same STS with the same policy, one caller each")
	add("aws_cached_ratio", ratio(a.given, a.making, rateOf), AtLeast(50), fmt.Sprintf("sessions a second that are kept, over those that are made, at %d connections", a.sizes.Connections))
	add("aws_down_exchange_ratio", ratio(a.besideDown, a.besideUp, rateOf), AtLeast(0.9), fmt.Sprintf(
		"tokens a second while STS is down, over those while it answers, at %d connections; %d sessions a second are asked for meanwhile", a.sizes.Connections, awsPace))
	add("aws_down_exchange_p99_ratio", ratio(a.besideDown, a.besideUp, p99Of), Goal{}, "p99 of a token, likewise")
	add("aws_minter_overhead_ratio", ratio(a.direct, a.bare, p50Of), Goal{}, "p50 of a session by the minter alone, with policy's decision, over the bare call: no disk is waited for")
	add("aws_minter_cached_ratio", ratio(a.held, a.direct, rateOf), Goal{}, "sessions a second of the minter alone that are kept, over those that it makes, one caller")
	add("compile_us", compile, Goal{}, "the session policy of 4 scopes, compiled")
	for _, side := range []struct {
		name, about string
		samples     []*sample
	}{
		{"aws_bare", "of the bare call", a.bare},
		{"aws_minter", "by the minter alone, one caller", a.direct},
		{"aws_minter_cached", "likewise, kept", a.held},
		{"aws_minted", "through the broker, one caller: its disk is waited for twice, for the ledger of sessions and for the audit log", a.alone},
		{"aws_minted_loaded", fmt.Sprintf("through the broker, %d connections", a.sizes.Connections), a.making},
		{"aws_cached", "likewise, kept: the audit log is waited for", a.given},
		{"aws_up_exchange", "of a token, while STS answers", a.besideUp},
		{"aws_down_exchange", "likewise, while it is down", a.besideDown},
	} {
		add(side.name+"_rps", middle(side.samples, rateOf), Goal{}, side.about)
		add(side.name+"_p50_ms", middle(side.samples, p50Of), Goal{}, "")
		add(side.name+"_p99_ms", middle(side.samples, p99Of), Goal{}, "")
	}
	add("aws_policy_characters", float64(a.sts.policy), Goal{}, "of the session policy")
}

package revoker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/writbroker/writ/internal/breaker"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts/denylist"
	"github.com/writbroker/writ/store"
)

// CellName is that of the plan in the store.
const CellName = "aws/denies"

// Config of a Revoker.
type Config struct {
	Region      string                  // required; IAM has one endpoint for all regions of a partition
	Endpoint    string                  // another IAM than AWS's; empty: AWS's
	Credentials aws.CredentialsProvider // required; the revoker's own
	HTTP        *http.Client            // required; it follows no redirects
	Cell        store.Cell              // required; shared by the replicas
	Logger      *slog.Logger
	Now         func() time.Time // required

	Timeout  time.Duration // of one call, with all attempts; 0 = 20 s
	Attempts int           // 0 = 5
	AtOnce   int           // calls in flight; 0 = 4: IAM throttles early
	// Every is how often each role is looked at, about; 0 = 1 min.
	Every time.Duration
	// Settle is how long a policy has to be read back as it should be before it counts as
	// there; 0 = 5 s.
	Settle time.Duration
}

// Revoker has roles deny sessions. It is usable concurrently.
type Revoker struct {
	cfg     Config
	client  *iam.Client
	breaker *breaker.Breaker
	gate    chan struct{}
	kick    chan struct{} // the plan has grown
	asked   chan struct{} // somebody wants the source to be asked
	cutoffs atomic.Pointer[cutoffs]

	sharing chan struct{} // held by the one that joins the plan with the cell's

	mu      sync.Mutex
	plan    *plan
	roles   map[string]*role // by ARN
	changed chan struct{}    // closed, and made anew, when a role's state changes
}

// role is what is known of one. Guarded by mu.
type role struct {
	verified bool             // its ARN is the one in IAM
	working  bool             // a worker looks at it
	at       pass             // the last look
	writing  []denylist.Entry // what was last written, or tried to be
	err      error
	cleanAt  time.Time // since when each look found what should be there; zero: the last did not
	settled  bool
}

// New checks its configuration. It makes no call: IAM may be down when a broker starts.
func New(cfg Config) (*Revoker, error) {
	if cfg.Region == "" || cfg.Credentials == nil || cfg.HTTP == nil || cfg.Cell == nil || cfg.Now == nil {
		return nil, errors.New("configuring the revoker of AWS sessions: a region, credentials, an HTTP client, a store and a clock are required")
	}
	if cfg.Timeout < 0 || cfg.Attempts < 0 || cfg.AtOnce < 0 || cfg.Every < 0 || cfg.Settle < 0 {
		return nil, errors.New("configuring the revoker of AWS sessions: a bound is negative")
	}
	cfg.Timeout, cfg.Attempts, cfg.AtOnce = cmp.Or(cfg.Timeout, 20*time.Second), cmp.Or(cfg.Attempts, 5), cmp.Or(cfg.AtOnce, 4)
	cfg.Every, cfg.Settle = cmp.Or(cfg.Every, time.Minute), cmp.Or(cfg.Settle, 5*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	opt := iam.Options{
		Region: cfg.Region, Credentials: cfg.Credentials, HTTPClient: cfg.HTTP, AppID: "writ",
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.Backoff = cfg.Attempts, retry.BackoffDelayerFunc(backoff)
		}),
	}
	if cfg.Endpoint != "" {
		opt.BaseEndpoint = aws.String(cfg.Endpoint)
	}
	return &Revoker{
		cfg: cfg, client: iam.New(opt), gate: make(chan struct{}, cfg.AtOnce), kick: make(chan struct{}, 1), asked: make(chan struct{}, 1), sharing: make(chan struct{}, 1),
		breaker: breaker.New(breaker.Config{After: failuresToOpen, Every: probeEvery, Now: cfg.Now}),
		plan:    newPlan(), roles: map[string]*role{}, changed: make(chan struct{}),
	}, nil
}

const (
	failuresToOpen = 5
	probeEvery     = 5 * time.Second
	shareTimeout   = time.Second
)

// Deny notes what should stand, and has Run see to it. Within a second it is noted where other
// replicas and the next start find it; where the store is away, that happens later.
func (r *Revoker) Deny(ctx context.Context, denies []mint.Deny) {
	if len(denies) == 0 {
		return
	}
	r.mu.Lock()
	grew, err := r.plan.add(denies, r.cfg.Now())
	r.recut()
	r.mu.Unlock()
	if err != nil {
		r.cfg.Logger.ErrorContext(ctx, "an AWS session cannot be denied", "error", err)
	}
	if grew {
		r.shareSoon(ctx)
	}
}

// shareSoon goes on when the caller leaves: what was ordered is carried out.
func (r *Revoker) shareSoon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shareTimeout)
	defer cancel()
	if err := r.share(ctx); err != nil {
		r.cfg.Logger.WarnContext(ctx, "the plan of AWS denies is not shared yet", "error", err)
	}
	signal(r.kick)
}

// Wake has Run ask its source soon, and not only after a while.
func (r *Revoker) Wake() { signal(r.asked) }

func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// Wait gives how far denies have come, one status a role, when all of them are done or failed,
// or when ctx ends.
func (r *Revoker) Wait(ctx context.Context, denies []mint.Deny) []mint.DenyStatus {
	asked := map[string][]denylist.Entry{}
	for _, d := range denies {
		if e, err := entryOf(d).Rounded(); err == nil {
			asked[d.Role] = append(asked[d.Role], e)
		}
	}
	for {
		r.mu.Lock()
		var all []mint.DenyStatus
		for _, arn := range slices.Sorted(maps.Keys(asked)) {
			all = append(all, r.statusOf(arn, asked[arn]))
		}
		changed := r.changed
		r.mu.Unlock()
		pending := slices.ContainsFunc(all, func(s mint.DenyStatus) bool { return s.State == mint.DenyPending })
		if !pending || ctx.Err() != nil {
			return all
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// States counts the roles that something stands for, by how far that has come.
func (r *Revoker) States() map[mint.DenyState]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[mint.DenyState]int{}
	for _, arn := range r.plan.roles() {
		if stand := r.plan.want(arn, r.cfg.Now()).stand; len(stand) > 0 {
			out[r.statusOf(arn, stand).State]++
		}
	}
	return out
}

// statusOf is guarded by mu.
func (r *Revoker) statusOf(arn string, asked []denylist.Entry) mint.DenyStatus {
	s := mint.DenyStatus{Role: arn, State: mint.DenyPending}
	at := r.roles[arn]
	switch {
	case at == nil:
	case at.err != nil:
		s.State, s.Detail = mint.DenyFailed, detailOf(at.err)
	case at.settled && covers(at.at.entries, asked):
		s.State, s.Detail = mint.DenyDone, at.at.widened
	default:
		s.Detail = at.at.widened
	}
	return s
}

// covers reports whether what a policy says denies all that was asked for.
func covers(said, asked []denylist.Entry) bool {
	return !slices.ContainsFunc(asked, func(e denylist.Entry) bool {
		return !slices.ContainsFunc(said, func(s denylist.Entry) bool { return s.Holds(e) })
	})
}

// share joins the plan with the cell's: both hold all of both when it returns nil.
func (r *Revoker) share(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	select {
	case r.sharing <- struct{}{}:
		defer func() { <-r.sharing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for attempt := 0; ; attempt++ {
		err := r.shareOnce(ctx)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if err := pause(ctx, about(min(5*time.Millisecond<<min(attempt, 6), 200*time.Millisecond))); err != nil {
			return err
		}
	}
}

func (r *Revoker) shareOnce(ctx context.Context) error {
	v, err := r.cfg.Cell.Get(ctx, CellName)
	theirs, intact := newPlan(), true
	switch {
	case err == nil:
		if theirs, err = decodePlan(v.Value); err != nil {
			return err
		}
	case errors.Is(err, store.ErrNotFound):
	case errors.Is(err, store.ErrForged), errors.Is(err, store.ErrRollback):
		// What this replica knows is put over it; the others add what they know.
		r.cfg.Logger.ErrorContext(ctx, "the shared plan of AWS denies is not authentic, or old: this replica's replaces it", "error", err)
		intact = false
	default:
		return fmt.Errorf("reading the plan of AWS denies: %w", err)
	}
	now := r.cfg.Now()
	r.mu.Lock()
	if r.plan.join(theirs, now) {
		signal(r.kick)
	}
	r.plan.prune(now)
	r.recut()
	mine := r.plan.clone()
	r.mu.Unlock()
	if intact && !theirs.join(mine, now) {
		return nil
	}
	value, err := mine.encode()
	if err != nil {
		return err
	}
	if _, err = r.cfg.Cell.Swap(ctx, CellName, v.Version, value); err != nil {
		return fmt.Errorf("sharing the plan of AWS denies: %w", err)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package awssts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/writbroker/writ/mint"
)

// Mode is how the broker proves itself to STS.
type Mode string

// The modes.
const (
	// AssumeRole uses an AWS identity that the broker has.
	AssumeRole Mode = "assume_role"
	// WebIdentity uses none: the role trusts the broker's issuer, and a JWT that the broker
	// signs for each session, and never hands out, is the proof.
	WebIdentity Mode = "web_identity"
)

// Limits of STS, of a session's life.
const (
	MinDuration     = 15 * time.Minute
	MaxDuration     = 12 * time.Hour
	MaxChained      = time.Hour // by credentials that are a role's themselves
	DefaultAudience = "sts.amazonaws.com"
)

// Config of a Minter.
type Config struct {
	Mode   Mode   // required
	Region string // required: the STS endpoint is the region's own
	// Endpoint is another STS than AWS's, such as MinIO's; empty: the region's.
	Endpoint string
	// Plain says that the target knows no policy variables; see Options.Plain.
	Plain bool
	// ExternalID is sent with AssumeRole, for roles of other accounts that ask for it.
	ExternalID string
	// Issuer is the iss of the JWT of WebIdentity, and Audience its aud; empty: DefaultAudience.
	// The caller reserves the audience, so that no token that leaves the broker has it.
	Issuer, Audience string
	// Credentials are the broker's own, of AssumeRole; WebIdentity takes none.
	Credentials aws.CredentialsProvider
	// HTTP makes the calls; nil: HTTPClient, with the system's roots.
	HTTP *http.Client

	Timeout  time.Duration // of one session, with all attempts; 0 = 10 s
	Attempts int           // 0 = 3
	AtOnce   int           // calls in flight; 0 = 64. Eight times as many may wait for one
	Now      func() time.Time
}

// Minter makes sessions at one STS. It is usable concurrently. It keeps no session: see Sessions.
type Minter struct {
	cfg     Config
	client  *sts.Client
	gate    *gate
	breaker *breaker
	chain   chain
}

// New checks its configuration. It makes no call: STS may be down when a broker starts.
func New(cfg Config) (*Minter, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configuring AWS sessions: %w", err)
	}
	cfg.Audience = cmp.Or(cfg.Audience, DefaultAudience)
	cfg.Timeout, cfg.Attempts, cfg.AtOnce = cmp.Or(cfg.Timeout, 10*time.Second), cmp.Or(cfg.Attempts, 3), cmp.Or(cfg.AtOnce, 64)
	if cfg.HTTP == nil {
		cfg.HTTP = HTTPClient(nil, cfg.Timeout)
	}
	m := &Minter{cfg: cfg, gate: newGate(cfg.AtOnce), breaker: &breaker{now: cfg.Now}}
	credentials := cfg.Credentials
	if cfg.Mode == WebIdentity {
		credentials = aws.AnonymousCredentials{}
	}
	opt := sts.Options{
		Region: cfg.Region, Credentials: credentials, HTTPClient: cfg.HTTP, AppID: "writ",
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.Backoff = cfg.Attempts, retry.BackoffDelayerFunc(backoff)
		}),
	}
	if cfg.Endpoint != "" {
		opt.BaseEndpoint = aws.String(cfg.Endpoint)
	}
	m.client = sts.New(opt)
	return m, nil
}

func (c *Config) validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	need(c.Mode == AssumeRole || c.Mode == WebIdentity, fmt.Sprintf("mode %q is unknown; use %s or %s", c.Mode, AssumeRole, WebIdentity))
	need(c.Region != "", "region is missing")
	need(c.Mode != AssumeRole || c.Credentials != nil, "the broker has no credentials of its own, which assume_role needs")
	need(c.Mode != WebIdentity || c.Issuer != "", "issuer is missing, which web_identity needs")
	need(c.Mode != WebIdentity || c.ExternalID == "", "external_id goes with assume_role alone")
	need(c.Now != nil, "no clock")
	need(c.Timeout >= 0 && c.Attempts >= 0 && c.AtOnce >= 0, "a bound is negative")
	return errors.Join(errs...)
}

// request is one session to be made: what is sent in either mode.
type request struct {
	order    *mint.SessionOrder
	policy   *Policy
	tags     []Tag
	name     string
	source   string
	duration time.Duration
	ends     time.Time // what was granted
	held     bool      // the policy ends then
}

// mint makes a session of the order, whose scopes lead to role. The error is a
// *mint.SessionError.
func (m *Minter) mint(ctx context.Context, c *Catalog, role string, o *mint.SessionOrder) (*mint.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	probe, err := m.breaker.allow()
	if err != nil {
		return nil, err
	}
	if err := m.gate.enter(ctx); err != nil {
		m.breaker.release(probe)
		return nil, err
	}
	defer m.gate.leave()
	outcome := later(ReasonSTS, "making the session failed", time.Second, nil) // if it comes to none
	defer func() { m.breaker.done(probe, outcome) }()
	session, err := m.attempt(ctx, c, role, o)
	if outcome = asFault(ctx, err); outcome != nil {
		return nil, outcome
	}
	return session, nil
}

func (m *Minter) attempt(ctx context.Context, c *Catalog, role string, o *mint.SessionOrder) (*mint.Session, error) {
	r, err := m.request(ctx, c, role, o, 0)
	if err != nil {
		return nil, err
	}
	made, err := m.call(ctx, r)
	if err != nil {
		return nil, err
	}
	// STS counts from when it answers, by its own clock. What would live longer than was
	// granted does not leave here: another is asked for, that the policy ends in time.
	if over := made.expires.Sub(r.ends); !r.held && over > slowSTS {
		if r, err = m.request(ctx, c, role, o, over); err != nil {
			return nil, err
		}
		if made, err = m.call(ctx, r); err != nil {
			return nil, err
		}
	}
	return m.session(r, made)
}

// slowSTS is how much later than granted a session may end by STS's count: what clocks that
// are kept well differ by, and what an answer takes.
const slowSTS = 2 * time.Second

// request compiles what is asked of STS. A life that is shorter than STS gives is held by the
// policy: what STS gives is never more than what was granted. So is one that STS was late for,
// by over.
func (m *Minter) request(ctx context.Context, c *Catalog, role string, o *mint.SessionOrder, over time.Duration) (*request, error) {
	claims := o.Claims()
	r := &request{order: o, ends: time.Unix(claims.Expiry, 0)}
	left := r.ends.Sub(m.cfg.Now()).Truncate(time.Second)
	if left < time.Second {
		return nil, mint.ErrGrant
	}
	left = min(left, MaxDuration)
	if left > MaxChained && m.cfg.Mode == AssumeRole && m.chained(ctx) {
		left = MaxChained
	}
	opt := Options{Role: role, Plain: m.cfg.Plain}
	r.duration = max(left-over.Truncate(time.Second), MinDuration)
	if r.held = left < MinDuration || over > 0; r.held {
		opt.Until = r.ends
	}
	var err error
	if r.policy, err = c.Compile(claims.Scope, opt); err != nil {
		return nil, err
	}
	r.name, _ = SessionName(o.DecisionID())
	r.source, _ = SourceIdentity(claims.ClientID)
	r.tags = SessionTags(Session{
		Agent: claims.ClientID, Subject: claims.Subject, Task: claims.Task, Policy: claims.Policy, Decision: o.DecisionID(),
	})
	return r, CheckTags(r.tags)
}

// session is what came back. Its end is the granted one, or that of STS if it is earlier.
func (m *Minter) session(r *request, a *answer) (*mint.Session, error) {
	if a.id == "" || a.secret == "" || a.token == "" || a.expires.IsZero() {
		return nil, fault(mint.FaultBroker, ReasonSTS, "the answer of STS holds no credentials", nil)
	}
	s := &mint.Session{
		Claims: r.order.Claims(), KeyID: a.keyID, Credentials: mint.NewCredentials(a.id, a.secret, a.token),
		Issued: r.order.IssuedAt(), Expires: r.ends,
		Role: r.policy.Role, Name: r.name, UserID: a.userID, SourceIdentity: r.source,
		PolicyDigest: r.policy.Digest(), PolicyARNs: r.policy.ManagedARN, UsedPercent: a.used,
	}
	if a.expires.Before(s.Expires) {
		s.Expires = a.expires
	}
	if !s.Expires.After(m.cfg.Now()) {
		return nil, fault(mint.FaultBroker, ReasonClockSkew, "by the broker's clock, the session had ended when STS made it", nil)
	}
	return s, nil
}

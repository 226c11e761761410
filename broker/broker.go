package broker

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/token"
)

// Authenticator verifies proofs of identity from outside: identity.Cache and
// identity.Registry together.
type Authenticator interface {
	Authenticate(ctx context.Context, raw string, now time.Time) (*identity.Principal, error)
	AuthenticateX509(chain []*x509.Certificate, now time.Time) (*identity.Principal, error)
	SourceOf(id string) (identity.Source, bool)
	Sources() []identity.Source
}

// Auditor makes an event durable before it returns, or fails.
type Auditor interface {
	Append(ctx context.Context, e audit.Event) (audit.Ref, error)
	Unauthenticated(kind audit.Kind, code, remoteIP string)
}

// Recorder is the durable side of revocation: revocation/journal.
type Recorder interface {
	Append(ctx context.Context, rules []revocation.Rule, lifts []revocation.Lift) (journal.Result, error)
	Staleness(now time.Time) time.Duration
}

// KeyRing gives the signing keys as they are now, and takes the orders of security ops.
type KeyRing interface {
	Ring() *keys.Ring
	// Rotate activates the published next key once verifiers can have it.
	Rotate(ctx context.Context) (keys.Rotation, error)
	// RotateNow activates the published next key at once; the key revoke, if it is not
	// empty, leaves the published set.
	RotateNow(ctx context.Context, revoke string) (keys.Rotation, error)
}

// SessionMinter makes sessions at AWS: mint/awssts. Its methods may be called concurrently.
type SessionMinter interface {
	// Session makes a session, or gives one again that was made for an equal order and that its
	// Alive says is alive; fresh tells the two apart. The error is a *mint.SessionError, or that of the order's
	// Allow.
	Session(ctx context.Context, o *mint.SessionOrder) (s *mint.Session, fresh bool, err error)
	// Forget drops the dead of those that it keeps.
	Forget(dead func(*mint.Session) bool)
	// Vouched are the ARNs of a bundle's roles that take the broker's signature for a proof; none
	// where AWS knows the broker by other credentials.
	Vouched(b *policy.Bundle) []string
}

// Limits bounds what callers may ask for.
type Limits struct {
	MaxTTL       time.Duration // the greatest life of any token
	GreatestTTL  time.Duration // the greatest MaxTTL that was ever in force; 0 = MaxTTL
	Skew         time.Duration // how far clocks may differ
	MaxStaleness time.Duration // DESIGN's one bound
	MaxDepth     int           // agents in an act chain
	MaxAncestors int           // tokens a token may descend from
	AgentRate    float64       // exchanges a second for each agent; 0 = no limit
	AgentBurst   int
	FailureRate  float64 // failed authentications a second for each address; 0 = no limit
	FailureBurst int
}

// Config is what a Broker is made of. Every field but AWS, Revoker, Ledger and Logger is required.
type Config struct {
	Issuer    string
	Identity  Authenticator
	Policy    func() *policy.Bundle // the bundle in force; never nil
	Keys      KeyRing
	Index     *revocation.Index
	Recorder  Recorder
	Acks      *revocation.Acks
	Minter    *mint.Minter
	AWS       SessionMinter  // nil: no AWS credentials are issued
	Revoker   SessionRevoker // nil: AWS refuses no session, and revoked ones live to their end
	Audit     Auditor
	Limits    Limits
	Reserved  []string // audiences refused at /token, beside ReservedAudiences
	Ledger    *Ledger  // nil: a new one with the default bound
	Now       func() time.Time
	Logger    *slog.Logger
	Component string // names this replica in records
}

// Broker exchanges, introspects and revokes. See the package documentation.
type Broker struct {
	cfg      Config
	agents   *limiter
	failures *limiter
	reports  *limiter
	ledger   *Ledger
	refusals *refusals
	reserved map[string]bool
	due      dueState
	swept    atomic.Uint64 // the state of the index for which dead AWS sessions were dropped
}

// New returns a Broker, or every fault of its Config at once.
func New(cfg Config) (*Broker, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configuring broker: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ledger := cfg.Ledger
	if ledger == nil {
		ledger = NewLedger(LedgerConfig{Now: cfg.Now})
	}
	b := &Broker{
		cfg:      cfg,
		agents:   newLimiter(cfg.Limits.AgentRate, cfg.Limits.AgentBurst),
		failures: newLimiter(cfg.Limits.FailureRate, cfg.Limits.FailureBurst),
		reports:  newLimiter(refusalRate, refusalBurst),
		ledger:   ledger,
		refusals: newRefusals(ledger.out),
		reserved: map[string]bool{},
	}
	for _, a := range append(ReservedAudiences(), cfg.Reserved...) {
		b.reserved[strings.TrimRight(strings.ToLower(a), "/")] = true
	}
	return b, nil
}

func (c *Config) validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	need(c.Issuer != "", "issuer is empty")
	need(c.Identity != nil, "no identity sources")
	need(c.Policy != nil, "no policy")
	need(c.Keys != nil, "no key ring")
	need(c.Index != nil && c.Recorder != nil && c.Acks != nil, "no revocation list")
	need(c.Minter != nil, "no minter")
	need(c.Audit != nil, "no audit log")
	need(c.Now != nil, "no clock")
	need(c.Limits.MaxTTL > 0, "max_ttl is not positive")
	need(c.Limits.MaxStaleness > 0, "max_staleness is not positive")
	need(c.Limits.MaxDepth > 0 && c.Limits.MaxAncestors > 0, "depth is not bounded")
	return errors.Join(errs...)
}

// view is what one request sees of the moving parts: taken once, before the first check,
// and used for every check and every stamp after it.
type view struct {
	now    time.Time
	bundle *policy.Bundle
	rev    token.Rev
	ring   *keys.Ring
}

// view takes the snapshot. The index is live, but the position is read before any check is
// made: a check can only see more than the position says, never less.
func (b *Broker) view() view {
	return view{
		now:    b.cfg.Now(),
		rev:    b.cfg.Index.Position(),
		bundle: b.cfg.Policy(),
		ring:   b.cfg.Keys.Ring(),
	}
}

// fresh fails when this replica has not confirmed the revocation log's tail for longer
// than max_staleness: it may not know of a revocation, so it refuses.
func (b *Broker) fresh(now time.Time) error {
	if b.cfg.Recorder.Staleness(now) <= b.cfg.Limits.MaxStaleness {
		return nil
	}
	return &UnavailableError{
		RetryAfter: retryStale,
		Detail:     "the revocation list could not be confirmed in time; try again",
	}
}

const (
	retryStale = 5 * time.Second
	retryAudit = 2 * time.Second
	retryKeys  = 2 * time.Second
	retryRule  = time.Second
)

// ReservedAudiences are the audiences that clouds trust: a token of ours with one of them
// would be a cloud credential under no session policy, so /token refuses them, in any case and
// for any region or identity pool.
func ReservedAudiences() []string {
	return []string{
		"sts.amazonaws.com",
		"sts.amazonaws.com.cn",
		"https://sts.amazonaws.com",
		"https://iam.googleapis.com",
		"api://AzureADTokenExchange",
		"api://AzureADTokenExchangeUSGov",
		"api://AzureADTokenExchangeChina",
	}
}

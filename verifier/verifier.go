package verifier

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// TokenSource gives the verifier its own token for the feed, with the scope
// `writ:feed:read`. *client.Source is one.
type TokenSource interface {
	// Token returns a usable token, from memory where there is one.
	Token(ctx context.Context) (*client.Token, error)
	// Discard drops a token that the broker refused.
	Discard(*client.Token)
}

// Config says whose tokens to accept, for what. Issuer, Audience and FeedToken
// are required; a zero value of any other field means its default.
type Config struct {
	// Issuer is the broker's issuer identifier; a token's iss must equal it.
	Issuer string
	// Audience lists the names of this resource server; a token's aud must hold one.
	Audience []string
	// Tool is the tool that Claims.Allows speaks about.
	Tool string
	// Resource is this server's resource identifier (RFC 9728), an absolute URL.
	// With it, challenges point to its metadata.
	Resource string
	// CaseInsensitive lists the tools whose resources the catalog declares
	// case-insensitive.
	CaseInsensitive []string

	// FeedToken authenticates this server to the revocation feed.
	FeedToken TokenSource
	// Name is what operators see this server as, in the list of verifiers.
	Name string

	// Algorithms are the accepted ones; default ES256, RS256 and Ed25519.
	Algorithms []string
	// Leeway is the clock error allowed; default 30 s, at most 5 min, whole seconds.
	Leeway time.Duration
	// MaxTTL is the greatest exp − iat accepted; default what the broker's
	// metadata says, else one hour.
	MaxTTL time.Duration
	// MaxStaleness is how old the last confirmation of the revocation log may
	// be; default 30 s. Beyond it every token is ErrStale.
	MaxStaleness time.Duration
	// KeysMaxStale is how long keys are used after they were last fetched;
	// default one hour.
	KeysMaxStale time.Duration
	// InsecureTrustUntilExpiry goes on accepting tokens while the feed is
	// silent: a revocation then may not take effect before a token expires.
	// Rules that are known still hold.
	InsecureTrustUntilExpiry bool
	// CacheSize bounds the number of verified tokens remembered; default 16,384.
	CacheSize int

	// RecordsKeys pins the keys that sign snapshots of the revocation list;
	// default those of the broker's metadata.
	RecordsKeys *token.KeySet

	// Transport carries the calls to the broker; default client.NewTransport(nil).
	Transport http.RoundTripper
	// Now is the clock; nil means the system's. Logger may be nil.
	Now    func() time.Time
	Logger *slog.Logger
}

// Verifier checks tokens. Make one with New; it answers ErrStale until Run has
// fetched the keys and followed the feed to its end. It is usable concurrently.
type Verifier struct {
	cfg         Config
	id          string
	metadataURL string
	fold        map[string]bool
	client      *client.Client
	now         func() time.Time
	log         *slog.Logger

	index   *revocation.Index
	cache   *cache
	ring    atomic.Pointer[ring]
	ringMu  sync.Mutex    // held while ring is replaced
	applied atomic.Uint64 // counts changes of index, from 1; raised after the change

	epoch     time.Time    // two days before New ran; freshness counts from it, monotonic
	confirmed atomic.Int64 // nanoseconds from epoch to the tail's last confirmation; 0 is never
	fetched   atomic.Int64 // … to when the keys were last fetched; 0 is never

	nudge     chan nudge
	described chan struct{} // closed when ring is set for the first time
	synced    chan struct{} // closed when the first tail was confirmed
	syncOnce  sync.Once
	acks      ackQueue
	refused   refusalQueue

	mu     sync.Mutex // guards what follows
	closed bool
	cancel context.CancelFunc // of Run; nil while it does not run
	done   chan struct{}      // closed when that Run has returned
}

// New checks cfg and makes a Verifier. It does not connect, so it succeeds
// while the broker is down; ctx is not kept.
func New(_ context.Context, cfg Config) (*Verifier, error) {
	cfg, err := withDefaults(cfg)
	if err != nil {
		return nil, fmt.Errorf("verifier: %w", err)
	}
	broker, err := client.New(client.Config{Issuer: cfg.Issuer, Transport: cfg.Transport, Attempts: 1, Now: cfg.Now, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("verifier: %w", err)
	}
	v := &Verifier{
		cfg: cfg, id: rand.Text(), metadataURL: metadataURL(cfg.Resource), fold: map[string]bool{},
		client: broker, now: cfg.Now, log: cfg.Logger,
		index: revocation.NewIndex(revocation.Options{}), cache: newCache(cfg.CacheSize),
		nudge: make(chan nudge, 1), described: make(chan struct{}), synced: make(chan struct{}),
	}
	v.acks.wake, v.acks.anyway = make(chan struct{}, 1), ackAnyway
	for _, tool := range cfg.CaseInsensitive {
		v.fold[tool] = true
	}
	v.applied.Store(1)
	// Well before now, so that a confirmation that is older than this verifier
	// still lies after 0, which means never.
	v.epoch = v.now().Add(-48 * time.Hour)
	return v, nil
}

func withDefaults(cfg Config) (Config, error) {
	cfg.Audience = slices.Clone(cfg.Audience)
	cfg.Algorithms = slices.Clone(cfg.Algorithms)
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = []string{token.ES256, token.RS256, token.Ed25519}
	}
	orDefault(&cfg.Leeway, 30*time.Second)
	orDefault(&cfg.MaxStaleness, 30*time.Second)
	orDefault(&cfg.KeysMaxStale, time.Hour)
	if cfg.CacheSize <= 0 {
		cfg.CacheSize = 16384
	}
	if cfg.Now == nil {
		cfg.Now = time.Now //nolint:forbidigo // an SDK's default; whoever tests passes a clock
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, cfg.validate()
}

func orDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

func (cfg *Config) validate() error {
	switch {
	case cfg.Issuer == "":
		return errors.New("Config.Issuer is missing")
	case len(cfg.Audience) == 0 || slices.Contains(cfg.Audience, ""):
		return errors.New("Config.Audience is missing: a token for anybody is a token for nobody")
	case cfg.FeedToken == nil:
		return errors.New("Config.FeedToken is missing: without the feed no revocation would be seen")
	case cfg.Leeway < 0 || cfg.Leeway > 5*time.Minute || cfg.Leeway%time.Second != 0:
		return fmt.Errorf("Config.Leeway %v is not whole seconds up to 5m", cfg.Leeway)
	case cfg.MaxStaleness < time.Second || cfg.MaxStaleness > time.Hour:
		return fmt.Errorf("Config.MaxStaleness %v is not between 1s and 1h", cfg.MaxStaleness)
	case cfg.MaxTTL < 0 || cfg.KeysMaxStale < 0:
		return errors.New("a duration in Config is negative")
	}
	for _, tool := range append(slices.Clone(cfg.CaseInsensitive), cfg.Tool) {
		if tool != "" && !scopes.ValidName(tool) {
			return fmt.Errorf("%q is not the name of a tool", tool)
		}
	}
	if cfg.Resource != "" {
		u, err := url.Parse(cfg.Resource)
		if err != nil || u.Host == "" || u.Fragment != "" || u.RawQuery != "" || u.User != nil {
			return fmt.Errorf("Config.Resource %q is not an absolute URL without query and fragment", cfg.Resource)
		}
	}
	return nil
}

// Run keeps keys and revocations up to date until ctx ends or Close is called,
// and returns nil then. Failures of the broker are logged and tried again.
func (v *Verifier) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := v.start(cancel); err != nil {
		return err
	}
	defer v.stopped()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { v.keepKeys(ctx); return nil })
	group.Go(func() error { v.follow(ctx); return nil })
	group.Go(func() error { v.acknowledge(ctx); return nil })
	group.Go(func() error { v.report(ctx); return nil })
	group.Go(func() error { v.sweep(ctx); return nil })
	return group.Wait()
}

func (v *Verifier) start(cancel context.CancelFunc) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.closed:
		return ErrClosed
	case v.cancel != nil:
		return errors.New("verifier: Run is running already")
	}
	v.cancel, v.done = cancel, make(chan struct{})
	return nil
}

func (v *Verifier) stopped() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.done)
	v.cancel, v.done = nil, nil
}

// Close ends Run and waits for it. Verify goes on until the last confirmation
// is too old.
func (v *Verifier) Close() {
	v.mu.Lock()
	v.closed = true
	cancel, done := v.cancel, v.done
	v.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

// Wait returns when the verifier has keys and has followed the feed to a
// confirmed tail for the first time, or when ctx ends.
func (v *Verifier) Wait(ctx context.Context) error {
	for _, done := range []chan struct{}{v.described, v.synced} {
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrStale, ctx.Err())
		}
	}
	return nil
}

// Ready reports whether tokens can be accepted now.
func (v *Verifier) Ready() bool { return v.ring.Load() != nil && !v.stale(v.now()) }

// Position is the place in the revocation log that this verifier has reached.
func (v *Verifier) Position() token.Rev { return v.index.Position() }

// Staleness is how long ago the tail of the revocation log was last confirmed;
// false where it never was.
func (v *Verifier) Staleness() (time.Duration, bool) {
	at := v.confirmed.Load()
	return v.now().Sub(v.epoch) - time.Duration(at), at != 0
}

// stale reports whether the verifier must refuse for want of knowledge.
func (v *Verifier) stale(now time.Time) bool {
	if v.cfg.InsecureTrustUntilExpiry {
		return false
	}
	since := now.Sub(v.epoch)
	confirmed, fetched := time.Duration(v.confirmed.Load()), time.Duration(v.fetched.Load())
	return confirmed == 0 || fetched == 0 || since-confirmed > v.cfg.MaxStaleness || since-fetched > v.cfg.KeysMaxStale
}

// advance raises a time counted from epoch to at; it never goes back.
func (v *Verifier) advance(counter *atomic.Int64, at time.Time) {
	since := int64(at.Sub(v.epoch))
	for {
		old := counter.Load()
		if since <= old || counter.CompareAndSwap(old, since) {
			return
		}
	}
}

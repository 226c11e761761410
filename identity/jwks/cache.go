package jwks

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/token"
)

// Defaults of a Config.
const (
	DefaultRefreshEvery = 5 * time.Minute
	DefaultMaxStale     = time.Hour
	DefaultTimeout      = 10 * time.Second
)

// Budget is how many fetches unknown kids may cause: Burst at once, then one each Every.
type Budget struct {
	Burst int
	Every time.Duration
}

// Config of a Cache. The zero value of each optional field stands for its default.
type Config struct {
	// Sources as compiled: Registry.Sources. Those without keys to find are passed over.
	Sources []identity.Source
	// Now is the clock. Required.
	Now func() time.Time
	// Logger hears of documents that cannot be fetched, and of changes. Required.
	Logger *slog.Logger
	// OnAuthorities is told the X.509 authorities of a source when they change, and nil when they became too
	// old: Registry.SetAuthorities. It is called by one goroutine at a time for each source. Required if a
	// source has X.509 authorities.
	OnAuthorities func(source string, authorities []*x509.Certificate) error
	// RefreshEvery is the time between two fetches of a document, give or take a fifth.
	RefreshEvery time.Duration
	// MaxStale is how old the last known good keys may become. At least RefreshEvery.
	MaxStale time.Duration
	// Timeout of one fetch, discovery included.
	Timeout time.Duration
	// PerSource and Total bound the fetches that tokens with unknown kids cause. Defaults: a burst of 3 and one
	// each 10 s; a burst of 20 and one each second. Total must be the more generous, else one source could
	// spend the share of all.
	PerSource Budget
	Total     Budget
	// InsecureTransport replaces the network, for tests: no address is checked.
	InsecureTransport http.RoundTripper
}

// Cache keeps the keys of identity sources. It implements identity.KeyFinder and is safe for
// concurrent use. Whoever made it closes it, by Close or by ending Run.
type Cache struct {
	keys      map[string]*document // by source
	documents []*document
	now       func() time.Time
	logger    *slog.Logger

	mu      sync.Mutex
	closed  bool
	flights sync.WaitGroup
	cancel  context.CancelFunc // of all fetches
}

// New returns a Cache that has read every file and fetched nothing yet: an issuer that is down now is no
// reason not to start, a file that is missing or unusable is.
func New(config Config) (*Cache, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	base, cancel := context.WithCancel(context.Background())
	c := &Cache{keys: map[string]*document{}, now: config.Now, logger: config.Logger, cancel: cancel}
	total := config.Total.limiter()
	for _, source := range config.Sources {
		c.add(base, config, source, total)
	}
	var faults []error
	for _, d := range c.documents {
		if d.file {
			if err := d.fetch(base); err != nil {
				faults = append(faults, fmt.Errorf("%s of identity source %s: %w", d.kind, d.source, err))
			}
		}
	}
	if len(faults) > 0 {
		cancel()
		return nil, errors.Join(faults...)
	}
	return c, nil
}

func (c Config) complete() (Config, error) {
	if c.Now == nil || c.Logger == nil {
		return c, errors.New("jwks: Now and Logger are required")
	}
	if c.RefreshEvery == 0 {
		c.RefreshEvery = DefaultRefreshEvery
	}
	if c.MaxStale == 0 {
		c.MaxStale = DefaultMaxStale
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.PerSource == (Budget{}) {
		c.PerSource = Budget{Burst: 3, Every: 10 * time.Second}
	}
	if c.Total == (Budget{}) {
		c.Total = Budget{Burst: 20, Every: time.Second}
	}
	switch {
	case c.RefreshEvery < 0 || c.Timeout < 0 || c.MaxStale < c.RefreshEvery:
		return c, errors.New("jwks: times must be positive, and MaxStale not under RefreshEvery")
	case c.PerSource.Burst < 1 || c.Total.Burst < c.PerSource.Burst || c.PerSource.Every <= 0 ||
		c.Total.Every <= 0 || c.Total.Every > c.PerSource.Every:
		return c, errors.New("jwks: the total budget must be at least that of one source")
	}
	for _, source := range c.Sources {
		if source.X509 != nil && c.OnAuthorities == nil {
			return c, fmt.Errorf("jwks: identity source %s has X.509 authorities, and OnAuthorities is not set", source.Name)
		}
	}
	return c, nil
}

func (b Budget) limiter() *rate.Limiter { return rate.NewLimiter(rate.Every(b.Every), b.Burst) }

// add makes the documents of a source.
func (c *Cache) add(base context.Context, config Config, source identity.Source, total *rate.Limiter) {
	f := newFetcher(source, config.InsecureTransport)
	keep := func(kind string, load loader, parse func([]byte) (contents, error), file bool) *document {
		d := &document{
			source: source.Name, kind: kind, load: load, parse: parse, file: file,
			now: config.Now, logger: config.Logger, refreshEvery: config.RefreshEvery, maxStale: config.MaxStale,
			budget: config.PerSource.limiter(), total: total,
			spawn: c.spawn,
			deadline: func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(base, config.Timeout)
			},
		}
		c.documents = append(c.documents, d)
		return d
	}
	if source.JWKSFile != "" || source.JWKSURI != "" || source.Discovery {
		c.keys[source.Name] = keep("keys", f.keys, parseKeys(source), source.JWKSFile != "")
	}
	if source.X509 != nil {
		d := keep("bundle", f.bundle, parseAuthorities, source.X509.BundleFile != "")
		d.onAuthorities = config.OnAuthorities
	}
}

// spawn runs a fetch in a goroutine that Close waits for; false after Close.
func (c *Cache) spawn(fetch func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.flights.Go(fetch)
	return true
}

// Keys implements identity.KeyFinder. A known kid is answered from memory. An unknown one waits for the fetch
// in flight, or causes one within the budgets; then it is ErrKeyNotFound. ErrKeysUnavailable says
// that the keys, or this one, cannot be known now.
func (c *Cache) Keys(ctx context.Context, source, kid string) ([]token.Key, uint64, error) {
	d, ok := c.keys[source]
	if !ok {
		return nil, 0, fmt.Errorf("%w: no keys are kept for source %s", identity.ErrKeysUnavailable, source)
	}
	known := d.fresh()
	if found := known.lookup(kid); found != nil {
		return found, known.generation, nil
	}
	outcome := d.demand(ctx, known)
	if errors.Is(outcome, context.Canceled) || errors.Is(outcome, context.DeadlineExceeded) {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
	}
	now := d.fresh()
	if found := now.lookup(kid); found != nil {
		return found, now.generation, nil
	}
	if now == nil || outcome != nil && !errors.Is(outcome, errBudget) {
		return nil, 0, fmt.Errorf("%w: source %s", identity.ErrKeysUnavailable, source)
	}
	return nil, now.generation, identity.ErrKeyNotFound
}

// Generation implements identity.KeyFinder.
func (c *Cache) Generation(source string) uint64 {
	d, ok := c.keys[source]
	if !ok {
		return 0
	}
	if known := d.fresh(); known != nil {
		return known.generation
	}
	return 0
}

// Status is the state of one document, for readiness, metrics and the console.
type Status struct {
	Source     string
	Kind       string    // "keys" or "bundle"
	Usable     bool      // known, and not too old
	Entries    int       // keys or authorities
	Generation uint64    // 0 = never fetched
	Fetched    time.Time // of the last success; zero = never
	Err        error     // of the last attempt; nil = it succeeded, or there was none
}

// Status returns the state of every document.
func (c *Cache) Status() []Status {
	out := make([]Status, len(c.documents))
	for i, d := range c.documents {
		out[i] = d.status()
	}
	return out
}

// Run keeps all documents fresh until ctx is done, then closes the Cache. Its first round begins at once.
func (c *Cache) Run(ctx context.Context) error {
	defer c.Close()
	var loops sync.WaitGroup
	for _, d := range c.documents {
		loops.Go(func() { d.keepFresh(ctx) })
	}
	loops.Wait()
	return ctx.Err()
}

// Close ends the fetches in flight and waits for them. After it, keys are answered from memory until
// they are too old. It may be called more than once.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.flights.Wait()
}

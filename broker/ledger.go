package broker

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

// Ledger knows which tokens are alive, so that a revocation can be previewed. Tokens of
// one kind (same subject, chain, scopes, roles, key, policy) are counted together, by the
// minute of their expiry; ids and tasks are kept apart, in tables that expire with the
// tokens. Memory is bounded by its Config; what did not fit is said in the answer.
//
// With a Tally, replicas share what they count, behind the exchange and in batches: see
// PreviewAll. It serves previews, never a decision. It is filled behind the exchange: Issued
// costs a channel send, and drops the token when the ledger is behind.
type Ledger struct {
	cfg    LedgerConfig
	input  chan entry
	kick   chan struct{} // something waits in input
	seed   maphash.Seed
	out    *counts
	window time.Duration // of expiry, in which shared counts are kept together

	mu      sync.Mutex
	idsLeft int   // ids that may still be shared in this round
	round   int64 // counts the minutes, about: texts are shared anew in each
	shapes  map[uint64]*shape
	ids     map[uuid.UUID]int64 // jti → expiry
	tasks   map[string]*taskCount
	dropped int64

	sessions map[string]*LiveSession // this replica's at AWS, by jti
	lost     int64                   // those that had no room in it
	untold   int64                   // those that other replicas cannot know of
}

// LedgerConfig bounds a Ledger. The zero values are the defaults.
type LedgerConfig struct {
	Shapes int // distinct kinds of tokens; 0 = 20,000, about 1.5 KB each
	IDs    int // ids of live tokens; 0 = 1,000,000, about 50 bytes each
	Tasks  int // live tasks; 0 = 100,000, about 150 bytes each
	// Sessions are live AWS sessions; 0 = 20,000, about 1 KB each.
	Sessions int
	Now      func() time.Time

	Tally  store.Tally   // shared with other replicas, and kept over a restart; nil = neither
	MaxTTL time.Duration // longest life of a token; 0 = 1 h
	IDRate int           // ids and tasks a second that are shared; 0 = 500
}

type entry struct {
	claims *token.Claims
	kid    string
}

type shape struct {
	claims *token.Claims // of one token of this kind
	kid    string
	counts map[int64]int64 // minute by which they have expired → tokens
	last   int64           // the longest expiry

	text, name string          // as replicas share it; empty until then
	told       [2]int64        // the span and the round that its text was last shared for
	windows    map[int64]int64 // tokens that were shared, by window
}

type taskCount struct {
	tokens map[int64]int64
	agents map[string]bool
	last   int64
}

// Preview says what a rule would hit now.
type Preview struct {
	Tokens        int64
	STSSessions   int64    // AWS sessions, beside the tokens
	Agents        []string // ids, sorted
	Subjects      []string
	Roles         []string
	LongestExpiry time.Time
	BySubject     map[string]int64
	Incomplete    string // why the counts may be low, or empty

	hit     []LiveSession // AWS sessions
	dropped int64         // ids that were not noted
	onlyOwn bool          // those that expire last are all this replica's
}

// NewLedger returns an empty ledger.
func NewLedger(cfg LedgerConfig) *Ledger {
	if cfg.Shapes <= 0 {
		cfg.Shapes = 20_000
	}
	if cfg.IDs <= 0 {
		cfg.IDs = 1_000_000
	}
	if cfg.Tasks <= 0 {
		cfg.Tasks = 100_000
	}
	if cfg.Sessions <= 0 {
		cfg.Sessions = 20_000
	}
	if cfg.MaxTTL <= 0 {
		cfg.MaxTTL = time.Hour
	}
	if cfg.IDRate <= 0 {
		cfg.IDRate = defaultIDRate
	}
	return &Ledger{
		out: newCounts(cfg.Tally), window: max(cfg.MaxTTL/windowsPerLife, time.Minute).Truncate(time.Minute), idsLeft: cfg.IDRate,
		cfg: cfg, input: make(chan entry, 4096), kick: make(chan struct{}, 1), seed: maphash.MakeSeed(),
		shapes: map[uint64]*shape{}, ids: map[uuid.UUID]int64{}, tasks: map[string]*taskCount{}, sessions: map[string]*LiveSession{},
	}
}

// Issued notes a token. It never blocks.
func (l *Ledger) Issued(c *token.Claims, kid string) {
	select {
	case l.input <- entry{c, kid}:
	default:
		l.mu.Lock()
		l.dropped++
		l.mu.Unlock()
	}
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// Run takes in what was issued until ctx ends, and forgets what has expired.
func (l *Ledger) Run(ctx context.Context) error {
	sharing := make(chan struct{})
	go func() { defer close(sharing); l.shareCounts(ctx) }()
	defer func() { <-sharing }()
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-l.kick:
			l.mu.Lock()
			l.drain()
			l.mu.Unlock()
		case <-tick.C:
			l.mu.Lock()
			l.sweep(l.cfg.Now().Unix())
			l.sweepSessions(l.cfg.Now())
			l.mu.Unlock()
		case <-ctx.Done():
			return nil
		}
	}
}

// drain takes in what waits. It is the only one that does, under mu, so that a preview sees the
// tokens issued before it.
func (l *Ledger) drain() {
	for range cap(l.input) {
		select {
		case e := <-l.input:
			l.add(e)
		default:
			return
		}
	}
}

func (l *Ledger) add(e entry) {
	minute := (e.claims.Expiry + 59) / 60
	if !l.addShape(e, minute) {
		l.dropped++
	}
	l.addID(e.claims)
	if e.claims.Task != "" {
		l.addTask(e.claims, minute)
	}
}

func (l *Ledger) addShape(e entry, minute int64) bool {
	key := l.shapeKey(e.claims, e.kid)
	s, ok := l.shapes[key]
	if !ok {
		if len(l.shapes) >= l.cfg.Shapes {
			l.sweep(l.cfg.Now().Unix())
			if len(l.shapes) >= l.cfg.Shapes {
				return false
			}
		}
		s = &shape{claims: e.claims, kid: e.kid, counts: map[int64]int64{}}
		l.shapes[key] = s
	}
	s.counts[minute]++
	s.last = max(s.last, e.claims.Expiry)
	l.share(s, e.claims)
	return true
}

func (l *Ledger) addID(c *token.Claims) {
	u, err := uuid.Parse(c.ID)
	if err != nil {
		return
	}
	if _, ok := l.ids[u]; !ok && len(l.ids) >= l.cfg.IDs {
		l.dropped++
		return
	}
	l.ids[u] = max(l.ids[u], c.Expiry)
}

func (l *Ledger) addTask(c *token.Claims, minute int64) {
	t, ok := l.tasks[c.Task]
	if !ok {
		if len(l.tasks) >= l.cfg.Tasks {
			l.dropped++
			return
		}
		t = &taskCount{tokens: map[int64]int64{}, agents: map[string]bool{}}
		l.tasks[c.Task] = t
	}
	t.tokens[minute]++
	t.agents[c.ClientID] = true
	t.last = max(t.last, c.Expiry)
}

// shapeKey hashes all that a rule can select by, but for ids, the task and rev; each part
// is prefixed by its length, so that no two shapes run together.
func (l *Ledger) shapeKey(c *token.Claims, kid string) uint64 {
	var h maphash.Hash
	h.SetSeed(l.seed)
	put := func(s string) {
		var n [4]byte
		binary.LittleEndian.PutUint32(n[:], uint32(len(s)))
		_, _ = h.Write(n[:])
		_, _ = h.WriteString(s)
	}
	put(c.Subject)
	put(c.ClientID)
	put(strings.Join(c.Actor.Chain(), "\x00"))
	put(strings.Join(c.Roles, "\x00"))
	put(strings.Join(c.Audience, "\x00"))
	put(c.Scope.String())
	put(c.Policy)
	put(kid)
	for _, a := range c.Ancestors {
		put(a.KeyID)
	}
	return h.Sum64()
}

func (l *Ledger) sweep(now int64) {
	minute := now / 60
	gone := func(m, _ int64) bool { return m <= minute }
	for k, s := range l.shapes {
		maps.DeleteFunc(s.counts, gone)
		if len(s.counts) == 0 {
			delete(l.shapes, k)
		}
	}
	maps.DeleteFunc(l.ids, func(_ uuid.UUID, exp int64) bool { return exp <= now })
	for k, t := range l.tasks {
		maps.DeleteFunc(t.tokens, gone)
		if len(t.tokens) == 0 {
			delete(l.tasks, k)
		}
	}
}

// shareCounts writes the shared counts until ctx ends, and then what is left.
func (l *Ledger) shareCounts(ctx context.Context) {
	if l.out.tally == nil {
		return
	}
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for n := int64(1); ; n++ {
		select {
		case <-ctx.Done():
			l.mu.Lock()
			l.drain()
			l.mu.Unlock()
			_ = l.out.flush(context.WithoutCancel(ctx)) // who previews will see that it lacks
			return
		case <-tick.C:
			_ = l.out.flush(ctx) // what fails waits for the next time
			l.mu.Lock()
			l.idsLeft, l.round = l.cfg.IDRate, n/textEvery
			l.mu.Unlock()
		}
	}
}

// Preview counts the live tokens that the rule hits. A token id is looked up among the
// ids; descendants of one are not counted apart, and the answer says so. AWS sessions are
// counted by PreviewAll alone.
func (l *Ledger) Preview(r revocation.Rule) Preview {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drain()
	l.sweep(l.cfg.Now().Unix())
	var p Preview
	switch r.Selector {
	case revocation.SelectToken:
		p = l.previewToken(r.Value)
	case revocation.SelectTask:
		p = l.previewTask(r.Value)
	default:
		p = l.previewShapes(r)
	}
	if l.dropped > 0 && p.Incomplete == "" {
		p.Incomplete = "more tokens were issued than the ledger keeps count of"
	}
	return p
}

func (l *Ledger) previewToken(id string) Preview {
	p := Preview{Incomplete: "descendants of the token are hit too, and are not counted"}
	u, err := uuid.Parse(id)
	if err != nil {
		return p
	}
	if exp, ok := l.ids[u]; ok {
		p.Tokens = 1
		p.LongestExpiry = time.Unix(exp, 0)
	}
	return p
}

func (l *Ledger) previewTask(task string) Preview {
	t, ok := l.tasks[task]
	if !ok {
		return Preview{}
	}
	p := Preview{LongestExpiry: time.Unix(t.last, 0), Agents: slices.Sorted(maps.Keys(t.agents))}
	for _, n := range t.tokens {
		p.Tokens += n
	}
	return p
}

func (l *Ledger) previewShapes(r revocation.Rule) Preview {
	agents, subjects, roles := map[string]bool{}, map[string]bool{}, map[string]bool{}
	p := Preview{BySubject: map[string]int64{}}
	var last int64
	alone := revocation.NewIndex(revocation.Options{})
	if err := alone.Apply(revocation.Event{Type: revocation.EventRule, Rule: &r}); err != nil {
		return Preview{Incomplete: "the rule could not be tried on the live tokens"}
	}
	for _, s := range l.shapes {
		if _, hit := alone.Revoked(s.claims, s.kid); !hit {
			continue
		}
		var n int64
		for _, c := range s.counts {
			n += c
		}
		p.Tokens += n
		p.BySubject[s.claims.Subject] += n
		agents[s.claims.ClientID] = true
		subjects[s.claims.Subject] = true
		for _, role := range s.claims.Roles {
			roles[role] = true
		}
		last = max(last, s.last)
	}
	p.Agents, p.Subjects, p.Roles = slices.Sorted(maps.Keys(agents)), slices.Sorted(maps.Keys(subjects)), slices.Sorted(maps.Keys(roles))
	if last > 0 {
		p.LongestExpiry = time.Unix(last, 0)
	}
	return p
}

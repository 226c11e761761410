package awssts

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"sync"
	"time"

	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/policy"
)

// SessionsConfig is what Sessions are made of.
type SessionsConfig struct {
	Minter *Minter // required
	// Environment is that of the policy's conditions; see NewCatalog.
	Environment map[string]string
	Entries     int // sessions that are kept; 0 = 4,096, about 6 KB each. Negative: none
}

// Sessions makes sessions, and gives one out again to an order that is equal in all that
// matters, as long as that grants as much and no rule hits it. Equal orders that come together
// share one call. It is usable concurrently, and starts no goroutine.
type Sessions struct {
	cfg SessionsConfig
	now func() time.Time

	mu       sync.Mutex
	kept     map[key]*mint.Session // guarded by mu
	flights  map[key]*flight       // guarded by mu
	catalogs map[string]*Catalog   // guarded by mu: by the bundle's version
}

type key [sha256.Size]byte

// flight is a call that several wait for. What it gives is set before done is closed.
type flight struct {
	done    chan struct{}
	session *mint.Session
	err     error
}

// NewSessions returns a Sessions that keeps none yet.
func NewSessions(cfg SessionsConfig) (*Sessions, error) {
	if cfg.Minter == nil {
		return nil, errors.New("keeping AWS sessions: there is no minter")
	}
	cfg.Entries = cmp.Or(cfg.Entries, 4096)
	return &Sessions{
		cfg: cfg, now: cfg.Minter.cfg.Now, kept: map[key]*mint.Session{}, flights: map[key]*flight{}, catalogs: map[string]*Catalog{},
	}, nil
}

// tries bounds how often an order goes back to the start because a session that it waited for
// was revoked meanwhile.
const tries = 3

// Session gives a session for the order. Fresh says that it was made for this one. The error is
// a *mint.SessionError, where what it says to the caller is Detail, or that of the order's Allow.
func (s *Sessions) Session(ctx context.Context, o *mint.SessionOrder) (session *mint.Session, fresh bool, err error) {
	c, err := s.catalog(o.Bundle)
	if err != nil {
		return nil, false, err
	}
	role, err := c.Role(o.Claims().Scope, o.Role)
	if err != nil {
		return nil, false, asFault(ctx, err)
	}
	k := s.keyOf(role, o)
	for range tries {
		session, f, lead := s.find(k, o)
		switch {
		case session != nil:
			return session, false, nil
		case lead:
			// Others wait for it too: it goes on when this caller leaves, for as long as a call may take.
			s.land(k, f, func() (*mint.Session, error) { return s.make(context.WithoutCancel(ctx), c, role, o) })
			return f.session, true, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, false, callFault(ctx, ctx.Err())
		}
		if f.err != nil {
			return nil, false, f.err
		}
		if s.serves(f.session, o, 0) {
			return f.session, false, nil
		}
	}
	return nil, false, later(ReasonBusy, "the session was revoked while it was made; try again", time.Second, nil)
}

// make makes a session, if it is allowed, and has it noted.
func (s *Sessions) make(ctx context.Context, c *Catalog, role string, o *mint.SessionOrder) (*mint.Session, error) {
	if o.Allow != nil {
		identity, _ := SourceIdentity(o.Claims().ClientID)
		if err := o.Allow(role, identity); err != nil {
			return nil, err
		}
	}
	session, err := s.cfg.Minter.mint(ctx, c, role, o)
	if err == nil && o.Note != nil {
		o.Note(ctx, session)
	}
	return session, err
}

// find gives a session that is kept, or the call to wait for, or has the caller make it.
func (s *Sessions) find(k key, o *mint.SessionOrder) (session *mint.Session, f *flight, lead bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept := s.kept[k]; kept != nil {
		if s.serves(kept, o, early(kept)) {
			return kept, nil, false
		}
		if o.Alive == nil || !o.Alive(kept) {
			delete(s.kept, k)
		}
	}
	if f := s.flights[k]; f != nil {
		return nil, f, false
	}
	f = &flight{done: make(chan struct{})}
	s.flights[k] = f
	return nil, f, true
}

// serves reports whether a session that was made for another order is what this one would
// get: it does not live longer than this one grants, it lives for more than least, and no
// rule hits it.
func (s *Sessions) serves(session *mint.Session, o *mint.SessionOrder, least time.Duration) bool {
	return session.Claims.Expiry <= o.Claims().Expiry && session.Expires.Sub(s.now()) > least &&
		o.Alive != nil && o.Alive(session)
}

// advisory is how long before the end the most hurried SDKs ask for new credentials.
const advisory = 16 * time.Minute

// early is how long before its end a session is given out no more.
func early(session *mint.Session) time.Duration {
	return min(advisory, session.Expires.Sub(session.Issued)/2)
}

// land makes the session, and ends the flight whatever happens.
func (s *Sessions) land(k key, f *flight, make func() (*mint.Session, error)) {
	f.err = later(ReasonSTS, "making the session failed", time.Second, nil)
	defer func() {
		s.mu.Lock()
		delete(s.flights, k)
		if f.err == nil {
			s.keep(k, f.session)
		}
		s.mu.Unlock()
		close(f.done)
	}()
	f.session, f.err = make()
}

// keep takes a session in. Where there is no room, it first drops what is of no more use, and
// then any. Guarded by mu.
func (s *Sessions) keep(k key, session *mint.Session) {
	if s.cfg.Entries < 0 {
		return
	}
	if _, ok := s.kept[k]; !ok && len(s.kept) >= s.cfg.Entries {
		now := s.now()
		for other, old := range s.kept {
			if old.Expires.Sub(now) <= early(old) {
				delete(s.kept, other)
			}
		}
		for other := range s.kept {
			if len(s.kept) < s.cfg.Entries {
				break
			}
			delete(s.kept, other)
		}
	}
	s.kept[k] = session
}

// Forget drops every session that is dead.
func (s *Sessions) Forget(dead func(*mint.Session) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, session := range s.kept {
		if dead(session) {
			delete(s.kept, k)
		}
	}
}

// Kept is how many sessions are kept.
func (s *Sessions) Kept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kept)
}

// Vouched are the roles that trust whoever signs with the broker's keys.
func (s *Sessions) Vouched(b *policy.Bundle) []string {
	if s.cfg.Minter.cfg.Mode != WebIdentity {
		return nil
	}
	c, err := s.catalog(b)
	if err != nil {
		return nil
	}
	return c.RoleARNs()
}

// keyOf hashes all that makes two orders equal: whose the session is and through whom, what it
// may do and where, under which policy, for which task, of which tokens it descends. Each part
// stands behind its length, and each list behind its count, so that no two orders run together.
func (s *Sessions) keyOf(role string, o *mint.SessionOrder) key {
	c, h := o.Claims(), sha256.New()
	for _, text := range []string{
		string(s.cfg.Minter.cfg.Mode), role, c.Issuer, c.Subject, c.ClientID, c.Scope.String(), c.Task, o.Bundle.Version(),
	} {
		put(h, text)
	}
	for _, list := range [][]string{c.Actor.Chain(), c.Roles, c.Audience} {
		putInt(h, len(list))
		for _, text := range list {
			put(h, text)
		}
	}
	putInt(h, len(c.Ancestors))
	for _, a := range c.Ancestors {
		put(h, a.ID)
		put(h, a.KeyID)
	}
	putInt(h, int(o.RequestedTTL))
	var k key
	h.Sum(k[:0])
	return k
}

func put(h hash.Hash, text string) {
	putInt(h, len(text))
	_, _ = h.Write([]byte(text))
}

func putInt(h hash.Hash, n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	_, _ = h.Write(b[:])
}

// maxCatalogs is how many bundles may be in use at once: a request ends under the one that it
// began under.
const maxCatalogs = 4

// catalog is the mapping to AWS of a bundle.
func (s *Sessions) catalog(b *policy.Bundle) (*Catalog, error) {
	if b == nil {
		return nil, fault(mint.FaultBroker, ReasonCatalog, "there is no policy", nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.catalogs[b.Version()]; c != nil {
		return c, nil
	}
	c, err := NewCatalog(b.Catalog(), s.cfg.Environment)
	if err != nil {
		return nil, fault(mint.FaultBroker, ReasonCatalog, "the policy's mapping to AWS is broken", err)
	}
	if len(s.catalogs) >= maxCatalogs {
		clear(s.catalogs)
	}
	s.catalogs[b.Version()] = c
	return c, nil
}

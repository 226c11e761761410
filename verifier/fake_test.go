package verifier_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
	"github.com/writbroker/writ/verifier"
)

const (
	lineage  = 0x1111222233334444
	audience = "https://warehouse.example"
)

// broker is a small broker: real HTTP, real signatures, a real feed, and no
// policy. Its log is a list of events.
type broker struct {
	*httptest.Server
	t testing.TB

	mu        sync.Mutex
	keys      []token.Key // published
	signer    token.Signer
	records   token.Signer
	recordSet *token.KeySet
	index     *revocation.Index
	log       []revocation.Event
	seq       uint64
	streams   map[chan revocation.Event]struct{}
	cut       *cut // of every stream that is open
	acks      []revocation.Ack
	ackedAt   int // streams that had been opened when the last came
	opened    []http.Header
	queries   []string
	fetches   int
	down      bool // every answer is 503
	silent    bool // no heartbeats
	agoMS     int64
	ageMS     func(time.Duration) int64
	tick      time.Duration
	feedToken string
	elsewhere string                    // the address of the feed; "" is this server's
	part      int                       // rules in a part of a snapshot
	download  func(http.ResponseWriter) // serves the whole list; nil: there is no such address
	loads     int
	reports   []wire.RefusalReport
	reportAt  []time.Time // when each came
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	b := &broker{t: t, index: revocation.NewIndex(revocation.Options{}), streams: map[chan revocation.Event]struct{}{}, cut: newCut(),
		tick: 20 * time.Millisecond, feedToken: "feed-1", part: 100, ageMS: func(d time.Duration) int64 { return d.Milliseconds() + 1 }}
	b.signer = b.newKey("k1")
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	b.records, err = token.NewLocalSigner("r1", token.Ed25519, private)
	must(t, err)
	b.recordSet, err = token.NewKeySet(token.Key{ID: "r1", Algorithm: token.Ed25519, Public: private.Public()})
	must(t, err)
	b.publish(revocation.Event{Type: revocation.EventLineage, Lineage: &revocation.Lineage{ID: lineage, Marker: 1, OpenedAt: time.Now()}})
	b.Server = httptest.NewServer(b.routes())
	t.Cleanup(func() { b.cutStreams(); b.Close() })
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newKey makes an ES256 key and publishes it.
func (b *broker) newKey(kid string) token.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(b.t, err)
	s, err := token.NewLocalSigner(kid, token.ES256, key)
	must(b.t, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys = append(b.keys, token.Key{ID: kid, Algorithm: token.ES256, Public: key.Public(), Use: "sig"})
	return s
}

// publish puts an event into the log and onto every stream.
func (b *broker) publish(e revocation.Event) revocation.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Type != revocation.EventKeys {
		b.seq++
		e.Position = token.Rev{Lineage: lineage, Seq: b.seq}
		if e.Rule != nil {
			e.Rule.Entries = []token.Rev{e.Position}
		}
		must(b.t, b.index.Apply(e))
		b.log = append(b.log, e)
	}
	for c := range b.streams {
		c <- e
	}
	return e
}

// keysEvent is what the feed says of the keys that are published now.
func (b *broker) keysEvent() revocation.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	set, err := token.NewKeySet(b.keys...)
	must(b.t, err)
	jwks, err := json.Marshal(set)
	must(b.t, err)
	return revocation.Event{Type: revocation.EventKeys, Keys: jwks}
}

func newRule(s revocation.Selector, value string) *revocation.Rule {
	now := time.Now()
	return &revocation.Rule{ID: uuid.Must(uuid.NewV7()).String(), Selector: s, Value: value, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
}

func (b *broker) revoke(s revocation.Selector, value string) *revocation.Rule {
	return b.publish(revocation.Event{Type: revocation.EventRule, Rule: newRule(s, value)}).Rule
}

// cut ends streams, and knows when they have ended.
type cut struct {
	now     chan struct{}
	streams sync.WaitGroup
}

func newCut() *cut { return &cut{now: make(chan struct{})} }

// cutStreams ends every stream. What is published from here on goes to none of them.
func (b *broker) cutStreams() {
	b.mu.Lock()
	old := b.cut
	b.cut = newCut()
	b.mu.Unlock()
	close(old.now)
	old.streams.Wait()
}

func (b *broker) set(change func()) { b.mu.Lock(); defer b.mu.Unlock(); change() }

func (b *broker) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.PathMetadata, func(w http.ResponseWriter, _ *http.Request) {
		records, _ := json.Marshal(b.recordSet)
		m := wire.Metadata{Issuer: b.URL, JWKSURI: b.URL + wire.PathJWKS, RevocationFeed: b.URL + wire.PathFeed,
			RevocationAck: b.URL + wire.PathAck, RevocationRefusals: b.URL + wire.PathRefusals, RecordsJWKS: records, MaxTokenTTL: 3600}
		b.mu.Lock()
		if b.elsewhere != "" {
			m.RevocationFeed = b.elsewhere
		}
		if b.download != nil {
			m.RevocationSnapshot = b.URL + wire.PathSnapshot
		}
		b.mu.Unlock()
		_ = json.NewEncoder(w).Encode(m)
	})
	mux.HandleFunc("POST "+wire.PathRefusals, func(w http.ResponseWriter, r *http.Request) {
		var in wire.RefusalReport
		if json.NewDecoder(r.Body).Decode(&in) != nil || !b.authorized(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		b.set(func() { b.reports, b.reportAt = append(b.reports, in), append(b.reportAt, time.Now()) })
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET "+wire.PathSnapshot, func(w http.ResponseWriter, r *http.Request) {
		if !b.authorized(r) || r.Header.Get("Accept") != wire.TypeBulkSnapshot {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		b.set(func() { b.loads++ })
		w.Header().Set("Content-Type", wire.TypeBulkSnapshot)
		b.download(w)
	})
	mux.HandleFunc("GET "+wire.PathJWKS, func(w http.ResponseWriter, _ *http.Request) {
		b.mu.Lock()
		b.fetches++
		set, err := token.NewKeySet(b.keys...)
		b.mu.Unlock()
		must(b.t, err)
		w.Header().Set("Cache-Control", "public, max-age=600")
		_ = json.NewEncoder(w).Encode(set)
	})
	mux.HandleFunc("GET "+wire.PathFeed, b.feed)
	mux.HandleFunc("POST "+wire.PathAck, func(w http.ResponseWriter, r *http.Request) {
		var a revocation.Ack
		if json.NewDecoder(r.Body).Decode(&a) != nil || !b.authorized(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		b.set(func() { b.acks, b.ackedAt = append(b.acks, a), len(b.opened) })
		w.WriteHeader(http.StatusNoContent)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		down := b.down
		b.mu.Unlock()
		if down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (b *broker) authorized(r *http.Request) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return r.Header.Get("Authorization") == "Bearer "+b.feedToken
}

// feed serves one stream: what the reader missed or a snapshot, then a
// heartbeat, then what happens.
func (b *broker) feed(w http.ResponseWriter, r *http.Request) {
	if !b.authorized(r) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	began := time.Now()
	events := make(chan revocation.Event, 1<<16)
	b.mu.Lock()
	b.opened, b.queries = append(b.opened, r.Header), append(b.queries, r.URL.RawQuery)
	backlog := b.backlog(r.Header.Get(wire.HeaderLastEventID))
	b.streams[events] = struct{}{}
	cut, tick := b.cut, b.tick
	cut.streams.Add(1)
	b.mu.Unlock()
	defer cut.streams.Done()
	defer b.set(func() { delete(b.streams, events) })
	w.Header().Set("Content-Type", wire.TypeEventStream)
	send := func(e revocation.Event) {
		data, err := revocation.AppendSSE(nil, e)
		must(b.t, err)
		_, _ = w.Write(data)
		w.(http.Flusher).Flush()
	}
	for _, e := range backlog {
		send(e)
	}
	send(b.keysEvent())
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	b.beat(send, events, began)
	for {
		select {
		case e := <-events:
			send(e)
		case <-ticker.C:
			b.beat(send, events, began)
		case <-cut.now:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// beat sends a heartbeat, and before it whatever lies before its position.
func (b *broker) beat(send func(revocation.Event), events chan revocation.Event, began time.Time) {
	b.mu.Lock()
	silent := b.silent
	h := revocation.Heartbeat{Position: b.index.Position(), ConfirmedAgoMS: b.agoMS, StreamAgeMS: b.ageMS(time.Since(began))}
	b.mu.Unlock()
	for range len(events) {
		send(<-events)
	}
	if !silent {
		send(revocation.Event{Type: revocation.EventHeartbeat, Heartbeat: &h})
	}
}

// backlog is called with the lock held.
func (b *broker) backlog(last string) []revocation.Event {
	for i, e := range b.log {
		if e.Position.String() == last {
			return b.log[i+1:]
		}
	}
	var parts []revocation.Event
	for s := range b.index.Snapshots(b.part) {
		s.ID = "s1"
		parts = append(parts, revocation.Event{Type: revocation.EventSnapshot, Position: s.Position, Snapshot: b.sealed(s)})
	}
	return parts
}

func (b *broker) sealed(s revocation.Snapshot) string {
	payload, err := json.Marshal(s)
	must(b.t, err)
	raw, err := token.Sign(b.t.Context(), revocation.TypeSnapshot, payload, b.records)
	must(b.t, err)
	return raw
}

// claims are those of a good token, minted now.
func (b *broker) claims(change ...func(*token.Claims)) *token.Claims {
	set, err := scopes.ParseSet("warehouse:read:sales/eu/* warehouse:write:sales/eu/drafts/**")
	must(b.t, err)
	now := time.Now().Unix()
	c := &token.Claims{
		Issuer: b.URL, Subject: "user:alice", Audience: []string{audience}, IssuedAt: now, Expiry: now + 600,
		ID: uuid.Must(uuid.NewV7()).String(), ClientID: "k8s:prod/agent", Scope: set, Actor: &token.Actor{Subject: "k8s:prod/agent"},
		Roles: []string{"analyst"}, Task: "task-1", Rev: b.index.Position(), Policy: "00112233445566ff",
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func (b *broker) mint(change ...func(*token.Claims)) string {
	return b.sign(token.TypeAccessToken, b.claims(change...), b.signer)
}

func (b *broker) sign(typ string, c *token.Claims, s token.Signer) string {
	payload, err := c.Encode()
	must(b.t, err)
	raw, err := token.Sign(b.t.Context(), typ, payload, s)
	must(b.t, err)
	return raw
}

// source hands out the feed's token and counts what was thrown back.
type source struct {
	mu        sync.Mutex
	text      string
	discarded int
	renewed   string // what text becomes once it was discarded
}

func (s *source) Token(context.Context) (*client.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &client.Token{Secret: client.Secret(s.text)}, nil
}

func (s *source) Discard(*client.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discarded++
	if s.renewed != "" {
		s.text = s.renewed
	}
}

// idle makes a Verifier of b that does not run.
func (b *broker) idle(change ...func(*verifier.Config)) *verifier.Verifier {
	b.t.Helper()
	transport := client.NewTransport(nil)
	b.t.Cleanup(transport.CloseIdleConnections)
	cfg := verifier.Config{Issuer: b.URL, Audience: []string{audience}, Tool: "warehouse", Resource: audience + "/api",
		FeedToken: &source{text: "feed-1"}, Name: "warehouse-1", Transport: transport}
	for _, f := range change {
		f(&cfg)
	}
	v, err := verifier.New(b.t.Context(), cfg)
	must(b.t, err)
	return v
}

// run makes one that runs and is up to date.
func (b *broker) run(change ...func(*verifier.Config)) *verifier.Verifier {
	b.t.Helper()
	v := b.idle(change...)
	start(b.t, v)
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	must(b.t, v.Wait(ctx))
	return v
}

func start(t testing.TB, v *verifier.Verifier) {
	done := make(chan error, 1)
	go func() { done <- v.Run(context.WithoutCancel(t.Context())) }()
	t.Cleanup(func() {
		v.Close()
		if err := <-done; err != nil && !errors.Is(err, verifier.ErrClosed) {
			t.Errorf("Run: %v", err)
		}
	})
}

// patience is above the longest pause between two attempts of a verifier.
const patience = time.Minute

// eventually waits for something that happens in the background.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// reached waits until v has applied all of b's log.
func (b *broker) reached(v *verifier.Verifier) {
	b.t.Helper()
	eventually(b.t, "the verifier reaches the broker's position", func() bool { return v.Position() == b.index.Position() })
}

package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/httpapi"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/token"
)

// stream is one reading of the feed.
type stream struct {
	tb      testing.TB
	body    io.ReadCloser
	cancel  context.CancelFunc
	events  *revocation.Decoder
	silence *time.Timer
}

// feed opens one; the query names the verifier.
func (s *server) feed(srv *httptest.Server, path, auth string, after token.Rev) *stream {
	s.tb.Helper()
	ctx, cancel := context.WithCancel(s.tb.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+path, nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+auth)
	if !after.IsZero() {
		req.Header.Set("Last-Event-ID", after.String())
	}
	resp, err := srv.Client().Do(req) //nolint:bodyclose // the stream closes it
	if err != nil {
		s.tb.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		s.tb.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	st := &stream{tb: s.tb, body: resp.Body, cancel: cancel, events: revocation.NewDecoder(resp.Body, 0)}
	// A feed that falls silent fails its test, rather than all of them.
	st.silence = time.AfterFunc(time.Minute, st.close)
	s.tb.Cleanup(func() {
		st.silence.Stop()
		st.close()
	})
	return st
}

func (st *stream) close() {
	st.cancel()
	_ = st.body.Close()
}

// next gives the next event that is no heartbeat.
func (st *stream) next() revocation.Event {
	st.tb.Helper()
	for {
		e, err := st.events.Next()
		if err != nil {
			st.tb.Fatalf("the feed ended: %v", err)
		}
		if e.Type != revocation.EventHeartbeat {
			return e
		}
	}
}

func (st *stream) beat() *revocation.Heartbeat {
	st.tb.Helper()
	for {
		e, err := st.events.Next()
		if err != nil {
			st.tb.Fatalf("the feed ended: %v", err)
		}
		if e.Type == revocation.EventHeartbeat {
			return e.Heartbeat
		}
	}
}

// ends reports whether the stream ends within a time that no healthy one would.
func (st *stream) ends() bool {
	st.silence.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := st.events.Next(); err != nil {
				return
			}
		}
	}()
	select {
	case <-ended:
		return true
	case <-time.After(time.Minute):
		st.close()
		<-ended
		return false
	}
}

// snapshot verifies one by the records key, and merges it.
func (s *server) snapshot(raw string) *revocation.Index {
	s.tb.Helper()
	u, err := token.ParseRecord(raw, 1<<20)
	if err != nil {
		s.tb.Fatal(err)
	}
	if err := token.CheckType(u.Header(), revocation.TypeSnapshot); err != nil {
		s.tb.Fatal(err)
	}
	payload, err := u.Verify(token.Key{ID: "records", Algorithm: token.Ed25519, Public: s.RecordsKey()})
	if err != nil {
		s.tb.Fatal(err)
	}
	var part revocation.Snapshot
	if err := json.Unmarshal(payload, &part); err != nil {
		s.tb.Fatal(err)
	}
	if part.ID == "" || !part.Last {
		s.tb.Errorf("part %+v", part)
	}
	x := revocation.NewIndex(revocation.Options{})
	if err := x.Merge(part); err != nil {
		s.tb.Fatal(err)
	}
	return x
}

func (s *server) reader() string {
	s.tb.Helper()
	return s.token(s.Cluster.Token(s.tb, "warehouse-api", nil), "writ:feed:read")
}

func TestFeed(t *testing.T) {
	s := serve(t, options{running: true})
	first := s.Revoke(t, revocation.SelectTask, "t1")
	auth := s.reader()
	st := s.feed(s.public, "/revocations/feed?verifier=v1&name=warehouse", auth, token.Rev{})
	e := st.next()
	if e.Type != revocation.EventSnapshot {
		t.Fatalf("begins with %q", e.Type)
	}
	if x := s.snapshot(e.Snapshot); x.Len() != 1 || x.Position() != s.Index.Position() {
		t.Errorf("the snapshot holds %d rules up to %v", x.Len(), x.Position())
	} else if r, _ := x.Rule(first.ID); r.Reason != "" || r.By != "" {
		t.Errorf("resource servers see why and by whom: %+v", r)
	}
	// It may have missed a rotation, and need not ask.
	if e := st.next(); e.Type != revocation.EventKeys || !bytes.Equal(e.Keys, s.Keys.Ring().JWKS()) {
		t.Errorf("then comes %s %s", e.Type, e.Keys)
	}
	second := s.Revoke(t, revocation.SelectTask, "t2")
	if e := st.next(); e.Type != revocation.EventRule || e.Rule.ID != second.ID {
		t.Errorf("got %+v", e)
	}
	h := st.beat()
	for h.Position != s.Index.Position() {
		h = st.beat()
	}
	for h.ConfirmedAgoMS > 2000 { // after a stall it does, for a while
		h = st.beat()
	}
	if h.ConfirmedAgoMS < 0 {
		t.Errorf("confirmed %d ms ago", h.ConfirmedAgoMS)
	}
	later := st.beat()
	for later.StreamAgeMS == h.StreamAgeMS { // one that was late comes with the next
		later = st.beat()
	}
	if later.StreamAgeMS < h.StreamAgeMS || later.StreamAgeMS > 60_000 {
		t.Errorf("the stream's age goes from %d to %d", h.StreamAgeMS, later.StreamAgeMS)
	}
	if got := s.Acks.Verifiers(); len(got) != 1 || got[0].Name != "warehouse" || got[0].Principal != "k8s:warehouse-api" {
		t.Errorf("verifiers %+v", got)
	}
	at := s.Index.Position()
	st.close()

	t.Run("resumes behind what was read", func(t *testing.T) {
		third := s.Revoke(t, revocation.SelectTask, "t3")
		st := s.feed(s.public, "/revocations/feed", auth, at)
		e := st.next()
		if e.Rule != nil && e.Position.IsZero() {
			e = st.next() // it was on the feed before it was in the log
		}
		if e.Type != revocation.EventRule || e.Rule.ID != third.ID || e.Position != s.Index.Position() {
			t.Errorf("got %+v", e)
		}
		if st := s.feed(s.public, "/revocations/feed", auth, s.Index.Position()); st.beat().Position != s.Index.Position() {
			t.Error("nothing was missed, and the first heartbeat says otherwise")
		}
	})
	t.Run("an unknown position gets everything", func(t *testing.T) {
		st := s.feed(s.public, "/revocations/feed", auth, token.Rev{Lineage: 77, Seq: 5})
		e := st.next()
		if e.Type != revocation.EventSnapshot {
			t.Fatalf("got %+v", e)
		}
		index := s.snapshot(e.Snapshot)
		for e.Type != revocation.EventHeartbeat { // what changed since it was encoded
			var err error
			if e, err = st.events.Next(); err != nil {
				t.Fatal(err)
			}
			if err := index.Apply(e); err != nil {
				t.Fatal(err)
			}
		}
		if index.Len() != 3 || index.Position() != s.Index.Position() {
			t.Errorf("%d rules at %v", index.Len(), index.Position())
		}
	})
	t.Run("a lift", func(t *testing.T) {
		st := s.feed(s.public, "/revocations/feed", auth, s.Index.Position())
		st.beat()
		admin := s.secops("writ:lift:**")
		if a := s.call(s.admin, "POST", "/admin/v1/revocations/"+second.ID+"/lift", admin, map[string]any{"apply": true}); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if e := st.next(); e.Type != revocation.EventLift || e.Lift.RuleID != second.ID {
			t.Errorf("got %+v", e)
		}
	})
	t.Run("new keys", func(t *testing.T) {
		st := s.feed(s.public, "/revocations/feed", auth, s.Index.Position())
		st.beat()
		if err := s.Journal.Publish(revocation.Event{Type: revocation.EventKeys, Keys: s.Keys.Ring().JWKS()}); err != nil {
			t.Fatal(err)
		}
		if e := st.next(); e.Type != revocation.EventKeys {
			t.Errorf("got %+v", e)
		}
	})
	t.Run("a person watches on the admin listener", func(t *testing.T) {
		st := s.feed(s.admin, "/admin/v1/revocations/feed", s.secops("writ:revoke:read"), token.Rev{})
		st.next()
	})
}

func TestFeedRefuses(t *testing.T) {
	s := serve(t, options{})
	auth := s.reader()
	ask := func(srv *httptest.Server, path, auth string, more ...string) answer {
		t.Helper()
		h := http.Header{}
		if auth != "" {
			h.Set("Authorization", "Bearer "+auth)
		}
		for i := 0; i+1 < len(more); i += 2 {
			h.Set(more[i], more[i+1])
		}
		return s.send(srv, "GET", path, nil, h)
	}
	long := strings.Repeat("x", 129)
	for name, row := range map[string]struct {
		a         answer
		status    int
		code      string
		challenge string
	}{
		"nobody":                 {ask(s.public, "/revocations/feed", ""), 401, "invalid_token", `Bearer realm="writ"`},
		"rubbish":                {ask(s.public, "/revocations/feed", "x"), 401, "invalid_token", `Bearer realm="writ", error="invalid_token"`},
		"a token for another":    {ask(s.public, "/revocations/feed", s.token(s.agent(), readEU)), 401, "invalid_token", `Bearer realm="writ", error="invalid_token"`},
		"a token without scope":  {ask(s.public, "/revocations/feed", s.secops("writ:revoke:read")), 403, "insufficient_scope", `Bearer realm="writ", error="insufficient_scope", scope="writ:feed:read"`},
		"a reader on admin":      {ask(s.admin, "/admin/v1/revocations/feed", auth), 403, "insufficient_scope", `Bearer realm="writ", error="insufficient_scope", scope="writ:revoke:read"`},
		"an odd Last-Event-ID":   {ask(s.public, "/revocations/feed", auth, "Last-Event-ID", "x"), 400, "invalid_request", ""},
		"a long verifier":        {ask(s.public, "/revocations/feed?verifier="+long, auth), 400, "invalid_request", ""},
		"a long name":            {ask(s.public, "/revocations/feed?verifier=v&name="+long, auth), 400, "invalid_request", ""},
		"the workload's own JWT": {ask(s.public, "/revocations/feed", s.Cluster.Token(t, "warehouse-api", nil)), 401, "invalid_token", `Bearer realm="writ", error="invalid_token"`},
	} {
		t.Run(name, func(t *testing.T) {
			if row.a.status != row.status || row.a.error(t).Code != row.code || row.a.header.Get("WWW-Authenticate") != row.challenge {
				t.Errorf("%d %s %q", row.a.status, row.a.body, row.a.header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestFeedEndsWithItsRight(t *testing.T) {
	for name, end := range map[string]func(s *server, auth string){
		"revoked": func(s *server, auth string) {
			c, _ := s.Claims(s.tb, auth)
			s.Revoke(s.tb, revocation.SelectToken, c.ID)
		},
		"expired":     func(s *server, _ string) { s.Advance(brokertest.DefaultTTL + time.Second) },
		"quarantined": func(s *server, _ string) { s.Quarantine(s.tb, revocation.SelectAgent, "k8s:warehouse-api") },
		"shut down":   func(s *server, _ string) { s.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, options{running: true})
			auth := s.reader()
			st := s.feed(s.public, "/revocations/feed?verifier=v1", auth, token.Rev{})
			st.next()
			end(s, auth)
			if !st.ends() {
				t.Error("the feed goes on")
			}
			deadline := time.Now().Add(time.Minute)
			for len(s.Acks.Verifiers()) > 0 {
				if time.Now().After(deadline) {
					t.Fatal("the verifier counts as connected")
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// Who is revoked is told of the rule before its feed ends: it would go on accepting what else the rule
// hits. With so many readers, some heartbeat comes between the rule and its way to the readers.
func TestFeedEndsAfterTheRuleThatEndsIt(t *testing.T) {
	s := serve(t, options{running: true})
	for range 5 {
		auth := s.reader()
		var streams []*stream
		for range 64 {
			st := s.feed(s.public, "/revocations/feed", auth, token.Rev{})
			st.next()
			streams = append(streams, st)
		}
		c, _ := s.Claims(t, auth)
		s.Revoke(t, revocation.SelectToken, c.ID)
		for i, st := range streams {
			if !st.tells(c.ID) {
				t.Fatalf("reader %d was cut off without the rule", i)
			}
		}
	}
}

// tells reports whether a rule on a value comes before the stream ends.
func (st *stream) tells(value string) bool {
	for {
		e, err := st.events.Next()
		if err != nil {
			return false
		}
		if e.Rule != nil && e.Rule.Value == value {
			return true
		}
	}
}

// lateFeed brings a reader nothing before the feed is asked for its next heartbeat, as a journal does
// that is held up between putting a rule in force and telling readers of it.
type lateFeed struct {
	httpapi.Feed
	mu      sync.Mutex
	readers map[<-chan *journal.Frame]chan *journal.Frame // from the feed, to the reader
}

func (f *lateFeed) Subscribe(after token.Rev) *journal.Subscription {
	s, late := f.Feed.Subscribe(after), make(chan *journal.Frame, 64)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers[s.C] = late
	s.C = late
	return s
}

func (f *lateFeed) Heartbeat() revocation.Heartbeat {
	h := f.Feed.Heartbeat()
	f.mu.Lock()
	defer f.mu.Unlock()
	for from, to := range f.readers {
		for range len(from) {
			to <- <-from
		}
	}
	return h
}

func TestFeedWaitsForARuleThatIsOnItsWay(t *testing.T) {
	s := serve(t, options{running: true, config: func(c *httpapi.Config) {
		c.Feed = &lateFeed{Feed: c.Feed, readers: map[<-chan *journal.Frame]chan *journal.Frame{}}
	}})
	for range 5 {
		auth := s.reader()
		st := s.feed(s.public, "/revocations/feed", auth, token.Rev{})
		st.beat()
		c, _ := s.Claims(t, auth)
		s.Revoke(t, revocation.SelectToken, c.ID)
		if !st.tells(c.ID) {
			t.Fatal("a reader was cut off without the rule")
		}
	}
}

// A stale replica serves its feed: its heartbeats say how stale it is.
func TestFeedOfAStaleReplica(t *testing.T) {
	s := serve(t, options{})
	auth := s.reader()
	s.Advance(brokertest.MaxStaleness * 2)
	st := s.feed(s.public, "/revocations/feed", auth, token.Rev{})
	if h := st.beat(); h.ConfirmedAgoMS < brokertest.MaxStaleness.Milliseconds()*2 {
		t.Errorf("confirmed %d ms ago", h.ConfirmedAgoMS)
	}
}

// The server's bounds on reading a request and on writing an answer do not end a feed.
func TestFeedOutlivesTheServersTimeouts(t *testing.T) {
	const bound = 3 * time.Second // a request that is late by so much fails the test
	for name, o := range map[string]options{
		"HTTP/1.1": {},
		"HTTP/2":   {tls: true, server: func(srv *httptest.Server) { srv.EnableHTTP2 = true }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits
			more := o.server
			o.server = func(srv *httptest.Server) {
				srv.Config.ReadTimeout, srv.Config.WriteTimeout, srv.Config.IdleTimeout = bound, bound, time.Hour
				if more != nil {
					more(srv)
				}
			}
			o.running = true
			// Writes are bounded to 10 s of the broker's clock, which is late: to the same bound of the test's.
			o.world.Now = func() time.Time { return time.Now().Add(bound - 10*time.Second) }
			o.config = func(c *httpapi.Config) { c.Heartbeat = bound + 500*time.Millisecond }
			s := serve(t, o)
			st := s.feed(s.public, "/revocations/feed", s.reader(), token.Rev{})
			st.next()
			for range 3 { // the first comes at once
				st.beat()
			}
			r := s.Revoke(t, revocation.SelectTask, "t1")
			if e := st.next(); e.Rule == nil || e.Rule.ID != r.ID {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// One that does not read is cut off, and the others notice nothing.
func TestASlowReaderIsCut(t *testing.T) {
	t.Parallel() // it waits
	// Writes are bounded to 10 s of the broker's clock, which is late: to 4 s of the test's.
	late := brokertest.Options{Now: func() time.Time { return time.Now().Add(-6 * time.Second) }}
	s := serve(t, options{world: late, running: true, server: func(srv *httptest.Server) {
		srv.Config.ConnState = func(c net.Conn, state http.ConnState) {
			if tcp, ok := c.(*net.TCPConn); ok && state == http.StateNew {
				_ = tcp.SetWriteBuffer(4 << 10)
			}
		}
	}})
	auth := s.reader()
	slow, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.public.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if err := slow.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	_, err = slow.Write([]byte("GET /revocations/feed?verifier=slow HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + auth + "\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReaderSize(slow, 16).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q, %v", line, err)
	}
	quick := s.feed(s.public, "/revocations/feed?verifier=quick", auth, s.Index.Position())
	// More than the subscription and the buffers of the sockets hold; the quick one keeps up.
	for range 60 {
		batch := make([]revocation.Rule, 100)
		for i := range batch {
			batch[i] = taskRule(s.Now(), strings.Repeat("t", 900)+string(rune('a'+i%26)))
		}
		if _, err := s.Journal.Append(t.Context(), batch, nil); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < len(batch); {
			if e := quick.next(); e.Type == revocation.EventRule && e.Position.IsZero() {
				got++
			}
		}
	}
	deadline := time.Now().Add(time.Minute)
	for len(s.Acks.Verifiers()) != 1 {
		if time.Now().After(deadline) {
			t.Fatalf("still connected: %+v", s.Acks.Verifiers())
		}
		time.Sleep(5 * time.Millisecond)
	}
	if v := s.Acks.Verifiers(); !strings.HasSuffix(v[0].ID, "quick") {
		t.Errorf("left over: %+v", v)
	}
}

func TestAcks(t *testing.T) {
	s := serve(t, options{running: true})
	r := s.Revoke(t, revocation.SelectTask, "t1")
	auth, other := s.reader(), s.token(s.Cluster.Token(t, "tickets-api", nil), "writ:feed:read")
	st := s.feed(s.public, "/revocations/feed?verifier=v1", auth, token.Rev{})
	st.next()
	ack := func(auth string, body any) answer { return s.call(s.public, "POST", "/revocations/ack", auth, body) }
	mine := revocation.Ack{Verifier: "v1", Position: s.Index.Position()}
	if a := ack(other, mine); a.status != 404 {
		t.Errorf("another principal acknowledges for it: %d", a.status)
	}
	if a := ack(auth, revocation.Ack{Verifier: "v2", Position: s.Index.Position()}); a.status != 404 {
		t.Errorf("one that is not connected: %d", a.status)
	}
	for name, row := range map[string]struct {
		a      answer
		status int
	}{
		"nobody":             {ack("", mine), 401},
		"without the scope":  {ack(s.token(s.agent(), readEU), mine), 401},
		"no verifier":        {ack(auth, revocation.Ack{}), 400},
		"a long verifier":    {ack(auth, revocation.Ack{Verifier: strings.Repeat("x", 129)}), 400},
		"an unknown member":  {ack(auth, map[string]any{"verifier": "v1", "colour": "red"}), 400},
		"an odd position":    {ack(auth, map[string]any{"verifier": "v1", "position": "x"}), 400},
		"a body over 64 KiB": {ack(auth, map[string]any{"verifier": strings.Repeat("x", 70<<10)}), 413},
	} {
		if row.a.status != row.status {
			t.Errorf("%s: %d %s", name, row.a.status, row.a.body)
		}
	}
	if s := s.Acks.Status(mine.Position, r.ID, r.CreatedAt); s.Count != 0 {
		t.Errorf("acknowledged: %+v", s)
	}
	if a := ack(auth, mine); a.status != 204 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if s := s.Acks.Status(mine.Position, r.ID, r.CreatedAt); s.Count != 1 || s.Connected != 1 {
		t.Errorf("acknowledged: %+v", s)
	}
}

// hookedFeed lets something happen when the handler is about to speak of a position.
type hookedFeed struct {
	httpapi.Feed
	before func()
}

func (f hookedFeed) Heartbeat() revocation.Heartbeat {
	f.before()
	return f.Feed.Heartbeat()
}

// A reader that hears of a position has been sent what lies before it.
func TestAHeartbeatComesAfterWhatItSpeaksOf(t *testing.T) {
	var s *server
	var mu sync.Mutex
	tasks := 0
	s = serve(t, options{running: true, config: func(c *httpapi.Config) {
		c.Feed = hookedFeed{c.Feed, func() {
			mu.Lock()
			defer mu.Unlock()
			if tasks++; tasks < 20 {
				s.Revoke(t, revocation.SelectTask, "t"+strconv.Itoa(tasks))
			}
		}}
	}})
	st := s.feed(s.public, "/revocations/feed", s.reader(), token.Rev{})
	reached := revocation.NewIndex(revocation.Options{})
	for beats := 0; beats < 10; {
		e, err := st.events.Next()
		if err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case revocation.EventSnapshot:
			reached = s.snapshot(e.Snapshot)
		case revocation.EventHeartbeat:
			if beats++; !reached.Covers(reached.Position(), e.Heartbeat.Position) {
				t.Fatalf("heartbeat %d speaks of %v, sent was up to %v", beats, e.Heartbeat.Position, reached.Position())
			}
		default:
			if err := reached.Apply(e); err != nil {
				t.Fatal(err)
			}
		}
	}
}

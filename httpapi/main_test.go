package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	readEU    = "warehouse:read:sales/eu/*"
	warehouse = "https://warehouse.example"
)

// server is a broker behind real HTTP: a public and an admin listener, and the break-glass handler.
type server struct {
	*brokertest.World
	tb     testing.TB
	api    *httpapi.API
	public *httptest.Server
	admin  *httptest.Server
	glass  *httptest.Server
	log    *lines

	mu     sync.Mutex
	faults map[string]string
	stop   func() // ends the feeds
}

type options struct {
	world   brokertest.Options
	config  func(*httpapi.Config)
	running bool // the replica keeps in touch with its log by itself
	server  func(*httptest.Server)
	tls     bool
}

func serve(tb testing.TB, o options) *server {
	tb.Helper()
	if o.world.Now == nil {
		o.world.Now = time.Now
	}
	s := &server{World: brokertest.New(tb, o.world), tb: tb, log: &lines{}}
	if o.running {
		s.run()
	}
	stop := make(chan struct{})
	s.stop = sync.OnceFunc(func() { close(stop) })
	records := s.Root.RecordsKey()
	signer, err := token.NewLocalSigner("records", token.Ed25519, records)
	if err != nil {
		tb.Fatal(err)
	}
	cfg := httpapi.Config{
		Issuer: brokertest.Audience, Broker: s.Broker, Index: s.Index, Acks: s.Acks, Feed: s.Journal, Keys: s.Keys,
		Records: signer, RecordKey: token.Key{ID: "records", Algorithm: token.Ed25519, Public: s.RecordsKey(), Use: "sig"},
		Audit: auditFiles{s.World}, Policy: s.policyStatus, Ready: s.ready,
		JWKSMaxAge: brokertest.JWKSMaxAge, RotateEvery: 24 * time.Hour, Heartbeat: 20 * time.Millisecond,
		MaxTTL: brokertest.MaxTTL, MaxStaleness: brokertest.MaxStaleness,
		Now: s.Now, Logger: slog.New(slog.NewTextHandler(s.log, nil)), Stop: stop,
	}
	if o.config != nil {
		o.config(&cfg)
	}
	if s.api, err = httpapi.New(cfg); err != nil {
		tb.Fatal(err)
	}
	s.public = s.listen(s.api.Public(), o)
	s.admin = s.listen(s.api.Admin(), o)
	s.glass = s.listen(s.api.BreakGlass(func(r *http.Request) (*broker.Operator, error) {
		if r.Header.Get("X-Test-Peer") == "stranger" {
			return nil, os.ErrPermission
		}
		return broker.BreakGlass(7), nil
	}), o)
	tb.Cleanup(s.stop)
	return s
}

func (s *server) listen(h http.Handler, o options) *httptest.Server {
	s.tb.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if o.server != nil {
		o.server(srv)
	}
	if o.tls {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	s.tb.Cleanup(srv.Close)
	return srv
}

// run follows the log as a broker does, until the test ends.
func (s *server) run() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.tb.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Journal.Run(ctx) }()
	s.tb.Cleanup(func() {
		cancel()
		<-done
	})
}

func (s *server) policyStatus() wire.PolicyStatus {
	b := s.Policy.Current()
	return wire.PolicyStatus{Version: b.Version(), Short: b.Short(), Current: true}
}

func (s *server) ready() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// auditFiles reads the audit log of the world.
type auditFiles struct{ w *brokertest.World }

func (r auditFiles) Decision(ctx context.Context, id string) (audit.Record, error) {
	return r.w.Audit.Decision(ctx, id)
}

func (r auditFiles) Query(_ context.Context, f audit.Filter) ([]audit.Record, error) {
	f.NewestFirst = true
	var out []audit.Record
	for rec, err := range audit.Query(r.w.Audit.Files(), f) {
		if err != nil {
			return nil, err
		}
		out = append(out, rec)
	}
	return out, nil
}

// lines is a log that a test reads.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) error(tb testing.TB) wire.Error {
	tb.Helper()
	return decode[wire.Error](tb, a)
}

func decode[T any](tb testing.TB, a answer) T {
	tb.Helper()
	var out T
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		tb.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return out
}

// send makes one request.
func (s *server) send(srv *httptest.Server, method, path string, body io.Reader, header http.Header) answer {
	s.tb.Helper()
	req, err := http.NewRequestWithContext(s.tb.Context(), method, srv.URL+path, body)
	if err != nil {
		s.tb.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := srv.Client().Do(req)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		s.tb.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, got}
}

func formType() http.Header {
	return http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
}

// post sends a form; auth, if any, goes as Bearer.
func (s *server) post(path string, f url.Values, auth string) answer {
	s.tb.Helper()
	h := formType()
	if auth != "" {
		h.Set("Authorization", "Bearer "+auth)
	}
	return s.send(s.public, http.MethodPost, path, strings.NewReader(f.Encode()), h)
}

// call makes an administrative call.
func (s *server) call(srv *httptest.Server, method, path, auth string, body any) answer {
	s.tb.Helper()
	h := http.Header{}
	if auth != "" {
		h.Set("Authorization", "Bearer "+auth)
	}
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			s.tb.Fatal(err)
		}
		r = bytes.NewReader(raw)
		h.Set("Content-Type", "application/json")
	}
	return s.send(srv, method, path, r, h)
}

func exchangeForm(subject, scope string) url.Values {
	f := url.Values{
		"grant_type": {wire.GrantTokenExchange}, "subject_token": {subject}, "subject_token_type": {wire.TokenTypeJWT},
	}
	if scope != "" {
		f.Set("scope", scope)
	}
	return f
}

// token gets a token over HTTP.
func (s *server) token(subject, scope string) string {
	s.tb.Helper()
	a := s.post("/token", exchangeForm(subject, scope), "")
	if a.status != http.StatusOK {
		s.tb.Fatalf("%d %s", a.status, a.body)
	}
	return decode[wire.TokenResponse](s.tb, a).AccessToken
}

func (s *server) agent() string { return s.Cluster.Token(s.tb, "analyst", nil) }

// secops is a token of security ops.
func (s *server) secops(scope string) string {
	s.tb.Helper()
	return s.token(s.Corp.Token(s.tb, "sec", nil), scope)
}

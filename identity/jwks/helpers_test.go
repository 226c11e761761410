package jwks_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/identity/jwks"
	"github.com/writbroker/writ/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a Now that a test moves, and nothing else does: how long the test takes says nothing.
type clock struct{ offset atomic.Int64 }

var began = time.Now()

func (c *clock) now() time.Time          { return began.Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// issuer is a real key server on loopback.
type issuer struct {
	*httptest.Server
	fetches atomic.Int64 // of the JWKS
	mu      sync.Mutex
	handler http.HandlerFunc // answers for the JWKS
}

// newIssuer serves discovery, and under /keys what the test puts there.
func newIssuer(tb testing.TB) *issuer {
	tb.Helper()
	i := &issuer{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+"/keys")
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		i.fetches.Add(1)
		i.mu.Lock()
		handler := i.handler
		i.mu.Unlock()
		handler(w, r)
	})
	i.Server = httptest.NewTLSServer(mux)
	i.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	tb.Cleanup(i.Close)
	return i
}

func (i *issuer) serve(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handler = h
}

func (i *issuer) serveKeys(tb testing.TB, kids ...string) {
	tb.Helper()
	document := set(tb, kids...)
	i.serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(document) })
}

func down(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }

// caFile is what the source trusts to reach the issuer.
func (i *issuer) caFile(tb testing.TB) string {
	tb.Helper()
	return write(tb, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}))
}

func (i *issuer) source(tb testing.TB, name string) identity.Source {
	tb.Helper()
	return identity.Source{Name: name, Issuer: i.URL, Discovery: true, CAFile: i.caFile(tb), AllowPrivateAddresses: true}
}

func write(tb testing.TB, name string, data []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// set is a JWKS with a new key for each kid.
func set(tb testing.TB, kids ...string) []byte {
	tb.Helper()
	keys := make([]token.Key, len(kids))
	for i, kid := range kids {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		keys[i] = token.Key{ID: kid, Algorithm: token.ES256, Public: key.Public()}
	}
	s, err := token.NewKeySet(keys...)
	if err != nil {
		tb.Fatal(err)
	}
	data, err := s.MarshalJSON()
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func config(c *clock, sources ...identity.Source) jwks.Config {
	return jwks.Config{
		Sources: sources, Now: c.now, Logger: slog.New(slog.DiscardHandler),
		OnAuthorities: func(string, []*x509.Certificate) error { return nil },
	}
}

func open(tb testing.TB, c jwks.Config) *jwks.Cache {
	tb.Helper()
	cache, err := jwks.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(cache.Close)
	return cache
}

// errText is the error of the one document's last attempt.
func errText(cache *jwks.Cache) string {
	if err := cache.Status()[0].Err; err != nil {
		return err.Error()
	}
	return ""
}

func contains(tb testing.TB, text, part string) {
	tb.Helper()
	if part == "" || !strings.Contains(text, part) {
		tb.Errorf("got %q, want it to say %q", text, part)
	}
}

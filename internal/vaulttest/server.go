// Package vaulttest stands in for HashiCorp Vault in fast tests: the part of its HTTP
// API that Writ uses, which really encrypts, signs, keeps versions, checks policies and
// ends tokens, in memory on a free port of the loopback interface. It breaks on demand:
// sealed, on standby, away, slow, or answering wrongly.
//
// It is set up through the same calls as the real Vault, and vaultcases runs the same
// cases against both, so that a test which passes here does not pass by the stand-in's
// mistake. Only tests and benchmarks import it.
package vaulttest

import (
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is one Vault, unsealed at first, with nothing mounted. It is safe for
// concurrent use.
type Server struct {
	Address   string // http(s)://host:port
	CAFile    string // of an https one
	RootToken string
	UnsealKey string

	http *httptest.Server

	mu       sync.Mutex
	sealed   bool
	standby  *string // the active node's address, "" = unknown; nil = this is the active one
	mounts   map[string]engine
	auths    map[string]*auth
	policies map[string]policy
	tokens   map[string]*tokenEntry
	wrapped  map[string]wrapped
	faults   []*Fault
	requests []string // method and path
}

// engine is what is mounted; it is called with the server's lock held.
type engine interface {
	handle(r *request) (any, error)
	// exists says whether a write to a path changes something or makes it, which
	// policies tell apart.
	exists(path string) bool
}

// request is one call, below where its engine is mounted.
type request struct {
	method, path string
	body         map[string]json.RawMessage
	raw          []byte
	token        string
	wrapTTL      string
	http         *http.Request
}

// into decodes the body.
func (r *request) into(v any) error {
	if len(r.raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.raw, v); err != nil {
		return refuse(http.StatusBadRequest, "error parsing JSON")
	}
	return nil
}

// refusal is an answer other than success.
type refusal struct {
	status int
	texts  []string
	data   any
}

func (r *refusal) Error() string { return strings.Join(r.texts, "; ") }

func refuse(status int, texts ...string) error { return &refusal{status: status, texts: texts} }

// Option changes how a server starts.
type Option func(*Server)

// TLS makes it serve https, and ask clients for their certificates.
func TLS() Option {
	return func(s *Server) { s.http.TLS = clientCertificates() }
}

// Start runs a server until the test ends.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	s := &Server{
		RootToken: "root-" + rand.Text(), UnsealKey: rand.Text(),
		mounts: map[string]engine{}, auths: map[string]*auth{}, policies: map[string]policy{},
		tokens: map[string]*tokenEntry{}, wrapped: map[string]wrapped{},
	}
	s.tokens[s.RootToken] = &tokenEntry{policies: []string{rootPolicy}}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that were cut on purpose
	for _, option := range options {
		option(s)
	}
	if s.http.TLS == nil {
		s.http.Start()
	} else {
		s.http.StartTLS()
		s.CAFile = filepath.Join(t.TempDir(), "ca.pem")
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
		if err := os.WriteFile(s.CAFile, ca, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.Address = s.http.URL
	t.Cleanup(s.http.Close)
	return s
}

// Admin is access with the root token.
func (s *Server) Admin() *Admin {
	return &Admin{Address: s.Address, Token: s.RootToken, HTTP: s.http.Client()}
}

// Standby makes this a standby node that does not forward; active is where it sends
// clients, "" if it does not know.
func (s *Server) Standby(active string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standby = &active
}

// Activate ends Standby.
func (s *Server) Activate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standby = nil
}

// Count says how many requests came whose method and path contain a text.
func (s *Server) Count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if strings.Contains(r, text) {
			n++
		}
	}
	return n
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	const limit = 32 << 20
	raw, err := io.ReadAll(io.LimitReader(r.Body, limit))
	if err != nil {
		return
	}
	if s.broken(w, r, path) {
		return
	}
	in := &request{
		method: method(r.Method), path: path, raw: raw, token: r.Header.Get("X-Vault-Token"),
		wrapTTL: r.Header.Get("X-Vault-Wrap-TTL"), http: r,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, in.method+" "+path)
	out, err := s.answer(in)
	write(w, out, err)
}

// method makes one of the two ways to write.
func method(m string) string {
	if m == http.MethodPost {
		return http.MethodPut
	}
	return m
}

// envelope is Vault's answer.
type envelope struct {
	Data     any       `json:"data"`
	Auth     *authInfo `json:"auth"`
	WrapInfo *wrapInfo `json:"wrap_info"`
	Version  string    `json:"version,omitempty"`
}

func write(w http.ResponseWriter, out *envelope, err error) {
	w.Header().Set("Content-Type", "application/json")
	if failed, ok := errors.AsType[*refusal](err); ok {
		if failed.status == http.StatusTemporaryRedirect {
			w.Header().Set("Location", failed.texts[0])
			w.WriteHeader(failed.status)
			return
		}
		w.WriteHeader(failed.status)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": append([]string{}, failed.texts...), "data": failed.data})
		return
	}
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{err.Error()}})
		return
	}
	if out == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

// answer does what Vault's core does around an engine.
func (s *Server) answer(r *request) (*envelope, error) {
	if err := r.into(&r.body); err != nil {
		return nil, err
	}
	if out, done, err := s.unauthenticated(r); done {
		return out, err
	}
	entry := s.alive(r.token)
	if entry == nil || !s.allows(entry, r) {
		return nil, refuse(http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
	}
	out, err := s.route(r, entry)
	if err != nil || r.wrapTTL == "" {
		return out, err
	}
	return s.wrap(r, out)
}

// unauthenticated answers what needs no token, or cannot be answered.
func (s *Server) unauthenticated(r *request) (*envelope, bool, error) {
	switch {
	case r.path == "sys/health":
		return &envelope{Version: "stand-in"}, true, s.health()
	case r.path == "sys/unseal":
		var in struct{ Key string }
		if err := r.into(&in); err != nil {
			return nil, true, err
		}
		if in.Key == s.UnsealKey {
			s.sealed = false
		}
		return &envelope{}, true, nil
	case s.sealed:
		return nil, true, refuse(http.StatusServiceUnavailable, "Vault is sealed")
	case s.standby != nil && *s.standby != "":
		return nil, true, refuse(http.StatusTemporaryRedirect, *s.standby+"/v1/"+r.path)
	case s.standby != nil:
		return nil, true, refuse(http.StatusInternalServerError, "local node not active but active cluster node not found")
	case r.path == "sys/wrapping/lookup":
		out, err := s.lookupWrapped(r)
		return out, true, err
	case r.path == "sys/wrapping/unwrap":
		out, err := s.unwrap(r)
		return out, true, err
	}
	if mount, ok := strings.CutPrefix(r.path, "auth/"); ok && strings.HasSuffix(mount, "/login") {
		out, err := s.login(strings.TrimSuffix(mount, "/login"), r)
		return out, true, err
	}
	return nil, false, nil
}

func (s *Server) health() error {
	switch {
	case s.sealed:
		return refuse(http.StatusServiceUnavailable)
	case s.standby != nil:
		return refuse(http.StatusTooManyRequests)
	}
	return nil
}

func (s *Server) route(r *request, entry *tokenEntry) (*envelope, error) {
	switch {
	case strings.HasPrefix(r.path, "auth/token/"):
		return s.tokenCall(r, entry)
	case strings.HasPrefix(r.path, "auth/"):
		return s.authCall(r)
	case strings.HasPrefix(r.path, "sys/"):
		return s.sysCall(r)
	}
	mount, rest, _ := strings.Cut(r.path, "/")
	e, ok := s.mounts[mount]
	if !ok {
		return nil, refuse(http.StatusNotFound, "no handler for route "+strconv.Quote(r.path)+". route entry not found.")
	}
	below := *r
	below.path = rest
	data, err := e.handle(&below)
	if err != nil || data == nil {
		return nil, err
	}
	return &envelope{Data: data}, nil
}

// sysCall is the little of sys/ that setting up needs.
func (s *Server) sysCall(r *request) (*envelope, error) {
	var in struct {
		Type    string            `json:"type"`
		Options map[string]string `json:"options"`
		Policy  string            `json:"policy"`
	}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	name := func(prefix string) (string, bool) { return strings.CutPrefix(r.path, prefix) }
	if path, ok := name("sys/mounts/"); ok {
		switch {
		case r.method == http.MethodDelete:
			delete(s.mounts, path)
		case in.Type == "transit":
			s.mounts[path] = &transit{keys: map[string]*transitKey{}}
		case in.Type == "kv" && in.Options["version"] == "2":
			s.mounts[path] = &kv{entries: map[string]*kvEntry{}}
		case in.Type == "kv":
			s.mounts[path] = &kv1{entries: map[string]json.RawMessage{}}
		default:
			return nil, refuse(http.StatusBadRequest, "no such engine")
		}
		return nil, nil
	}
	if path, ok := name("sys/auth/"); ok {
		s.auths[path] = newAuth(in.Type)
		return nil, nil
	}
	if policyName, ok := name("sys/policies/acl/"); ok {
		if r.method == http.MethodDelete {
			delete(s.policies, policyName)
			return nil, nil
		}
		p, err := parsePolicy(in.Policy)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, err.Error())
		}
		s.policies[policyName] = p
		return nil, nil
	}
	if mount, ok := name("sys/leases/revoke-prefix/auth/"); ok {
		s.revokeLogins(mount)
		return nil, nil
	}
	if r.path == "sys/seal" {
		s.sealed = true
		return nil, nil
	}
	return nil, refuse(http.StatusNotFound, "no handler for route "+strconv.Quote(r.path)+". route entry not found.")
}

// seconds reads a duration the ways Vault takes them: a number, or text with or without a unit.
func seconds(raw json.RawMessage) time.Duration {
	text := strings.Trim(string(raw), `"`)
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(n) * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}

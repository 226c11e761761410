package iamtest

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// MaxInlineSize is how many characters, white space aside, a role's inline policies have in all.
const MaxInlineSize = 10240

// Options are what a Server knows. Chances are from 0 to 1.
type Options struct {
	Roles []string // ARNs
	// Keys are the access key ids that may do everything; none: any may.
	Keys []string
	// Lag is how old what a read shows may be, at most.
	Lag time.Duration
	// Throttle is how often a call is refused as one too many.
	Throttle float64
	// Fail is how often a call fails, and Lose how often one that was carried out fails.
	Fail, Lose float64
	Now        func() time.Time // nil = time.Now
}

// Server is an IAM. It is an http.Handler, and usable concurrently.
type Server struct {
	mu    sync.Mutex
	opt   Options
	roles map[string]*role // by name
	calls map[string]int   // by action: those that were carried out
	down  bool
}

type role struct {
	arn    string
	states []state // the last is what is true now; never empty
}

// state is what was true from a time on. Policies are never changed.
type state struct {
	at       time.Time
	policies map[string]string
}

// New returns a Server that has the roles, without policies.
func New(opt Options) *Server {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s := &Server{opt: opt, roles: map[string]*role{}, calls: map[string]int{}}
	for _, arn := range opt.Roles {
		s.roles[arn[strings.LastIndexByte(arn, '/')+1:]] = &role{arn: arn, states: []state{{policies: map[string]string{}}}}
	}
	return s
}

// Serve starts it on a port of its own until the test ends, and gives its URL.
func (s *Server) Serve(tb testing.TB) string {
	tb.Helper()
	server := httptest.NewServer(s)
	tb.Cleanup(server.Close)
	return server.URL
}

// RoundTrip answers without a network, so that a test's clock may stand still.
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result(), nil
}

// Policy is what a role's inline policy says in truth; "" if there is none.
func (s *Server) Policy(arn, policy string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named(arn).now()[policy]
}

// SetPolicy writes, or with "" removes, a policy as somebody else would.
func (s *Server) SetPolicy(arn, policy, document string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(s.named(arn), policy, document)
}

// Calls is how often an action was carried out.
func (s *Server) Calls(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[action]
}

// Down has every call fail, or no more.
func (s *Server) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Change changes the options, but for the roles.
func (s *Server) Change(change func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.opt)
}

func (s *Server) named(arn string) *role {
	for _, r := range s.roles {
		if r.arn == arn {
			return r
		}
	}
	return &role{arn: arn, states: []state{{policies: map[string]string{}}}}
}

func (r *role) now() map[string]string { return r.states[len(r.states)-1].policies }

// then is what a read shows that looks at the role as it was at a time.
func (r *role) then(at time.Time) map[string]string {
	for _, s := range slices.Backward(r.states) {
		if !s.at.After(at) {
			return s.policies
		}
	}
	return r.states[0].policies
}

// set is guarded by mu.
func (s *Server) set(r *role, policy, document string) {
	next := maps.Clone(r.now())
	next[policy] = document
	if document == "" {
		delete(next, policy)
	}
	now := s.opt.Now()
	r.states = append(r.states, state{now, next})
	// What is older than the lag is not seen any more, but for the last of it.
	for len(r.states) > 1 && r.states[1].at.Before(now.Add(-s.opt.Lag)) {
		r.states = r.states[1:]
	}
}

// seen is a role's policies as one read sees them. Guarded by mu.
func (s *Server) seen(r *role) map[string]string {
	if s.opt.Lag <= 0 {
		return r.now()
	}
	return r.then(s.opt.Now().Add(-rand.N(s.opt.Lag)))
}

var (
	policyName = regexp.MustCompile(`\A[\w+=,.@-]{1,128}\z`)
	credential = regexp.MustCompile(`Credential=([^/]+)/\d{8}/[a-z0-9-]+/iam/aws4_request`)
)

package ststest

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/token"
)

// Account is the one in which roles are looked for.
const Account = "123456789012"

// Region is the one that the server is in.
const Region = "eu-central-1"

// Role is one that can be assumed.
type Role struct {
	ARN string
	// Trusts are access key ids; empty: any that is known.
	Trusts     []string
	ExternalID string        // that it asks for
	MaxSession time.Duration // 0 = 1 h
	Federated  bool          // it trusts the issuer, for web identities
}

// Principal is somebody with credentials.
type Principal struct {
	AccessKeyID, ARN string
	// SessionToken, if any, has to come with the key: it is a role's, or a federated user's.
	SessionToken string
}

// Options are what a Server knows.
type Options struct {
	Roles      []Role
	Principals []Principal
	// PackedLimit is how many bytes policy and tags may have; 0 = 4,096.
	PackedLimit int
	// The issuer that web identities come from.
	Issuer, Audience string
	Keys             func() *token.KeySet
	Now              func() time.Time
}

// Fault is an answer that a call gets instead of its own. One without a code only holds it up.
type Fault struct {
	Code, Message string
	Status        int             // 0 = 400
	Delay         time.Duration   // before anything else; the call ends when its client leaves
	Hold          <-chan struct{} // likewise, until it is closed
	Drop          bool            // the connection, without an answer
}

// Call is one that was let in, as far as it could be read.
type Call struct {
	Action         string
	AccessKeyID    string // that signed it; empty for web identities
	Role           string
	SessionName    string
	SourceIdentity string
	ExternalID     string
	Tags           map[string]string
	TransitiveTags []string
	Policy         string
	PolicyARNs     []string
	Duration       time.Duration // an hour where the form does not say
	Proof          string        // the web identity token
	Form           url.Values

	SessionKeyID string // of the session that was made, if one was
}

// Server is a running STS, which ends with its test.
type Server struct {
	URL string

	opt    Options
	mu     sync.Mutex
	calls  []Call
	faults []Fault // of the next calls, first first
	always *Fault  // of every call
}

// New starts a Server on loopback.
func New(tb testing.TB, opt Options) *Server {
	tb.Helper()
	if opt.PackedLimit == 0 {
		opt.PackedLimit = 4096
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s := &Server{opt: opt}
	srv := httptest.NewServer(http.HandlerFunc(s.serve))
	tb.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	s.URL = srv.URL
	return s
}

// Fail gives the next calls these faults, one each.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Always gives every call a fault, until it is given nil.
func (s *Server) Always(f *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.always = f
}

// Calls are all that came, of an action; an empty one means any.
func (s *Server) Calls(action string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.calls), func(c Call) bool { return action != "" && c.Action != action })
}

func (s *Server) fault() *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.always != nil {
		return s.always
	}
	if len(s.faults) == 0 {
		return nil
	}
	f := s.faults[0]
	s.faults = s.faults[1:]
	return &f
}

// note keeps a call as soon as it comes, so that a test sees one that is held up; renew, with
// what became of it.
func (s *Server) note(c Call) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	return len(s.calls) - 1
}

func (s *Server) renew(at int, c Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[at] = c
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.refuse(w, &Fault{Code: "InvalidRequest", Message: err.Error()})
		return
	}
	c := readCall(r.PostForm)
	noted := s.note(c)
	if f := s.fault(); f != nil && s.fail(w, r, f) {
		return
	}
	body, refused := s.answer(r, &c)
	s.renew(noted, c)
	if refused != nil {
		s.refuse(w, refused)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	_ = xml.NewEncoder(w).Encode(body)
}

// fail reports whether the fault was the call's end.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, f *Fault) bool {
	hold := f.Hold
	if f.Delay > 0 {
		late := make(chan struct{})
		timer := time.AfterFunc(f.Delay, func() { close(late) })
		defer timer.Stop()
		hold = late
	}
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return true
		}
	}
	if f.Drop {
		panic(http.ErrAbortHandler)
	}
	if f.Code == "" {
		return false
	}
	s.refuse(w, f)
	return true
}

type errorBody struct {
	XMLName xml.Name `xml:"ErrorResponse"`
	Type    string   `xml:"Error>Type"`
	Code    string   `xml:"Error>Code"`
	Message string   `xml:"Error>Message"`
	Request string   `xml:"RequestId"`
}

func (s *Server) refuse(w http.ResponseWriter, f *Fault) {
	status := f.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(errorBody{Type: "Sender", Code: f.Code, Message: f.Message, Request: "1"})
}

func readCall(f url.Values) Call {
	c := Call{
		Action: f.Get("Action"), Role: f.Get("RoleArn"), SessionName: f.Get("RoleSessionName"), Policy: f.Get("Policy"),
		SourceIdentity: f.Get("SourceIdentity"), ExternalID: f.Get("ExternalId"), Proof: f.Get("WebIdentityToken"),
		Tags: map[string]string{}, Form: f,
	}
	if !f.Has("DurationSeconds") {
		c.Duration = time.Hour
	} else if d, err := time.ParseDuration(f.Get("DurationSeconds") + "s"); err == nil {
		c.Duration = d
	}
	for i := range members(f, "Tags.member.", ".Key") {
		at := "Tags.member." + i
		c.Tags[f.Get(at+".Key")] = f.Get(at + ".Value")
	}
	for i := range members(f, "TransitiveTagKeys.member.", "") {
		c.TransitiveTags = append(c.TransitiveTags, f.Get("TransitiveTagKeys.member."+i))
	}
	for i := range members(f, "PolicyArns.member.", ".arn") {
		c.PolicyARNs = append(c.PolicyARNs, f.Get("PolicyArns.member."+i+".arn"))
	}
	slices.Sort(c.TransitiveTags)
	slices.Sort(c.PolicyARNs)
	return c
}

// members are the numbers of a list in a form.
func members(f url.Values, prefix, suffix string) map[string]bool {
	out := map[string]bool{}
	for name := range f {
		if rest, ok := strings.CutPrefix(name, prefix); ok && strings.HasSuffix(rest, suffix) {
			out[strings.TrimSuffix(rest, suffix)] = true
		}
	}
	return out
}

func random(prefix string, n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return prefix + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)
}

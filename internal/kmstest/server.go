// Package kmstest is a KMS for tests: it speaks AWS's protocol (JSON 1.1, X-Amz-Target)
// on loopback, checks signatures of requests (SigV4), really encrypts, with the
// encryption context as associated data, and really signs. It breaks on demand. What it
// answers, and with which errors, follows the KMS API reference.
//
// AWS's own client talks to it like to the real one. Only tests import this package.
package kmstest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

const (
	// Region and Account are where all keys lie.
	Region  = "eu-test-1"
	Account = "111122223333"

	maxBody = 1 << 20
)

// Server is one account's KMS. It is safe for concurrent use.
type Server struct {
	URL string

	mu       sync.Mutex
	keys     map[string]*key // by id
	aliases  map[string]string
	logins   map[string]*Login
	calls    map[string]int
	denied   map[string]bool
	required map[string]string // of every encryption context
	fault    func(action string) *Fault
	unseen   int           // how often a new key is not known yet
	skew     time.Duration // of its clock
	hideDate bool
}

// Fault is what happens to a request instead of its answer.
type Fault struct {
	Drop    bool            // the connection ends without an answer
	Hang    <-chan struct{} // nothing is answered until it is closed
	Status  int             // of an answer; 0 = 400
	Code    string
	Message string
	Body    string // if not empty, this is the answer, whatever the client makes of it
}

// Start runs a KMS that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		keys: map[string]*key{}, aliases: map[string]string{}, logins: map[string]*Login{},
		calls: map[string]int{}, denied: map[string]bool{},
	}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	s.URL = server.URL
	return s
}

// Break has f decide about every request from now on, by its action, "Decrypt" say;
// nil from it, or nil instead of it, is no fault.
func (s *Server) Break(f func(action string) *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Deny has the policy deny actions from now on.
func (s *Server) Deny(actions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, action := range actions {
		s.denied[action] = true
	}
}

// Require has the policy deny Encrypt and Decrypt but with this in the encryption
// context, as its condition kms:EncryptionContext does.
func (s *Server) Require(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.required = map[string]string{name: value}
}

// Allow lifts what Deny denied and Require required.
func (s *Server) Allow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.denied)
	clear(s.required)
}

// Skew sets the server's clock off. Its answers say its time, unless hidden.
func (s *Server) Skew(by time.Duration, hidden bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew, s.hideDate = by, hidden
}

// Unseen has the next so many calls that name a key find none: KMS is consistent in the
// end only.
func (s *Server) Unseen(calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unseen = calls
}

// Calls is how many requests for an action came, refused ones included.
func (s *Server) Calls(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[action]
}

func (s *Server) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.skew)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	action := target(r)
	s.mu.Lock()
	s.calls[action]++
	choose, hide := s.fault, s.hideDate
	s.mu.Unlock()
	if hide {
		w.Header()["Date"] = nil
	} else {
		w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if choose != nil {
		if fault := choose(action); fault != nil {
			fault.play(w, r)
			return
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		answer(w, nil, &failure{http.StatusBadRequest, "SerializationException", "the body cannot be read"})
		return
	}
	out, failed := s.handle(r, action, body)
	answer(w, out, failed)
}

func target(r *http.Request) string {
	const prefix = "TrentService."
	name := r.Header.Get("X-Amz-Target")
	if len(name) < len(prefix) || name[:len(prefix)] != prefix {
		return ""
	}
	return name[len(prefix):]
}

func (f *Fault) play(w http.ResponseWriter, r *http.Request) {
	if f.Hang != nil {
		select {
		case <-f.Hang:
		case <-r.Context().Done():
		}
	}
	if f.Drop || f.Hang != nil {
		panic(http.ErrAbortHandler)
	}
	status := f.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	if f.Body != "" {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, f.Body)
		return
	}
	answer(w, nil, &failure{status, f.Code, f.Message})
}

// failure is an answer that is an error.
type failure struct {
	status  int
	code    string
	message string
}

func answer(w http.ResponseWriter, out any, failed *failure) {
	status := http.StatusOK
	if failed != nil {
		status = failed.status
		out = map[string]string{"__type": failed.code, "message": failed.message}
	}
	data, err := json.Marshal(out)
	if err != nil {
		panic(err) // what is answered here can be written
	}
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// handle answers one request: who is it, may they, then the action.
func (s *Server) handle(r *http.Request, action string, body []byte) (any, *failure) {
	who, failed := s.authenticate(r, body)
	if failed != nil {
		return nil, failed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.denied[action] {
		return nil, &failure{http.StatusBadRequest, "AccessDeniedException", "User: arn:aws:iam::" + Account + ":user/" + who + " is not authorized to perform: kms:" + action + " because no identity-based policy allows the kms:" + action + " action"}
	}
	switch action {
	case "CreateKey":
		return handleAs(body, s.createKey)
	case "DescribeKey":
		return handleAs(body, s.describeKey)
	case "Encrypt":
		return handleAs(body, s.encrypt)
	case "Decrypt":
		return handleAs(body, s.decrypt)
	case "GetPublicKey":
		return handleAs(body, s.getPublicKey)
	case "Sign":
		return handleAs(body, s.sign)
	case "ScheduleKeyDeletion":
		return handleAs(body, s.scheduleKeyDeletion)
	}
	return nil, &failure{http.StatusBadRequest, "UnknownOperationException", ""}
}

func handleAs[I any](body []byte, do func(I) (any, *failure)) (any, *failure) {
	var in I
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, &failure{http.StatusBadRequest, "SerializationException", err.Error()}
	}
	return do(in)
}

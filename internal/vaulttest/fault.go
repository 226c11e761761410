package vaulttest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault is one way in which a server does not answer as it should.
type Fault struct {
	Path   string // requests whose path contains it; "" = all
	Status int    // answer with this status and Body …
	Body   string
	Drop   bool          // … or cut the connection …
	Delay  time.Duration // … or answer late: after this, or when the fault ends, or never, if the client goes

	ended chan struct{}
}

// Inject makes requests fail until the returned call. Of several faults that fit, the
// one injected first counts.
func (s *Server) Inject(f Fault) (end func()) {
	injected := &f
	injected.ended = make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, injected)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		before := len(s.faults)
		s.faults = slices.DeleteFunc(s.faults, func(f *Fault) bool { return f == injected })
		if len(s.faults) < before {
			close(injected.ended)
		}
	}
}

func (s *Server) faultFor(path string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if strings.Contains(path, f.Path) {
			s.requests = append(s.requests, "FAULT "+path)
			return f
		}
	}
	return nil
}

// broken plays a fault; false if the request is answered all the same.
func (s *Server) broken(w http.ResponseWriter, r *http.Request, path string) bool {
	f := s.faultFor(path)
	switch {
	case f == nil:
		return false
	case f.Drop:
		panic(http.ErrAbortHandler) // net/http's way to cut a connection
	case f.Delay > 0:
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			return false
		case <-f.ended:
			return false
		case <-r.Context().Done():
			return true
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(f.Body))
	return true
}

package audit

import (
	"strconv"
	"sync"
	"time"
)

const (
	strangersEvery = time.Minute // least time between two records of counts
	maxStrangers   = 64          // pairs of kind and code that are told apart
)

// strangers counts callers that did not authenticate. Whatever they send, this
// takes constant memory, and at most a record a minute.
type strangers struct {
	mu     sync.Mutex
	counts map[string]uint64 // guarded by mu: by kind and code
	sample string            // guarded by mu: one remote address
	last   time.Time         // guarded by mu: of the last record
}

func (s *strangers) count(kind Kind, code, remoteIP string) {
	name := string(kind)
	if code != "" {
		name += " " + code
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(name, 1)
	if s.sample == "" {
		s.sample = remoteIP
	}
}

func (s *strangers) add(name string, n uint64) {
	if s.counts == nil {
		s.counts = map[string]uint64{}
	}
	if _, known := s.counts[name]; !known && len(s.counts) >= maxStrangers {
		name = "other"
	}
	s.counts[name] += n
}

func (s *strangers) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.counts) > 0
}

// take returns the record of what was counted since the last one, if one is due.
func (s *strangers) take(now time.Time, force bool) (Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.counts) == 0 || (!force && now.Sub(s.last) < strangersEvery) {
		return Event{}, false
	}
	e := Event{Time: now, Kind: KindUnauthenticated, RemoteIP: s.sample, Detail: map[string]string{}}
	for name, n := range s.counts {
		e.Detail[name] = strconv.FormatUint(n, 10)
	}
	s.counts, s.sample, s.last = nil, "", now
	return e, true
}

// putBack returns counts whose record was not written, to those that came since.
func (s *strangers) putBack(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, text := range e.Detail {
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			s.add(name, n)
		}
	}
	if e.RemoteIP != "" {
		s.sample = e.RemoteIP
	}
}

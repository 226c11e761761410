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
	counts map[[2]string]uint64 // guarded by mu
	sample string               // guarded by mu: one remote address
	last   time.Time            // guarded by mu: of the last record
}

func (s *strangers) count(kind Kind, code, remoteIP string) {
	k := [2]string{string(kind), code}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = map[[2]string]uint64{}
	}
	if _, known := s.counts[k]; !known && len(s.counts) >= maxStrangers {
		k = [2]string{"other", ""}
	}
	s.counts[k]++
	if s.sample == "" {
		s.sample = remoteIP
	}
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
	for k, n := range s.counts {
		name := k[0]
		if k[1] != "" {
			name += " " + k[1]
		}
		e.Detail[name] = strconv.FormatUint(n, 10)
	}
	s.counts, s.sample, s.last = nil, "", now
	return e, true
}

// putBack returns counts whose record was not written.
func (s *strangers) putBack(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = map[[2]string]uint64{}
	}
	for name, text := range e.Detail {
		n, err := strconv.ParseUint(text, 10, 64)
		if err == nil {
			s.counts[[2]string{name, ""}] += n
		}
	}
}

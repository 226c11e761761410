package dev

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"github.com/writbroker/writ/audit"
)

const (
	maxAnchor  = 16 << 10
	maxAnchors = 4096
)

// witness keeps checkpoints of the audit log where the log's own directory has no say. It
// believes nothing: whoever verifies checks their signatures.
type witness struct {
	mu      sync.Mutex
	anchors []audit.Checkpoint
}

func (s *witness) take(w http.ResponseWriter, r *http.Request) {
	var c audit.Checkpoint
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAnchor)).Decode(&c); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.anchors) == maxAnchors {
		s.anchors = slices.Delete(s.anchors, 0, 1) // the newest vouch for what the oldest did
	}
	s.anchors = append(s.anchors, c)
	w.WriteHeader(http.StatusNoContent)
}

func (s *witness) seen() []audit.Checkpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.anchors)
}

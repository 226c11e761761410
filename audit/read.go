package audit

import (
	"crypto/ed25519"
	"io/fs"
	"iter"
	"time"
)

// Filter selects records. Every set field must hold; the zero value selects all.
type Filter struct {
	Agent       string // client_id or anywhere in the act chain
	Subject     string
	Tool        string // of a scope that was granted, asked for or refused
	Kind        Kind
	Outcome     Outcome
	TokenID     string
	DecisionID  string
	Since       time.Time // inclusive
	Until       time.Time // exclusive
	Limit       int       // 0 = no limit
	NewestFirst bool
}

// Query reads the records of a log's directory that the filter selects, oldest
// first unless it says otherwise. It verifies nothing: see Verify. A line that is
// not a record ends the sequence with an error.
func Query(dir fs.FS, f Filter) iter.Seq2[Record, error] {
	return func(func(Record, error) bool) {}
}

// FaultKind says what is wrong with a log.
type FaultKind string

// The kinds of faults.
const (
	FaultChanged    FaultKind = "changed"    // a line does not hash to what follows it
	FaultRemoved    FaultKind = "removed"    // sequence numbers are missing
	FaultReordered  FaultKind = "reordered"  // sequence numbers go back or repeat
	FaultTruncated  FaultKind = "truncated"  // an anchor speaks of a record beyond the end
	FaultCheckpoint FaultKind = "checkpoint" // a checkpoint's signature or hash is wrong
	FaultAnchor     FaultKind = "anchor"     // an anchor contradicts the log, or is not authentic
	FaultMalformed  FaultKind = "malformed"  // not a record
)

// Fault is one thing that Verify found.
type Fault struct {
	Kind    FaultKind `json:"kind"`
	Segment string    `json:"segment,omitempty"`
	Line    int       `json:"line,omitempty"`
	Seq     uint64    `json:"seq,omitempty"`
	Message string    `json:"message"`
}

// Report is what Verify found. The log is whole up to Anchored if there are no
// faults; the records after Anchored, and more so those after Signed, are
// chained but could have been cut off or rewritten by whoever can write the files
// (after Signed) or holds the records key (after Anchored).
type Report struct {
	Log         string  `json:"log"`
	First       uint64  `json:"first"`
	Last        uint64  `json:"last"`
	Checkpoints int     `json:"checkpoints"`
	Signed      uint64  `json:"signed"`   // last record under a valid checkpoint in the files
	Anchored    uint64  `json:"anchored"` // last record under a valid anchor
	Tail        uint64  `json:"tail"`     // records after Anchored
	Torn        int64   `json:"torn"`     // bytes of an unfinished last line
	Faults      []Fault `json:"faults"`
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return len(r.Faults) == 0 }

// Verify reads the whole log and checks every line, every checkpoint and every
// anchor. The error is about reading; what is wrong with the log is in the
// report.
func Verify(dir fs.FS, pub ed25519.PublicKey, anchors []Checkpoint) (Report, error) {
	return Report{}, ErrNotFound
}

package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// FaultKind says what is wrong with a log.
type FaultKind string

// The kinds of faults.
const (
	FaultChanged    FaultKind = "changed"    // a line does not hash to what the next one says
	FaultRemoved    FaultKind = "removed"    // sequence numbers are missing
	FaultReordered  FaultKind = "reordered"  // sequence numbers go back or repeat
	FaultTruncated  FaultKind = "truncated"  // an anchor speaks of a record beyond the end
	FaultCheckpoint FaultKind = "checkpoint" // a checkpoint's signature or hash is wrong
	FaultAnchor     FaultKind = "anchor"     // an anchor contradicts the log, or is not authentic
	FaultMalformed  FaultKind = "malformed"  // not a record
)

// maxFaults bounds a report.
const maxFaults = 1000

// Fault is one thing that Verify found.
type Fault struct {
	Kind    FaultKind `json:"kind"`
	Segment string    `json:"segment,omitempty"`
	Line    int       `json:"line,omitempty"`
	Seq     uint64    `json:"seq,omitempty"`
	Message string    `json:"message"`
}

// Report is what Verify found. Without faults, the log is whole up to Anchored.
// What lies after it is chained, but could have been cut off by whoever can write
// the files; what lies after Signed could have been rewritten as well.
type Report struct {
	Log         string  `json:"log"`
	First       uint64  `json:"first"`
	Last        uint64  `json:"last"`
	Checkpoints int     `json:"checkpoints"`
	Signed      uint64  `json:"signed"`   // last record under a valid checkpoint in the files
	Anchored    uint64  `json:"anchored"` // last record under a valid anchor
	Tail        uint64  `json:"tail"`     // number of records after Anchored
	Torn        int64   `json:"torn"`     // bytes at the end that a crash left unfinished
	Faults      []Fault `json:"faults"`
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return len(r.Faults) == 0 }

// Verify reads the whole log and checks every line, every checkpoint and every
// anchor. The error is about reading; what is wrong with the log is in the report.
// Beside a running writer, the last lines may count as torn.
func Verify(dir fs.FS, pub ed25519.PublicKey, anchors []Checkpoint) (Report, error) {
	names, err := segments(dir)
	if err != nil {
		return Report{}, err
	}
	if len(names) == 0 && len(anchors) == 0 {
		return Report{}, fmt.Errorf("verifying audit log: %w: no segments", ErrNotFound)
	}
	v := verification{pub: pub, anchors: map[uint64][]Checkpoint{}}
	v.report.Faults = []Fault{}
	for _, a := range anchors {
		v.anchors[a.Seq] = append(v.anchors[a.Seq], a)
	}
	for i, name := range names {
		if err := v.readSegment(dir, name, i == len(names)-1); err != nil {
			return v.report, fmt.Errorf("verifying audit segment %s: %w", name, err)
		}
	}
	v.settleAnchors()
	v.report.Last = v.head.seq
	v.report.Tail = v.report.Last - min(v.report.Last, v.report.Anchored)
	return v.report, nil
}

// verification walks a log.
type verification struct {
	pub     ed25519.PublicKey
	anchors map[uint64][]Checkpoint // those not met yet
	report  Report
	head    chainHead

	segment string
	line    int
	unclear []Fault // malformed lines that may be a torn end
}

func (v *verification) fault(kind FaultKind, seq uint64, format string, args ...any) {
	if len(v.report.Faults) < maxFaults {
		v.report.Faults = append(v.report.Faults, Fault{
			Kind: kind, Segment: v.segment, Line: v.line, Seq: seq, Message: fmt.Sprintf(format, args...),
		})
	}
}

func (v *verification) readSegment(dir fs.FS, name string, last bool) (err error) {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	v.segment, v.unclear = name, nil
	var read, sound int64 // bytes up to here; and up to the last line that is one
	counted := &countingReader{from: f}
	err = eachLine(counted, func(n int, line []byte) bool {
		v.line = n
		read += int64(len(line)) + 1
		if v.check(line) {
			sound = read
		}
		return true
	})
	if err != nil {
		return err
	}
	rest := counted.n - sound
	if last && rest <= maxTorn {
		v.report.Torn, v.unclear = rest, nil
		return nil
	}
	v.settleUnclear()
	if rest > 0 {
		v.fault(FaultMalformed, 0, "%d bytes that are no record end the segment", rest)
	}
	return nil
}

func (v *verification) settleUnclear() {
	at := v.line
	for _, f := range v.unclear {
		v.line = f.Line
		v.fault(f.Kind, f.Seq, "%s", f.Message)
	}
	v.line, v.unclear = at, nil
}

// check reports whether the line is one.
func (v *verification) check(line []byte) bool {
	seq, prev, ok := parseHead(line)
	if !ok {
		if len(v.unclear) < maxFaults {
			v.unclear = append(v.unclear, Fault{Kind: FaultMalformed, Line: v.line, Message: "not a record"})
		}
		return false
	}
	v.settleUnclear()
	v.checkChain(seq, prev)
	v.checkSegment(seq, line)
	before := v.head
	v.head = chainHead{seq: seq, hash: hashLine(line)}
	if bytes.Contains(line, []byte(`"kind":"checkpoint"`)) {
		v.checkCheckpoint(before, line)
	}
	v.checkAnchors()
	return true
}

func (v *verification) checkChain(seq uint64, prev digest) {
	if v.report.First == 0 {
		v.report.First = seq
		if seq > 1 {
			v.fault(FaultRemoved, seq, "records 1 to %d are missing", seq-1)
		} else if prev != (digest{}) {
			v.fault(FaultChanged, seq, "the first record speaks of one before it")
		}
		return
	}
	switch {
	case seq > v.head.seq+1:
		v.fault(FaultRemoved, seq, "records %d to %d are missing", v.head.seq+1, seq-1)
	case seq <= v.head.seq:
		v.fault(FaultReordered, seq, "record %d comes after record %d", seq, v.head.seq)
	case prev != v.head.hash:
		v.fault(FaultChanged, v.head.seq, "record %d is not the one that record %d was written after", v.head.seq, seq)
	}
}

// checkSegment checks what a segment's name and first line say.
func (v *verification) checkSegment(seq uint64, line []byte) {
	if v.line != 1 {
		return
	}
	if first, _ := segmentFirst(v.segment); first != seq {
		v.fault(FaultReordered, seq, "the segment begins with record %d", seq)
	}
	name := logName(line)
	if v.report.Log == "" {
		v.report.Log = name
	}
	if name == "" || name != v.report.Log {
		v.fault(FaultChanged, seq, "the segment is of log %q, not %q", name, v.report.Log)
	}
}

func (v *verification) checkCheckpoint(before chainHead, line []byte) {
	var c checkpointLine
	if err := json.Unmarshal(line, &c); err != nil {
		v.fault(FaultMalformed, v.head.seq, "not JSON: %v", err)
		return
	}
	if c.Kind != KindCheckpoint {
		return // an event whose attributes use these words
	}
	switch {
	case c.Checkpoint == nil || !c.Checkpoint.Verify(v.pub):
		v.fault(FaultCheckpoint, v.head.seq, "the checkpoint's signature is not the records key's")
	case c.Checkpoint.Log != v.report.Log || c.Checkpoint.Seq != before.seq || c.Checkpoint.Hash != before.hash.String():
		v.fault(FaultCheckpoint, v.head.seq, "the checkpoint was signed for another log or other records")
	default:
		v.report.Checkpoints++
		v.report.Signed = before.seq
	}
}

// checkAnchors compares the anchors of the record that was just read.
func (v *verification) checkAnchors() {
	for _, a := range v.anchors[v.head.seq] {
		if v.authentic(a) {
			if a.Hash == v.head.hash.String() {
				v.report.Anchored = max(v.report.Anchored, a.Seq)
			} else {
				v.fault(FaultAnchor, a.Seq, "record %d, or one before it, is not what was anchored", a.Seq)
			}
		}
	}
	delete(v.anchors, v.head.seq)
}

func (v *verification) authentic(a Checkpoint) bool {
	switch {
	case !a.Verify(v.pub):
		v.fault(FaultAnchor, a.Seq, "the anchor's signature is not the records key's")
	case a.Log != v.report.Log:
		v.fault(FaultAnchor, a.Seq, "the anchor is of log %q, this is %q", a.Log, v.report.Log)
	default:
		return true
	}
	return false
}

// settleAnchors looks at the anchors whose records were not there.
func (v *verification) settleAnchors() {
	v.segment, v.line = "", 0
	var beyond uint64
	for seq, anchors := range v.anchors {
		for _, a := range anchors {
			if (v.report.Log == "" && a.Verify(v.pub)) || v.authentic(a) {
				if seq > v.head.seq {
					beyond = max(beyond, seq)
				} else {
					v.fault(FaultAnchor, seq, "record %d was anchored and is missing", seq)
				}
			}
		}
	}
	if beyond > 0 {
		v.fault(FaultTruncated, beyond, "the log ends with record %d, but record %d was anchored", v.head.seq, beyond)
	}
}

type countingReader struct {
	from fs.File
	n    int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.n += int64(n)
	return n, err
}

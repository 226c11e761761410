package audit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/audit/crashfs"
)

// whole makes a log of several segments, each record under its own checkpoint,
// anchored but for the last few, and returns it line by line.
func whole(t *testing.T, key byte) (lines map[string][]string, order []string, anchors []audit.Checkpoint) {
	t.Helper()
	files := &crashfs.FS{}
	var clock time.Time
	taken := make(chan audit.Checkpoint, 64)
	l := open(t, audit.Config{
		FS: files, Signer: signer(key), SegmentBytes: 3000,
		Now:    func() time.Time { clock = clock.Add(2 * time.Second); return clock },
		Anchor: func(_ context.Context, c audit.Checkpoint) error { taken <- c; return nil },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { _ = l.Run(ctx); close(ended) }()
	for i := range 16 {
		appendN(t, l, fmt.Sprint("d", i))
		anchors = append(anchors, <-taken)
	}
	cancel()
	<-ended
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for range len(taken) {
		anchors = append(anchors, <-taken)
	}
	lines = map[string][]string{}
	order = names(files)
	for _, name := range order {
		files.Edit(name, func(b []byte) []byte {
			lines[name] = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
			return b
		})
	}
	if len(order) < 4 || len(anchors) < 4 {
		t.Fatalf("%d segments, %d anchors", len(order), len(anchors))
	}
	return lines, order, anchors
}

func dirOf(lines map[string][]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, of := range lines {
		out[name] = &fstest.MapFile{Data: []byte(strings.Join(of, "\n") + "\n")}
	}
	return out
}

func clone(lines map[string][]string) map[string][]string {
	out := map[string][]string{}
	for name, of := range lines {
		out[name] = append([]string(nil), of...)
	}
	return out
}

// rechain makes every line speak of the one before it again, as whoever can write
// the files but has no key would.
func rechain(lines map[string][]string, order []string) {
	prev := strings.Repeat("A", 43)
	field := regexp.MustCompile(`"prev":"[^"]*"`)
	seq := 0
	head := regexp.MustCompile(`^\{"seq":\d+`)
	for _, name := range order {
		for i, line := range lines[name] {
			seq++
			line = field.ReplaceAllString(line, `"prev":"`+prev+`"`)
			line = head.ReplaceAllString(line, fmt.Sprintf(`{"seq":%d`, seq))
			lines[name][i] = line
			sum := sha256.Sum256([]byte(line))
			prev = base64.RawURLEncoding.EncodeToString(sum[:])
		}
	}
}

func TestVerifyFindsEveryTampering(t *testing.T) {
	lines, order, anchors := whole(t, 1)
	a, b, last := order[1], order[2], order[len(order)-1]
	end := anchors[len(anchors)-1]
	r := verify(t, dirOf(lines), anchors...)
	wantWhole(t, r)
	if r.First != 1 || r.Anchored != end.Seq || r.Tail != r.Last-end.Seq || r.Log != end.Log || r.Checkpoints == 0 {
		t.Fatalf("report of the untouched log: %+v", r)
	}
	if blind := verify(t, dirOf(lines)); !blind.OK() || blind.Tail != blind.Last || blind.Signed == 0 {
		t.Fatalf("report without anchors: %+v", blind)
	}
	edit := func(from, to string) func(m map[string][]string) {
		return func(m map[string][]string) {
			for i, line := range m[a] {
				if strings.Contains(line, from) {
					m[a][i] = strings.Replace(line, from, to, 1)
					return
				}
			}
			t.Fatalf("%q is not in %s", from, a)
		}
	}
	chained := func(change func(m map[string][]string)) func(m map[string][]string) {
		return func(m map[string][]string) { change(m); rechain(m, order) }
	}
	for _, c := range []struct {
		name    string
		edit    func(m map[string][]string)
		anchors []audit.Checkpoint
		want    audit.FaultKind
	}{
		{"a value changed", edit(`"outcome":"allow"`, `"outcome":"deny"`), nil, audit.FaultChanged},
		{"a value changed, chain redone", chained(edit(`"outcome":"allow"`, `"outcome":"deny"`)), nil, audit.FaultCheckpoint},
		{"the same, checkpoints dropped", func(m map[string][]string) {
			edit(`"outcome":"allow"`, `"outcome":"deny"`)(m)
			dropCheckpoints(m)
			rechain(m, order)
		}, anchors, audit.FaultAnchor},
		{"a line removed", func(m map[string][]string) { m[a] = append(m[a][:1], m[a][2:]...) }, nil, audit.FaultRemoved},
		{"a line removed, chain redone", chained(func(m map[string][]string) { m[a] = append(m[a][:1], m[a][2:]...) }), nil, audit.FaultCheckpoint},
		{"the first line removed", func(m map[string][]string) { m[order[0]] = m[order[0]][1:] }, nil, audit.FaultRemoved},
		{"the first segment removed", func(m map[string][]string) { delete(m, order[0]) }, nil, audit.FaultRemoved},
		{"a middle segment removed", func(m map[string][]string) { delete(m, a) }, nil, audit.FaultRemoved},
		{"two lines swapped", func(m map[string][]string) { m[a][1], m[a][2] = m[a][2], m[a][1] }, nil, audit.FaultReordered},
		{"a line repeated", func(m map[string][]string) { m[a] = append(m[a], m[a][len(m[a])-1]) }, nil, audit.FaultReordered},
		{"two segments swapped", func(m map[string][]string) { m[a], m[b] = m[b], m[a] }, nil, audit.FaultReordered},
		{"a line that is none", func(m map[string][]string) { m[a][1] = "rubbish" }, nil, audit.FaultMalformed},
		{"a middle segment's end cut", func(m map[string][]string) { m[a] = m[a][:len(m[a])-1] }, nil, audit.FaultRemoved},
		{"the last segment removed", func(m map[string][]string) { delete(m, last); delete(m, order[len(order)-2]) }, anchors, audit.FaultTruncated},
		{"everything removed", func(m map[string][]string) { clear(m) }, anchors, audit.FaultTruncated},
		{"another log in its place", func(m map[string][]string) {
			other, _, _ := whole(t, 1)
			clear(m)
			maps.Copy(m, other)
		}, anchors, audit.FaultAnchor},
		{"the log signed with another key", func(m map[string][]string) {
			other, _, _ := whole(t, 2)
			clear(m)
			maps.Copy(m, other)
		}, nil, audit.FaultCheckpoint},
		{"a segment of another name", func(m map[string][]string) { m["audit-00000000000000000900.jsonl"] = m[last]; delete(m, last) }, nil, audit.FaultReordered},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := clone(lines)
			c.edit(m)
			r := verify(t, dirOf(m), c.anchors...)
			for _, f := range r.Faults {
				if f.Kind == c.want {
					return
				}
			}
			t.Errorf("no fault %q in %+v", c.want, r.Faults)
		})
	}
}

func dropCheckpoints(m map[string][]string) {
	for name, of := range m {
		var kept []string
		for _, line := range of {
			if !strings.Contains(line, `"kind":"checkpoint"`) {
				kept = append(kept, line)
			}
		}
		m[name] = kept
	}
}

// A byte that is changed before the last checkpoint is found, whichever it is: the
// step meets every kind of place in a line.
func TestVerifyFindsEveryChangedByte(t *testing.T) {
	lines, order, anchors := whole(t, 1)
	dir := dirOf(lines)
	data := dir[order[1]].Data
	for i := 0; i < len(data); i += 13 {
		data[i] ^= 0x04
		if r := verify(t, dir, anchors...); r.OK() {
			t.Errorf("byte %d of %q changed: not found", i, data[max(0, i-20):min(len(data), i+20)])
		}
		data[i] ^= 0x04
	}
	wantWhole(t, verify(t, dir, anchors...))
}

func TestVerifyNamesTheTail(t *testing.T) {
	lines, order, anchors := whole(t, 1)
	anchors = anchors[:len(anchors)/2]
	known := anchors[len(anchors)-1]
	m := clone(lines)
	last := order[len(order)-1]
	m[last] = m[last][:len(m[last])-1] // cut after the last anchor that is known
	r := verify(t, dirOf(m), anchors...)
	wantWhole(t, r)
	if r.Anchored != known.Seq || r.Tail != r.Last-known.Seq || r.Tail == 0 {
		t.Errorf("report %+v", r)
	}
	dir := dirOf(m)
	dir[last].Data = append(dir[last].Data, `{"seq":77,"pre`...)
	if r := verify(t, dir, anchors...); !r.OK() || r.Torn != 14 {
		t.Errorf("report with an unfinished line: %+v", r)
	}
}

func TestVerifyDistrustsAnchors(t *testing.T) {
	lines, _, anchors := whole(t, 1)
	good := anchors[1]
	for name, change := range map[string]func(c *audit.Checkpoint){
		"sequence":  func(c *audit.Checkpoint) { c.Seq++ },
		"hash":      func(c *audit.Checkpoint) { c.Hash = strings.Repeat("A", 43) },
		"log":       func(c *audit.Checkpoint) { c.Log += "x" },
		"time":      func(c *audit.Checkpoint) { c.Time = c.Time.Add(1) },
		"signature": func(c *audit.Checkpoint) { c.Signature = anchors[0].Signature },
		"none":      func(c *audit.Checkpoint) { c.Signature = "" },
	} {
		bad := good
		change(&bad)
		r := verify(t, dirOf(lines), bad)
		if len(r.Faults) != 1 || r.Faults[0].Kind != audit.FaultAnchor || r.Anchored != 0 {
			t.Errorf("anchor with another %s: %+v", name, r)
		}
	}
	data, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	var back audit.Checkpoint
	if err := json.Unmarshal(data, &back); err != nil || !back.Verify(public(1)) {
		t.Errorf("an anchor does not survive JSON: %v, %s", err, data)
	}
	if _, err := audit.Verify(fstest.MapFS{}, public(1), nil); err == nil {
		t.Error("an empty directory verified")
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte(`{"seq":1,"prev":"` + strings.Repeat("A", 43) + `","kind":"open"}` + "\n"))
	f.Add([]byte("\x00\n\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := fstest.MapFS{"audit-00000000000000000001.jsonl": {Data: data}}
		r, err := audit.Verify(dir, public(1), nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Checkpoints > 0 {
			t.Errorf("a checkpoint verified that nobody signed")
		}
		if r.OK() && r.Last > uint64(bytes.Count(data, []byte("\n"))) {
			t.Errorf("%d records in %q", r.Last, data)
		}
		for _, err := range audit.Query(dir, audit.Filter{}) {
			if err != nil {
				break
			}
		}
	})
}

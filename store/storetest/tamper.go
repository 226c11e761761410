package storetest

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/writbroker/writ/store"
)

func places(m map[uint64][]byte) []uint64 { return slices.Sorted(maps.Keys(m)) }

// edited is a log of one lineage with five entries after EditLog and a restart,
// so that the reader has seen nothing of it.
func (f *fixture) edited(t *testing.T, edit func(*RawLog)) ([]store.Record, error) {
	t.Helper()
	f.EditLog(t, logName, edit)
	f.Restart(t)
	return readAll(t, f.log(t), store.Position{})
}

func (f *fixture) snapshot(t *testing.T, log string) RawLog {
	t.Helper()
	var out RawLog
	f.EditLog(t, log, func(raw *RawLog) { out = cloneRaw(*raw) })
	return out
}

func cloneRaw(raw RawLog) RawLog {
	out := RawLog{Records: map[uint64][]byte{}, Notes: map[uint64][]byte{}}
	for k, v := range raw.Records {
		out.Records[k] = bytes.Clone(v)
	}
	for k, v := range raw.Notes {
		out.Notes[k] = bytes.Clone(v)
	}
	return out
}

func changedByte(t *testing.T, f *fixture) {
	l, at := f.opened(t)
	add(t, l, at, "a", "b")
	clean := f.snapshot(t, logName)
	second := places(clean.Records)[1]
	for i := range clean.Records[second] {
		f.EditLog(t, logName, func(raw *RawLog) {
			*raw = cloneRaw(clean)
			raw.Records[second][i] ^= 0x40
		})
		got, err := readAll(t, l, store.Position{})
		if !store.IsIntegrity(err) {
			t.Errorf("byte %d changed: error %v", i, err)
		}
		if len(got) > 1 {
			t.Errorf("byte %d changed: still read %q", i, texts(got))
		}
	}
	f.EditLog(t, logName, func(raw *RawLog) {
		*raw = cloneRaw(clean)
		raw.Records[second] = nil
	})
	_, err := readAll(t, l, store.Position{})
	wantErr(t, err, store.ErrForged)
}

func moved(t *testing.T, f *fixture) {
	r := f.Replica(t)
	l, other := r.Log(logName), r.Log("other")
	add(t, l, open(t, l), "a", "b", "c", "d")
	add(t, other, open(t, other), "A", "B", "C", "D")
	clean, foreign := f.snapshot(t, logName), f.snapshot(t, "other")
	p := places(clean.Records)
	end := p[len(p)-1]
	for _, c := range []struct {
		name string
		edit func(records map[uint64][]byte)
		want []error
		left string
	}{
		{"head removed", func(m map[uint64][]byte) { delete(m, p[0]) }, []error{store.ErrGap}, ""},
		{"middle removed", func(m map[uint64][]byte) { delete(m, p[2]) }, []error{store.ErrGap}, "| a "},
		{"two removed", func(m map[uint64][]byte) { delete(m, p[1]); delete(m, p[2]) }, []error{store.ErrGap}, "| "},
		{"two swapped", func(m map[uint64][]byte) { m[p[2]], m[p[3]] = m[p[3]], m[p[2]] }, []error{store.ErrGap, store.ErrOrder}, "| a "},
		{"one replayed in place of the next", func(m map[uint64][]byte) { m[p[2]] = m[p[1]] }, []error{store.ErrOrder}, "| a "},
		{"marker replayed", func(m map[uint64][]byte) { m[p[2]] = m[p[0]] }, []error{store.ErrOrder}, "| a "},
		{"one replayed at the end", func(m map[uint64][]byte) { m[end+1] = m[p[2]] }, []error{store.ErrOrder}, "| a b c d "},
		{"one taken from another log", func(m map[uint64][]byte) { m[p[2]] = foreign.Records[places(foreign.Records)[2]] }, []error{store.ErrForged}, "| a "},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := f.edited(t, func(raw *RawLog) {
				*raw = cloneRaw(clean)
				c.edit(raw.Records)
			})
			wantErr(t, err, c.want...)
			if !strings.HasPrefix(c.left, texts(got)) {
				t.Errorf("read %q before the fault, want no more than %q", texts(got), c.left)
			}
		})
	}
}

func oldLog(t *testing.T, f *fixture) {
	l, at := f.opened(t)
	at = add(t, l, at, "a")
	old := f.snapshot(t, logName)
	last := add(t, l, at, "b", "c")
	f.EditLog(t, logName, func(raw *RawLog) { *raw = cloneRaw(old) })
	_, err := l.Tail(t.Context())
	wantErr(t, err, store.ErrRollback)
	wantErr(t, err, store.ErrDiscontinuity)
	_, err = l.Append(t.Context(), at, entries("x")...)
	wantErr(t, err, store.ErrDiscontinuity)
	f.Restart(t) // now only a position that was seen can tell
	l = f.log(t)
	_, err = l.Read(t.Context(), last, 0)
	wantErr(t, err, store.ErrUnknownPosition)
	_, err = l.Append(t.Context(), at, entries("x")...)
	wantErr(t, err, store.ErrDiscontinuity)
	open(t, l, entries("b", "c")...)
	wantLog(t, l, "| a b c | ")
}

func cutTail(t *testing.T, f *fixture) {
	l, at := f.opened(t)
	last := add(t, l, at, "a", "b")
	f.EditLog(t, logName, func(raw *RawLog) {
		p := places(raw.Records)
		delete(raw.Records, p[len(p)-1])
	})
	_, err := l.Read(t.Context(), last, 0)
	wantErr(t, err, store.ErrRollback, store.ErrUnknownPosition)
	f.EditLog(t, logName, func(raw *RawLog) { clear(raw.Records) })
	_, err = l.Tail(t.Context())
	wantErr(t, err, store.ErrRollback)
	f.Restart(t)
	_, err = f.log(t).Read(t.Context(), last, 0)
	wantErr(t, err, store.ErrUnknownPosition)
}

package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/writbroker/writ/store"
)

// status is what a log's end looked like in one moment.
type status struct {
	instance string
	policy   string // of eviction; empty where the instance is a known one
	id, top  string // of the last record, and the id before which none can be added
	data     []byte // of the last record
	marker   []byte // of the last record's lineage
	records  int
	lost     bool // what was seen is not there
}

// end is the verified end of a log: the index of its last record and a chain that
// stands after it.
type end struct {
	index uint64
	top   string
	chain store.Chain
}

// mac is that of the last record, as scripts compare it.
func (e *end) mac() string {
	if e.index == 0 {
		return ""
	}
	mac := e.chain.MAC()
	return string(mac[:])
}

func (e *end) id() string {
	if e.index == 0 {
		return ""
	}
	return itemID(e.index)
}

func itemID(index uint64) string { return strconv.FormatUint(index, 10) + "-0" }

// parseID reads the id of a record; 0 is no such id.
func parseID(id string) uint64 {
	head, ok := strings.CutSuffix(id, "-0")
	n, err := strconv.ParseUint(head, 10, 64)
	if !ok || err != nil {
		return 0
	}
	return n
}

// parseStatus reads the answer of a script about a log's end.
func parseStatus(out any) (status, error) {
	list, ok := out.([]any)
	if !ok || len(list) != 9 {
		return status{}, fmt.Errorf("%w: answer of a script is not understood", store.ErrUnavailable)
	}
	text := make([]string, len(list))
	for i, v := range list {
		text[i], _ = v.(string)
	}
	records, err := strconv.Atoi(text[6])
	if err != nil || text[0] != "tail" {
		return status{}, fmt.Errorf("%w: answer of a script is not understood", store.ErrUnavailable)
	}
	return status{
		instance: text[1], policy: text[2], id: text[3], data: []byte(text[4]), top: text[5],
		records: records, marker: []byte(text[7]), lost: text[8] == "1",
	}, nil
}

// watermark is the last record that this process has seen, and under which instance.
type watermark struct {
	end
	instance string
}

// args are what every script about the log's end begins with, and the instance under
// which the record was seen that they name.
func (l *Log) args() (args []any, instance string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := ""
	if p := l.db.allowed.Load(); p != nil {
		known = *p
	}
	if l.seen.index == 0 {
		return []any{known, "", ""}, l.seen.instance
	}
	return []any{known, l.seen.id(), l.seen.mac()}, l.seen.instance
}

// status reads and verifies the log's end.
func (l *Log) status(ctx context.Context, what string) (end, store.Tail, error) {
	args, instance := l.args()
	out, err := l.db.read(ctx, what, tailScript, l.keys[:3], args...)
	if err != nil {
		return end{}, store.Tail{}, err
	}
	return l.observe(out, instance)
}

// observe verifies what a script says of the log's end, remembers it, and finds
// whether the log went back while one and the same instance served it: the one under
// which the record was seen that the script was asked about.
func (l *Log) observe(out any, instance string) (end, store.Tail, error) {
	st, err := parseStatus(out)
	if err != nil {
		return end{}, store.Tail{}, err
	}
	if err := l.db.allow(&st); err != nil {
		return end{}, store.Tail{}, err
	}
	e := end{top: st.top, chain: *store.NewChain(l.db.cfg.Sealer, l.name)}
	t := store.Tail{Instance: st.instance}
	if st.id != "" {
		if e.index = parseID(st.id); e.index == 0 {
			return e, t, l.fault(&e, store.ErrForged)
		}
		if _, err := e.chain.Resume(st.data); err != nil {
			return e, t, err
		}
		t.Position, t.Records = e.chain.Position(), st.records
		opener, err := l.opener(t.Lineage, st.marker)
		if err != nil {
			return e, t, err
		}
		// Where the last record is not the last that ever was, somebody removed some, or made
		// room for a lineage that did not come.
		t.Open = opener == st.instance && st.top == st.id
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if st.lost && st.instance == instance {
		if l.seen.instance == instance {
			l.seen, l.open, l.tainted = watermark{end: e, instance: instance}, false, t.Lineage
		}
		return e, t, l.fault(&e, store.ErrRollback)
	}
	l.saw(e, st.instance, instance, t.Open)
	t.Open = t.Open && t.Lineage != l.tainted
	return e, t, nil
}

// saw moves the watermark to what an instance said, to whom one was asked that was known by
// then. The caller holds mu.
func (l *Log) saw(e end, instance, known string, open bool) {
	switch {
	case instance == l.seen.instance && e.index < l.seen.index:
		return // an answer that came late
	case instance != l.seen.instance && known != l.seen.instance:
		return // others have found another instance meanwhile: the next answer tells which is the later
	}
	l.seen = watermark{end: e, instance: instance}
	l.open = open
}

func (l *Log) fault(e *end, err error) error {
	return &store.IntegrityError{Log: l.name, After: e.chain.Position(), Err: err}
}

// opener says which instance opened a lineage: empty if it has no marker.
func (l *Log) opener(lineage store.Lineage, data []byte) (string, error) {
	if len(data) == 0 {
		return "", nil
	}
	r, err := store.NewChain(l.db.cfg.Sealer, l.name).Resume(data)
	if err != nil {
		return "", err
	}
	if !r.Marker || r.Lineage != lineage {
		return "", nil
	}
	m, err := store.DecodeMarker(r.Payload)
	return m.Instance, err
}

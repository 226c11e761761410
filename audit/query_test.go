package audit_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/audit/crashfs"
)

func TestQuery(t *testing.T) {
	start := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	files := &crashfs.FS{}
	l := open(t, audit.Config{FS: files, SegmentBytes: 600, Now: func() time.Time { return start }, CheckpointEvery: time.Hour})
	for i, e := range []audit.Event{
		{DecisionID: "a", Kind: audit.KindExchange, Outcome: audit.Allow, Subject: "u:ann", ClientID: "k:x", Actors: []string{"k:x", "k:y"}, Scopes: []string{"db:read:t/1"}, TokenID: "j1"},
		{DecisionID: "b", Kind: audit.KindRefusal, Outcome: audit.Deny, Subject: "u:ann", ClientID: "k:x", Scopes: []string{"mail:send:a"}, Refused: []string{"db:write:t/1"}},
		{DecisionID: "c", Kind: audit.KindUse, Outcome: audit.Allow, Subject: "u:bob", ClientID: "k:y", Scopes: []string{"dbx:read:t/1"}, Task: "k:x db:", TokenID: "j1"},
		{DecisionID: "d", Kind: audit.KindExchange, Outcome: audit.Allow, Subject: "k:x", ClientID: "k:x", Detail: map[string]string{"sub": "u:bob"}},
		{DecisionID: "e", Kind: audit.KindLift, Subject: `odd "quoted"`},
	} {
		e.Time = start.Add(time.Duration(i) * 24 * time.Hour)
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	day := func(n int) time.Time { return start.Add(time.Duration(n) * 24 * time.Hour) }
	for name, c := range map[string]struct {
		filter audit.Filter
		want   string
	}{
		"agent, in the chain too":   {audit.Filter{Agent: "k:y"}, "a c"},
		"agent, not in other texts": {audit.Filter{Agent: "k:x"}, "a b d"},
		"subject":                   {audit.Filter{Subject: "u:bob"}, "c"},
		"subject with quotes":       {audit.Filter{Subject: `odd "quoted"`}, "e"},
		"tool, refused too":         {audit.Filter{Tool: "db"}, "a b"},
		"outcome":                   {audit.Filter{Outcome: audit.Deny}, "b"},
		"token":                     {audit.Filter{TokenID: "j1"}, "a c"},
		"kind and subject":          {audit.Filter{Kind: audit.KindExchange, Subject: "u:ann"}, "a"},
		"since and until":           {audit.Filter{Since: day(1), Until: day(3)}, "b c"},
		"newest first":              {audit.Filter{Since: day(1), NewestFirst: true, Limit: 3}, "e d c"},
		"limit":                     {audit.Filter{Agent: "k:x", Limit: 2}, "a b"},
		"nobody":                    {audit.Filter{Subject: "u:carl"}, ""},
	} {
		if got := decisions(query(t, files, c.filter)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if len(names(files)) < 2 {
		t.Error("the test does not cross segments")
	}
	for range audit.Query(files, audit.Filter{}) {
		break // may end early
	}
}

func TestDecisionByID(t *testing.T) {
	clock := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	files := &crashfs.FS{}
	l := open(t, audit.Config{FS: files, SegmentBytes: 1000, Now: func() time.Time { return clock }})
	ids := []string{}
	for i := range 8 {
		clock = clock.Add(6 * time.Hour)
		ms := clock.UnixMilli()
		id := fmt.Sprintf("%08x-%04x-7abc-8def-%012x", ms>>16, ms&0xffff, i)
		ids = append(ids, id, fmt.Sprint("plain ", i))
		for _, id := range ids[2*i:] {
			if _, err := l.Append(t.Context(), audit.Event{Kind: audit.KindUse, DecisionID: id}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, id := range ids {
		if r, err := l.Decision(t.Context(), id); err != nil || r.DecisionID != id {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, id := range []string{"", "unknown", "0195600a-2c4f-7c3e-8a1b-0d9e6b5c4a32"} {
		if _, err := l.Decision(t.Context(), id); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("%q: %v, want ErrNotFound", id, err)
		}
	}
}

func TestQueryTellsOfALineThatIsNoRecord(t *testing.T) {
	dir := fstest.MapFS{"audit-00000000000000000001.jsonl": {Data: []byte("{\"seq\":1}\nrubbish\n")}, "notes.txt": {}}
	n := 0
	var last error
	for _, err := range audit.Query(dir, audit.Filter{}) {
		n, last = n+1, err
	}
	if n != 2 || last == nil {
		t.Errorf("%d results, the last with error %v", n, last)
	}
}

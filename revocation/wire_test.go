package revocation_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

func sampleEvents() []revocation.Event {
	rule := testRule(1, revocation.SelectSubject, "user:ann\u2028ü")
	rule.Reason, rule.By = "left the company", "user:ops"
	rule.Entries = []token.Rev{{Lineage: 1 << 63, Seq: 7}, {Lineage: 2, Seq: 1 << 40}}
	quarantine := testRule(2, revocation.SelectIssuer, "k8s:prod:")
	quarantine.Quarantine, quarantine.ExpiresAt = true, time.Time{}
	compact := testRule(3, revocation.SelectToken, testID(99))
	lift := revocation.Lift{ID: testID(4), RuleID: rule.ID, At: testStart, ExpiresAt: testStart.Add(time.Hour), Reason: "came back", Entries: rule.Entries}
	lineage := revocation.Lineage{ID: 1 << 63, Marker: 3, Base: []token.Rev{{Lineage: 2, Seq: 9}}, OpenedAt: testStart}
	at := token.Rev{Lineage: 1 << 63, Seq: 8}
	return []revocation.Event{
		{Type: revocation.EventRule, Rule: &rule, Position: at},
		{Type: revocation.EventRule, Rule: &quarantine},
		{Type: revocation.EventRule, Rule: &compact},
		{Type: revocation.EventLift, Lift: &lift, Position: at},
		{Type: revocation.EventLineage, Lineage: &lineage, Position: at},
		{Type: revocation.EventHeartbeat, Heartbeat: &revocation.Heartbeat{Position: at, ConfirmedAgoMS: 12}},
		{Type: revocation.EventKeys, Keys: json.RawMessage(`{"keys":[]}`)},
		{Type: revocation.EventSnapshot, Snapshot: "e30.e30.c2ln", Position: at},
	}
}

func TestEventsSurviveTheFeed(t *testing.T) {
	var stream []byte
	for _, e := range sampleEvents() {
		var err error
		stream, err = revocation.AppendSSE(stream, e)
		must(t, err)
		stream = append(stream, ": a comment\n\nevent: from-the-future\ndata: {}\n\n"...)
	}
	for name, text := range map[string]string{"as written": string(stream), "with CRLF": strings.ReplaceAll(string(stream), "\n", "\r\n")} {
		d := revocation.NewDecoder(strings.NewReader(text), 0)
		for _, want := range sampleEvents() {
			got, err := d.Next()
			must(t, err)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %+v, want %+v", name, got, want)
			}
		}
		if _, err := d.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
}

func TestBadFeeds(t *testing.T) {
	for name, text := range map[string]string{
		"bad id":           "event: heartbeat\nid: 7\ndata: {}\n\n",
		"bad rule":         "event: rule\ndata: {\"id\":\"x\"}\n\n",
		"unknown selector": "event: rule\ndata: " + ruleJSON(t, func(m map[string]any) { m["selector"] = "mood" }) + "\n\n",
		"no expiry":        "event: rule\ndata: " + ruleJSON(t, func(m map[string]any) { delete(m, "expires_at") }) + "\n\n",
		"bad lineage":      "event: lineage\ndata: {\"lineage\":\"7\",\"marker\":1,\"opened_at\":\"2026-09-01T12:00:00Z\"}\n\n",
		"bad keys":         "event: keys\ndata: {\n\n",
		"too long":         "event: keys\ndata: \"" + strings.Repeat("x", 2000) + "\"\n\n",
		"long in pieces":   "event: keys\n" + strings.Repeat("data: xxxxxxxxxxxxxxxx\n", 100) + "\n",
	} {
		d := revocation.NewDecoder(strings.NewReader(text), 1000)
		if e, err := d.Next(); !errors.Is(err, revocation.ErrFeed) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	d := revocation.NewDecoder(strings.NewReader("event: keys\ndata: {}\n"), 0)
	if e, err := d.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("an event that is cut off came through: %+v, %v", e, err)
	}
	for name, e := range map[string]revocation.Event{
		"empty": {}, "no rule": {Type: revocation.EventRule}, "lines": {Type: revocation.EventSnapshot, Snapshot: "a\nevent: keys"},
		"bad keys": {Type: revocation.EventKeys, Keys: []byte("{")},
	} {
		if out, err := revocation.AppendSSE(nil, e); err == nil {
			t.Errorf("%s: wrote %q", name, out)
		}
	}
}

func ruleJSON(t *testing.T, change func(map[string]any)) string {
	data, err := json.Marshal(testRule(1, revocation.SelectSubject, "user:ann"))
	must(t, err)
	var m map[string]any
	must(t, json.Unmarshal(data, &m))
	change(m)
	data, err = json.Marshal(m)
	must(t, err)
	return string(data)
}

func TestRuleValidation(t *testing.T) {
	for name, change := range map[string]func(*revocation.Rule){
		"id in capitals":      func(r *revocation.Rule) { r.ID = strings.ToUpper(testID(0xabcdef)) },
		"no value":            func(r *revocation.Rule) { r.Value = "" },
		"value with newline":  func(r *revocation.Rule) { r.Value = "a\nb" },
		"value not UTF-8":     func(r *revocation.Rule) { r.Value = "\xff" },
		"value too long":      func(r *revocation.Rule) { r.Value = strings.Repeat("x", revocation.MaxValue+1) },
		"all with a value":    func(r *revocation.Rule) { r.Selector = revocation.SelectAll },
		"issuer of no prefix": func(r *revocation.Rule) { r.Selector, r.Value = revocation.SelectIssuer, "k8s" },
		"scope malformed":     func(r *revocation.Rule) { r.Selector, r.Value = revocation.SelectScope, "a:b" },
		"role quarantined": func(r *revocation.Rule) {
			r.Selector, r.Quarantine, r.ExpiresAt = revocation.SelectRole, true, time.Time{}
		},
		"quarantine expires":  func(r *revocation.Rule) { r.Quarantine = true },
		"expires before":      func(r *revocation.Rule) { r.ExpiresAt = r.CreatedAt.Add(-time.Second) },
		"created long after":  func(r *revocation.Rule) { r.CreatedAt = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"entry of no lineage": func(r *revocation.Rule) { r.Entries = []token.Rev{{Seq: 1}} },
		"two in one lineage":  func(r *revocation.Rule) { r.Entries = []token.Rev{{Lineage: 1, Seq: 1}, {Lineage: 1, Seq: 2}} },
	} {
		r := testRule(1, revocation.SelectSubject, "user:ann")
		change(&r)
		if err := r.Validate(); err == nil {
			t.Errorf("%s: accepted %+v", name, r)
		}
		x := revocation.NewIndex(revocation.Options{})
		if err := x.Apply(revocation.Event{Type: revocation.EventRule, Rule: &r, Position: token.Rev{Lineage: 1, Seq: 5}}); err == nil || !x.Position().IsZero() {
			t.Errorf("%s: the index took it, or went past it", name)
		}
	}
}

// FuzzFeed: whatever a stream brings, what is decoded is valid, and reads back the same.
func FuzzFeed(f *testing.F) {
	for _, e := range sampleEvents() {
		sse, err := revocation.AppendSSE(nil, e)
		must(f, err)
		f.Add(sse)
	}
	f.Add([]byte("event: rule\r\ndata: {}\r\n\r\n: x\nid\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		d := revocation.NewDecoder(bytes.NewReader(stream), 1<<16)
		for range 8 {
			e, err := d.Next()
			if err != nil {
				return
			}
			sse, err := revocation.AppendSSE(nil, e)
			if err != nil {
				if e.Type == revocation.EventSnapshot || e.Type == revocation.EventKeys {
					continue // what is in them is for others to judge
				}
				t.Fatalf("decoded what cannot be encoded: %+v: %v", e, err)
			}
			again, err := revocation.NewDecoder(bytes.NewReader(sse), 1<<20).Next()
			if err != nil || e.Type != revocation.EventKeys && !reflect.DeepEqual(again, e) {
				t.Fatalf("%+v became %+v, %v", e, again, err)
			}
			if e.Type != revocation.EventSnapshot {
				must(t, revocation.NewIndex(revocation.Options{}).Apply(e))
			}
		}
	})
}

// FuzzRecord: a payload has one meaning, and a meaning one payload.
func FuzzRecord(f *testing.F) {
	for _, e := range sampleEvents()[:5] {
		kind, payload, err := revocation.AppendRecord(nil, &e)
		must(f, err)
		f.Add(kind, payload)
	}
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		e, err := revocation.DecodeRecord(kind, payload)
		if err != nil {
			return
		}
		k, again, err := revocation.AppendRecord(nil, &e)
		if err != nil || k != kind || !bytes.Equal(again, payload) {
			t.Fatalf("%d %x became %d %x, %v", kind, payload, k, again, err)
		}
	})
}

// FuzzSnapshot: whatever is accepted can be merged, and is complete.
func FuzzSnapshot(f *testing.F) {
	x := revocation.NewIndex(revocation.Options{})
	must(f, x.Apply(sampleEvents()[:5]...))
	for part := range x.Snapshots(1) {
		data, err := json.Marshal(part)
		must(f, err)
		f.Add(data)
	}
	f.Add([]byte(`{"records":"AQ=="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s revocation.Snapshot
		if json.Unmarshal(data, &s) != nil {
			return
		}
		x := revocation.NewIndex(revocation.Options{})
		if x.Merge(s) != nil {
			return // the same id with two contents
		}
		for _, r := range s.Rules {
			_, lifted := x.Lifted(r.ID)
			if _, ok := x.Rule(r.ID); !ok && !lifted {
				t.Fatalf("rule %s is missing", r.ID)
			}
		}
	})
}

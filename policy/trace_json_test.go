package policy_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/writbroker/writ/policy"
)

// TestTraceIsWrittenAsItsEntries holds the writer of traces against encoding/json.
func TestTraceIsWrittenAsItsEntries(t *testing.T) {
	b := load(t, warehouse)
	agent := workload("k8s:prod:analyst")
	agent.Attributes["team"] = `"quoted" <é>`
	for name, r := range map[string]policy.Request{
		"allowed":           ask(t, agent, "warehouse:read:sales/eu/* warehouse:list:sales/**"),
		"refused":           ask(t, agent, "warehouse:read:sales/** mail:send:Team/x"),
		"unknown tool":      ask(t, agent, "nosuch:read:a/%22"),
		"unknown audience":  ask(t, agent, "warehouse:read:shift/a", func(r *policy.Request) { r.Audiences = []string{"https://\"<é>\\\n"} }),
		"delegated":         ask(t, user("corp:ann"), "warehouse:read:sales/eu/*", by(agent)),
		"nothing asked for": ask(t, workload("k8s:prod:special"), ""),
	} {
		t.Run(name, func(t *testing.T) {
			trace := b.Authorize(r).Trace
			var want bytes.Buffer
			enc := json.NewEncoder(&want)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(trace.Entries()); err != nil {
				t.Fatal(err)
			}
			var got, same any
			text := trace.AppendJSON([]byte("x"))[1:]
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if err := json.Unmarshal(want.Bytes(), &same); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, same) {
				t.Errorf("wrote %s\nwant  %s", text, want.Bytes())
			}
			if trace.IsEmpty() {
				t.Error("is empty")
			}
			var read policy.Trace
			if err := json.Unmarshal(text, &read); err != nil {
				t.Fatal(err)
			}
			if again := read.AppendJSON(nil); !bytes.Equal(again, text) {
				t.Errorf("read and written again: %s\nwant %s", again, text)
			}
		})
	}
	if none := (policy.Trace{}); !none.IsEmpty() || string(none.AppendJSON(nil)) != "[]" {
		t.Errorf("no trace is written as %s", none.AppendJSON(nil))
	}
}

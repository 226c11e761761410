package demo_test

import (
	"bytes"
	"testing"

	"github.com/writbroker/writ/cmd/writ/internal/demo"
)

func TestTheStoryHolds(t *testing.T) {
	var out bytes.Buffer
	p := &demo.Printer{Out: &out}
	report, err := demo.Run(t.Context(), demo.Config{DataDir: t.TempDir(), Started: p.Started, Done: p.Done})
	p.End(report)
	t.Logf("%s", out.String())
	if err != nil {
		t.Fatal(err)
	}
}

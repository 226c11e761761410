package revocation_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// An acknowledgement that was held up on its way, and comes after a later one, takes nothing back.
func TestAckThatComesLate(t *testing.T) {
	acks := revocation.NewAcks(time.Now, func(a, b token.Rev) bool { return a.Seq >= b.Seq })
	defer acks.Join("v", "warehouse", "p")()
	for _, seq := range []uint64{6, 5} {
		acks.Report(revocation.Ack{Verifier: "v", Position: token.Rev{Lineage: 1, Seq: seq}})
	}
	if s := acks.Status(token.Rev{Lineage: 1, Seq: 6}, "", time.Now()); s.Count != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestLackingAKey(t *testing.T) {
	at, later := token.Rev{Lineage: 1, Seq: 5}, token.Rev{Lineage: 1, Seq: 6}
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("made-up-%03d", i)
	}
	for name, tc := range map[string]struct {
		acks []revocation.Ack
		want string
	}{
		"nothing acknowledged yet": {nil, "behind"},
		"the key is there":         {[]revocation.Ack{{Position: at, Keys: []string{"k1", "k2"}}}, ""},
		"other keys are":           {[]revocation.Ack{{Position: at, Keys: []string{"k1"}}}, "behind"},
		"no keys are named":        {[]revocation.Ack{{Position: at}}, "silent"},
		"it came":                  {[]revocation.Ack{{Position: at, Keys: []string{"k1"}}, {Position: at, Keys: []string{"k2"}}}, ""},
		"it went":                  {[]revocation.Ack{{Position: at, Keys: []string{"k2"}}, {Position: at, Keys: []string{"k1"}}}, "behind"},
		"what comes late":          {[]revocation.Ack{{Position: later, Keys: []string{"k1", "k2"}}, {Position: at, Keys: []string{"k1"}}}, ""},
		"named before a position":  {[]revocation.Ack{{Keys: []string{"k2"}}}, ""},
		"behind more than is kept": {[]revocation.Ack{{Position: at, Keys: append(slices.Clone(many), "k2")}}, "behind"},
		"longer than a kid":        {[]revocation.Ack{{Position: at, Keys: []string{"k2" + strings.Repeat("x", 64)}}}, "silent"},
		"said twice over":          {[]revocation.Ack{{Position: at, Keys: append(slices.Repeat([]string{"k1"}, 50), "k2")}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			acks := revocation.NewAcks(time.Now, func(a, b token.Rev) bool { return a.Seq >= b.Seq })
			leave := acks.Join("v", "warehouse", "p")
			for _, ack := range tc.acks {
				ack.Verifier = "v"
				if !acks.Report(ack) {
					t.Fatal("not taken")
				}
			}
			behind, silent := acks.Lacking("k2")
			got := strings.Repeat("behind", len(behind)) + strings.Repeat("silent", len(silent))
			if got != tc.want {
				t.Errorf("it is %q, want %q: %+v", got, tc.want, acks.Verifiers())
			}
			leave()
			if behind, silent := acks.Lacking("k2"); len(behind)+len(silent) > 0 {
				t.Errorf("one who has gone is waited for: %v %v", behind, silent)
			}
		})
	}
}

package awssts_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/token"
)

// At MinIO, which can be lied to about the time, a session that is shorter than any STS gives ends
// with its proof: no duration is asked for, which would go before. Elsewhere, and for longer ones,
// a proof is good for one call, and the duration is that of the session.
func TestAShortSessionAtMinIOEndsWithItsProof(t *testing.T) {
	for _, row := range []struct {
		plain bool
		ttl   time.Duration
		asked string // the duration
		proof time.Duration
	}{
		{true, 7 * time.Minute, "", 7 * time.Minute},
		{true, awssts.MinDuration, "900", 5 * time.Minute},
		{false, 7 * time.Minute, "900", 5 * time.Minute},
	} {
		s := newStudio(t, awssts.WebIdentity)
		s.cfg.Plain = row.plain
		session, call := s.made(workload{ttl: row.ttl})
		if got := call.Form.Get("DurationSeconds"); got != row.asked {
			t.Errorf("%+v: asked for %q seconds", row, got)
		}
		unverified, err := token.Parse(call.Proof)
		if err != nil {
			t.Fatal(err)
		}
		key, _ := s.keys.Key("k1")
		payload, err := unverified.Verify(key)
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			Expiry int64 `json:"exp"`
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		if want := s.now.Add(row.proof); claims.Expiry != want.Unix() {
			t.Errorf("%+v: the proof ends at %v, want %v", row, time.Unix(claims.Expiry, 0), want)
		}
		if want := s.now.Add(row.ttl); !session.Expires.Equal(want) {
			t.Errorf("%+v: the session ends at %v, want %v", row, session.Expires, want)
		}
	}
}

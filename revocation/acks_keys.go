package revocation

import (
	"slices"
	"time"
)

// Limits of the keys that are remembered of one verifier, above what a broker publishes.
// What is left out makes it look as if it lacked a key, never as if it had one.
const (
	ackKeys   = 32
	ackKeyLen = 64
)

// Lacking says which connected verifiers have not reported that they hold a key, by id.
// Those that are behind have reported other keys, or have not acknowledged anything yet. The
// silent ones acknowledge without saying which keys they hold, as older versions do.
func (a *Acks) Lacking(kid string) (behind, silent []VerifierState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for v := range a.all {
		switch {
		case !v.keysAt.IsZero() && len(v.state.Keys) == 0:
			silent = append(silent, v.state)
		case !slices.Contains(v.state.Keys, kid):
			behind = append(behind, v.state)
		}
	}
	slices.SortFunc(behind, byVerifier)
	slices.SortFunc(silent, byVerifier)
	return behind, silent
}

// holds notes which keys a verifier has said that it holds. What it said later counts,
// whichever way it came.
func (v *verifierAcks) holds(kids []string, at time.Time) {
	if at.Before(v.keysAt) {
		return
	}
	v.keysAt = at
	if kids = keptKeys(kids); !slices.Equal(kids, v.state.Keys) {
		v.state.Keys = kids
	}
}

// keptKeys is a list as it is remembered: sorted, without repetitions, within the limits.
func keptKeys(kids []string) []string {
	var out []string
	for _, kid := range kids {
		if kid != "" && len(kid) <= ackKeyLen && len(out) < ackKeys && !slices.Contains(out, kid) {
			out = append(out, kid)
		}
	}
	slices.Sort(out)
	return out
}

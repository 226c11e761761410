package app

import (
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/revocation"
)

// lacking tells the rotator which verifiers, of all replicas, have not reported a key.
func (a *App) lacking(kid string) keys.Lacking {
	if a.acks == nil { // the first ring is opened before anybody can have connected
		return keys.Lacking{}
	}
	behind, silent := a.acks.Lacking(kid)
	return keys.Lacking{Behind: labels(behind), Silent: labels(silent)}
}

func labels(verifiers []revocation.VerifierState) []string {
	out := make([]string, len(verifiers))
	for i, v := range verifiers {
		out[i] = v.Label()
	}
	return out
}

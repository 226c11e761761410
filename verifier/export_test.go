package verifier

import "time"

// AckOnce has nothing acknowledged again only because time has passed. Call it before Run.
func (v *Verifier) AckOnce() { v.acks.anyway = 24 * time.Hour }

// StrangerAsks is what a token with an unknown key id does.
func (v *Verifier) StrangerAsks() { v.wantKeys(unknownKey) }

// RotationIsHeard has a rotation told, and reports whether that is what the keys are fetched for.
// The Verifier must not run.
func (v *Verifier) RotationIsHeard() bool {
	v.wantKeys(rotated)
	return <-v.nudge == rotated
}

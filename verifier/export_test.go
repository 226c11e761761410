package verifier

import "time"

// AckOnce has nothing acknowledged again only because time has passed. Call it before Run.
func (v *Verifier) AckOnce() { v.acks.anyway = 24 * time.Hour }

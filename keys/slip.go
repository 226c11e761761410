package keys

import (
	"slices"
	"time"
)

// slip is a write that took effect much later than it says: this replica was stopped between
// the two. Verifiers have had a new key, and others have known of the end of an old one, for less
// time than its stamps say; so the stamps are moved.
type slip struct {
	at time.Time     // stamps from here on
	by time.Duration // are so much too early
}

// apply returns the state with its stamps moved. Doing it twice only makes things later still.
func (s slip) apply(state State) State {
	state.Keys = slices.Clone(state.Keys)
	for i := range state.Keys {
		k := &state.Keys[i]
		if !k.Retired.IsZero() && !k.Retired.Before(s.at) {
			k.DropAfter = k.DropAfter.Add(s.by)
		}
		for _, stamp := range []*time.Time{&k.Published, &k.Activated, &k.Retired} {
			if !stamp.IsZero() && !stamp.Before(s.at) {
				*stamp = stamp.Add(s.by)
			}
		}
	}
	return state
}

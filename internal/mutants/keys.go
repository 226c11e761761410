package mutants

// keys breaks what a rotation must not lose: live tokens, the newest ring, and the end of a key
// that leaked.
func keys() []Mutant {
	return []Mutant{
		{
			Name: "keys: a key is dropped while its tokens may live", File: "keys/schedule.go",
			Old:      "return s.MaxTTL + s.MaxLag + 5*s.Skew",
			New:      "return s.MaxTTL",
			Packages: []string{"./keys"}, Run: "^TestFleet$",
		},
		{
			Name: "keys: an older ring is taken", File: "keys/read.go",
			Old:      "if state.Version <= r.known.Version {",
			New:      "if false {",
			Packages: []string{"./keys"}, Run: "^TestAStoreThatLiesIsRefused$",
		},
		{
			Name: "keys: a leaked key stays published", File: "keys/emergency.go",
			Old:      "state, changed = state.without(in.revoke), true",
			New:      "changed = true",
			Packages: []string{"./keys"}, Run: "^TestRotateNowRevokes$",
		},
	}
}

package mutants

// mint breaks what a token must say.
func mint() []Mutant {
	return []Mutant{
		{
			Name: "mint: only the last agent of a chain", File: "mint/mint.go",
			Old:      "out = &token.Actor{Subject: agent, Actor: out}",
			New:      "out = &token.Actor{Subject: agent}",
			Packages: []string{"./mint"}, Run: "^TestTheTokenSaysWhatWasGranted$",
		},
	}
}

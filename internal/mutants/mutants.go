package mutants

import "slices"

// A Mutant is one change of one file that must make a test fail.
type Mutant struct {
	Name     string   // "area: what is broken"
	File     string   // from the module's root, with slashes
	Old, New string   // Old must occur exactly once; the result must compile
	Packages []string // whose tests run, as `go test` takes them
	Run      string   // the -run pattern of the tests that must fail: seconds, not minutes
}

// All returns every mutant, area by area.
func All() []Mutant {
	return slices.Concat(
		audit(),
		awskms(),
		awsAgent(),
		awssts(),
		broker(),
		denies(),
		identity(),
		keys(),
		mint(),
		policy(),
		revocation(),
		scopes(),
		sessions(),
		store(),
		token(),
		verifier(),
	)
}

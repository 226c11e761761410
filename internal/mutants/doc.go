// Package mutants holds changes that break the shipped code on purpose, each
// with the test that must notice. A test that lets one live checks nothing
// that matters. Nothing imports this package; its test, behind the build tag
// mutants, applies one after the other with an overlay, so that no file in the
// tree is touched:
//
//	go test -tags mutants -run Mutants -count=1 -v ./internal/mutants
//
// and -run 'Mutants/scopes' for those of one area. A new mutant goes into the
// file of its area, a new area into All.
package mutants

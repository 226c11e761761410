package policy

import (
	"fmt"
	"strings"
)

// Fault is one thing that is wrong with a bundle.
type Fault struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Rule    string `json:"rule,omitempty"` // kind and name of the rule it is in, such as "role reader"
	Message string `json:"message"`
	Hint    string `json:"hint"` // what to do about it
}

// String is the fault in one line.
func (f Fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: ", f.File, f.Line)
	if f.Rule != "" {
		b.WriteString(f.Rule + ": ")
	}
	b.WriteString(f.Message)
	if f.Hint != "" {
		b.WriteString(" (" + f.Hint + ")")
	}
	return b.String()
}

// BundleError is all that is wrong with a bundle, sorted by file and line.
type BundleError struct {
	Faults []Fault
	// Tests are the results of all the bundle's tests, where nothing but tests failed.
	Tests []TestResult
}

// Error lists the faults, one a line.
func (e *BundleError) Error() string {
	if len(e.Faults) == 1 {
		return "policy bundle: " + e.Faults[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "policy bundle has %d faults:", len(e.Faults))
	for _, f := range e.Faults {
		b.WriteString("\n  " + f.String())
	}
	return b.String()
}

package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with the file.
type Fault struct {
	File string
	// Line is 1-based; 0 where the key is absent, or no line can be named.
	Line int
	// Key is the dotted key, e.g. keys.prepublish or identity.sources[1].audiences.
	Key     string
	Message string
	// Hint says what to do; it may be empty.
	Hint string
}

// String returns "file:line: key: message; hint" without the parts that are absent.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	b.WriteString(": ")
	if f.Key != "" {
		b.WriteString(f.Key + ": ")
	}
	b.WriteString(f.Message)
	if f.Hint != "" {
		b.WriteString("; " + f.Hint)
	}
	return b.String()
}

// FaultsError holds every fault of a file, in the order of its lines.
type FaultsError struct{ Faults []Fault }

// Error returns one line for each fault.
func (e *FaultsError) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// asError returns nil where there are no faults.
func asError(faults []Fault) error {
	if len(faults) == 0 {
		return nil
	}
	slices.SortStableFunc(faults, func(a, b Fault) int { return cmp.Compare(a.Line, b.Line) })
	return &FaultsError{Faults: faults}
}

// Package examples is what Writ ships to start from: a full configuration, and a policy
// bundle that `writ dev` and `writ demo` run. It holds files and nothing else.
package examples

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed bundle
var files embed.FS

// Bundle is the shipped policy bundle, with its files at the root.
func Bundle() (fs.FS, error) {
	b, err := fs.Sub(files, "bundle")
	if err != nil {
		return nil, fmt.Errorf("opening shipped bundle: %w", err)
	}
	return b, nil
}

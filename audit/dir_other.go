//go:build !linux

package audit

import "os"

// datasync on macOS is F_FULLFSYNC: that is what os.File's Sync does there.
func datasync(f *os.File) error { return f.Sync() }

//go:build unix && !solaris && !aix

package audit

import (
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes an advisory lock that ends with the file's last descriptor, so a
// killed process leaves none behind.
func tryLock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

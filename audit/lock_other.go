//go:build !unix || solaris || aix

package audit

import (
	"errors"
	"os"
)

// tryLock refuses where no lock is known that outlives no process: two writers
// would break the chain.
func tryLock(*os.File) error { return errors.New("file locks are not supported on this platform") }

package app

import (
	"os"
	"runtime/debug"
)

// garbage is the GOGC of a broker. What it keeps (policy, caches, rules) is small and changes
// little, what each request leaves behind is much: at the usual 100 a tenth of its processor time
// would go into finding out again that nearly everything kept is still in use. The heap is at
// most four times of what is kept; GOMEMLIMIT bounds it where that is too much.
const garbage = 300

// Tune sets up the runtime of a process that runs a broker and little else. What the environment
// sets (GOGC) stays.
func Tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
}

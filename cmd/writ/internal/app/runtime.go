package app

import (
	"os"
	"runtime"
	"runtime/debug"
)

// garbage is the GOGC of a broker. What it keeps (policy, caches, rules) is small and changes
// little, what each request leaves behind is much: at the usual 100 a tenth of its processor time
// would go into finding out again that nearly everything kept is still in use. The heap is at
// most four times of what is kept; GOMEMLIMIT bounds it where that is too much.
const garbage = 300

// Tune sets up the runtime of a process that runs a broker and little else. What the environment
// sets (GOGC, GOMAXPROCS) stays.
//
// There is a processor more than the machine has: one of them is nearly always lent to the audit
// log's writer, which waits for the disk, and the runtime takes a while to notice that.
func Tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}

package policy_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// TestMain keeps a failing property from shrinking for half a minute and from leaving a file behind:
// its message says all there is to say. Flags on the command line still win.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.shrinktime": "3s", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

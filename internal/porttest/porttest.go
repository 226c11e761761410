// Package porttest finds ports on loopback for servers that cannot choose their own, or that
// come back where they were.
package porttest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports are below those that systems choose from for others, so that no client and no listener
// on port 0 gets one that is free for a moment, as between two runs of a server.
const first, count = 12000, 20000

const tries = 1000

var (
	mu    sync.Mutex
	given = map[int]bool{} // guarded by mu
)

// Free is a port that nobody listens on. No two calls of a process give the same.
func Free(tb testing.TB) int {
	tb.Helper()
	mu.Lock()
	defer mu.Unlock()
	for range tries {
		port := first + rand.IntN(count) //nolint:gosec // nothing depends on it
		if given[port] {
			continue
		}
		listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", address(port))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			tb.Fatal(err)
		}
		given[port] = true
		return port
	}
	tb.Fatalf("of %d ports on loopback none is free", tries)
	return 0
}

// Address is a free port's.
func Address(tb testing.TB) string {
	tb.Helper()
	return address(Free(tb))
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

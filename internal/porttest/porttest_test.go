package porttest_test

import (
	"net"
	"sync"
	"testing"

	"github.com/writbroker/writ/internal/porttest"
)

// Whoever asks at the same time gets another port, though none is in use yet.
func TestNoPortIsGivenTwice(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				port := porttest.Free(t)
				mu.Lock()
				if seen[port] {
					t.Errorf("port %d twice", port)
				}
				seen[port] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", porttest.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
}

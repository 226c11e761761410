package awsagent_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/client/awsagent"
)

// Agents that start at once have one token: none finds a file that another has not written yet.
func TestTokenFileOfAgentsThatStartAtOnce(t *testing.T) {
	dir := t.TempDir()
	for range 200 {
		path := filepath.Join(dir, "token")
		var all sync.WaitGroup
		start := make(chan struct{})
		tokens, errs := make([]client.Secret, 8), make([]error, 8)
		for i := range tokens {
			all.Go(func() {
				<-start
				tokens[i], errs[i] = awsagent.TokenFile(path)
			})
		}
		close(start)
		all.Wait()
		for i := range tokens {
			if errs[i] != nil || tokens[i] != tokens[0] {
				t.Fatalf("agent %d: another token, or %v", i, errs[i])
			}
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Fatalf("%d files are left, %v", len(left), err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

package app_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/writbroker/writ/cmd/writ/internal/app"
)

func TestReplicaIDStaysWithItsData(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	first, err := app.ReplicaID(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := app.ReplicaID(dir)
	if err != nil || again != first {
		t.Errorf("the second start is %q, %v, want %q", again, err, first)
	}
	if second, err := app.ReplicaID(other); err != nil || second == first {
		t.Errorf("another replica is %q, %v", second, err)
	}
	// The name becomes a part of names in the store.
	for _, bad := range []string{"", "short", "../../elsewhere", "UPPERCASE", "with space in it"} {
		if err := os.WriteFile(filepath.Join(dir, "replica-id"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := app.ReplicaID(dir); err == nil {
			t.Errorf("%q was taken for an id: %q", bad, got)
		}
	}
}

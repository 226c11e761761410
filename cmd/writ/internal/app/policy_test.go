package app_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/writbroker/writ/cmd/writ/internal/app"
)

// TestBundleOfAMountedConfigMap: Kubernetes mounts links into a folder whose name begins with
// dots, and replaces that folder as a whole.
func TestBundleOfAMountedConfigMap(t *testing.T) {
	dir := t.TempDir()
	release := func(name, text string) {
		t.Helper()
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name, "roles.yaml"), []byte(text), 0o600))
		must(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	release("..1", "kind: roles\nroles: []\n")
	must(t, os.Symlink("..data/roles.yaml", filepath.Join(dir, "roles.yaml")))
	before, err := app.Digest(os.DirFS(dir))
	if err != nil {
		t.Fatalf("a mounted ConfigMap: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "README.md"), []byte("notes"), 0o600))
	if same, err := app.Digest(os.DirFS(dir)); err != nil || same != before {
		t.Errorf("a file that is no part of the bundle changed it (%v)", err)
	}
	release("..2", "kind: roles\nroles: [] # another\n")
	if after, err := app.Digest(os.DirFS(dir)); err != nil || after == before {
		t.Errorf("a change behind the link was not seen (%v)", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package app_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/policy"
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

// Who starts while somebody writes the bundle waits until that is done.
func TestABundleThatIsWrittenWhileItIsRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) { must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)) }
	load := func() (*policy.Bundle, error) { return policy.Load(os.DirFS(dir), policy.Options{}) }
	write("lake.yaml", "kind: catalog\ntools: [{name: lake, audience: lake, actions: [read]}]\n")
	looks := 0
	got, sum, err := app.Settled(t.Context(), os.DirFS(dir), func() (*policy.Bundle, error) {
		b, err := load()
		if looks++; looks == 1 {
			write("sea.yaml", "kind: catalog\ntools: [{name: sea, audience: sea, actions: [read]}]\n")
		}
		return b, err
	})
	must(t, err)
	want, err := load()
	must(t, err)
	if got.Version() != want.Version() {
		t.Error("half of the bundle is in force")
	}
	if now, err := app.Digest(os.DirFS(dir)); err != nil || now != sum {
		t.Errorf("the digest is another's (%v)", err)
	}
}

// A look that finds no files, since somebody replaces them, is over with the next that does.
func TestABundleThatCouldNotBeReadOnce(t *testing.T) {
	parent := t.TempDir()
	dir, away := filepath.Join(parent, "bundle"), filepath.Join(parent, "away")
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "roles.yaml"), []byte("kind: roles\nroles: []\n"), 0o600))
	w, err := app.NewWatcher(dir, nil)
	must(t, err)
	for _, step := range []struct {
		from, to string
		current  bool
	}{{dir, away, false}, {away, dir, true}} {
		must(t, os.Rename(step.from, step.to))
		w.Check(t.Context())
		if got := w.Status(); got.Current != step.current || len(got.Faults) == 0 != step.current {
			t.Errorf("the policy's status is %+v", got)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

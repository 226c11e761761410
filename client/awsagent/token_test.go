package awsagent_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/client/awsagent"
)

// stranger is neither root nor who runs the tests.
var stranger = os.Geteuid() + 4242

// Who made the file knows the token in it, whatever its mode says.
func TestTokenFileOfAnotherOwner(t *testing.T) {
	const root, me, other = 0, 1000, 1001
	for name, row := range map[string]struct {
		owner, self int
		mode        fs.FileMode
		refused     string // what the error says; empty: it is taken
	}{
		"one's own":                         {owner: me, self: me, mode: 0o600},
		"one's own, not to be written":      {owner: me, self: me, mode: 0o400},
		"root's own":                        {owner: root, self: root, mode: 0o600},
		"root's":                            {owner: root, self: me, mode: 0o600},
		"root's, by the group":              {owner: root, self: me, mode: 0o440},
		"a stranger's":                      {owner: other, self: me, mode: 0o600, refused: "belongs to uid 1001"},
		"a stranger's, where root may read": {owner: other, self: root, mode: 0o600, refused: "belongs to uid 1001"},
		"a stranger's, and open":            {owner: other, self: me, mode: 0o644, refused: "belongs to uid 1001"},
		"one's own, for the group":          {owner: me, self: me, mode: 0o640, refused: "others may read it"},
		"one's own, the group writes":       {owner: me, self: me, mode: 0o620, refused: "others may read it"},
		"one's own, others write":           {owner: me, self: me, mode: 0o602, refused: "others may read it"},
		"root's own, for the group":         {owner: root, self: root, mode: 0o640, refused: "others may read it"},
		"root's, the group writes":          {owner: root, self: me, mode: 0o660, refused: "others may read it"},
		"root's, all read":                  {owner: root, self: me, mode: 0o444, refused: "others may read it"},
		"root's, all write":                 {owner: root, self: me, mode: 0o442, refused: "others may read it"},
		"no file":                           {owner: me, self: me, mode: fs.ModeNamedPipe | 0o600, refused: "regular"},
	} {
		t.Run(name, func(t *testing.T) {
			err := awsagent.CheckTokenFile("/run/token", row.mode, row.owner, row.self)
			switch {
			case row.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case row.refused == "":
			case err == nil || !strings.Contains(err.Error(), row.refused):
				t.Errorf("got %v, want %q", err, row.refused)
			case !strings.Contains(err.Error(), "/run/token") || !strings.Contains(err.Error(), "remove it"):
				t.Errorf("it does not say which file, and what to do: %v", err)
			}
		})
	}
}

// The owner is that of the file which was opened, through however many links. Root gives the file
// away; who may not do that claims to be somebody else than its owner.
func TestTokenFileIsAskedForItsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if _, err := awsagent.TokenFile(path); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	read, owner := awsagent.TokenFile, stranger
	if self := os.Geteuid(); self == 0 {
		if err := os.Chown(path, stranger, -1); err != nil {
			t.Fatal(err)
		}
	} else {
		owner = self
		read = func(path string) (client.Secret, error) { return awsagent.ReadToken(path, stranger) }
	}
	for _, name := range []string{path, link} {
		if _, err := read(name); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s belongs to uid %d", name, owner)) {
			t.Errorf("got %v", err)
		}
	}
}

// A volume of Kubernetes shows each file through two links, the second of which moves with an update.
func TestTokenFileOfAVolume(t *testing.T) {
	dir := t.TempDir()
	versions := []string{"..2026_01_01", "..2026_01_02"}
	for _, version := range versions {
		if err := os.Mkdir(filepath.Join(dir, version), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "token"), []byte(secret+version), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	path, data := filepath.Join(dir, "token"), filepath.Join(dir, "..data")
	if err := os.Symlink(filepath.Join("..data", "token"), path); err != nil {
		t.Fatal(err)
	}
	for _, version := range versions {
		if err := errors.Join(os.Symlink(version, data+"_tmp"), os.Rename(data+"_tmp", data)); err != nil {
			t.Fatal(err)
		}
		if got, err := awsagent.TokenFile(path); err != nil || got.Reveal() != secret+version {
			t.Errorf("%s: %v", version, err)
		}
	}
}

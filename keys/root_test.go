package keys_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/writbroker/writ/keys"
)

func TestLoadOrCreateRoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root")
	var wait sync.WaitGroup
	roots := make([]*keys.Root, 8)
	for i := range roots {
		wait.Go(func() {
			root, err := keys.LoadOrCreateRoot(path)
			if err != nil {
				t.Error(err)
			}
			roots[i] = root
		})
	}
	wait.Wait()
	for _, root := range roots {
		if !bytes.Equal(root.SealKey(), roots[0].SealKey()) {
			t.Fatal("processes that started at once have different roots")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	derived := map[string]bool{}
	for _, key := range [][]byte{roots[0].StoreMACKey(), roots[0].RingMACKey(), roots[0].SealKey(), roots[0].RecordsKey().Seed()} {
		derived[string(key)] = true
		if len(key) != 32 {
			t.Errorf("a derived key has %d bytes", len(key))
		}
	}
	if len(derived) != 4 {
		t.Error("two purposes share a key")
	}
}

func TestRootRefuses(t *testing.T) {
	good := strings.Repeat("ab", 32)
	for name, tt := range map[string]struct {
		text string
		mode fs.FileMode
		want error
	}{
		"readable by the group": {good, 0o640, fs.ErrPermission},
		"readable by all":       {good, 0o604, fs.ErrPermission},
		"writable by others":    {good, 0o602, fs.ErrPermission},
		"too short":             {good[2:], 0o600, keys.ErrRoot},
		"too long":              {good + "ab", 0o600, keys.ErrRoot},
		"not hex":               {strings.Repeat("zz", 32), 0o600, keys.ErrRoot},
		"empty":                 {"", 0o600, keys.ErrRoot},
		"zeros":                 {strings.Repeat("00", 32), 0o600, keys.ErrRoot},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "root")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := keys.LoadOrCreateRoot(path); !errors.Is(err, tt.want) {
				t.Errorf("LoadOrCreateRoot = %v, want %v", err, tt.want)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != tt.text {
				t.Error("a root that is not usable was overwritten")
			}
		})
	}
	if _, err := keys.LoadOrCreateRoot(t.TempDir()); err == nil {
		t.Error("a directory was accepted")
	}
	if _, err := keys.LoadOrCreateRoot(filepath.Join(t.TempDir(), "missing", "root")); err == nil {
		t.Error("a directory was made up")
	}
}

func TestRootNeverShows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root")
	secret := strings.Repeat("ab", 32)
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := keys.LoadOrCreateRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("starting", "root", root)
	text, _ := json.Marshal(root)
	raw, _ := hex.DecodeString(secret)
	shown := log.String() + string(text) + fmt.Sprintf("%v %+v %#v %s %x", root, root, root, root, root)
	if strings.Contains(shown, secret[:8]) || strings.Contains(shown, string(raw[:8])) || strings.Contains(shown, "171, 171") {
		t.Errorf("the secret shows: %s", shown)
	}
}

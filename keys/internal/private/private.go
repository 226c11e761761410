// Package private reads and writes files that hold secrets: only their owner may
// access them, and a write is whole and durable or did not happen. It is called
// by keys and keys/file.
package private

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// mode is that of every file made here.
	mode = 0o600
	// others are the permission bits that must not be set.
	others = 0o077
)

// PermissionError is a secret file that others than its owner may access.
type PermissionError struct {
	Path string
	Mode fs.FileMode
}

// Error says how to mend it.
func (e *PermissionError) Error() string {
	return fmt.Sprintf("%s has mode %04o, so others may have read it: replace what it holds and run chmod 600", e.Path, e.Mode.Perm())
}

// Is makes errors.Is(err, fs.ErrPermission) hold.
func (e *PermissionError) Is(target error) bool { return target == fs.ErrPermission }

// Read returns a file of at most limit bytes. Its mode is checked on the open
// file, so that nobody can exchange it in between.
func Read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Mode().Perm()&others != 0 {
		return nil, &PermissionError{Path: path, Mode: info.Mode()}
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, nil
}

// Create makes a file; fs.ErrExist if there is one already.
func Create(path string, data []byte) error {
	return write(path, data, os.Link)
}

// Replace makes a file or replaces the one that is there.
func Replace(path string, data []byte) error {
	return write(path, data, os.Rename)
}

// write goes through a synced temporary file, so that the path never shows a
// part; place moves it there.
func write(path string, data []byte, place func(from, to string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	// After a rename there is nothing left to remove.
	defer os.Remove(f.Name()) //nolint:errcheck // best effort
	if err := fill(f, data); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func fill(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

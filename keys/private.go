package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// privateMode is that of every private file made here.
	privateMode = 0o600
	// othersMode are the permission bits that a private file must not have.
	othersMode = 0o077
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

// PrivateFile is the path of a file that holds a secret: only its owner may
// access it, and a write is whole and durable or did not happen.
type PrivateFile string

// Read returns the content, of at most limit bytes; fs.ErrNotExist if there is
// none, *PermissionError if others may access it. The mode is checked on the open
// file, so that nobody can exchange it in between.
func (p PrivateFile) Read(limit int64) ([]byte, error) {
	path := string(p)
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Mode().Perm()&othersMode != 0 {
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
func (p PrivateFile) Create(data []byte) error {
	return p.write(data, os.Link)
}

// Replace makes a file or replaces the one that is there.
func (p PrivateFile) Replace(data []byte) error {
	return p.write(data, os.Rename)
}

// write goes through a synced temporary file, so that the path never shows a
// part; place moves it there.
func (p PrivateFile) write(data []byte, place func(from, to string) error) error {
	path := string(p)
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	// After a rename there is nothing left to remove.
	defer os.Remove(f.Name())
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
	return errors.Join(err, f.Chmod(privateMode), f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

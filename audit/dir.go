package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// dir is a directory of the operating system. Names cannot leave it.
type dir struct {
	fs.FS
	path string
	root *os.Root
	lock *os.File
}

// OpenDir opens a directory as an FS, creates it 0700 if it is missing, and locks
// it against other processes until Close.
func OpenDir(path string) (FS, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("creating directory: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("opening directory: %w", err)
	}
	lock, err := root.OpenFile("lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), root.Close())
	}
	if err := tryLock(lock); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s (does another process use it?): %w", path, err), lock.Close(), root.Close())
	}
	return &dir{FS: root.FS(), path: path, root: root, lock: lock}, nil
}

// Append is FS's.
func (d *dir) Append(name string) (File, error) {
	f, err := d.root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// SyncDir is FS's.
func (d *dir) SyncDir() error {
	f, err := os.Open(filepath.Clean(d.path))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Close releases the lock.
func (d *dir) Close() error { return errors.Join(d.lock.Close(), d.root.Close()) }

type osFile struct{ *os.File }

// Sync makes the file's bytes durable, and of its metadata only what reading them
// takes.
func (f osFile) Sync() error { return datasync(f.File) }

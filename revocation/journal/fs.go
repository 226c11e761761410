package journal

import (
	"io"
	"io/fs"
	"os"
)

// FS is the part of a file system that the journal writes through. A write counts
// once Sync has returned, a new name once SyncDir has.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Rename(oldName, newName string) error
	Remove(name string) error
	SyncDir(dir string) error
}

// File is an open file. Writes go to its end.
type File interface {
	io.ReadWriteCloser
	Sync() error
	Truncate(size int64) error
}

// osFS is the operating system's.
type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm) //nolint:gosec // the directory comes from the operator's configuration
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // as above
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

package journal

import (
	"io"
	"io/fs"
)

// FS is the part of a file system that the journal writes through.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Rename(oldName, newName string) error
	Remove(name string) error
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.ReadWriteCloser
	Sync() error
	Truncate(size int64) error
}

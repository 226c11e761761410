// Package crashfs is a file layer in memory for tests of the audit log. It knows
// which bytes were synced, throws the others away at a crash, and fails or hangs
// where a test says so. No product code imports it.
package crashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing/fstest"

	"github.com/writbroker/writ/audit"
)

// Op is an operation that Hook can disturb.
type Op string

// The operations.
const (
	OpAppend   Op = "append" // opening a file
	OpWrite    Op = "write"
	OpSync     Op = "sync"
	OpTruncate Op = "truncate"
	OpSyncDir  Op = "syncdir"
)

// FS is a directory. The zero value is empty and ready; it may be used
// concurrently.
type FS struct {
	// Hook runs before each operation, outside all locks, and may block. Its
	// error becomes the operation's: then the operation is not done, unless the
	// error is a *PersistedError. Set it before use.
	Hook func(op Op, name string) error

	mu    sync.Mutex
	files map[string]*state // guarded by mu
	dead  bool              // guarded by mu: crashed or closed
	syncs int               // guarded by mu
}

type state struct {
	data    []byte
	durable []byte // content at the last sync
	linked  bool   // the directory was synced since the file was created
}

// PersistedError says that an operation failed although it was done.
type PersistedError struct{ Err error }

// Error is that of the cause.
func (e *PersistedError) Error() string { return "failed but persisted: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *PersistedError) Unwrap() error { return e.Err }

// Crash ends this FS, each operation of which now fails, and returns what a disk
// would hold: synced bytes of linked files. What each file's unsynced bytes come to
// is for torn to say; nil loses them.
func (f *FS) Crash(torn func(unsynced []byte) []byte) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	after := &FS{files: map[string]*state{}}
	for name, s := range f.files {
		if !s.linked {
			continue
		}
		data := bytes.Clone(s.durable)
		if rest, extends := bytes.CutPrefix(s.data, s.durable); extends && torn != nil {
			data = append(data, torn(bytes.Clone(rest))...)
		}
		after.files[name] = &state{data: data, durable: bytes.Clone(data), linked: true}
	}
	return after
}

// Edit changes a file behind the log's back; nil removes it.
func (f *FS) Edit(name string, edit func([]byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.files[name]
	if s == nil {
		s = &state{linked: true}
	}
	if f.files == nil {
		f.files = map[string]*state{}
	}
	if s.data = edit(s.data); s.data == nil {
		delete(f.files, name)
		return
	}
	s.durable = bytes.Clone(s.data)
	f.files[name] = s
}

// Names lists the files in no order.
func (f *FS) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for name := range f.files {
		out = append(out, name)
	}
	return out
}

// Syncs counts the files' syncs.
func (f *FS) Syncs() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.syncs
}

// Open is fs.FS's; a file is read as it is at the time.
func (f *FS) Open(name string) (fs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	view := fstest.MapFS{}
	for n, s := range f.files {
		if n == name {
			view[n] = &fstest.MapFile{Data: bytes.Clone(s.data)}
		} else {
			view[n] = &fstest.MapFile{}
		}
	}
	return view.Open(name)
}

func (f *FS) do(op Op, name string, act func()) error {
	var err error
	if f.Hook != nil {
		err = f.Hook(op, name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return fmt.Errorf("%s %s: %w", op, name, fs.ErrClosed)
	}
	if persisted := (*PersistedError)(nil); err == nil || errors.As(err, &persisted) {
		act()
	}
	return err
}

// Append is audit.FS's.
func (f *FS) Append(name string) (audit.File, error) {
	err := f.do(OpAppend, name, func() {
		if f.files == nil {
			f.files = map[string]*state{}
		}
		if f.files[name] == nil {
			f.files[name] = &state{}
		}
	})
	if err != nil {
		return nil, err
	}
	return &file{fs: f, name: name}, nil
}

// SyncDir is audit.FS's.
func (f *FS) SyncDir() error {
	return f.do(OpSyncDir, ".", func() {
		for _, s := range f.files {
			s.linked = true
		}
	})
}

// Close is audit.FS's. The content stays.
func (f *FS) Close() error { return nil }

type file struct {
	fs   *FS
	name string
}

// Write appends.
func (h *file) Write(p []byte) (int, error) {
	n := 0
	err := h.fs.do(OpWrite, h.name, func() {
		s := h.fs.files[h.name]
		s.data = append(s.data, p...)
		n = len(p)
	})
	return n, err
}

// Sync makes what was written durable.
func (h *file) Sync() error {
	return h.fs.do(OpSync, h.name, func() {
		s := h.fs.files[h.name]
		h.fs.syncs++
		if len(s.data) >= len(s.durable) && bytes.Equal(s.data[:len(s.durable)], s.durable) {
			s.durable = append(s.durable, s.data[len(s.durable):]...)
			return
		}
		s.durable = bytes.Clone(s.data)
	})
}

// Truncate cuts; the cut is durable at the next Sync.
func (h *file) Truncate(size int64) error {
	return h.fs.do(OpTruncate, h.name, func() {
		s := h.fs.files[h.name]
		s.data = s.data[:min(int64(len(s.data)), size)]
	})
}

// Close does nothing: a crash is the only end of a handle here.
func (h *file) Close() error { return nil }

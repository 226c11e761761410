package app_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"github.com/writbroker/writ/revocation/journal"
)

// lossyFS is the journal's file layer, in memory. At a kill it forgets each byte and each
// name that was not synced, and of the end of a file an arbitrary part.
type lossyFS struct {
	mu     sync.Mutex
	dead   bool
	linked map[string]*content // names that a sync of their directory made durable
	names  map[string]*content
}

type content struct {
	data    []byte
	durable []byte
}

var errKilled = errors.New("killed")

func newLossyFS() *lossyFS {
	return &lossyFS{linked: map[string]*content{}, names: map[string]*content{}}
}

// kill ends this layer, and gives what a new process finds on the disk.
func (f *lossyFS) kill(rng *rand.Rand) *lossyFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	after := newLossyFS()
	for name, c := range f.linked {
		data := bytes.Clone(c.durable)
		if rest, extends := bytes.CutPrefix(c.data, c.durable); extends && len(rest) > 0 {
			data = append(data, rest[:rng.IntN(len(rest))]...)
		}
		after.names[name] = &content{data: data, durable: bytes.Clone(data)}
		after.linked[name] = after.names[name]
	}
	return after
}

func (f *lossyFS) do(act func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errKilled
	}
	return act()
}

func (f *lossyFS) OpenFile(name string, flag int, _ fs.FileMode) (journal.File, error) {
	h := &lossyFile{fs: f}
	return h, f.do(func() error {
		h.content = f.names[name]
		if h.content == nil && flag&os.O_CREATE == 0 {
			return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		if h.content == nil {
			h.content = &content{}
			f.names[name] = h.content
		}
		if flag&os.O_TRUNC != 0 {
			h.data = nil
		}
		return nil
	})
}

func (f *lossyFS) Rename(from, to string) error {
	return f.do(func() error {
		if f.names[from] == nil {
			return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
		}
		f.names[to] = f.names[from]
		delete(f.names, from)
		return nil
	})
}

func (f *lossyFS) Remove(name string) error {
	return f.do(func() error {
		delete(f.names, name)
		return nil
	})
}

func (f *lossyFS) SyncDir(dir string) error {
	return f.do(func() error {
		f.linked = map[string]*content{}
		for name, c := range f.names {
			if filepath.Dir(name) == filepath.Clean(dir) {
				f.linked[name] = c
			}
		}
		return nil
	})
}

type lossyFile struct {
	fs *lossyFS
	*content
	read int
}

func (h *lossyFile) Read(p []byte) (n int, err error) {
	err = h.fs.do(func() error {
		if h.read >= len(h.data) {
			return io.EOF
		}
		n = copy(p, h.data[h.read:])
		h.read += n
		return nil
	})
	return n, err
}

func (h *lossyFile) Write(p []byte) (n int, err error) {
	err = h.fs.do(func() error {
		h.data = append(h.data, p...)
		n = len(p)
		return nil
	})
	return n, err
}

func (h *lossyFile) Sync() error {
	return h.fs.do(func() error {
		h.durable = bytes.Clone(h.data)
		return nil
	})
}

func (h *lossyFile) Truncate(size int64) error {
	return h.fs.do(func() error {
		h.data = h.data[:size]
		return nil
	})
}

func (h *lossyFile) Close() error { return nil }

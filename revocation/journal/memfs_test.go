package journal_test

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"github.com/writbroker/writ/revocation/journal"
)

// memFS keeps files in memory, knows what was synced, and forgets the rest at a kill.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*memData // as the process sees them
	durable map[string]*memData // as the disk has them: names count once the directory is synced
	epoch   int                 // handles of an earlier one are dead
	fault   func(op string) error
}

type memData struct{ content, synced []byte }

func newMemFS() *memFS {
	return &memFS{names: map[string]*memData{}, durable: map[string]*memData{}}
}

// kill throws away every byte, and every name, that was not synced; of the unsynced
// end of a file an arbitrary part may have reached the disk, when rng is given.
func (f *memFS) kill(rng *rand.Rand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epoch++
	f.names = map[string]*memData{}
	for name, d := range f.durable {
		kept := append([]byte(nil), d.synced...)
		if lost := len(d.content) - len(d.synced); rng != nil && lost > 0 {
			kept = append(kept, d.content[len(d.synced):len(d.synced)+rng.IntN(lost)]...)
		}
		f.names[name] = &memData{content: kept, synced: append([]byte(nil), kept...)}
	}
	f.durable = map[string]*memData{}
	maps.Copy(f.durable, f.names)
}

func (f *memFS) failing(op string) error {
	if f.fault == nil {
		return nil
	}
	return f.fault(op)
}

func (f *memFS) OpenFile(name string, flag int, _ fs.FileMode) (journal.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.failing("open"); err != nil {
		return nil, err
	}
	d, ok := f.names[name]
	if !ok {
		if flag&os.O_CREATE == 0 {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		d = &memData{}
		f.names[name] = d
	}
	if flag&os.O_TRUNC != 0 {
		d.content = nil
	}
	return &memFile{fs: f, data: d, epoch: f.epoch}, nil
}

func (f *memFS) Rename(oldName, newName string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.failing("rename"); err != nil {
		return err
	}
	d, ok := f.names[oldName]
	if !ok {
		return fs.ErrNotExist
	}
	delete(f.names, oldName)
	f.names[newName] = d
	return nil
}

func (f *memFS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.names, name)
	return nil
}

func (f *memFS) SyncDir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.failing("syncdir"); err != nil {
		return err
	}
	f.durable = map[string]*memData{}
	for name, d := range f.names {
		if filepath.Dir(name) == filepath.Clean(dir) {
			f.durable[name] = d
		}
	}
	return nil
}

// edit changes a file behind the journal's back.
func (f *memFS) edit(name string, change func([]byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, names := range []map[string]*memData{f.names, f.durable} {
		if d, ok := names[name]; ok {
			d.content = change(append([]byte(nil), d.content...))
			d.synced = append([]byte(nil), d.content...)
			return
		}
	}
}

func (f *memFS) size(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d, ok := f.names[name]; ok {
		return len(d.content)
	}
	return -1
}

type memFile struct {
	fs    *memFS
	data  *memData
	read  int
	epoch int
}

var errDead = errors.New("the process that opened this file was killed")

func (m *memFile) lock() (func(), error) {
	m.fs.mu.Lock()
	if m.epoch != m.fs.epoch {
		m.fs.mu.Unlock()
		return nil, errDead
	}
	return m.fs.mu.Unlock, nil
}

func (m *memFile) Read(p []byte) (int, error) {
	unlock, err := m.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	if m.read >= len(m.data.content) {
		return 0, io.EOF
	}
	n := copy(p, m.data.content[m.read:])
	m.read += n
	return n, nil
}

func (m *memFile) Write(p []byte) (int, error) {
	unlock, err := m.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	if err := m.fs.failing("write"); err != nil {
		m.data.content = append(m.data.content, p[:len(p)/2]...)
		return len(p) / 2, err
	}
	m.data.content = append(m.data.content, p...)
	return len(p), nil
}

func (m *memFile) Sync() error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := m.fs.failing("sync"); err != nil {
		return err
	}
	m.data.synced = append([]byte(nil), m.data.content...)
	return nil
}

func (m *memFile) Truncate(size int64) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	m.data.content = m.data.content[:size]
	return nil
}

func (m *memFile) Close() error { return nil }

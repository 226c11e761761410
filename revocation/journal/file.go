package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// ErrCorrupt: the journal file was damaged before its end. It may have held rules
// that are nowhere else, so the replica does not start on it by itself.
var ErrCorrupt = errors.New("journal file is corrupt")

// The file is a run of frames: magic, the checksum of the frame before, length,
// checksum, payload. The checksum covers all the others, so a frame that is missing
// or out of place is found. Each frame is synced before the next is written: only
// the last can be torn, and it was never acknowledged.
const (
	frameMagic  = 0xd7e50a1f // no text has these bytes, so no value of a rule looks like a frame
	frameHead   = 16
	maxFrame    = 64 << 20
	fileName    = "revocations.journal"
	newFileName = "revocations.journal.new"
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// frames writes and keeps the state of one journal file. Not safe for concurrent
// use.
type frames struct {
	file File
	last uint32 // checksum of the last frame
	size int64  // bytes up to its end
}

// append writes a frame and syncs it. After an error the file must not be used
// again: what of it will be there later is not known.
func (f *frames) append(payload []byte) error {
	if err := f.put(payload); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("syncing journal: %w", err)
	}
	return nil
}

// put is append without the sync.
func (f *frames) put(payload []byte) error {
	if len(payload) > maxFrame {
		return fmt.Errorf("frame of %d bytes", len(payload))
	}
	frame, sum := makeFrame(f.last, payload)
	if _, err := f.file.Write(frame); err != nil {
		return fmt.Errorf("writing journal: %w", err)
	}
	f.last = sum
	f.size += int64(len(frame))
	return nil
}

func makeFrame(last uint32, payload []byte) ([]byte, uint32) {
	frame := make([]byte, frameHead, frameHead+len(payload))
	binary.BigEndian.PutUint32(frame, frameMagic)
	binary.BigEndian.PutUint32(frame[4:], last)
	binary.BigEndian.PutUint32(frame[8:], uint32(len(payload)))
	sum := checksum(frame[:12], payload)
	binary.BigEndian.PutUint32(frame[12:], sum)
	return append(frame, payload...), sum
}

func checksum(head, payload []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli(), head), castagnoli(), payload)
}

// nextFrame reads the frame at the start of data.
func nextFrame(data []byte) (payload []byte, last, sum uint32, ok bool) {
	if len(data) < frameHead || binary.BigEndian.Uint32(data) != frameMagic {
		return nil, 0, 0, false
	}
	last, sum = binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[12:])
	n := binary.BigEndian.Uint32(data[8:])
	if n > maxFrame || uint64(n) > uint64(len(data)-frameHead) {
		return nil, 0, 0, false
	}
	payload = data[frameHead : frameHead+int(n)]
	return payload, last, sum, checksum(data[:12], payload) == sum
}

// openFrames reads the file of a directory, gives each frame's payload to visit,
// and cuts off a torn last frame. It returns nil if there is no file.
func openFrames(fsys FS, dir string, visit func(payload []byte) error) (*frames, error) {
	file, err := fsys.OpenFile(filepath.Join(dir, fileName), os.O_RDWR|os.O_APPEND, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // no file is no error and no frames
	}
	if err != nil {
		return nil, fmt.Errorf("opening journal: %w", err)
	}
	f := &frames{file: file}
	if err := f.recover(visit); err != nil {
		_ = file.Close()
		return nil, err
	}
	return f, nil
}

func (f *frames) recover(visit func(payload []byte) error) error {
	data, err := io.ReadAll(f.file)
	if err != nil {
		return fmt.Errorf("reading journal: %w", err)
	}
	at := 0
	for at < len(data) {
		payload, last, sum, ok := nextFrame(data[at:])
		if !ok || last != f.last {
			break
		}
		if err := visit(payload); err != nil {
			return fmt.Errorf("journal at byte %d: %w", at, err)
		}
		at += frameHead + len(payload)
		f.last, f.size = sum, int64(at)
	}
	if at == len(data) && at > 0 {
		return nil
	}
	if at == 0 || holdsFrame(data[at:]) {
		return fmt.Errorf("%w: at byte %d of %d", ErrCorrupt, at, len(data))
	}
	if err := f.file.Truncate(f.size); err != nil {
		return fmt.Errorf("cutting off a torn frame: %w", err)
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("cutting off a torn frame: %w", err)
	}
	return nil
}

// holdsFrame reports whether a whole frame lies after damage: then the damage is
// not a torn end.
func holdsFrame(data []byte) bool {
	magic := binary.BigEndian.AppendUint32(nil, frameMagic)
	for {
		i := bytes.Index(data, magic)
		if i < 0 {
			return false
		}
		if _, _, _, ok := nextFrame(data[i:]); ok {
			return true
		}
		data = data[i+1:]
	}
}

// replacement is a new file that is not in its place yet.
type replacement struct {
	fsys FS
	dir  string
	frames
}

func newReplacement(fsys FS, dir string) (*replacement, error) {
	file, err := fsys.OpenFile(filepath.Join(dir, newFileName), os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("creating journal: %w", err)
	}
	return &replacement{fsys: fsys, dir: dir, frames: frames{file: file}}, nil
}

// install puts the file in its place, durably. Whether it took place is not known
// after an error: either file holds everything that was acknowledged.
func (r *replacement) install() (*frames, error) {
	err := r.fsys.Rename(filepath.Join(r.dir, newFileName), filepath.Join(r.dir, fileName))
	if err == nil {
		err = r.fsys.SyncDir(r.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("installing journal: %w", err)
	}
	return &r.frames, nil
}

func (r *replacement) discard() {
	_ = r.file.Close()
	_ = r.fsys.Remove(filepath.Join(r.dir, newFileName))
}

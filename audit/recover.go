package audit

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
)

// recoverLog finds the end of the log and makes it writable: what a crash left
// unfinished is cut, everything before it is synced, and a record says so. It
// looks at the last segment only; whether the rest is whole is Verify's question.
func recoverLog(l *Log) (*writer, error) {
	w := &writer{log: l}
	names, err := segments(l.files)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		var id [16]byte
		if _, err := rand.Read(id[:]); err != nil {
			return nil, fmt.Errorf("naming audit log: %w", err)
		}
		w.id = hex.EncodeToString(id[:])
		return w, w.rotate()
	}
	last := names[len(names)-1]
	s, err := scanSegment(l.files, last)
	if err != nil {
		return nil, err
	}
	torn, sum := s.torn, s.tornSum
	if s.valid == 0 && len(names) > 1 {
		// The crash came while the segment was begun.
		if s, err = scanSegment(l.files, names[len(names)-2]); err != nil {
			return nil, err
		}
		if first, _ := segmentFirst(last); s.torn > 0 || s.head.seq+1 != first {
			return nil, fmt.Errorf("%w: segment %s does not continue the one before", ErrDamaged, last)
		}
		w.id, w.head = s.id, s.head
		return w, w.resume(torn, sum)
	}
	if s.valid == 0 {
		return nil, fmt.Errorf("%w: segment %s begins with no record", ErrDamaged, last)
	}
	if w.file, err = l.files.Append(last); err != nil {
		return nil, fmt.Errorf("opening audit segment: %w", err)
	}
	w.id, w.head, w.size = s.id, s.head, s.valid
	if err := w.resume(torn, sum); err != nil {
		return nil, errors.Join(err, w.file.Close())
	}
	return w, nil
}

// resume cuts the torn end, makes what is left durable, and records both.
func (w *writer) resume(torn int64, sum string) error {
	if w.file == nil {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	if err := w.file.Truncate(w.size); err != nil {
		return fmt.Errorf("cutting torn audit line: %w", err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("syncing audit segment: %w", err)
	}
	detail := map[string]string{"log": w.id, "why": "start"}
	if torn > 0 {
		detail["torn_bytes"], detail["torn_sha256"] = strconv.FormatInt(torn, 10), sum
		w.log.cfg.Logger.Warn("audit log: cut a torn end", "bytes", torn, "after", w.head.seq)
	}
	return w.writeOwn(Event{Kind: KindOpen, Detail: detail})
}

// scan is what a segment's lines come to, up to the first that does not follow.
type scan struct {
	id      string
	head    chainHead
	valid   int64
	torn    int64
	tornSum string
}

func scanSegment(dir fs.FS, name string) (s scan, err error) {
	f, err := dir.Open(name)
	if err != nil {
		return s, fmt.Errorf("reading audit segment: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewReaderSize(f, MaxRecord+1)
	for {
		line, readErr := lines.ReadSlice('\n')
		if readErr != nil && !errors.Is(readErr, io.EOF) && !errors.Is(readErr, bufio.ErrBufferFull) {
			return s, fmt.Errorf("reading audit segment %s: %w", name, readErr)
		}
		if readErr == nil && s.accept(name, line[:len(line)-1]) {
			s.valid += int64(len(line))
			continue
		}
		if len(line) > 0 {
			err = s.cut(name, io.MultiReader(bytes.NewReader(bytes.Clone(line)), lines))
		}
		if err == nil && s.valid > 0 && s.id == "" {
			err = fmt.Errorf("%w: segment %s does not say which log it is of", ErrDamaged, name)
		}
		return s, err
	}
}

func (s *scan) accept(name string, line []byte) bool {
	if s.valid == 0 {
		first, _ := segmentFirst(name)
		seq, prev, ok := parseHead(line)
		if !ok || seq != first {
			return false
		}
		s.head = chainHead{seq: first - 1, hash: prev}
		s.id = logName(line)
	}
	return s.head.follow(line)
}

// cut measures what will be cut. More than one write can leave is no crash's
// doing, and not this function's to throw away.
func (s *scan) cut(name string, rest io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(rest, maxTorn+1))
	if err != nil {
		return fmt.Errorf("reading audit segment %s: %w", name, err)
	}
	if len(data) > maxTorn {
		return fmt.Errorf("%w: segment %s after record %d", ErrDamaged, name, s.head.seq)
	}
	sum := hashLine(data)
	s.torn, s.tornSum = int64(len(data)), hex.EncodeToString(sum[:])
	return nil
}

// logName reads the name of the log from a segment's first line.
func logName(line []byte) string {
	var v struct {
		Kind   Kind              `json:"kind"`
		Detail map[string]string `json:"detail"`
	}
	if json.Unmarshal(line, &v) != nil || v.Kind != KindOpen {
		return ""
	}
	return v.Detail["log"]
}

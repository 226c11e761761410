package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// A line is {"seq":N,"prev":"H",… with a fixed head, so that the chain can be
// checked without a JSON decoder's opinion. H is the base64url SHA-256 of the line
// before, without its newline; zeros before the first.
const (
	seqMark  = `{"seq":`
	prevMark = `,"prev":"`
	hashText = 43 // base64url of SHA-256
	lineHead = len(seqMark) + 20 + len(prevMark) + hashText + 2

	segmentPrefix = "audit-"
	segmentSuffix = ".jsonl"
)

type digest [sha256.Size]byte

func hashLine(line []byte) digest { return sha256.Sum256(line) }

func (d digest) String() string { return base64.RawURLEncoding.EncodeToString(d[:]) }

// chainHead is the place after a line: its number and hash. The zero value is the
// place before the first line.
type chainHead struct {
	seq  uint64
	hash digest
}

// appendLine appends the next line: head and body, which ends in a newline.
func (h *chainHead) appendLine(dst, body []byte) []byte {
	start := len(dst)
	dst = append(dst, seqMark...)
	dst = strconv.AppendUint(dst, h.seq+1, 10)
	dst = append(dst, prevMark...)
	dst = base64.RawURLEncoding.AppendEncode(dst, h.hash[:])
	dst = append(dst, '"', ',')
	dst = append(dst, body...)
	h.seq++
	h.hash = hashLine(dst[start : len(dst)-1])
	return dst
}

// parseHead reads a line's number and what it says of the line before.
func parseHead(line []byte) (seq uint64, prev digest, ok bool) {
	rest, found := bytes.CutPrefix(line, []byte(seqMark))
	if !found {
		return 0, prev, false
	}
	number, rest, found := bytes.Cut(rest, []byte(prevMark))
	if !found || len(number) == 0 || number[0] == '0' || len(number) > 20 {
		return 0, prev, false
	}
	seq, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil || len(rest) < hashText+3 || rest[hashText] != '"' || rest[hashText+1] != ',' || line[len(line)-1] != '}' {
		return 0, prev, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(prev[:], rest[:hashText])
	return seq, prev, err == nil && n == len(prev)
}

// follow verifies that the line comes next and moves behind it.
func (h *chainHead) follow(line []byte) bool {
	seq, prev, ok := parseHead(line)
	if !ok || seq != h.seq+1 || prev != h.hash {
		return false
	}
	h.seq, h.hash = seq, hashLine(line)
	return true
}

func segmentName(first uint64) string {
	return fmt.Sprintf("%s%020d%s", segmentPrefix, first, segmentSuffix)
}

// segmentFirst is the number of a segment's first line, by its name.
func segmentFirst(name string) (uint64, bool) {
	digits, found := strings.CutPrefix(name, segmentPrefix)
	digits, suffixed := strings.CutSuffix(digits, segmentSuffix)
	if !found || !suffixed || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0
}

// segments lists the segments of a directory in order.
func segments(dir fs.FS) ([]string, error) {
	all, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, fmt.Errorf("listing audit segments: %w", err)
	}
	var names []string
	for _, entry := range all {
		if _, ok := segmentFirst(entry.Name()); ok {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

package redistest

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// Tear kills the server and starts it again as after a power cut that let only a part of a
// transaction reach its append-only file: as many of its commands as keep says of so many,
// and half of the next. It is the last one of at least so many commands. Tear reports
// whether it has torn one: keep may say -1.
//
// Redis 7 leaves such a part out when it starts, but not out of the file: what is
// written from then on follows it there. At the start after that it is carried out
// with the next transaction (https://github.com/valkey-io/valkey/pull/4342).
func (n *Node) Tear(t testing.TB, least int, keep func(commands int) int) bool {
	t.Helper()
	n.kill()
	torn, err := tear(filepath.Join(n.dir, "appendonlydir"), least, keep)
	if err == nil {
		err = n.run()
	}
	if err != nil {
		t.Fatalf("restarting %s: %v", n.Addr, err)
	}
	return torn
}

func tear(dir string, least int, keep func(commands int) int) (bool, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.incr.aof"))
	if err != nil || len(files) == 0 {
		return false, err
	}
	// appendonly.aof.9.incr.aof, appendonly.aof.10.incr.aof
	last := slices.MaxFunc(files, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	data, err := os.ReadFile(last)
	if err != nil {
		return false, err
	}
	ends := transaction(data, least)
	if ends == nil {
		return false, nil
	}
	n := keep(len(ends) - 2)
	if n < 0 {
		return false, nil
	}
	return true, os.Truncate(last, int64(ends[n]+ends[n+1])/2)
}

// transaction gives the ends, in an append-only file, of the commands of its last transaction
// that has at least so many: of MULTI first, of EXEC last.
func transaction(file []byte, least int) (last []int) {
	var ends []int
	for at := 0; ; {
		words, end := command(file, at)
		if words == nil {
			return last
		}
		if string(words[0]) == "MULTI" {
			ends = nil
		}
		if ends = append(ends, end); string(words[0]) == "EXEC" && len(ends) >= least+2 {
			last = ends
		}
		at = end
	}
}

// command reads one command of an append-only file: *2 $6 SELECT $1 0.
func command(file []byte, at int) (words [][]byte, end int) {
	number := func(mark byte) int {
		line, _, ok := bytes.Cut(file[at:], []byte("\r\n"))
		if !ok || len(line) < 2 || line[0] != mark {
			return -1
		}
		at += len(line) + 2
		n, err := strconv.Atoi(string(line[1:]))
		if err != nil {
			return -1
		}
		return n
	}
	for range number('*') {
		size := number('$')
		if size < 0 || at+size+2 > len(file) {
			return nil, at
		}
		words = append(words, file[at:at+size])
		at += size + 2
	}
	return words, at
}

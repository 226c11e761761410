//go:build unix

package awsagent

import (
	"io/fs"
	"syscall"
)

// atOnce has a pipe opened without waiting for who writes to it.
const atOnce = syscall.O_NONBLOCK

// ownerOf is the uid of a file's owner.
func ownerOf(info fs.FileInfo) (int, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}

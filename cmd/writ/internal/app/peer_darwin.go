package app

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// peerUID asks the kernel who connected (LOCAL_PEERCRED).
func peerUID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("reading peer: %w", err)
	}
	var cred *unix.Xucred
	var fault error
	err = raw.Control(func(fd uintptr) {
		cred, fault = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED) //nolint:gosec // a descriptor fits an int
	})
	if err != nil || fault != nil {
		return 0, fmt.Errorf("reading peer: %w", errors.Join(err, fault))
	}
	return int(cred.Uid), nil
}

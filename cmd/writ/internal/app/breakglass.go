package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/writbroker/writ/broker"
)

// peerKey is the context key under which a connection of the break-glass socket carries the
// uid of its peer.
type peerKey struct{}

var errPeer = errors.New("the peer's uid could not be read, or may not break glass")

// listenSocket takes the break-glass socket, mode 0600. A socket that nobody serves any
// more, as a kill leaves behind, is replaced; one that answers is another broker's.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making folder of break-glass socket: %w", err)
	}
	if conn, err := new(net.Dialer).DialContext(ctx, "unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("break-glass socket %s is served by another process", path), conn.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing old break-glass socket: %w", err)
	}
	// The socket is made under a private name and moved into place when its mode is right, so
	// that there is no moment in which others can connect.
	private := path + ".new"
	if err := os.Remove(private); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing old break-glass socket: %w", err)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", private)
	if err != nil {
		return nil, fmt.Errorf("listening on break-glass socket: %w", err)
	}
	if err := errors.Join(os.Chmod(private, 0o600), os.Rename(private, path)); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return ln, nil
}

// withPeer notes the uid that the kernel gives for a connection.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	uid, err := peerUID(u)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// peerOperator lets in the configured uids, or else the broker's own and root.
func peerOperator(uids []int) func(*http.Request) (*broker.Operator, error) {
	if len(uids) == 0 {
		uids = []int{0, os.Getuid()}
	}
	return func(r *http.Request) (*broker.Operator, error) {
		uid, ok := r.Context().Value(peerKey{}).(int)
		if !ok || !slices.Contains(uids, uid) {
			return nil, errPeer
		}
		return broker.BreakGlass(uid), nil
	}
}

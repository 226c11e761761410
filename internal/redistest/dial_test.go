package redistest_test

import (
	"net"
	"testing"
	"time"
)

func dial(t testing.TB, addr string) *conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &conn{t: t, ReadWriteCloser: c, limit: c.SetReadDeadline}
}

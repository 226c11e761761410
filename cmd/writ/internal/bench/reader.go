package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/writbroker/writ/httpapi/wire"
)

const (
	readerBuffer = 2 << 10
	opening      = 64 // connections that are made at once
	spareFiles   = 512
)

// readers are connections to the feed of a replica, as verifiers have, which do no more with an
// event than note when it came: thousands of verifiers in one process would measure themselves.
type readers struct {
	token, host string
	conns       []net.Conn
	live        atomic.Int64 // those that a heartbeat has reached
	wanted      *atomic.Pointer[arrivals]
	group       sync.WaitGroup
	fault       atomic.Pointer[error]
}

// arrivals notes when each reader had what it looks for.
type arrivals struct {
	needle []byte
	began  time.Time
	at     []atomic.Int64 // nanoseconds from began; 0 is not yet
	left   atomic.Int64
	all    chan struct{}
}

func newArrivals(value string, readers int) *arrivals {
	a := &arrivals{needle: []byte(`"` + value + `"`), at: make([]atomic.Int64, readers), all: make(chan struct{})}
	a.left.Store(int64(readers))
	a.began = time.Now()
	return a
}

func (a *arrivals) here(n int) {
	if a.at[n].CompareAndSwap(0, int64(time.Since(a.began))) && a.left.Add(-1) == 0 {
		close(a.all)
	}
}

// after gives how long after a moment each reader had it; what came before then came at once.
func (a *arrivals) after(d time.Duration) []time.Duration {
	out := make([]time.Duration, len(a.at))
	for i := range a.at {
		out[i] = max(0, time.Duration(a.at[i].Load())-d)
	}
	slices.Sort(out)
	return out
}

// openFiles makes sure that this process may open so many files more.
func openFiles(n int) error {
	need := uint64(n + spareFiles)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("reading the limit of open files: %w", err)
	}
	if limit.Cur >= need {
		return nil
	}
	raised := unix.Rlimit{Cur: need, Max: max(limit.Max, need)}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
		return fmt.Errorf("%d open files are needed and %d allowed (ulimit -n %d): %w", need, limit.Max, need, err)
	}
	return nil
}

// open connects n readers, the first of which is number first of those that an event is awaited
// for, from a position on; empty is from the start.
func (r *readers) open(ctx context.Context, n, first int, after string) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(opening)
	conns := make([]net.Conn, n)
	for i := range n {
		g.Go(func() error {
			conn, err := new(net.Dialer).DialContext(gctx, "tcp", r.host)
			if err != nil {
				return fmt.Errorf("connecting reader %d: %w", i, err)
			}
			conns[i] = conn
			return r.ask(conn, first+i, after)
		})
	}
	err := g.Wait()
	for i, conn := range conns {
		if conn != nil {
			r.conns = append(r.conns, conn)
			r.group.Go(func() { r.read(conn, first+i) })
		}
	}
	return err
}

func (r *readers) ask(conn net.Conn, n int, after string) error {
	name := fmt.Sprintf("reader-%d", n)
	q := url.Values{wire.ParamVerifier: {name}, wire.ParamVerifierName: {name}}
	head := []string{
		"GET " + wire.PathFeed + "?" + q.Encode() + " HTTP/1.1", "Host: " + r.host,
		"Authorization: Bearer " + r.token, "Accept: " + wire.TypeEventStream,
	}
	if after != "" {
		head = append(head, wire.HeaderLastEventID+": "+after)
	}
	if _, err := io.WriteString(conn, strings.Join(head, "\r\n")+"\r\n\r\n"); err != nil {
		return fmt.Errorf("asking for the feed: %w", err)
	}
	return nil
}

// wait returns when a heartbeat has reached n readers.
func (r *readers) wait(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for r.live.Load() < int64(n) {
		if err := r.fault.Load(); err != nil {
			return *err
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d readers connected: %w", r.live.Load(), n, err)
		}
	}
	return nil
}

// read looks for what is wanted in each event, when it is there to its end.
func (r *readers) read(conn net.Conn, n int) {
	buf := make([]byte, readerBuffer)
	kept, live := 0, false
	got, err := conn.Read(buf)
	if err == nil && !bytes.HasPrefix(buf[:got], []byte("HTTP/1.1 200 ")) {
		err = fmt.Errorf("answered %q", buf[:got])
	}
	for ; err == nil; got, err = conn.Read(buf[kept:]) {
		seen := buf[:kept+got]
		whole := bytes.LastIndex(seen, []byte("\n\n")) + 1
		if !live && bytes.Contains(seen[:whole], []byte("event: heartbeat")) {
			live = true
			r.live.Add(1)
		}
		if a := r.wanted.Load(); a != nil && bytes.Contains(seen[:whole], a.needle) {
			a.here(n)
		}
		if kept = copy(buf, seen[whole:]); kept == len(buf) {
			kept = 0 // the inside of a snapshot
		}
	}
	r.ended(n, err)
}

func (r *readers) ended(n int, err error) {
	if !errors.Is(err, net.ErrClosed) {
		err = fmt.Errorf("feed of reader %d: %w", n, err)
		r.fault.CompareAndSwap(nil, &err)
	}
}

func (r *readers) close() {
	for _, conn := range r.conns {
		_ = conn.Close()
	}
	r.group.Wait()
}

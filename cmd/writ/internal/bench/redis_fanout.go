package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"time"
)

const (
	fanoutRounds = 5
	fanoutRules  = 4 // in each stretch
	stuckBuffer  = 4 << 10
	perListener  = 100 // connections that wait for no accept; every system's backlog holds them
)

// fanout connects thousands of readers to one replica.
func (w *redisWorld) fanout(ctx context.Context) error {
	if err := openFiles(2*w.sizes.Readers + 8*w.sizes.Connections); err != nil {
		return err
	}
	if err := w.restore(ctx, databaseFanout, w.sizes.Backlog); err != nil {
		return err
	}
	b, err := w.startReplica(ctx, "fanout", w.fleet(databaseFanout))
	if err != nil {
		return err
	}
	s := &spread{}
	err = w.measureFanout(ctx, b, s)
	s.close()
	return errors.Join(err, b.stop())
}

func (w *redisWorld) measureFanout(ctx context.Context, b *broker, s *spread) (err error) {
	if s.callers, err = b.callers(ctx); err != nil {
		return err
	}
	list, err := s.callers.admin.Verifiers(ctx)
	if err != nil {
		return err
	}
	own, err := readerBytes(ctx, w.sizes.Readers)
	if err != nil {
		return err
	}
	before, began := held(), time.Now()
	if err := s.connect(ctx, b, w.sizes.Readers, list.Position); err != nil {
		return err
	}
	w.figure("connections_seconds", time.Since(began).Seconds(), Goal{}, fmt.Sprintf("until %d readers are connected to one replica", s.total))
	w.figure("connection_bytes", (held()-before-own)/float64(s.total), Goal{}, "of heap and stacks of the broker for each of them")
	return w.timeFanout(ctx, b, s)
}

// held is what this process holds in heap and stacks.
func held() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

// readerBytes is what n readers take by themselves, found with such as no broker answers.
func readerBytes(ctx context.Context, n int) (float64, error) {
	before := held()
	var groups []*readers
	var listeners []net.Listener
	var err error
	for left := n; left > 0 && err == nil; left -= perListener {
		var ln net.Listener
		if ln, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			break
		}
		listeners = append(listeners, ln)
		r := &readers{host: ln.Addr().String()}
		groups = append(groups, r)
		err = r.open(ctx, min(left, perListener), 0, "")
	}
	if err == nil {
		err = pause(ctx, 100*time.Millisecond) // until all read
	}
	took := held() - before
	for _, r := range groups {
		r.close()
	}
	for _, ln := range listeners {
		err = errors.Join(err, ln.Close())
	}
	return took, err
}

// timeFanout times rules with and without a reader that never reads. It is given everything from
// the start, which is more than a connection holds, so that its handler waits for it all the time.
func (w *redisWorld) timeFanout(ctx context.Context, b *broker, s *spread) error {
	var smooth, stuck, called []time.Duration // from the answer; the ratios are from the call, for what comes before the answer
	var ratios []float64
	for round := range fanoutRounds {
		var p99 [2]time.Duration
		for i := range p99 {
			withStuck := (i+round)%2 == 1
			took, whole, err := w.fanoutStretch(ctx, b, s, withStuck)
			if err != nil {
				return err
			}
			slices.Sort(whole)
			p99[i] = at(whole, 0.99)
			if withStuck {
				stuck = append(stuck, took...)
			} else {
				smooth, called = append(smooth, took...), append(called, whole...)
			}
		}
		if round%2 == 1 {
			p99[0], p99[1] = p99[1], p99[0]
		}
		ratios = append(ratios, float64(p99[1])/float64(p99[0]))
	}
	slices.Sort(smooth)
	slices.Sort(stuck)
	slices.Sort(called)
	w.figure("fanout_propagation_p50_ms", milliseconds(at(smooth, 0.5)), Goal{}, "from the answer of the admin call to when a reader has the rule")
	w.figure("fanout_propagation_p99_ms", milliseconds(at(smooth, 0.99)), Goal{}, "")
	w.figure("fanout_call_p99_ms", milliseconds(at(called, 0.99)), Goal{}, "the same from the admin call: the feed is told while the log is written")
	w.figure("stuck_reader_p99_ms", milliseconds(at(stuck, 0.99)), Goal{}, "of the others, while one more does not read")
	w.figure("stuck_reader_ratio", median(ratios), AtMost(1.2), "p99 from the admin call, with it over without")
	return nil
}

func (w *redisWorld) fanoutStretch(ctx context.Context, b *broker, s *spread, withStuck bool) (took, whole []time.Duration, err error) {
	if withStuck {
		conn, err := s.stuck(ctx, b)
		if err != nil {
			return nil, nil, err
		}
		defer func() { _ = conn.Close() }()
	}
	for range fanoutRules {
		p, err := s.revoke(ctx, false)
		if err != nil {
			return nil, nil, err
		}
		took, whole = append(took, p.after...), append(whole, p.whole...)
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, nil, err
		}
	}
	return took, whole, nil
}

// stuck opens the feed from its start and reads nothing.
func (s *spread) stuck(ctx context.Context, b *broker) (net.Conn, error) {
	auth, err := s.callers.server.Token(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", b.host())
	if err != nil {
		return nil, fmt.Errorf("connecting a reader that does not read: %w", err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = tcp.SetReadBuffer(stuckBuffer)
	}
	if err == nil {
		err = (&readers{token: auth.Secret.Reveal(), host: b.host()}).ask(conn, s.total+s.rules, "")
	}
	if err == nil {
		err = pause(ctx, 300*time.Millisecond) // until the connection is full
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

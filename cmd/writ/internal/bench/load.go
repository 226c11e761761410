package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// load is the client: as many connections as were asked for, each with one request in flight.
type load struct {
	http  *http.Client
	conns int
	// again, if set, counts the answers 503, which are asked for again: a token that a rule would
	// revoke at once is not given out, until the rule has its place in the log. Otherwise they are errors.
	again *atomic.Int64
}

func newLoad(conns int) *load {
	return &load{conns: conns, http: &http.Client{
		Transport: &http.Transport{
			MaxIdleConns: conns, MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns, DisableCompression: true,
		},
	}}
}

func (l *load) close() { l.http.CloseIdleConnections() }

// sample is what one stretch of load saw.
type sample struct {
	rate    float64         // answers a second
	cpu     time.Duration   // of this process, client and server, for one answer
	latency []time.Duration // sorted
}

func (s *sample) at(quantile float64) time.Duration { return at(s.latency, quantile) }

// at gives a quantile of sorted durations.
func at(sorted []time.Duration, quantile float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(float64(len(sorted))*quantile), len(sorted)-1)]
}

// post sends the bodies to url for d, or, if once is set, until each was sent once: then it
// may end earlier. An answer other than 200 ends it with an error.
func (l *load) post(ctx context.Context, url string, bodies [][]byte, once bool, d time.Duration) (*sample, error) {
	return drive(ctx, l.conns, d, func(ctx context.Context, n int) (bool, error) {
		if once && n >= len(bodies) {
			return false, nil
		}
		return true, l.until(ctx, url, bodies[n%len(bodies)])
	})
}

// drive has so many callers call at once, one call each, for d, or until a call says that there is no
// more to do. Calls are numbered.
func drive(ctx context.Context, callers int, d time.Duration, call func(ctx context.Context, n int) (bool, error)) (*sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	seen := make([][]time.Duration, callers)
	used, began := cpuTime(), time.Now()
	for c := range callers {
		workers.Go(func() {
			for ctx.Err() == nil && (len(seen[c]) == 0 || time.Since(began) < d) {
				n, sent := int(next.Add(1))-1, time.Now()
				more, err := call(ctx, n)
				if err != nil {
					cancel(err)
				}
				if err != nil || !more {
					return
				}
				seen[c] = append(seen[c], time.Since(sent))
			}
		})
	}
	workers.Wait()
	took, spent := time.Since(began), cpuTime()-used
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	s := &sample{latency: slices.Concat(seen...)}
	if len(s.latency) == 0 {
		return nil, errors.New("nothing was answered")
	}
	s.rate = float64(len(s.latency)) / took.Seconds()
	s.cpu = spent / time.Duration(len(s.latency))
	slices.Sort(s.latency)
	return s, nil
}

// cpuTime is what this process has used of the processors so far; 0 if the system does not say.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// errAgain is an answer that says to ask again.
var errAgain = errors.New("answered 503")

const askAgain = 5 * time.Millisecond

func (l *load) until(ctx context.Context, url string, body []byte) error {
	for {
		err := l.one(ctx, url, body)
		if l.again == nil || !errors.Is(err, errAgain) {
			return err
		}
		l.again.Add(1)
		if err := pause(ctx, askAgain); err != nil {
			return err
		}
	}
}

func (l *load) one(ctx context.Context, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := l.http.Do(req)
	if err != nil {
		return fmt.Errorf("sending request: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		if resp.StatusCode == http.StatusServiceUnavailable {
			return fmt.Errorf("%w: %s", errAgain, text)
		}
		return fmt.Errorf("answered %d: %s", resp.StatusCode, text)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	return nil
}

// median of what is not empty; the argument is sorted.
func median[T float64 | time.Duration](values []T) T {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

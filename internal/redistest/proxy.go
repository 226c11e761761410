package redistest

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy passes connections on to a server, and breaks them on demand. Its methods may
// be called concurrently.
type Proxy struct {
	Addr string

	listener net.Listener
	work     sync.WaitGroup
	over     chan struct{} // closed when the test ends

	mu      sync.Mutex
	target  string         // guarded by mu
	links   map[*link]bool // guarded by mu
	fault   fault          // guarded by mu
	changed chan struct{}  // guarded by mu: closed when fault changes, then replaced
}

// fault is what is wrong now; the zero value is nothing.
type fault struct {
	refuse bool          // new connections are closed at once
	stall  bool          // nothing passes, and nothing is closed
	delay  time.Duration // before each piece passes
	rate   int           // bytes a second at most; 0 is no bound
	// match makes the first request that holds it fail: it does not pass, or if
	// persist, it passes and its answer does not. Then the connection is cut.
	match   []byte
	persist bool
	// held makes that request wait instead.
	held *held
}

// held is a request that waits.
type held struct{ reached, release chan struct{} }

type link struct {
	client, server net.Conn
	mu             sync.Mutex
	doomed         bool // guarded by mu: the next answer cuts the link
}

// NewProxy listens on a free port until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		Addr: listener.Addr().String(), target: target, listener: listener,
		links: map[*link]bool{}, changed: make(chan struct{}), over: make(chan struct{}),
	}
	p.work.Go(p.accept)
	t.Cleanup(func() {
		close(p.over)
		p.set(fault{refuse: true})
		_ = listener.Close()
		p.Cut()
		p.work.Wait()
	})
	return p
}

func (p *Proxy) set(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	close(p.changed)
	p.changed = make(chan struct{})
}

// Heal takes every fault back. What was stalled passes.
func (p *Proxy) Heal() { p.set(fault{}) }

// Cut closes all connections; new ones pass.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		_ = l.client.Close()
		_ = l.server.Close()
	}
}

// Refuse cuts all connections and lets no new one pass.
func (p *Proxy) Refuse() {
	p.set(fault{refuse: true})
	p.Cut()
}

// Stall makes all connections, new ones too, half-open: nothing comes through in
// either direction.
func (p *Proxy) Stall() { p.set(fault{stall: true}) }

// Target makes new connections lead to another server; those that there are stay.
func (p *Proxy) Target(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// Delay holds back each piece, in each direction.
func (p *Proxy) Delay(d time.Duration) { p.set(fault{delay: d}) }

// Slow lets so many bytes a second pass in each connection and direction.
func (p *Proxy) Slow(bytesPerSecond int) { p.set(fault{rate: bytesPerSecond}) }

// FailNext cuts the connection of the next request that contains the text: before the
// server gets it, or, if persisted, after it was carried out and before the answer
// comes back.
func (p *Proxy) FailNext(text string, persisted bool) {
	p.set(fault{match: []byte(text), persist: persisted})
}

// Hold lets the next request that contains the text wait until release is called. The
// channel is closed when it does.
func (p *Proxy) Hold(text string) (reached <-chan struct{}, release func()) {
	h := &held{reached: make(chan struct{}), release: make(chan struct{})}
	p.set(fault{match: []byte(text), held: h})
	return h.reached, sync.OnceFunc(func() { close(h.release) })
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	if f, _ := p.now(); f.refuse {
		return
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", target)
	if err != nil {
		return
	}
	l := &link{client: client, server: server}
	p.mu.Lock()
	p.links[l] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
	}()
	var both sync.WaitGroup
	both.Go(func() { p.pass(l, client, server, p.request) })
	both.Go(func() { p.pass(l, server, client, p.answer) })
	both.Wait()
}

func (p *Proxy) now() (fault, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault, p.changed
}

// pass copies one direction until either side closes.
func (p *Proxy) pass(l *link, from io.Reader, to io.Writer, look func(*link, *[]byte, []byte) bool) {
	defer func() {
		_ = l.client.Close()
		_ = l.server.Close()
	}()
	var kept []byte // the end of what came before, for a text that is cut in two
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !p.hold(n) || !look(l, &kept, buffer[:n]) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold keeps a piece back as the fault says; false if it must not pass.
func (p *Proxy) hold(n int) bool {
	for {
		f, changed := p.now()
		switch {
		case f.refuse:
			return false
		case f.stall:
			<-changed
			continue
		case f.rate > 0:
			time.Sleep(time.Duration(n) * time.Second / time.Duration(f.rate))
		default:
			time.Sleep(f.delay)
		}
		return true
	}
}

// request looks for the text that fails, or waits.
func (p *Proxy) request(l *link, kept *[]byte, piece []byte) bool {
	pass, h := p.judge(l, kept, piece)
	if h != nil {
		close(h.reached)
		select {
		case <-h.release:
		case <-p.over:
		}
	}
	return pass
}

func (p *Proxy) judge(l *link, kept *[]byte, piece []byte) (pass bool, h *held) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.fault
	if f.match == nil {
		*kept = nil
		return true, nil
	}
	*kept = append(*kept, piece...)
	if !bytes.Contains(*kept, f.match) {
		*kept = bytes.Clone((*kept)[max(0, len(*kept)-len(f.match)):])
		return true, nil
	}
	*kept = nil
	p.fault.match = nil
	if f.held != nil {
		return true, f.held
	}
	if f.persist {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.doomed = true
	}
	return f.persist, nil
}

// answer cuts the link of a request that fails after all.
func (p *Proxy) answer(l *link, _ *[]byte, _ []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.doomed
}

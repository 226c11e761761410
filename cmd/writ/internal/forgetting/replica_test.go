package forgetting_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/internal/porttest"
	"github.com/writbroker/writ/internal/redistest"
)

// replica is a process of the broker, with its own data folder and way to Redis.
type replica struct {
	n             int
	name          string
	config        string
	dir           string
	public, admin string
	proxy         *redistest.Proxy
	road          *road // to its public listener
	out           *output

	mu    sync.Mutex
	cmd   *exec.Cmd      // guarded by mu: nil while it does not run
	alive io.WriteCloser // guarded by mu: its standard input
	ended chan struct{}  // guarded by mu
}

func newReplica(w *world, n int) *replica {
	t := w.t
	t.Helper()
	r := &replica{
		n: n, name: fmt.Sprintf("replica-%d", n), public: porttest.Address(t), admin: porttest.Address(t),
		proxy: redistest.NewProxy(t, w.primary.Addr), out: &output{},
	}
	r.dir = filepath.Join(w.dir, r.name)
	r.road = newRoad(t, r.public)
	r.config = w.write(r.name+".yaml", fill(configuration,
		"BOUNDS", w.bounds.String(), "PUBLIC", r.public, "ADMIN", r.admin, "DATA", r.dir, "DIR", w.dir, "REDIS", r.proxy.Addr))
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			t.Logf("%s, at its end:\n%s", r.name, r.out)
		}
	})
	return r
}

func (r *replica) start(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), self)
	cmd.Env = append(os.Environ(), replicaConfig+"="+r.config)
	cmd.Stdout, cmd.Stderr = r.out, r.out
	alive, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	r.mu.Lock()
	r.cmd, r.alive, r.ended = cmd, alive, ended
	r.mu.Unlock()
	go func() {
		_ = cmd.Wait() // how it ended is in its output
		close(ended)
	}()
}

// end sends a signal that ends it, and waits.
func (r *replica) end(s os.Signal) {
	r.mu.Lock()
	cmd, alive, ended := r.cmd, r.alive, r.ended
	r.cmd = nil
	r.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(s) // it may have ended by itself
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
	}
	_ = alive.Close()
}

func (r *replica) kill() { r.end(syscall.SIGKILL) }

func (r *replica) stop() { r.end(syscall.SIGTERM) }

func (r *replica) signal(s os.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd != nil {
		_ = r.cmd.Process.Signal(s)
	}
}

// over reports whether it has ended though nobody ended it.
func (r *replica) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return false
	}
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

func (r *replica) ready() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, issuer+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := r.road.RoundTrip(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// metrics gives what its admin listener says.
func (r *replica) metrics(w *world) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, issuer+"/metrics", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := newRoad(w.t, r.admin).RoundTrip(req)
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(text)
}

// client calls it once: a second try would hide what became of the first.
func (r *replica) client(w *world) *client.Client {
	c, err := client.New(client.Config{Issuer: issuer, Transport: r.road, Attempts: 1, Timeout: 5 * time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (r *replica) operator(w *world) *client.Admin {
	a, err := client.NewAdmin(client.AdminConfig{
		URL: issuer, Transport: newRoad(w.t, r.admin), Attempts: 1, Timeout: 10 * time.Second,
		Token: func(context.Context) (string, error) { return w.operator.Secret.Reveal(), nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// output keeps the end of what a process writes, without its refusals: there are many.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if bytes.Contains(p, []byte("path=/token")) || bytes.Contains(p, []byte("exchange unavailable")) {
		return len(p), nil
	}
	if o.text = append(o.text, p...); len(o.text) > 64<<10 {
		o.text = append([]byte(nil), o.text[len(o.text)-32<<10:]...)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text[max(0, len(o.text)-8<<10):])
}

// Package redistest runs real Redis servers for tests: one alone, a primary with
// replicas and Sentinels, a Cluster, each on free ports of the loopback interface
// and in folders of its own, so that two runs at once do not meet. It breaks them
// too: kill, stop, restart with older or no data, and a proxy that cuts, delays and
// stalls connections.
//
// Where redis-server is missing a test fails and names the command that installs
// it: what was not run has shown nothing. Only tests import this package.
package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/internal/porttest"
)

const (
	// Install is the command that installs what this package runs, on Debian;
	// make redis does it where it may.
	Install = "RUNLEVEL=1 apt-get install -y --no-install-recommends redis-server redis-sentinel redis-tools"

	patience = time.Minute
	portsTry = 5
)

// Node is one redis-server process, and may be started again after its end. Its
// methods may be called concurrently, but for those that start and end it.
type Node struct {
	Addr string // host:port; the same after a restart

	dir    string
	kind   string // "redis-server" or "redis-sentinel"
	args   []string
	client *goredis.Client

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{} // closed when the process has ended
}

// Start runs a server with an append-only file that is synced at every write, and
// the given settings besides: "--maxmemory-policy", "allkeys-lru". It ends with the
// test.
func Start(t testing.TB, settings ...string) *Node {
	t.Helper()
	return start(t, "redis-server", append([]string{
		"--appendonly", "yes", "--appendfsync", "always", "--save", "",
		"--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes",
	}, settings...)...)
}

// start tries other ports where somebody took one meanwhile.
func start(t testing.TB, kind string, settings ...string) *Node {
	t.Helper()
	if _, err := exec.LookPath(kind); err != nil {
		t.Fatalf("%s is missing: %s", kind, Install)
	}
	var err error
	for range portsTry {
		port := porttest.Free(t)
		n := &Node{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), dir: t.TempDir(), kind: kind}
		n.args = append([]string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", n.dir, "--logfile", "log"}, settings...)
		if slices.Contains(settings, "--cluster-enabled") {
			n.args = append(n.args, "--cluster-port", strconv.Itoa(porttest.Free(t)))
		}
		if kind == "redis-sentinel" {
			conf := filepath.Join(n.dir, "sentinel.conf")
			if err := os.WriteFile(conf, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			n.args = append([]string{conf}, n.args...)
		}
		n.client = goredis.NewClient(&goredis.Options{
			Addr: n.Addr, MaxRetries: -1, DialerRetries: 1, Protocol: 2, DisableIdentity: true,
			DialTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, ContextTimeoutEnabled: true,
		})
		if err = n.run(); err == nil {
			t.Cleanup(func() { n.end(t) })
			return n
		}
		n.kill()
		_ = n.client.Close()
	}
	t.Fatalf("starting %s: %v", kind, err)
	return nil
}

// run starts the process and waits until it, and no other, answers.
func (n *Node) run() error {
	command := exec.CommandContext(context.Background(), n.kind, n.args...)
	command.Dir = n.dir
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait() // how it ended is in its log
		close(ended)
	}()
	n.mu.Lock()
	n.process, n.ended = command, ended
	n.mu.Unlock()
	want := strconv.Itoa(command.Process.Pid)
	for deadline := time.Now().Add(patience); ; {
		info, err := n.Info("server", "persistence")
		if err == nil && info["process_id"] == want && info["loading"] != "1" {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s ended: %s", n.kind, n.Log())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer: %w: %s", n.kind, err, n.Log())
		}
	}
}

// Log is the end of what the server wrote to its log.
func (n *Node) Log() string {
	data, err := os.ReadFile(filepath.Join(n.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// Dir is where the server keeps its data.
func (n *Node) Dir() string { return n.dir }

func (n *Node) end(t testing.TB) {
	n.kill()
	if err := n.client.Close(); err != nil && !errors.Is(err, goredis.ErrClosed) {
		t.Errorf("closing client of %s: %v", n.Addr, err)
	}
}

// kill ends the process, stopped or not, and waits for its end.
func (n *Node) kill() {
	n.mu.Lock()
	process, ended := n.process, n.ended
	n.process = nil
	n.mu.Unlock()
	if process == nil {
		return
	}
	_ = process.Process.Signal(syscall.SIGKILL) // it may have ended by itself
	<-ended
}

// Kill is kill -9.
func (n *Node) Kill(t testing.TB) {
	t.Helper()
	n.kill()
}

func (n *Node) runs() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process != nil
}

func (n *Node) signal(t testing.TB, s os.Signal) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		t.Fatalf("%s does not run", n.Addr)
	}
	if err := n.process.Process.Signal(s); err != nil {
		t.Fatalf("signal to %s: %v", n.Addr, err)
	}
}

// Stop is SIGSTOP: connections stay open and nothing answers.
func (n *Node) Stop(t testing.TB) { t.Helper(); n.signal(t, syscall.SIGSTOP) }

// Continue is SIGCONT.
func (n *Node) Continue(t testing.TB) { t.Helper(); n.signal(t, syscall.SIGCONT) }

// Restart ends the server with kill -9 and starts it again with the data it had.
func (n *Node) Restart(t testing.TB) {
	t.Helper()
	n.kill()
	if err := n.run(); err != nil {
		t.Fatalf("restarting %s: %v", n.Addr, err)
	}
}

// RestartEmpty starts it again without data.
func (n *Node) RestartEmpty(t testing.TB) { t.Helper(); n.RestartWith(t, "") }

// Backup copies the data as it is now; RestartWith takes it back.
func (n *Node) Backup(t testing.TB) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(filepath.Join(to, "data"), os.DirFS(filepath.Join(n.dir, "appendonlydir"))); err != nil {
		t.Fatal(err)
	}
	return to
}

// RestartWith ends the server with kill -9 and starts it again with the data of a
// Backup; with none if it is empty.
func (n *Node) RestartWith(t testing.TB, backup string) {
	t.Helper()
	n.kill()
	data := filepath.Join(n.dir, "appendonlydir")
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(n.dir, "dump.rdb")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if backup != "" {
		if err := os.CopyFS(data, os.DirFS(filepath.Join(backup, "data"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.run(); err != nil {
		t.Fatalf("restarting %s: %v", n.Addr, err)
	}
}

// Client speaks to this node alone, without a user.
func (n *Node) Client() *goredis.Client { return n.client }

// Do runs a command and returns its answer.
func (n *Node) Do(t testing.TB, args ...any) any {
	t.Helper()
	out, err := n.client.Do(context.Background(), args...).Result()
	if err != nil && !errors.Is(err, goredis.Nil) {
		t.Fatalf("%s: %v: %v", n.Addr, args, err)
	}
	return out
}

// FlushAll wipes it.
func (n *Node) FlushAll(t testing.TB) { t.Helper(); n.Do(t, "FLUSHALL") }

// Sleep makes the server do nothing for so long. It returns when that has begun.
func (n *Node) Sleep(t testing.TB, d time.Duration) {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	// What follows in one piece is carried out at once, so that the log shows when it sleeps: an
	// answer that does not come may only be late.
	mark := "asleep by " + conn.LocalAddr().String()
	if _, err := fmt.Fprintf(conn, "DEBUG LOG %q\r\nDEBUG SLEEP %.3f\r\n", mark, d.Seconds()); err != nil {
		t.Fatal(err)
	}
	Until(t, n.Addr+" sleeps", func() bool { return strings.Contains(n.Log(), mark) })
}

// Promote makes it a primary.
func (n *Node) Promote(t testing.TB) { t.Helper(); n.Do(t, "REPLICAOF", "NO", "ONE") }

// Follow makes it a replica of another, and waits until it is in step.
func (n *Node) Follow(t testing.TB, primary *Node) {
	t.Helper()
	host, port, err := net.SplitHostPort(primary.Addr)
	if err != nil {
		t.Fatal(err)
	}
	n.Do(t, "REPLICAOF", host, port)
	n.Synced(t)
}

// Synced waits until a replica is in step with its primary.
func (n *Node) Synced(t testing.TB) {
	t.Helper()
	Until(t, n.Addr+" follows", func() bool {
		info, err := n.Info("replication")
		return err == nil && info["role"] == "slave" && info["master_link_status"] == "up" && info["master_sync_in_progress"] == "0"
	})
}

// Fence waits until so many replicas have all that was written before, by writing to
// a key after it.
func (n *Node) Fence(t testing.TB, key string, replicas int) {
	t.Helper()
	conn := n.client.Conn()
	defer func() { _ = conn.Close() }()
	Until(t, "replicas are in step", func() bool {
		if err := conn.Incr(context.Background(), key).Err(); err != nil {
			t.Fatal(err)
		}
		have, err := conn.Wait(context.Background(), replicas, time.Second).Result()
		return err == nil && int(have) >= replicas
	})
}

// Info reads sections of INFO.
func (n *Node) Info(sections ...string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	text, err := n.client.Info(ctx, sections...).Result()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			out[name] = value
		}
	}
	return out, nil
}

// Until waits for something to come true, and fails the test if it does not in a
// minute.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

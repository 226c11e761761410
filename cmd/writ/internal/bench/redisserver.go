package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	redisServer  = "redis-server"
	redisInstall = "apt-get install -y --no-install-recommends redis-server"
	redisTries   = 5 // ports
	redisStart   = 10 * time.Second
)

// ErrNoRedis: the part cannot be measured, for want of a server.
var ErrNoRedis = errors.New("redis-server is not installed: " + redisInstall)

func haveRedis() bool {
	_, err := exec.LookPath(redisServer)
	return err == nil
}

// redisProcess is a server of this run's own. It syncs every write: what it says it has, it has.
type redisProcess struct {
	addr  string
	kill  context.CancelFunc
	ended chan struct{}
}

// startRedis starts a server on a free port of the loopback interface.
func (r *run) startRedis(ctx context.Context) (*redisProcess, error) {
	if !haveRedis() {
		return nil, ErrNoRedis
	}
	dir := filepath.Join(r.dir, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("starting redis-server: %w", err)
	}
	var err error
	for range redisTries { // somebody may take the port before the server does
		var p *redisProcess
		if p, err = runRedis(ctx, dir); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("starting redis-server: %w", err)
}

func runRedis(ctx context.Context, dir string) (*redisProcess, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &redisProcess{addr: ln.Addr().String(), ended: make(chan struct{})}
	if err := ln.Close(); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		return nil, err
	}
	running, kill := context.WithCancel(context.WithoutCancel(ctx)) // the brokers end first
	p.kill = kill
	cmd := exec.CommandContext(running, redisServer, "--port", port, "--bind", "127.0.0.1", "--dir", dir, //nolint:gosec // no input of anybody's
		"--logfile", "log", "--save", "", "--appendonly", "yes", "--appendfsync", "always")
	if err := cmd.Start(); err != nil {
		kill()
		return nil, err
	}
	go func() {
		_ = cmd.Wait() // it is killed
		close(p.ended)
	}()
	if err := p.answers(ctx, cmd.Process.Pid); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *redisProcess) close() {
	p.kill()
	<-p.ended
}

// answers waits until the process, and no other, serves the port.
func (p *redisProcess) answers(ctx context.Context, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, redisStart)
	defer cancel()
	for {
		err := p.ask(ctx, pid)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (p *redisProcess) ask(ctx context.Context, pid int) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "INFO server\r\n"); err != nil {
		return err
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "process_id:"); ok {
			if strings.TrimSpace(text) != strconv.Itoa(pid) {
				return errors.New("another server has its port")
			}
			return nil
		}
		if strings.HasPrefix(lines.Text(), "-") {
			return errors.New(lines.Text())
		}
	}
	return errors.New("no answer")
}

package redistest_test

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/writbroker/writ/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAlone(t *testing.T) {
	a, b := redistest.Start(t), redistest.Start(t)
	if a.Addr == b.Addr {
		t.Fatal("two servers share an address")
	}
	a.Do(t, "SET", "k", "1")
	backup := a.Backup(t)
	a.Do(t, "SET", "k", "2")
	want := func(value any) {
		t.Helper()
		if got := a.Do(t, "GET", "k"); got != value {
			t.Errorf("k is %v, want %v", got, value)
		}
	}
	a.Restart(t)
	want("2")
	a.RestartWith(t, backup)
	want("1")
	a.RestartEmpty(t)
	want(nil)
	a.Do(t, "SET", "k", "3")
	a.FlushAll(t)
	want(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	a.Stop(t)
	if err := a.Client().WithTimeout(100 * time.Millisecond).Ping(ctx).Err(); err == nil {
		t.Error("a stopped server answers")
	}
	a.Continue(t)
	want(nil)
	began := time.Now()
	a.Sleep(t, time.Second)
	if want(nil); time.Since(began) < time.Second {
		t.Errorf("slept for %v", time.Since(began))
	}
	a.Kill(t)
	if err := a.Client().Ping(t.Context()).Err(); err == nil {
		t.Error("a killed server answers")
	}
}

func TestWatchedFailsOver(t *testing.T) {
	w := redistest.StartWatched(t)
	before := w.Primary(t)
	before.Do(t, "SET", "k", "1")
	before.Fence(t, "fence", 2)
	before.Kill(t)
	if now := w.Moved(t, before); now.Do(t, "GET", "k") != "1" {
		t.Error("what was replicated is lost")
	}
}

func TestCluster(t *testing.T) {
	c := redistest.StartCluster(t)
	master, replica := c.Owner(t, "{writ}")
	master.Do(t, "SET", "{writ}k", "1")
	master.Fence(t, "{writ}fence", 1)
	c.TakeOver(t, "{writ}")
	now, before := c.Owner(t, "{writ}")
	if now != replica || before != master {
		t.Fatal("the replica did not take over")
	}
	if now.Do(t, "GET", "{writ}k") != "1" {
		t.Error("what was replicated is lost")
	}
	var other *redistest.Node
	for _, n := range c.Nodes[:3] {
		if n != now && n != before {
			other = n
		}
	}
	c.MoveSlot(t, "{writ}", now, other)
	if other.Do(t, "GET", "{writ}k") != "1" {
		t.Error("what moved is lost")
	}
}

func TestProxy(t *testing.T) {
	n := redistest.Start(t)
	p := redistest.NewProxy(t, n.Addr)
	dial := func() *conn { t.Helper(); return dial(t, p.Addr) }
	one := dial()
	one.want("PING\r\n", "+PONG\r\n")
	p.Cut()
	one.ends()
	two := dial()
	p.Delay(50 * time.Millisecond)
	began := time.Now()
	two.want("PING\r\n", "+PONG\r\n")
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("delayed by %v", took)
	}
	p.Stall()
	two.silent("PING\r\n")
	p.Heal()
	two.want("", "+PONG\r\n")
	p.FailNext("SET lost", false)
	two.want("PING\r\n", "+PONG\r\n")
	two.send("SET lost 1\r\n")
	two.ends()
	p.FailNext("SET kept", true)
	three := dial()
	three.send("SET kept 1\r\n")
	three.ends()
	if n.Do(t, "GET", "lost") != nil || n.Do(t, "GET", "kept") != "1" {
		t.Error("failed the wrong way")
	}
	held := dial()
	reached, release := p.Hold("SET held")
	held.want("PING\r\n", "+PONG\r\n")
	held.send("SET held 1\r\n")
	<-reached
	if n.Do(t, "GET", "held") != nil {
		t.Error("what is held has passed")
	}
	release()
	held.want("", "+OK\r\n")
	p.Slow(1000)
	four := dial()
	began = time.Now()
	four.want("PING\r\n", "+PONG\r\n")
	if took := time.Since(began); took < 10*time.Millisecond {
		t.Errorf("slow took %v", took)
	}
	p.Refuse()
	four.ends()
	dial().ends()
}

type conn struct {
	t testing.TB
	io.ReadWriteCloser
	limit func(time.Time) error
}

func (c *conn) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conn) want(text, answer string) {
	c.t.Helper()
	c.send(text)
	got := make([]byte, len(answer))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != answer {
		c.t.Fatalf("%q answered %q, %v", text, got, err)
	}
}

func (c *conn) ends() {
	c.t.Helper()
	if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("still open: %d bytes, %v", n, err)
	}
}

func (c *conn) silent(text string) {
	c.t.Helper()
	c.send(text)
	if err := c.limit(time.Now().Add(50 * time.Millisecond)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("not silent: %v", err)
	}
	if err := c.limit(time.Now().Add(time.Minute)); err != nil {
		c.t.Fatal(err)
	}
}

package redis_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/redistest"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/redis"
)

const logName = "revocations"

// opened is a log with a lineage and the position of its marker.
func opened(t testing.TB, db *redis.DB) (*redis.Log, store.Position) {
	t.Helper()
	l := db.Log(logName)
	at, err := l.Open(t.Context(), tail(t, l), nil)
	must(t, err)
	return l, at
}

func tail(t testing.TB, l store.Log) store.Tail {
	t.Helper()
	got, err := l.Tail(t.Context())
	must(t, err)
	return got
}

func add(t testing.TB, l store.Log, at store.Position, texts ...string) store.Position {
	t.Helper()
	at, err := l.Append(t.Context(), at, entries(texts...)...)
	must(t, err)
	return at
}

func entries(texts ...string) []store.Entry {
	out := make([]store.Entry, 0, len(texts))
	for _, text := range texts {
		out = append(out, store.Entry{Kind: 1, Payload: []byte(text)})
	}
	return out
}

func wantLog(t testing.TB, l store.Log, want string) {
	t.Helper()
	got, err := l.Read(t.Context(), store.Position{}, 1_000_000)
	must(t, err)
	texts := ""
	for _, r := range got {
		if r.Marker {
			texts += "| "
		} else {
			texts += string(r.Payload) + " "
		}
	}
	if texts != want {
		t.Fatalf("log holds %q, want %q", texts, want)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// wantBroken holds that the log's lineage goes on no more, whatever Append is told,
// and that the next one can begin.
func wantBroken(t testing.TB, l store.Log, before store.Tail, lost ...store.Position) store.Tail {
	t.Helper()
	now := tail(t, l)
	if now.Open || now.Instance == before.Instance {
		t.Fatalf("the tail is %+v, it was %+v", now, before)
	}
	_, err := l.Append(t.Context(), now.Position, entries("x")...)
	wantErr(t, err, store.ErrDiscontinuity)
	for _, at := range lost {
		_, err = l.Append(t.Context(), at, entries("x")...)
		wantErr(t, err, store.ErrConflict)
		_, err = l.Read(t.Context(), at, 0)
		wantErr(t, err, store.ErrUnknownPosition)
	}
	return now
}

func TestFailoverThatLosesATail(t *testing.T) {
	t.Parallel()
	b, w := watched(t)
	l, at := opened(t, b.open(t))
	add(t, l, at, "a")
	primary := b.primary(t)
	primary.Fence(t, redis.SetKey+":fence", 2)
	for _, n := range w.Nodes {
		if n != primary {
			n.Stop(t)
		}
	}
	primary.Do(t, "CLIENT", "KILL", "TYPE", "replica") // or it would wait for them in a buffer
	last := add(t, l, tail(t, l).Position, "b")        // acknowledged, and nowhere else
	before := tail(t, l)
	primary.Kill(t)
	for _, n := range w.Nodes {
		if n != primary {
			n.Continue(t)
		}
	}
	w.Moved(t, primary)
	redistest.Until(t, "the new primary answers", func() bool {
		_, err := l.Tail(t.Context())
		if err != nil {
			wantErr(t, err, store.ErrUnavailable)
		}
		return err == nil
	})
	now := wantBroken(t, l, before, last)
	_, err := l.Open(t.Context(), now, entries("b"))
	must(t, err)
	add(t, l, tail(t, l).Position, "c")
	wantLog(t, b.open(t).Log(logName), "| a b | c ")
}

func TestClusterThatFailsOver(t *testing.T) {
	t.Parallel()
	b, c := clustered(t)
	db := b.open(t)
	l, at := opened(t, db)
	add(t, l, at, "a")
	_, err := db.Cells().Swap(t.Context(), "ring", 0, []byte("one"))
	must(t, err)
	before := tail(t, l)
	master, _ := c.Owner(t, redis.SetKey)
	master.Fence(t, redis.SetKey+":fence", 1)
	master.Kill(t)
	c.FailOver(t)
	redistest.Until(t, "the replica answers in its place", func() bool {
		_, err := l.Tail(t.Context())
		if err != nil {
			wantErr(t, err, store.ErrUnavailable)
		}
		return err == nil
	})
	now := wantBroken(t, l, before)
	_, err = l.Open(t.Context(), now, nil)
	must(t, err)
	add(t, l, tail(t, l).Position, "b")
	wantLog(t, l, "| a | b ")
	if v, err := db.Cells().Get(t.Context(), "ring"); err != nil || string(v.Value) != "one" {
		t.Errorf("cell is %q, %v", v.Value, err)
	}
}

func TestWipedDataSet(t *testing.T) {
	t.Parallel()
	b := alone(t)
	db, other := b.open(t), b.open(t).Log(logName)
	l, at := opened(t, db)
	last := add(t, l, at, "a")
	wantLog(t, other, "| a ")
	_, err := db.Cells().Swap(t.Context(), "ring", 0, []byte("one"))
	must(t, err)
	before := tail(t, l)
	b.primary(t).FlushAll(t)
	now := wantBroken(t, l, before, last)
	wantBroken(t, other, before, last)
	if !now.IsZero() || now.Records != 0 {
		t.Fatalf("the tail of a wiped log is %+v", now)
	}
	_, err = l.Open(t.Context(), now, entries("a"))
	must(t, err)
	_, err = other.Append(t.Context(), last, entries("x")...)
	wantErr(t, err, store.ErrConflict)
	add(t, other, tail(t, other).Position, "b")
	wantLog(t, l, "a | b ")

	v, err := db.Cells().Get(t.Context(), "ring")
	wantErr(t, err, store.ErrRollback)
	heal(t, db, "ring", v.Version, 1)
}

// A call that was on its way while the data went, and while others began again, has not seen
// the new instance lose anything.
func TestCallThatWasUnderWayWhileTheDataWent(t *testing.T) {
	t.Parallel()
	b, dial := paused(t)
	l, at := opened(t, b.open(t))
	add(t, l, at, "a", "b", "c")
	dial.beforeNextWrite(func() {
		b.primary(t).FlushAll(t)
		_, err := l.Open(t.Context(), tail(t, l), entries("a"))
		must(t, err)
	})
	if now := tail(t, l); now.Records != 2 || !now.Open {
		t.Errorf("the tail is %+v", now)
	}
	wantLog(t, l, "a | ")
}

// pausedDial connects, and has something done before a request is sent, or when its answer
// is there and nobody has seen it yet.
type pausedDial struct {
	addr        string
	next, after atomic.Pointer[func()]
	about       string // requests without it are let pass
	skip        int    // and so many with it
}

func (d *pausedDial) beforeNextWrite(fn func()) { d.beforeWrite("", 1, fn) }

// beforeWrite is for the nth request that holds a text; nothing else may be under way.
func (d *pausedDial) beforeWrite(about string, nth int, fn func()) {
	d.about, d.skip = about, nth-1
	d.next.Store(&fn)
}

func (d *pausedDial) afterNextRead(fn func()) { d.after.Store(&fn) }

func (d *pausedDial) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, d.addr)
	return &pausedConn{Conn: c, dial: d}, err
}

type pausedConn struct {
	net.Conn
	dial *pausedDial
}

func (c *pausedConn) Write(data []byte) (int, error) {
	if fn := c.dial.next.Load(); fn != nil && bytes.Contains(data, []byte(c.dial.about)) {
		if c.dial.skip--; c.dial.skip < 0 && c.dial.next.CompareAndSwap(fn, nil) {
			(*fn)()
		}
	}
	return c.Conn.Write(data)
}

func (c *pausedConn) Read(data []byte) (int, error) {
	n, err := c.Conn.Read(data)
	if fn := c.dial.after.Swap(nil); fn != nil {
		(*fn)()
	}
	return n, err
}

// paused is a bed whose store has its requests and answers held up.
func paused(t *testing.T) (*bed, *pausedDial) {
	t.Helper()
	b := alone(t)
	dial := &pausedDial{addr: b.primary(t).Addr}
	b.config.SetDial(dial.dial)
	return b, dial
}

// heal puts a cell right from the version that came with the error.
func heal(t testing.TB, db *redis.DB, name string, version, want uint64) {
	t.Helper()
	if version != want {
		t.Fatalf("the error came with version %d, want %d", version, want)
	}
	got, err := db.Cells().Swap(t.Context(), name, version, []byte("healed"))
	must(t, err)
	v, err := db.Cells().Get(t.Context(), name)
	must(t, err)
	if got != want+1 || v.Version != got || string(v.Value) != "healed" {
		t.Fatalf("healed to %q at %d (%d), want version %d", v.Value, v.Version, got, want+1)
	}
}

func TestRestartWithOlderAndNoData(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, at := opened(t, b.open(t))
	at = add(t, l, at, "a")
	old := b.primary(t).Backup(t)
	last := add(t, l, at, "b")
	before := tail(t, l)
	b.primary(t).RestartWith(t, old)
	now := wantBroken(t, l, before, last)
	if now.Position != at {
		t.Fatalf("the tail is %v, want %v", now.Position, at)
	}
	_, err := l.Open(t.Context(), now, entries("b"))
	must(t, err)
	before = tail(t, l)
	b.primary(t).RestartEmpty(t)
	wantBroken(t, l, before, before.Position)
	_, err = l.Open(t.Context(), tail(t, l), entries("a", "b"))
	must(t, err)
	wantLog(t, l, "a b | ")
}

// An append that knows the tail asks for nothing first: the script itself must find that
// another instance serves the same data.
func TestRestartIsFoundByTheNextAppend(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, at := opened(t, b.open(t))
	at = add(t, l, at, "a")
	before := tail(t, l)
	b.primary(t).Restart(t)
	b.proxy(t).Cut()
	_, err := l.Append(t.Context(), at, entries("x")...)
	for errors.Is(err, store.ErrUnavailable) { // over a connection that was cut
		_, err = l.Append(t.Context(), at, entries("x")...)
	}
	wantErr(t, err, store.ErrDiscontinuity)
	wantLog(t, l, "| a ")
	wantBroken(t, l, before)
}

// A primary that is cut off goes on with its lineage while another takes over. Back as
// a replica, and then promoted again, it has the same run id and other data.
func TestPrimaryThatIsDemotedAndPromotedAgain(t *testing.T) {
	t.Parallel()
	first, second := alone(t), alone(t)
	a, b := first.primary(t), second.primary(t)
	b.Follow(t, a) // the first replica gives the primary another replication id
	l1, at := opened(t, first.open(t))
	at = add(t, l1, at, "a")
	a.Fence(t, redis.SetKey+":fence", 1)
	l2 := second.open(t).Log(logName)
	_, err := l2.Tail(t.Context())
	wantErr(t, err, store.ErrUnavailable) // a replica is never read

	b.Promote(t)
	_, err = l2.Open(t.Context(), tail(t, l2), nil)
	must(t, err)
	at2 := add(t, l2, tail(t, l2).Position, "two")
	forked := add(t, l1, at, "one") // both go on, each in its own lineage
	before := tail(t, l1)

	a.Follow(t, b)
	_, err = l1.Tail(t.Context())
	wantErr(t, err, store.ErrUnavailable)
	_, err = l1.Append(t.Context(), forked, entries("x")...)
	wantErr(t, err, store.ErrUnavailable)
	b.Kill(t)
	a.Promote(t)
	now := wantBroken(t, l1, before, forked)
	if now.Position != at2 || runID(now) != runID(before) {
		t.Fatalf("the tail is %+v, want %v by the process of %+v", now, at2, before)
	}
	_, err = l1.Open(t.Context(), now, entries("one"))
	must(t, err)
	wantLog(t, l1, "| a | two one | ")
}

func runID(t store.Tail) string { id, _, _ := strings.Cut(t.Instance, ":"); return id }

// The same, but the primary gets its own older data back, so that its lineage is the
// last one: a sequence number of that lineage must not be given twice.
func TestPrimaryThatComesBackToItsOwnLineage(t *testing.T) {
	t.Parallel()
	first, second := alone(t), alone(t)
	a, b := first.primary(t), second.primary(t)
	b.Follow(t, a)
	l, at := opened(t, first.open(t))
	at = add(t, l, at, "a")
	a.Fence(t, redis.SetKey+":fence", 1)
	b.Promote(t)
	last := add(t, l, at, "b")
	before := tail(t, l)
	a.Follow(t, b)
	a.Promote(t)
	if now := wantBroken(t, l, before, last); now.Position != at || runID(now) != runID(before) {
		t.Fatalf("the tail is %+v", now)
	}
	fresh := first.open(t).Log(logName) // has seen nothing
	_, err := fresh.Append(t.Context(), at, entries("x")...)
	wantErr(t, err, store.ErrDiscontinuity)
}

func TestSlotThatMovesAwayAndBack(t *testing.T) {
	t.Parallel()
	b, c := clustered(t)
	l, at := opened(t, b.open(t))
	at = add(t, l, at, "a")
	before := tail(t, l)
	from, _ := c.Owner(t, redis.SetKey)
	to, _ := c.Owner(t, "elsewhere:0")
	if from == to {
		to, _ = c.Owner(t, "elsewhere:1")
	}
	if from == to {
		t.Fatal("no other master")
	}
	c.MoveSlot(t, redis.SetKey, from, to)
	wantBroken(t, l, before)
	c.MoveSlot(t, redis.SetKey, to, from)
	now := wantBroken(t, l, before)
	if now.Position != at || runID(now) != runID(before) {
		t.Fatalf("the tail is %+v, it was %+v", now, before)
	}
	_, err := l.Open(t.Context(), now, nil)
	must(t, err)
	wantLog(t, l, "| a | ")
}

// A process that went back shows nothing. Who has seen more says so, once, and then
// begins a new lineage.
func TestLogThatWentBackUnderOneInstance(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, at := opened(t, b.open(t))
	at = add(t, l, at, "a")
	stream, _, _ := redis.Keys(logName)
	dump := b.primary(t).Do(t, "DUMP", stream)
	last := add(t, l, at, "b")
	b.primary(t).Do(t, "RESTORE", stream, 0, dump, "REPLACE")
	_, err := l.Tail(t.Context())
	wantErr(t, err, store.ErrRollback)
	now := tail(t, l)
	if now.Open || now.Position != at {
		t.Fatalf("the tail is %+v", now)
	}
	_, err = l.Append(t.Context(), at, entries("x")...)
	wantErr(t, err, store.ErrDiscontinuity)
	_, err = l.Read(t.Context(), last, 0)
	wantErr(t, err, store.ErrUnknownPosition)
	_, err = l.Open(t.Context(), now, entries("b"))
	must(t, err)
	add(t, l, tail(t, l).Position, "c")
	wantLog(t, l, "| a b | c ")
}

// Two processes, one of which has not seen what went back, have given one sequence
// number twice. Who has seen the first must not go on after the second.
func TestPositionThatWasGivenTwice(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, at := opened(t, b.open(t))
	stream, _, _ := redis.Keys(logName)
	dump := b.primary(t).Do(t, "DUMP", stream)
	last := add(t, l, at, "first")
	b.primary(t).Do(t, "RESTORE", stream, 0, dump, "REPLACE")
	if twice := add(t, b.open(t).Log(logName), at, "second"); twice != last {
		t.Fatalf("appended at %v, want %v again", twice, last)
	}
	_, err := l.Append(t.Context(), last, entries("x")...)
	wantErr(t, err, store.ErrRollback)
	_, err = l.Append(t.Context(), last, entries("x")...)
	wantErr(t, err, store.ErrDiscontinuity)
	_, err = l.Open(t.Context(), tail(t, l), entries("first"))
	must(t, err)
	wantLog(t, l, "| second first | ")
}

// Nobody who removes the last record brings its sequence number back.
func TestTailThatIsDeleted(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, at := opened(t, b.open(t))
	at = add(t, l, at, "a")
	add(t, l, at, "b")
	stream, _, _ := redis.Keys(logName)
	b.primary(t).Do(t, "XDEL", stream, id(redis.Room+3))
	fresh := b.open(t).Log(logName)
	now := tail(t, fresh)
	if now.Position != at || now.Open {
		t.Fatalf("the tail is %+v", now)
	}
	_, err := fresh.Append(t.Context(), at, entries("x")...)
	wantErr(t, err, store.ErrDiscontinuity)
	_, err = fresh.Open(t.Context(), now, nil)
	must(t, err)
	end := add(t, fresh, tail(t, fresh).Position, "c")
	wantLog(t, fresh, "| a | c ")
	_, err = b.open(t).Log(logName).Read(t.Context(), at, 0)
	must(t, err)
	if rest, err := fresh.Read(t.Context(), end, 0); err != nil || len(rest) != 0 {
		t.Fatalf("after the end came %v, %v", rest, err)
	}
}

package redis_test

import (
	"testing"
	"time"

	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/redis"
	"github.com/writbroker/writ/store/storetest"
)

// Of two who go on from one version at once, one does: also where the other learned of the
// next version between its look and its write.
func TestSwapFromAVersionThatMovedOnMeanwhile(t *testing.T) {
	t.Parallel()
	b, dial := paused(t)
	_, err := b.open(t).Cells().Swap(t.Context(), "ring", 0, []byte("one"))
	must(t, err)
	db := b.open(t)
	cells := db.Cells()
	dial.afterNextRead(func() {
		_, err := cells.Swap(t.Context(), "ring", 1, []byte("first"))
		must(t, err)
	})
	_, err = cells.Swap(t.Context(), "ring", 1, []byte("second"))
	wantErr(t, err, store.ErrConflict)
	wantCell(t, b.open(t), "ring", 2, "first")
}

// Who learns late that a cell is not authentic is not let write over what others have put
// in its place since.
func TestCellThatWasHealedBeforeTheAnswerWasSeen(t *testing.T) {
	t.Parallel()
	b, dial := paused(t)
	cells := b.open(t).Cells()
	_, err := cells.Swap(t.Context(), "ring", 0, []byte("one"))
	must(t, err)
	editCell(t, b.primary(t).Client(), redis.CellKey("ring"), func(raw []byte) []byte {
		raw[len(raw)-1] ^= 1
		return raw
	})
	dial.afterNextRead(func() {
		v, err := cells.Get(t.Context(), "ring")
		wantErr(t, err, store.ErrForged)
		_, err = cells.Swap(t.Context(), "ring", v.Version, []byte("healed"))
		must(t, err)
	})
	v, err := cells.Get(t.Context(), "ring")
	wantErr(t, err, store.ErrForged)
	_, err = cells.Swap(t.Context(), "ring", v.Version, []byte("over it"))
	wantErr(t, err, store.ErrConflict)
	wantCell(t, b.open(t), "ring", 2, "healed")
}

// What is appended while Trim looks for what may go is the log's last record then: it stays,
// though it has expired too.
func TestTrimBesideAnAppend(t *testing.T) {
	t.Parallel()
	b, dial := paused(t)
	l, at := opened(t, b.open(t))
	now := time.Now()
	expired := store.Entry{Kind: 1, Payload: []byte("spent"), Expires: now.Add(-time.Minute)}
	at, err := l.Append(t.Context(), at, expired, store.Entry{Kind: 1, Payload: []byte("live")})
	must(t, err)
	dial.beforeWrite("XRANGE\r\n", 2, func() { // the first page is for the plan
		at, err = l.Append(t.Context(), at, expired)
		must(t, err)
	})
	n, err := l.Trim(t.Context(), now, time.Hour)
	must(t, err)
	if got := tail(t, l); n != 1 || got.Position != at || !got.Open {
		t.Errorf("%d went; the tail is %+v, want %v", n, got, at)
	}
	wantLog(t, b.open(t).Log(logName), "| live spent ")
}

// An answer of an instance that is no more, seen after others have met the next, does not
// make this process forget what it has seen there.
func TestAnswerOfAnInstanceThatIsNoMore(t *testing.T) {
	t.Parallel()
	b, dial := paused(t)
	l, at := opened(t, b.open(t))
	add(t, l, at, "a")
	dial.afterNextRead(func() {
		b.primary(t).FlushAll(t)
		at, err := l.Open(t.Context(), tail(t, l), entries("a"))
		must(t, err)
		add(t, l, at, "b", "c")
	})
	tail(t, l)
	editLog(t, b.primary(t).Client(), logName, func(raw *storetest.RawLog) { delete(raw.Records, redis.Room+4) })
	_, err := l.Tail(t.Context())
	wantErr(t, err, store.ErrRollback)
}

func wantCell(t *testing.T, db *redis.DB, name string, version uint64, value string) {
	t.Helper()
	v, err := db.Cells().Get(t.Context(), name)
	must(t, err)
	if v.Version != version || string(v.Value) != value {
		t.Errorf("cell %q is %q at version %d, want %q at %d", name, v.Value, v.Version, value, version)
	}
}

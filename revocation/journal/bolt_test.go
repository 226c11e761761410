package journal_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
)

// TestOnTheEmbeddedStore runs a journal, and one that follows, on the store that a
// single replica has, through a restart of the process.
func TestOnTheEmbeddedStore(t *testing.T) {
	sealer, err := store.NewSealer(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	dir := t.TempDir()
	now := time.Now
	var id string
	for start := range 3 {
		db, err := bolt.Open(t.Context(), bolt.Config{Path: filepath.Join(dir, "store"), Sealer: sealer, Now: now})
		must(t, err)
		open := func(dir string) (*Journal, *revocation.Index) {
			x := revocation.NewIndex(revocation.Options{})
			return openJournal(t, config{Dir: dir, Log: db.Log("revocations"), Index: x, Now: now}), x
		}
		own, x := open(filepath.Join(dir, "journal"))
		other, y := open("")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- own.Run(ctx) }()
		go func() { done <- other.Run(ctx) }()
		must(t, own.Sync(ctx))
		must(t, other.Sync(ctx))
		if start > 0 {
			if _, ok := y.Rule(id); !ok {
				t.Fatalf("after restart %d the rule is gone", start)
			}
		}
		id = simID(5, uint64(start))
		rule := revocation.Rule{ID: id, Selector: revocation.SelectRole, Value: "x", CreatedAt: now(), ExpiresAt: now().Add(time.Hour)}
		sub := other.Subscribe(y.Position())
		res, err := own.Append(ctx, []revocation.Rule{rule}, nil)
		must(t, err)
		if res.Durability != durableLog || !x.Covers(x.Position(), res.Position) {
			t.Errorf("appended as %+v", res)
		}
		if f, ok := <-sub.C; !ok || f.Event.Rule == nil || f.Event.Rule.ID != id || f.Event.Position != res.Position {
			t.Errorf("the other replica's feed brought %+v", f.Event)
		}
		if len(x.Lineages()) != start+1 {
			t.Errorf("%d lineages after %d restarts", len(x.Lineages()), start)
		}
		sub.Close()
		stop()
		must(t, <-done)
		must(t, <-done)
		must(t, own.Close())
		must(t, other.Close())
		must(t, db.Close())
	}
}

package broker_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
	"github.com/writbroker/writ/token"
)

// tally is a real one, which can be away, and counts what it is asked to keep.
type tally struct {
	store.Tally
	away  atomic.Bool
	bytes atomic.Int64
	names atomic.Int64
}

func (t *tally) Add(ctx context.Context, bucket string, expires time.Time, deltas map[string]int64) error {
	if t.away.Load() {
		return store.ErrUnavailable
	}
	for name := range deltas {
		t.names.Add(1)
		t.bytes.Add(int64(len(name)))
	}
	return t.Tally.Add(ctx, bucket, expires, deltas)
}

func (t *tally) Sum(ctx context.Context, buckets ...string) (map[string]int64, error) {
	if t.away.Load() {
		return nil, store.ErrUnavailable
	}
	return t.Tally.Sum(ctx, buckets...)
}

func openTally(tb testing.TB, now func() time.Time) *tally {
	tb.Helper()
	return &tally{Tally: newTally(tb, now)}
}

func newTally(tb testing.TB, now func() time.Time) store.Tally {
	tb.Helper()
	sealer, err := store.NewSealer(make([]byte, 32))
	if err != nil {
		tb.Fatal(err)
	}
	db, err := bolt.Open(tb.Context(), bolt.Config{Path: filepath.Join(tb.TempDir(), "store.db"), Sealer: sealer, Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db.Tally()
}

// TestLedgerCoversEveryReplica, and the replica that was there before a restart.
func TestLedgerCoversEveryReplica(t *testing.T) {
	now := brokertest.Noon
	clock := func() time.Time { return now }
	shared := openTally(t, clock)
	replica := func() *broker.Ledger {
		return broker.NewLedger(broker.LedgerConfig{Now: clock, Tally: shared, MaxTTL: time.Hour})
	}
	a, b := replica(), replica()
	parent := issued("user:1", "k8s:a", "t1", now.Add(50*time.Minute))
	a.Issued(parent, "k1")
	for i := range 9 {
		c := issued(fmt.Sprintf("user:%d", i%3), "k8s:b", "t1", now.Add(10*time.Minute))
		c.Ancestors = []token.Ancestor{{ID: parent.ID, KeyID: "k0"}}
		b.Issued(c, "k1")
	}
	for _, l := range []*broker.Ledger{a, b} { // each makes its own known
		l.PreviewAll(t.Context(), rule(revocation.SelectAll, ""))
	}
	restarted := replica()
	for name, row := range map[string]struct {
		rule revocation.Rule
		want int64
	}{
		"all":                         {rule(revocation.SelectAll, ""), 10},
		"a subject":                   {rule(revocation.SelectSubject, "user:1"), 4},
		"an agent":                    {rule(revocation.SelectAgent, "k8s:b"), 9},
		"its own agent":               {rule(revocation.SelectAgent, "k8s:a"), 1},
		"a key":                       {rule(revocation.SelectKey, "k1"), 10},
		"a parent's key":              {rule(revocation.SelectKey, "k0"), 9},
		"a scope":                     {rule(revocation.SelectScope, "warehouse:*:sales/**"), 10},
		"another scope":               {rule(revocation.SelectScope, "warehouse:write:sales/**"), 0},
		"a role":                      {rule(revocation.SelectRole, "reader"), 10},
		"a task":                      {rule(revocation.SelectTask, "t1"), 10},
		"a token and its descendants": {rule(revocation.SelectToken, parent.ID), 10},
		"a stranger":                  {rule(revocation.SelectSubject, "user:9"), 0},
		"an unknown token":            {rule(revocation.SelectToken, uuid.NewString()), 0},
	} {
		for which, l := range map[string]*broker.Ledger{"one": a, "the other": b, "restarted": restarted} {
			if p := l.PreviewAll(t.Context(), row.rule); p.Tokens != row.want || p.Incomplete != "" {
				t.Errorf("%s, %s replica: %d tokens (%s), want %d", name, which, p.Tokens, p.Incomplete, row.want)
			}
		}
	}
	p := restarted.PreviewAll(t.Context(), rule(revocation.SelectToken, parent.ID))
	if !slices.Equal(p.Agents, []string{"k8s:a", "k8s:b"}) || !slices.Equal(p.Subjects, []string{"user:0", "user:1", "user:2"}) ||
		!slices.Equal(p.Roles, []string{"reader"}) || p.BySubject["user:1"] != 4 {
		t.Errorf("preview %+v", p)
	}
	if late := p.LongestExpiry.Sub(now.Add(50 * time.Minute)); late < 0 || late > 5*time.Minute {
		t.Errorf("the longest expiry is %v late", late)
	}
	if p := a.PreviewAll(t.Context(), rule(revocation.SelectAll, "")); !p.LongestExpiry.Equal(now.Add(50 * time.Minute)) {
		t.Errorf("who issued it knows when it expires: %v", p.LongestExpiry)
	}
	now = now.Add(16 * time.Minute)
	if p := restarted.PreviewAll(t.Context(), rule(revocation.SelectAll, "")); p.Tokens != 1 {
		t.Errorf("%d tokens live on", p.Tokens)
	}
}

// TestLedgerWithoutItsStore counts what it issued itself, says so, and makes good later.
func TestLedgerWithoutItsStore(t *testing.T) {
	clock := func() time.Time { return brokertest.Noon }
	shared := openTally(t, clock)
	a := broker.NewLedger(broker.LedgerConfig{Now: clock, Tally: shared})
	b := broker.NewLedger(broker.LedgerConfig{Now: clock, Tally: shared})
	b.Issued(issued("user:1", "k8s:b", "", brokertest.Noon.Add(time.Minute)), "k1")
	b.PreviewAll(t.Context(), rule(revocation.SelectAll, ""))
	shared.away.Store(true)
	a.Issued(issued("user:1", "k8s:a", "", brokertest.Noon.Add(time.Minute)), "k1")
	if p := a.PreviewAll(t.Context(), rule(revocation.SelectAll, "")); p.Tokens != 1 || !strings.Contains(p.Incomplete, "shared") {
		t.Errorf("away: %+v", p)
	}
	shared.away.Store(false)
	for range 2 {
		if p := a.PreviewAll(t.Context(), rule(revocation.SelectAll, "")); p.Tokens != 2 || p.Incomplete != "" {
			t.Errorf("back: %+v", p)
		}
	}
}

// TestLedgerSharesWithinBounds holds what the store is given to what ledger_shared.go says.
func TestLedgerSharesWithinBounds(t *testing.T) {
	clock := func() time.Time { return brokertest.Noon }
	shared := openTally(t, clock)
	l := broker.NewLedger(broker.LedgerConfig{Now: clock, Tally: shared, IDRate: 100})
	const tokens, shapes = 5000, 50
	for i := range tokens {
		l.Issued(issued(fmt.Sprintf("user:%d", i%shapes), "k8s:a", "t", brokertest.Noon.Add(30*time.Minute)), "k1")
		if i%1000 == 999 {
			l.Preview(rule(revocation.SelectAll, "")) // takes them in
		}
	}
	p := l.PreviewAll(t.Context(), rule(revocation.SelectAll, ""))
	if p.Tokens != tokens || p.Incomplete != "" {
		t.Errorf("shapes count every token: %+v", p)
	}
	if p := l.PreviewAll(t.Context(), rule(revocation.SelectTask, "t")); !strings.Contains(p.Incomplete, "ids") {
		t.Errorf("more ids than the rate: %+v", p)
	}
	if n, size := shared.names.Load(), shared.bytes.Load(); n > 2*shapes+100+4 || size > shapes*800+300*50 {
		t.Errorf("%d counts with %d bytes of names", n, size)
	}
}

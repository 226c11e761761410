package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/fleet"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
	"github.com/writbroker/writ/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// covers is an order of one lineage.
func covers(a, b token.Rev) bool { return b.IsZero() || a.Lineage == b.Lineage && a.Seq >= b.Seq }

func open(tb testing.TB) store.Cell {
	tb.Helper()
	sealer, err := store.NewSealer(make([]byte, 32))
	if err != nil {
		tb.Fatal(err)
	}
	db, err := bolt.Open(tb.Context(), bolt.Config{Path: filepath.Join(tb.TempDir(), "store.db"), Sealer: sealer, Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db.Cells()
}

// replica runs a fleet until the test ends or stop is called. It runs in a bubble: a machine that
// stops for as long as Expire makes everybody silent, and then they are gone, as they should be.
func replica(t *testing.T, name string, cell store.Cell) (acks *revocation.Acks, stop func()) {
	t.Helper()
	acks = revocation.NewAcks(time.Now, covers)
	f, err := fleet.New(fleet.Config{
		Replica: name, Cell: cell, Acks: acks, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		Every: 5 * time.Millisecond, KeepAlive: 50 * time.Millisecond, Expire: 400 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return acks, stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after 10 s: %s", what)
		}
	}
}

func TestEveryReplicaSeesEveryVerifier(t *testing.T) { synctest.Test(t, everyReplicaSeesEveryVerifier) }

func everyReplicaSeesEveryVerifier(t *testing.T) {
	cell := open(t)
	a, stopA := replica(t, "replica-a", cell)
	b, stopB := replica(t, "replica-b", cell)
	defer stopA()
	at := token.Rev{Lineage: 7, Seq: 1}

	leaveA := a.Join("k8s:crm 1", "crm", "k8s:crm")
	for i := range 100 {
		defer b.Join(fmt.Sprintf("k8s:mail %d", i), "mail", "k8s:mail")()
	}
	eventually(t, "a sees all", func() bool { return len(a.Verifiers()) == 101 })
	eventually(t, "b sees all", func() bool { return len(b.Verifiers()) == 101 })

	since := time.Now()
	time.Sleep(time.Millisecond)
	a.Report(revocation.Ack{Verifier: "k8s:crm 1", Position: at})
	for i := range 99 {
		b.Report(revocation.Ack{Verifier: fmt.Sprintf("k8s:mail %d", i), Position: at})
	}
	eventually(t, "all but one", func() bool { return a.Status(at, "", since).Count == 100 })
	s := a.Status(at, "", since)
	if len(s.Lagging) != 1 || s.Lagging[0].ID != "k8s:mail 99" || s.Lagging[0].Replica != "replica-b" || s.Lagging[0].Name != "mail" {
		t.Errorf("lagging: %+v", s.Lagging)
	}
	if s.P99 <= 0 || s.P99 > time.Since(since) {
		t.Errorf("p99 is %v", s.P99)
	}

	// A load balancer brings the last one's acknowledgement to the other replica.
	if !a.Report(revocation.Ack{Verifier: "k8s:mail 99", Position: at, Local: []string{"01900000-0000-7000-8000-000000000001"}}) {
		t.Fatal("an acknowledgement for another replica's verifier was refused")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for name, acks := range map[string]*revocation.Acks{"the replica that got it": a, "the verifier's own": b} {
		if s := acks.Wait(ctx, at, "", since); s.Count != 101 || len(s.Lagging) != 0 {
			t.Errorf("%s: %d of %d, %+v", name, s.Count, s.Connected, s.Lagging)
		}
	}
	eventually(t, "the local rule", func() bool { return b.Status(token.Rev{}, "01900000-0000-7000-8000-000000000001", since).Count == 1 })

	// Nobody can be made up, and one who has gone is gone everywhere.
	if a.Report(revocation.Ack{Verifier: "k8s:evil 1", Position: at}) {
		t.Error("a verifier that nobody has was counted")
	}
	leaveA()
	eventually(t, "b forgets", func() bool { return len(b.Verifiers()) == 100 })
	stopB()
	eventually(t, "a stopped replica is forgotten", func() bool { return len(a.Verifiers()) == 0 })
}

// TestEveryReplicaKnowsWhoLacksAKey: a rotation that one replica carries out waits for the
// verifiers of all.
func TestEveryReplicaKnowsWhoLacksAKey(t *testing.T) { synctest.Test(t, everyReplicaKnowsWhoLacksAKey) }

func everyReplicaKnowsWhoLacksAKey(t *testing.T) {
	cell := open(t)
	a, stopA := replica(t, "replica-a", cell)
	b, stopB := replica(t, "replica-b", cell)
	defer stopA()
	defer stopB()
	for _, id := range []string{"has it", "lacks it", "said nothing", "is old"} {
		defer b.Join(id, id, "p")()
	}
	at := token.Rev{Lineage: 7, Seq: 1}
	b.Report(revocation.Ack{Verifier: "has it", Position: at, Keys: []string{"k2", "k1"}})
	b.Report(revocation.Ack{Verifier: "lacks it", Position: at, Keys: []string{"k1"}})
	b.Report(revocation.Ack{Verifier: "is old", Position: at})
	ids := func(in []revocation.VerifierState) (out []string) {
		for _, v := range in {
			out = append(out, v.ID)
		}
		return out
	}
	lacks := func(acks *revocation.Acks, wantBehind, wantSilent []string) func() bool {
		return func() bool {
			behind, silent := acks.Lacking("k2")
			return reflect.DeepEqual(ids(behind), wantBehind) && reflect.DeepEqual(ids(silent), wantSilent)
		}
	}
	for name, acks := range map[string]*revocation.Acks{"its own replica": b, "the other one": a} {
		eventually(t, name, lacks(acks, []string{"lacks it", "said nothing"}, []string{"is old"}))
	}
	// A load balancer brings the word of one to the other replica.
	a.Report(revocation.Ack{Verifier: "lacks it", Position: at, Keys: []string{"k1", "k2"}})
	for name, acks := range map[string]*revocation.Acks{"its own replica, later": b, "the other one, later": a} {
		eventually(t, name, lacks(acks, []string{"said nothing"}, []string{"is old"}))
	}
}

// TestAnOlderMessageIsRefused: what another version wrote is not guessed at.
func TestAnOlderMessageIsRefused(t *testing.T) {
	message := fleet.AppendProgress(nil, &revocation.Progress{Roster: 3})
	message[0]--
	if _, err := fleet.DecodeProgress(message); !errors.Is(err, fleet.ErrMessage) {
		t.Errorf("got %v", err)
	}
}

// TestLateNewsDoesNotSetBack: what was acknowledged through the load balancer stays so when
// the verifier's own replica repeats an older position.
func TestLateNewsDoesNotSetBack(t *testing.T) {
	acks := revocation.NewAcks(time.Now, covers)
	acks.SetRoster("b", revocation.Roster{Version: 3, Verifiers: []revocation.VerifierState{{ID: "v"}}})
	older, newer := token.Rev{Lineage: 1, Seq: 1}, token.Rev{Lineage: 1, Seq: 2}
	acks.Merge("c", revocation.Progress{Forwarded: []revocation.Forwarded{{Verifier: "v", Reached: revocation.Reached{Position: newer}}}})
	if !acks.Merge("b", revocation.Progress{Roster: 3, Reached: []revocation.Reached{{Position: older}}}) {
		t.Fatal("the roster is known")
	}
	if s := acks.Status(newer, "", time.Now()); s.Count != 1 {
		t.Errorf("status %+v", s)
	}
	// What it said of its keys lately outlives what another replica heard before.
	said := func(ago time.Duration, keys ...string) {
		acks.Merge("b", revocation.Progress{Roster: 3, Reached: []revocation.Reached{{Position: newer, Keys: keys, Ago: ago}}})
	}
	said(0, "k1", "k2")
	said(time.Minute, "k1")
	if behind, silent := acks.Lacking("k2"); len(behind)+len(silent) > 0 {
		t.Errorf("%+v and %+v lack a key that was reported", behind, silent)
	}
	if acks.Merge("b", revocation.Progress{Roster: 4, Reached: []revocation.Reached{{Position: newer}}}) {
		t.Error("progress of an unknown roster was taken")
	}
}

// TestAckThatWasHeldUp: an acknowledgement that a replica was given long ago, and takes only after
// a later one, is not what the others are told.
func TestAckThatWasHeldUp(t *testing.T) {
	acks := revocation.NewAcks(time.Now, covers)
	acks.SetRoster("b", revocation.Roster{Version: 3, Verifiers: []revocation.VerifierState{{ID: "v"}}})
	older, newer := token.Rev{Lineage: 1, Seq: 1}, token.Rev{Lineage: 1, Seq: 2}
	for _, ack := range []revocation.Ack{{Position: newer, Keys: []string{"k1", "k2"}}, {Position: older, Keys: []string{"k1"}}} {
		ack.Verifier = "v"
		if !acks.Report(ack) {
			t.Errorf("not taken: %+v", ack)
		}
	}
	if s := acks.Status(newer, "", time.Now()); s.Count != 1 {
		t.Errorf("status %+v", s)
	}
	_, p := acks.Export(0)
	if len(p.Forwarded) != 1 || p.Forwarded[0].Position != newer || len(p.Forwarded[0].Keys) != 2 {
		t.Errorf("the others are told %+v", p.Forwarded)
	}
}

// flaky is a store that can go away, and back in time.
type flaky struct {
	store.Cell
	away atomic.Bool
}

func (f *flaky) fault() error {
	if f.away.Load() {
		return store.ErrUnavailable
	}
	return nil
}

func (f *flaky) Get(ctx context.Context, name string) (store.Versioned, error) {
	if err := f.fault(); err != nil {
		return store.Versioned{}, err
	}
	return f.Cell.Get(ctx, name)
}

func (f *flaky) Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error) {
	if err := f.fault(); err != nil {
		return 0, err
	}
	return f.Cell.Swap(ctx, name, old, value)
}

func (f *flaky) Watch(ctx context.Context, name string, after uint64) (store.Versioned, error) {
	for {
		if err := f.fault(); err != nil {
			return store.Versioned{}, err
		}
		bounded, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		v, err := f.Cell.Watch(bounded, name, after)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return v, err
		}
	}
}

// TestStoreAwayIsNotVerifiersGone: while the store is away the others' verifiers stay in the
// list, and do not count as having acknowledged; afterwards all is as it was.
func TestStoreAwayIsNotVerifiersGone(t *testing.T) { synctest.Test(t, storeAwayIsNotVerifiersGone) }

func storeAwayIsNotVerifiersGone(t *testing.T) {
	cell := &flaky{Cell: open(t)}
	a, stopA := replica(t, "replica-a", cell)
	b, stopB := replica(t, "replica-b", cell)
	defer stopA()
	defer stopB()
	defer b.Join("v", "v", "p")()
	eventually(t, "a sees it", func() bool { return len(a.Verifiers()) == 1 })
	cell.away.Store(true)
	time.Sleep(time.Second) // more than Expire
	at := token.Rev{Lineage: 1, Seq: 9}
	b.Report(revocation.Ack{Verifier: "v", Position: at})
	if a.Report(revocation.Ack{Verifier: "v", Position: at}) {
		t.Error("an acknowledgement that cannot be passed on was taken")
	}
	if s := a.Status(at, "", time.Now()); s.Connected != 1 || len(s.Lagging) != 1 {
		t.Errorf("while the store is away: %+v", s)
	}
	cell.away.Store(false)
	eventually(t, "a hears of it", func() bool { return a.Status(at, "", time.Now()).Count == 1 })
}

// TestSilentReplicaIsForgotten: one that was killed does not hold up every wait for ever.
func TestSilentReplicaIsForgotten(t *testing.T) { synctest.Test(t, silentReplicaIsForgotten) }

func silentReplicaIsForgotten(t *testing.T) {
	cell, dies := open(t), &flaky{}
	dies.Cell = cell
	a, stopA := replica(t, "replica-a", cell)
	defer stopA()
	b, _ := replica(t, "replica-b", dies)
	b.Join("v", "v", "p")
	eventually(t, "a sees it", func() bool { return len(a.Verifiers()) == 1 })
	dies.away.Store(true)
	eventually(t, "a forgets it", func() bool { return len(a.Verifiers()) == 0 })
	dies.away.Store(false)
	eventually(t, "a sees it again", func() bool { return len(a.Verifiers()) == 1 })
}

// stuck is a store in which the first wait for one cell does not end when it is cancelled.
type stuck struct {
	store.Cell
	name              string
	first             atomic.Bool
	cancelled, resume chan struct{}
	list              atomic.Uint64 // the version of the list of replicas after which is waited
}

func (s *stuck) Watch(ctx context.Context, name string, after uint64) (store.Versioned, error) {
	if name == "replicas" {
		s.list.Store(after)
	}
	if name == s.name && s.first.CompareAndSwap(false, true) {
		<-ctx.Done()
		close(s.cancelled)
		<-s.resume
		return store.Versioned{}, ctx.Err()
	}
	return s.Cell.Watch(ctx, name, after)
}

// TestReplicaThatComesBack: what is left of following it before does not take away what it
// tells now.
func TestReplicaThatComesBack(t *testing.T) { synctest.Test(t, replicaThatComesBack) }

func replicaThatComesBack(t *testing.T) {
	cell := open(t)
	s := &stuck{Cell: cell, name: "progress/b", cancelled: make(chan struct{}), resume: make(chan struct{})}
	put := func(name string, value []byte) uint64 {
		v, err := cell.Get(t.Context(), name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		version, err := cell.Swap(t.Context(), name, v.Version, value)
		if err != nil {
			t.Fatal(err)
		}
		return version
	}
	list := func(replicas ...string) uint64 {
		var entries []string
		for _, name := range replicas {
			entries = append(entries, fmt.Sprintf("%q:%d", name, time.Now().Unix()))
		}
		return put("replicas", []byte("{"+strings.Join(entries, ",")+"}"))
	}
	list("a", "b")
	acks := revocation.NewAcks(time.Now, covers)
	f, err := fleet.New(fleet.Config{Replica: "a", Cell: s, Acks: acks, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Expire: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	resume := sync.OnceFunc(func() { close(s.resume) })
	t.Cleanup(resume)
	eventually(t, "b is followed", s.first.Load)
	list("a")
	<-s.cancelled
	roster, err := fleet.EncodeRoster(&revocation.Roster{Version: 3, Verifiers: []revocation.VerifierState{{ID: "v"}}})
	if err != nil {
		t.Fatal(err)
	}
	put("verifiers/b", roster)
	put("progress/b", fleet.AppendProgress(nil, &revocation.Progress{Roster: 3, Reached: []revocation.Reached{{Ago: -1}}}))
	back := list("a", "b")
	eventually(t, "b is in the list", func() bool { return s.list.Load() == back })
	synctest.Wait() // for what was told to be taken already, which it should not be
	resume()
	synctest.Wait() // for it to be dropped, which it should not be either
	eventually(t, "a sees its verifier", func() bool { return len(acks.Verifiers()) == 1 })
}

func FuzzProgress(f *testing.F) {
	f.Add(fleet.AppendProgress(nil, &revocation.Progress{
		Roster: 3, Reached: []revocation.Reached{{Ago: -1}, {Position: token.Rev{Lineage: 1, Seq: 2}, Keys: []string{"k1", "k2"}, Ago: time.Second}},
		Forwarded: []revocation.Forwarded{{Verifier: "p v", Reached: revocation.Reached{Position: token.Rev{Lineage: 1, Seq: 3}}, Local: []string{"x"}}},
	}))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := fleet.DecodeProgress(data)
		if err != nil {
			return
		}
		again, err := fleet.DecodeProgress(fleet.AppendProgress(nil, &p))
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}

// BenchmarkMessage is what one message of 5,000 verifiers costs, and its size.
func BenchmarkMessage(b *testing.B) {
	acks := revocation.NewAcks(time.Now, covers)
	for i := range 5000 {
		id := fmt.Sprintf("k8s:prod:server-%d abcdefghijklmnopqrstuvwxyz", i)
		acks.Join(id, "server", "k8s:prod:server")
		acks.Report(revocation.Ack{Verifier: id, Position: token.Rev{Lineage: 7, Seq: uint64(i % 3)}, Keys: []string{"7q2kx3sdmm4a", "c5u6yr6ozqhe", "t2w4kq3hdsva"}[:2+i%2]})
	}
	var size int
	for b.Loop() {
		_, p := acks.Export(0)
		size = len(fleet.AppendProgress(nil, &p))
	}
	b.ReportMetric(float64(size), "bytes")
}

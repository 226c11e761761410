package journal_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/writbroker/writ/revocation"
	jrnl "github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLocalRuleIsEffectiveAtOnceAndEntersTheLogLater(t *testing.T) {
	s := newStage(t)
	a, b := s.replica("a", 0, newMemFS()), s.replica("b", 0, newMemFS())
	s.sync(a, b)
	a.log.down.Store(true)
	sub := a.Subscribe(a.index.Position())
	defer sub.Close()
	rule := s.revoke(a, "local")
	s.want(a.index, "a", rule, minted(a), true) // later ones too, until it has a place
	select {
	case f := <-sub.C:
		if f.Event.Rule == nil || f.Event.Rule.ID != rule.ID || !f.Event.Position.IsZero() {
			t.Errorf("the feed brought %+v", f.Event)
		}
	default:
		t.Error("the feed brought nothing")
	}
	if a.Pending() != 1 || a.Heartbeat().Pending != 1 {
		t.Errorf("%d pending", a.Pending())
	}
	a.log.down.Store(false)
	s.sync(a, b)
	s.want(a.index, "a", rule, minted(a), false)
	s.want(b.index, "b", rule, minted(b), false)
	if a.Pending() != 0 {
		t.Errorf("%d pending", a.Pending())
	}
}

func TestKilledReplicaForgetsNothingItAcknowledged(t *testing.T) {
	s := newStage(t)
	disk := newMemFS()
	a := s.replica("a", 0, disk)
	s.sync(a)
	logged := s.revoke(a, "log")
	a.log.down.Store(true)
	if err := a.Sync(t.Context()); err == nil {
		t.Error("the log is down, and nobody said so")
	}
	local := s.revoke(a, "local")
	s.lift(a, logged)
	must(t, a.RecordBreakGlass(jrnl.BreakGlass{At: simStart, Peer: "uid 0", Action: "revoke", Detail: local.ID}))
	at := a.index.Position()
	disk.kill(nil)
	a = s.replica("a", 0, disk)
	if _, ok := a.index.Rule(local.ID); !ok {
		t.Error("the local rule is gone")
	}
	if _, ok := a.index.Rule(logged.ID); ok {
		t.Error("the lifted rule is back")
	}
	if got := a.index.Position(); got != at || a.Pending() != 2 {
		t.Errorf("at %v with %d pending, was at %v with 2", got, a.Pending(), at)
	}
	if got := a.BreakGlassLog(); len(got) != 1 || got[0].Detail != local.ID || !got[0].At.Equal(simStart) {
		t.Errorf("break-glass log %+v", got)
	}
	s.sync(a)
	b := s.replica("b", 0, nil)
	s.sync(b)
	if _, ok := b.index.Rule(local.ID); !ok || b.index.Len() != 1 {
		t.Error("the local rule did not enter the log")
	}
}

func TestWithoutAJournalFile(t *testing.T) {
	s := newStage(t)
	a := s.replica("a", 0, nil)
	s.sync(a)
	s.revoke(a, "log")
	a.log.down.Store(true)
	r := revocation.Rule{ID: simID(3, 3), Selector: revocation.SelectAll, CreatedAt: simStart, ExpiresAt: simStart.Add(time.Hour)}
	if _, err := a.Append(t.Context(), []revocation.Rule{r}, nil); !errors.Is(err, jrnl.ErrUnavailable) {
		t.Errorf("accepted with nowhere to keep it: %v", err)
	}
	if a.Pending() != 0 {
		t.Error("what was refused is pending")
	}
	if err := a.RecordBreakGlass(jrnl.BreakGlass{}); !errors.Is(err, jrnl.ErrUnavailable) {
		t.Errorf("break glass recorded nowhere: %v", err)
	}
}

// Two who lift the same rule while there is no journal file: the one that gives up takes nothing
// back of what the other waits for, who is not told that it was done unless it was.
func TestWhoGivesUpTakesNothingBackOfAnother(t *testing.T) {
	for name, down := range map[string]bool{"log answers": false, "log goes away": true} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			a := s.replica("a", 0, nil)
			s.sync(a)
			rule := s.revoke(a, "log")
			lift := func(ctx context.Context, id uint64) (jrnl.Result, error) {
				return a.Append(ctx, nil, []revocation.Lift{{ID: simID(2, id), RuleID: rule.ID, At: simStart}})
			}
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			a.log.fault = func(string) (error, bool) { // while the other follows the log
				a.log.fault = nil
				if _, err := lift(gone, 1); !errors.Is(err, jrnl.ErrUnavailable) {
					t.Errorf("the one that gave up: %v", err)
				}
				a.log.down.Store(down)
				return nil, false
			}
			res, err := lift(t.Context(), 2)
			_, lifted := a.index.Lifted(rule.ID)
			if down && !errors.Is(err, jrnl.ErrUnavailable) || !down && (err != nil || res.Durability != jrnl.DurableLog || !lifted) {
				t.Errorf("the other: %+v, %v; lifted: %v", res, err, lifted)
			}
			if a.Pending() != 0 {
				t.Errorf("%d pending", a.Pending())
			}
		})
	}
}

func TestFailingDisk(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		t.Run(op, func(t *testing.T) {
			s := newStage(t)
			disk := newMemFS()
			a := s.replica("a", 0, disk)
			s.sync(a)
			bad := errors.New("no space left on device")
			disk.fault = func(got string) error {
				if got == op {
					return bad
				}
				return nil
			}
			s.revoke(a, "log") // the log alone carries it
			a.log.down.Store(true)
			r := revocation.Rule{ID: simID(3, 3), Selector: revocation.SelectAll, CreatedAt: simStart, ExpiresAt: simStart.Add(time.Hour)}
			if _, err := a.Append(t.Context(), []revocation.Rule{r}, nil); !errors.Is(err, jrnl.ErrUnavailable) {
				t.Errorf("accepted on a bad disk without a log: %v", err)
			}
			disk.fault = nil
			must(t, a.Replace())
			rule := s.revoke(a, "local") // it works again
			disk.kill(nil)
			a = s.replica("a", 0, disk)
			if _, ok := a.index.Rule(rule.ID); !ok {
				t.Error("a rule that was acknowledged after the repair is gone")
			}
		})
	}
}

func TestDamagedFile(t *testing.T) {
	build := func(t *testing.T) (*stage, *memFS, []int) {
		s := newStage(t)
		disk := newMemFS()
		a := s.replica("a", 0, disk)
		a.log.down.Store(true)
		sizes := []int{disk.size(simFile)}
		for range 3 {
			s.revoke(a, "local")
			sizes = append(sizes, disk.size(simFile))
		}
		return s, disk, sizes
	}
	open := func(s *stage, disk *memFS) (int, error) {
		x := revocation.NewIndex(revocation.Options{})
		_, err := jrnl.Open(s.Context(), config{Dir: simDir, FS: disk, Log: &memLog{data: s.data}, Index: x, Now: s.clock(0), Logger: slog.New(slog.DiscardHandler)})
		return x.Len(), err
	}
	s, disk, sizes := build(t)
	whole := append([]byte(nil), readAll(t, disk)...)
	for cut := sizes[0]; cut <= len(whole); cut++ {
		disk.edit(simFile, func([]byte) []byte { return whole[:cut] })
		want := 0
		for _, size := range sizes[1:] {
			if size <= cut {
				want++
			}
		}
		if n, err := open(s, disk); err != nil || n != want {
			t.Fatalf("cut at %d of %d: %d rules, %v; want %d", cut, len(whole), n, err, want)
		}
	}
	for at := range whole {
		disk.edit(simFile, func([]byte) []byte {
			out := bytes.Clone(whole)
			out[at] ^= 0x41
			return out
		})
		n, err := open(s, disk)
		last := at >= sizes[len(sizes)-2]
		if last && (err != nil || n != 2) {
			t.Fatalf("byte %d of the last frame changed: %d rules, %v", at, n, err)
		}
		if !last && !errors.Is(err, jrnl.ErrCorrupt) {
			t.Fatalf("byte %d changed: %d rules, %v; want ErrCorrupt", at, n, err)
		}
	}
	disk.edit(simFile, func([]byte) []byte { return append(bytes.Clone(whole[:sizes[1]]), whole[sizes[2]:]...) })
	if _, err := open(s, disk); !errors.Is(err, jrnl.ErrCorrupt) {
		t.Errorf("a frame was taken out: %v", err)
	}
	disk.edit(simFile, func([]byte) []byte { return nil })
	if _, err := open(s, disk); !errors.Is(err, jrnl.ErrCorrupt) {
		t.Errorf("an emptied file: %v", err)
	}
}

func readAll(t *testing.T, disk *memFS) []byte {
	f, err := disk.OpenFile(simFile, 0, 0)
	must(t, err)
	var b bytes.Buffer
	_, err = b.ReadFrom(f)
	must(t, err)
	return b.Bytes()
}

func TestReplacedFileHoldsTheSame(t *testing.T) {
	for _, fail := range []string{"", "open", "write", "sync", "rename", "syncdir"} {
		t.Run("failing "+fail, func(t *testing.T) {
			s := newStage(t)
			disk := newMemFS()
			a := s.replica("a", 0, disk)
			s.sync(a)
			logged, lifted := s.revoke(a, "log"), s.revoke(a, "log")
			s.lift(a, lifted)
			a.log.down.Store(true)
			local := s.revoke(a, "local")
			must(t, a.RecordBreakGlass(jrnl.BreakGlass{At: simStart, Action: "revoke"}))
			at, size := a.index.Position(), disk.size(simFile)
			disk.fault = func(op string) error {
				if op == fail {
					return errors.New("disk")
				}
				return nil
			}
			if err := a.Replace(); (err != nil) != (fail != "") {
				t.Fatalf("replacing: %v", err)
			}
			disk.fault = nil
			if fail == "" && disk.size(simFile) >= size {
				t.Errorf("%d bytes became %d", size, disk.size(simFile))
			}
			disk.kill(nil)
			a = s.replica("a", 0, disk)
			for _, r := range []revocation.Rule{logged, local} {
				if _, ok := a.index.Rule(r.ID); !ok {
					t.Errorf("rule %s is missing", r.Value)
				}
			}
			if _, ok := a.index.Lifted(lifted.ID); !ok || a.index.Position() != at || a.Pending() != 1 || len(a.BreakGlassLog()) != 1 {
				t.Errorf("at %v, want %v; %d pending; %d break-glass", a.index.Position(), at, a.Pending(), len(a.BreakGlassLog()))
			}
		})
	}
}

// A file that is replaced while the log is read holds what was read beyond the place that it
// names, and says so: what the log loses of it is put back after a kill.
func TestFileReplacedWhileTheLogIsRead(t *testing.T) {
	s := newStage(t)
	disk := newMemFS()
	a, b := s.replica("a", 0, disk), s.replica("b", 0, newMemFS())
	s.sync(a, b)
	behind := s.data.fork(s.data.len())
	var rules []revocation.Rule
	for i := range uint64(1000) {
		rules = append(rules, revocation.Rule{ID: simID(5, i), Selector: revocation.SelectRole, Value: "x", CreatedAt: simStart, ExpiresAt: simStart.Add(time.Hour)})
	}
	_, err := b.Append(t.Context(), rules, nil)
	must(t, err)
	reads := 0
	stands, resume, synced := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	a.log.fault = func(call string) (error, bool) {
		if call != "read" {
			return nil, false
		}
		if reads++; reads == 2 { // there is more to come: what was read is not in the file yet
			close(stands)
			<-resume
			return errDown, false
		}
		return nil, false
	}
	disk.fault = func(string) error { // the new file begins
		disk.fault = nil
		go func() { synced <- a.Sync(t.Context()) }()
		await(t, "the log is read", stands)
		return nil
	}
	must(t, a.Replace())
	disk.kill(nil)
	close(resume)
	if err := await(t, "the log fails", synced); err == nil {
		t.Fatal("the log did not fail")
	}
	s.data = behind
	a = s.replica("a", 0, disk)
	s.sync(a)
	fresh := s.replica("fresh", 0, nil)
	s.sync(fresh)
	if a.index.Len() == 0 || fresh.index.Len() != a.index.Len() || a.Pending() != 0 {
		t.Errorf("%d rules here with %d pending, and %d in the log", a.index.Len(), a.Pending(), fresh.index.Len())
	}
}

// A heartbeat that is made while the log turns out to have lost a position says what was so
// before that, or never.
func TestHeartbeatWhileTheLogIsLost(t *testing.T) {
	s := newStage(t)
	var during func()
	clock := func() time.Time {
		if fn := during; fn != nil {
			during = nil
			fn()
		}
		return simStart
	}
	a := &replica{log: &memLog{data: s.data}, index: revocation.NewIndex(revocation.Options{})}
	a.Journal = openJournal(s, config{Dir: simDir, FS: newMemFS(), Log: a.log, Index: a.index, Now: clock})
	s.sync(a)
	stands, resume, synced := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	a.log.fault = func(call string) (error, bool) {
		if call != "read" {
			return nil, false
		}
		a.log.fault = nil
		close(stands)
		<-resume
		return store.ErrUnknownPosition, false
	}
	go func() { synced <- a.Sync(t.Context()) }()
	await(t, "the log is read", stands)
	during = func() { // it was asked whether there is a confirmation, and not yet which
		close(resume)
		for end := time.Now().Add(30 * time.Second); a.Staleness(simStart) == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Error("the position was not lost")
				return
			}
		}
	}
	if ago := a.Heartbeat().ConfirmedAgoMS; ago != 0 && ago != -1 {
		t.Errorf("confirmed %d ms ago", ago)
	}
	must(t, await(t, "the log was read again", synced))
}

func await[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(30 * time.Second):
		t.Errorf("not after 30 s: %s", what)
	}
	return v
}

// Who has told the others not to wait for him accepts nothing that he alone would know.
func TestWhatIsAppendedAfterLeaving(t *testing.T) {
	s := newStage(t)
	a := &replica{log: &memLog{data: s.data}, index: revocation.NewIndex(revocation.Options{})}
	left := &leaving{}
	a.Journal = openJournal(s, config{Dir: simDir, FS: newMemFS(), Log: a.log, Index: a.index, Now: s.clock(0), Roll: left})
	s.sync(a)
	var err error
	left.during = func() {
		a.log.down.Store(true)
		r := revocation.Rule{ID: simID(3, 3), Selector: revocation.SelectAll, CreatedAt: simStart, ExpiresAt: simStart.Add(time.Hour)}
		_, err = a.Append(t.Context(), []revocation.Rule{r}, nil)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	must(t, a.Run(stopped))
	if left.during != nil || !errors.Is(err, jrnl.ErrUnavailable) {
		t.Errorf("accepted by a replica that has left: %v", err)
	}
}

// leaving is a roll of one replica, which does something as it leaves.
type leaving struct{ during func() }

func (*leaving) Read(context.Context) error { return nil }

func (*leaving) Vouch(context.Context, store.Position) (time.Time, error) { return simStart, nil }

func (l *leaving) Leave(context.Context, store.Position) error {
	l.during()
	l.during = nil
	return nil
}

func (*leaving) Hurried() bool { return false }

func TestSlowSubscriberIsCut(t *testing.T) {
	s := newStage(t)
	x := revocation.NewIndex(revocation.Options{})
	a := &replica{name: "a", log: &memLog{data: s.data}, index: x}
	a.Journal = openJournal(t, config{Dir: simDir, FS: newMemFS(), Log: a.log, Index: x, Now: s.clock(0), Buffer: 4})
	s.sync(a)
	slow := a.Subscribe(x.Position())
	for range 8 {
		s.revoke(a, "log")
	}
	n := 0
	for range slow.C {
		n++
	}
	if n != 4 {
		t.Errorf("a reader with room for 4 was given %d", n)
	}
	again := a.Subscribe(token.Rev{Lineage: x.Position().Lineage, Seq: x.Position().Seq - 2})
	if again.Snapshot || len(again.Backlog) != 4 {
		t.Errorf("resuming: snapshot %v, backlog %d; want the 2 rules that it missed, each as local and as logged", again.Snapshot, len(again.Backlog))
	}
	lost := a.Subscribe(token.Rev{Lineage: 99, Seq: 1})
	if !lost.Snapshot {
		t.Error("an unknown position was resumed")
	}
	must(t, a.Publish(revocation.Event{Type: revocation.EventKeys, Keys: []byte(`{"keys":[]}`)}))
	if f := <-again.C; f.Event.Type != revocation.EventKeys {
		t.Errorf("got %+v", f.Event)
	}
	if err := a.Publish(revocation.Event{Type: revocation.EventRule}); err == nil {
		t.Error("a rule was published past the log")
	}
	again.Close()
	again.Close()
	must(t, a.Close())
	if _, ok := <-lost.C; !ok {
		return
	}
	if _, ok := <-lost.C; ok {
		t.Error("closing the journal left a subscription open")
	}
}

func TestFeedTellsNoReasons(t *testing.T) {
	s := newStage(t)
	a := s.replica("a", 0, newMemFS())
	s.sync(a)
	sub := a.Subscribe(a.index.Position())
	defer sub.Close()
	r := revocation.Rule{ID: simID(3, 3), Selector: revocation.SelectSubject, Value: "user:ann", CreatedAt: simStart,
		ExpiresAt: simStart.Add(time.Hour), Reason: "fraud case 7", By: "user:officer"}
	_, err := a.Append(t.Context(), []revocation.Rule{r}, nil)
	must(t, err)
	f := <-sub.C
	if bytes.Contains(f.SSE, []byte("fraud")) || bytes.Contains(f.SSE, []byte("officer")) {
		t.Errorf("the feed tells %s", f.SSE)
	}
	if own, _ := a.index.Rule(r.ID); own.Reason != r.Reason || own.By != r.By {
		t.Errorf("the replica itself forgot why: %+v", own)
	}
}

func TestInvalidAppendsChangeNothing(t *testing.T) {
	s := newStage(t)
	a := s.replica("a", 0, newMemFS())
	s.sync(a)
	good := s.revoke(a, "log")
	other := good
	other.Value = "another"
	late := good
	late.ID, late.ExpiresAt = simID(4, 4), time.Time{}
	for name, rule := range map[string]revocation.Rule{"used id": other, "no expiry": late, "no id": {Selector: revocation.SelectAll}} {
		if _, err := a.Append(t.Context(), []revocation.Rule{rule}, nil); err == nil || errors.Is(err, jrnl.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.Append(t.Context(), nil, nil); err == nil {
		t.Error("nothing was appended")
	}
	if _, err := a.Append(t.Context(), nil, []revocation.Lift{{ID: "x", RuleID: good.ID}}); err == nil {
		t.Error("a lift without an id was appended")
	}
	if a.index.Len() != 1 || a.Pending() != 0 || a.log.data.len() != 2 {
		t.Errorf("%d rules, %d pending, %d records", a.index.Len(), a.Pending(), a.log.data.len())
	}
}

func TestUnreadableRecordStopsTheReplica(t *testing.T) {
	s := newStage(t)
	a, b := s.replica("a", 0, newMemFS()), s.replica("b", 0, nil)
	s.sync(a, b)
	tail, err := a.log.Tail(t.Context())
	must(t, err)
	_, err = a.log.Append(t.Context(), tail.Position, store.Entry{Kind: 200, Payload: []byte("of a newer version")})
	must(t, err)
	at := b.index.Position()
	s.now.Store(int64(time.Minute))
	if err := b.Sync(t.Context()); !errors.Is(err, revocation.ErrRecord) {
		t.Errorf("went over a record that it cannot read: %v", err)
	}
	if b.Ready() || b.index.Position() != at {
		t.Error("ready, or further than it can know")
	}
}

func TestRunFollowsAndGoesStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := newStage(t)
		s.world.now = time.Now
		open := func(disk *memFS) *replica {
			r := &replica{log: &memLog{data: s.data}, index: revocation.NewIndex(revocation.Options{})}
			r.Journal = openJournal(t, config{Dir: simDir, FS: disk, Log: r.log, Index: r.index, Now: time.Now})
			return r
		}
		a, b := open(newMemFS()), open(newMemFS())
		done := make(chan error, 2)
		ctx := t.Context()
		stop, cancel := context.WithCancel(ctx)
		for _, r := range []*replica{a, b} {
			if r.Ready() || r.Heartbeat().ConfirmedAgoMS != -1 {
				t.Error("ready before it has seen the log")
			}
			go func() { done <- r.Run(stop) }()
		}
		time.Sleep(time.Second)
		if !a.Ready() || !b.Ready() {
			t.Fatal("not ready after a second")
		}
		rule := revocation.Rule{ID: simID(3, 3), Selector: revocation.SelectRole, Value: "x", CreatedAt: began, ExpiresAt: began.Add(2 * time.Minute)}
		_, err := a.Append(ctx, []revocation.Rule{rule}, nil)
		must(t, err)
		time.Sleep(50 * time.Millisecond)
		if _, ok := b.index.Rule(rule.ID); !ok {
			t.Error("50 ms later the other replica does not have the rule")
		}
		b.log.down.Store(true)
		time.Sleep(20 * time.Second)
		if !b.Ready() {
			t.Error("not ready although stale for less than 30 s")
		}
		time.Sleep(11 * time.Second)
		if b.Ready() || b.Heartbeat().ConfirmedAgoMS < 30_000 {
			t.Error("ready although stale for more than 30 s")
		}
		b.log.down.Store(false)
		time.Sleep(5 * time.Second)
		if !b.Ready() {
			t.Error("not ready although the log is back")
		}
		time.Sleep(5 * time.Minute)
		if a.index.Len() != 0 {
			t.Error("an expired rule was not swept")
		}
		cancel()
		must(t, <-done)
		must(t, <-done)
	})
}

func TestRealFiles(t *testing.T) {
	s := newStage(t)
	dir := filepath.Join(t.TempDir(), "journal")
	open := func() (*Journal, *revocation.Index, error) {
		x := revocation.NewIndex(revocation.Options{})
		j, err := jrnl.Open(t.Context(), config{Dir: dir, Log: &memLog{data: s.data}, Index: x, Now: s.clock(0), Logger: slog.New(slog.DiscardHandler)})
		return j, x, err
	}
	j, _, err := open()
	must(t, err)
	if _, _, err := open(); err == nil {
		t.Fatal("two processes share a journal")
	}
	rule := revocation.Rule{ID: simID(3, 3), Selector: revocation.SelectRole, Value: "x", CreatedAt: simStart, ExpiresAt: simStart.Add(time.Hour)}
	_, err = j.Append(t.Context(), []revocation.Rule{rule}, nil)
	must(t, err)
	must(t, j.Replace())
	must(t, j.Close())
	j, x, err := open()
	must(t, err)
	defer j.Close()
	if _, ok := x.Rule(rule.ID); !ok {
		t.Error("the rule is gone")
	}
	info, err := os.Stat(filepath.Join(dir, "revocations.journal"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file is open to others: %v", info.Mode())
	}
}

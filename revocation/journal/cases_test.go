package journal_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

// stage is a few replicas on one log, whose clocks disagree on purpose: nothing may
// depend on them.
type stage struct {
	*testing.T
	world *world
	data  *dataset
	now   atomic.Int64 // nanoseconds after simStart
	ids   uint64
}

func newStage(t *testing.T) *stage {
	s := &stage{T: t}
	s.world = &world{now: s.clock(0)}
	s.data = newDataset(s.world)
	return s
}

func (s *stage) clock(skew time.Duration) func() time.Time {
	return func() time.Time { return simStart.Add(time.Duration(s.now.Load()) + skew) }
}

func (s *stage) replica(name string, skew time.Duration, disk *memFS) *replica {
	s.Helper()
	r := &replica{name: name, skew: skew, disk: disk, log: &memLog{data: s.data}, index: revocation.NewIndex(revocation.Options{})}
	c := config{Log: r.log, Index: r.index, Now: s.clock(skew)}
	if disk != nil {
		c.Dir, c.FS = simDir, disk
	}
	r.Journal = openJournal(s, c)
	return r
}

func (s *stage) sync(replicas ...*replica) {
	s.Helper()
	for _, r := range replicas {
		if err := r.Sync(s.Context()); err != nil {
			s.Fatalf("%s: %v", r.name, err)
		}
	}
}

// revoke makes a rule about a role that nothing else has.
func (s *stage) revoke(r *replica, want string) revocation.Rule {
	s.Helper()
	s.ids++
	rule := revocation.Rule{ID: simID(1, s.ids), Selector: revocation.SelectRole, Value: fmt.Sprintf("role-%d", s.ids),
		CreatedAt: s.clock(r.skew)(), ExpiresAt: s.clock(r.skew)().Add(ruleLife)}
	res, err := r.Append(s.Context(), []revocation.Rule{rule}, nil)
	must(s, err)
	if string(res.Durability) != want || (want == "log") == res.Position.IsZero() {
		s.Fatalf("%s: revoked with %+v, want durability %s", r.name, res, want)
	}
	return rule
}

func (s *stage) lift(r *replica, rule revocation.Rule) {
	s.Helper()
	s.ids++
	_, err := r.Append(s.Context(), nil, []revocation.Lift{{ID: simID(2, s.ids), RuleID: rule.ID, At: s.clock(r.skew)()}})
	must(s, err)
}

// minted is a token that carries every role, from a replica as it stands.
func minted(r *replica) token.Rev { return r.index.Position() }

func (s *stage) want(x *revocation.Index, who string, rule revocation.Rule, rev token.Rev, revoked bool) {
	s.Helper()
	if hit, ok := x.Revoked(claimsFor(&rule, rev, s.clock(0)()), "k"); ok != revoked {
		live, have := x.Rule(rule.ID)
		s.Errorf("on %s a token of %v is revoked by %s: %v, want %v; rule there: %v %v %+v, lineages %s",
			who, rev, rule.Value, ok, revoked, have, live.Entries, hit, chains(x))
	}
}

func TestTwoWritersThatCannotSeeEachOther(t *testing.T) {
	s := newStage(t)
	a := s.replica("a", -time.Hour, newMemFS())
	b := s.replica("b", time.Hour, newMemFS())
	before := s.revoke(a, "log")
	s.sync(a, b)
	left := s.data
	right := left.fork(left.len())
	b.log.data = right
	s.sync(a, b)

	oldA, oldB := minted(a), minted(b)
	onA, onB := s.revoke(a, "log"), s.revoke(b, "log")
	newA, newB := minted(a), minted(b)
	for _, c := range []struct {
		who  *replica
		rule revocation.Rule
		rev  token.Rev
		want bool
	}{
		{a, onA, oldA, true}, {a, onA, newA, false}, {b, onB, oldB, true}, {b, onB, newB, false},
		{a, before, newA, false}, {b, before, newB, false},
		// Each side's tokens are strangers to the other side's rule, whatever the numbers.
		{a, onA, newB, true}, {b, onB, newA, true},
	} {
		s.want(c.who.index, c.who.name, c.rule, c.rev, c.want)
	}

	b.log.data = left // the sides meet
	s.sync(b, a, b, a)
	fresh := s.replica("fresh", 0, nil)
	s.sync(fresh)
	for _, r := range []*replica{a, b, fresh} {
		s.want(r.index, r.name, onA, oldA, true)
		s.want(r.index, r.name, onB, oldB, true)
		s.want(r.index, r.name, onA, newA, false)
		s.want(r.index, r.name, onB, newB, false)
		s.want(r.index, r.name, onA, newB, true)
		s.want(r.index, r.name, onB, newA, true)
		s.want(r.index, r.name, before, newB, false)
		s.want(r.index, r.name, onA, minted(a), false)
		s.want(r.index, r.name, onB, minted(a), false)
	}
}

func TestTailLostInAFailover(t *testing.T) {
	s := newStage(t)
	a, b := s.replica("a", 0, newMemFS()), s.replica("b", time.Minute, newMemFS())
	first := s.revoke(a, "log")
	s.sync(a, b)
	held := s.data.len()
	lost := s.revoke(a, "log")
	old, stamped := minted(b), minted(a) // b has not read the lost rule

	s.data = s.data.fork(held) // the copy that takes over never had it
	a.log.data, b.log.data = s.data, s.data
	s.sync(b) // b opens the lineage: it misses nothing
	between := minted(b)
	other := s.revoke(b, "log") // takes the number in the log that the lost rule had
	s.sync(a, b)                // a puts the lost rule back
	after := minted(b)

	fresh := s.replica("fresh", 0, nil)
	s.sync(fresh)
	for _, r := range []*replica{a, b, fresh} {
		if _, ok := r.index.Rule(lost.ID); !ok {
			t.Errorf("%s: the acknowledged rule is missing", r.name)
		}
		s.want(r.index, r.name, lost, old, true)
		s.want(r.index, r.name, lost, between, true) // its minter never had the rule
		s.want(r.index, r.name, lost, stamped, false)
		s.want(r.index, r.name, lost, after, false)
		s.want(r.index, r.name, other, stamped, true) // the old lineage's numbers prove nothing here
		s.want(r.index, r.name, first, stamped, false)
		s.want(r.index, r.name, first, between, false)
	}
}

func TestOldLogComesBack(t *testing.T) {
	s := newStage(t)
	a, b := s.replica("a", 0, newMemFS()), s.replica("b", 0, newMemFS())
	s.sync(a, b)
	lifted := s.revoke(a, "log")
	s.sync(b)
	backup := s.data.fork(s.data.len())
	s.lift(a, lifted)
	late := s.revoke(a, "log")
	s.sync(a, b)
	stamped := minted(b)
	backup.restart()
	a.log.data, b.log.data = backup, backup
	if b.Ready() != true {
		t.Fatal("b was not ready before")
	}
	s.sync(b, a, b)
	s.data = backup
	fresh := s.replica("fresh", 0, nil)
	s.sync(fresh)
	for _, r := range []*replica{a, b, fresh} {
		if _, ok := r.index.Rule(lifted.ID); ok {
			t.Errorf("%s: what was lifted came back", r.name)
		}
		if _, ok := r.index.Rule(late.ID); !ok {
			t.Errorf("%s: the rule that the old log did not have is missing", r.name)
		}
		s.want(r.index, r.name, late, stamped, false)
		s.want(r.index, r.name, late, token.Rev{Lineage: stamped.Lineage, Seq: stamped.Seq - 1}, true)
	}
}

func TestWipedLogIsFilledAgain(t *testing.T) {
	s := newStage(t)
	a, b := s.replica("a", 0, newMemFS()), s.replica("b", 0, newMemFS())
	s.sync(a, b)
	rules := []revocation.Rule{s.revoke(a, "log"), s.revoke(a, "log"), s.revoke(a, "log")}
	s.lift(a, rules[0])
	s.sync(b)
	stamped := minted(b)
	s.data.wipe()
	s.sync(b, a)
	fresh := s.replica("fresh", 0, nil)
	s.sync(fresh)
	if n := fresh.index.Len(); n != 2 {
		t.Fatalf("%d rules came back, want 2", n)
	}
	for _, rule := range rules[1:] {
		s.want(fresh.index, "fresh", rule, stamped, false) // the lineage that is gone is still known
		s.want(fresh.index, "fresh", rule, token.Rev{Lineage: stamped.Lineage, Seq: 1}, true)
	}
	if _, ok := fresh.index.Lifted(rules[0].ID); !ok {
		t.Error("the lift did not come back")
	}
}

func TestForgedFutureRevUnderARevokedKey(t *testing.T) {
	s := newStage(t)
	a := s.replica("a", 0, newMemFS())
	s.sync(a)
	s.ids++
	rule := revocation.Rule{ID: simID(1, s.ids), Selector: revocation.SelectKey, Value: "leaked", CreatedAt: simStart, ExpiresAt: simStart.Add(time.Hour)}
	_, err := a.Append(t.Context(), []revocation.Rule{rule}, nil)
	must(t, err)
	at := a.index.Position()
	for name, rev := range map[string]token.Rev{
		"far future": {Lineage: at.Lineage, Seq: 1 << 62}, "now": at, "none": {}, "unknown lineage": {Lineage: 7, Seq: 7},
	} {
		own := &token.Claims{Subject: "s", ClientID: "c", ID: simID(9, 9), Rev: rev}
		if _, ok := a.index.Revoked(own, "leaked"); !ok {
			t.Errorf("%s: a token signed by the leaked key lives", name)
		}
		child := &token.Claims{Subject: "s", ClientID: "c", ID: simID(9, 9), Rev: rev, Ancestors: []token.Ancestor{{ID: "x", KeyID: "good"}, {ID: "y", KeyID: "leaked"}}}
		if _, ok := a.index.Revoked(child, "good"); !ok {
			t.Errorf("%s: a descendant of a token of the leaked key lives", name)
		}
	}
}

// TestRuleLandsBetweenCheckAndStamp: the broker reads the position, checks, and stamps
// the position that it has read.
func TestRuleLandsBetweenCheckAndStamp(t *testing.T) {
	s := newStage(t)
	a, b := s.replica("a", 0, newMemFS()), s.replica("b", 0, newMemFS())
	s.sync(a, b)

	stamp := minted(b)
	// … b checks, and finds nothing …
	rule := s.revoke(a, "log")
	s.sync(b)
	// … and only now signs.
	s.want(b.index, "b", rule, stamp, true)
	s.want(a.index, "a", rule, stamp, true)
	s.want(b.index, "b", rule, minted(b), false)
}

// TestNoTokenIsMintedBetweenTwoLogs: while what the index knows is in two logs, no one
// position can say it.
func TestNoTokenIsMintedBetweenTwoLogs(t *testing.T) {
	s := newStage(t)
	a := s.replica("a", 0, newMemFS())
	s.sync(a)
	s.revoke(a, "log")
	s.data.wipe()
	calls := 0
	a.log.fault = func(call string) (error, bool) {
		if calls++; call == "open" {
			return errDown, false
		}
		return nil, false
	}
	if err := a.Sync(t.Context()); err == nil {
		t.Fatal("the log could not be opened, and nobody said so")
	}
	if a.Ready() {
		t.Error("ready between two logs")
	}
	a.log.fault = nil
	s.sync(a)
	if !a.Ready() || a.Pending() > 0 {
		t.Error("not ready although all is whole")
	}
}

// TestALogThatKnowsNoPositionIsNotReadForEver: whoever follows it says so, and tries again
// as it does after any failure.
func TestALogThatKnowsNoPositionIsNotReadForEver(t *testing.T) {
	s := newStage(t)
	a := s.replica("a", 0, newMemFS())
	rule := s.revoke(a, "log")
	reads := 0
	a.log.fault = func(call string) (error, bool) {
		if call != "read" {
			return nil, false
		}
		switch reads++; {
		case reads > 100:
			return errDown, false
		case reads%2 == 1: // each but that of the start
			return store.ErrUnknownPosition, false
		}
		return nil, false
	}
	if err := a.Sync(t.Context()); !errors.Is(err, store.ErrUnknownPosition) {
		t.Errorf("following the log: %v", err)
	}
	if a.Ready() {
		t.Error("ready without having read the log")
	}
	a.log.fault = nil
	s.sync(a)
	if _, ok := a.index.Rule(rule.ID); !ok || !a.Ready() {
		t.Error("not whole again")
	}
}

func TestAbandonedOpenIsOvertaken(t *testing.T) {
	s := newStage(t)
	a, b := s.replica("a", 0, newMemFS()), s.replica("b", 0, newMemFS())
	s.sync(a, b)
	rules := []revocation.Rule{s.revoke(a, "log"), s.revoke(a, "log"), s.revoke(a, "log")}
	s.sync(b)
	stamped := minted(a)
	s.data = s.data.fork(1) // all three are lost
	a.log.data, b.log.data = s.data, s.data
	a.log.cutOpen = 2
	if err := a.Sync(t.Context()); err == nil {
		t.Fatal("an open that was cut off succeeded")
	}
	a.log.fault = func(call string) (error, bool) { // a reads its own half, and can still not open
		if call == "open" {
			return errDown, false
		}
		return nil, false
	}
	if err := a.Sync(t.Context()); err == nil {
		t.Fatal("nothing was opened, and nobody said so")
	}
	a.log.fault = nil
	if got := a.index.Position(); got.Lineage != stamped.Lineage {
		t.Fatalf("stamps %v, of a lineage without a marker", got)
	}
	s.sync(b, a)
	for _, r := range []*replica{a, b} {
		if !r.Ready() {
			t.Errorf("%s is not ready", r.name)
		}
		for _, rule := range rules {
			s.want(r.index, r.name, rule, stamped, false)
			s.want(r.index, r.name, rule, minted(r), false)
		}
	}
}

// TestPlaceInALostLogIsNotForgotten: another replica puts the rule back, and does not know
// of a log that only this one has seen.
func TestPlaceInALostLogIsNotForgotten(t *testing.T) {
	s := newStage(t)
	a, b := s.replica("a", 0, newMemFS()), s.replica("b", 0, newMemFS())
	s.sync(a, b)
	rule := s.revoke(b, "log")
	s.sync(a)
	short := s.data.fork(1) // a copy without the rule

	alone := newDataset(s.world)
	a.log.data = alone
	s.sync(a)
	stamped := minted(a)
	s.want(a.index, "a", rule, stamped, false)

	a.log.data, b.log.data = short, short
	a.log.fault = func(call string) (error, bool) {
		if call == "open" {
			return errDown, false
		}
		return nil, false
	}
	if err := a.Sync(t.Context()); err == nil {
		t.Fatal("nothing was opened, and nobody said so")
	}
	a.log.fault = nil
	s.sync(b, a, b)
	s.data = short
	fresh := s.replica("fresh", 0, nil)
	s.sync(fresh)
	for _, r := range []*replica{a, b, fresh} {
		s.want(r.index, r.name, rule, stamped, false)
	}
}

// TestKilledDuringAScan: a replica reads another log, and is killed before it has read all.
// It knows more than its own log holds up to its position, so nobody may resume from there, and
// what its log lacks it puts there.
func TestKilledDuringAScan(t *testing.T) {
	s := newStage(t)
	a, b := s.replica("a", 0, newMemFS()), s.replica("b", time.Minute, newMemFS())
	s.revoke(a, "log")
	s.sync(a, b)
	at := a.index.Position()

	own := s.data.fork(s.data.len())
	own.instance = s.data.instance // the very process
	s.data.wipe()
	other := s.revoke(b, "log")
	a.log.fault = failAfterReads(2)
	if err := a.Sync(t.Context()); err == nil {
		t.Fatal("it was to break off")
	}
	if _, ok := a.index.Rule(other.ID); !ok {
		t.Fatal("it was to read something")
	}

	a = s.replica("a", 0, a.disk)
	a.log.data = own
	if sub := a.Subscribe(at); !sub.Snapshot {
		t.Errorf("a reader at %v resumes with %d events; the replica knows a rule beyond", at, len(sub.Backlog))
	}
	s.sync(a)
	if at, ok := a.index.Rule(other.ID); !ok || len(at.Entries) < 2 {
		t.Errorf("the rule is not in the log that the replica follows: %+v", at)
	}
}

// failAfterReads lets so many reads pass.
func failAfterReads(n int) func(string) (error, bool) {
	return func(call string) (error, bool) {
		if call == "read" {
			n--
		}
		if n < 0 {
			return errDown, false
		}
		return nil, false
	}
}

// told is a Roll that notes what it is told.
type told struct {
	vouched, left []store.Position
}

func (r *told) Read(context.Context) error { return nil }

func (r *told) Vouch(_ context.Context, at store.Position) (time.Time, error) {
	r.vouched = append(r.vouched, at)
	return simStart, nil
}

func (r *told) Leave(_ context.Context, at store.Position) error {
	r.left = append(r.left, at)
	return nil
}

func (r *told) Hurried() bool { return false }

// TestRunLeaves: the others are told not to wait for a replica that stops exactly where
// all that it knows is in the log.
func TestRunLeaves(t *testing.T) {
	for name, away := range map[string]bool{"with everything in the log": false, "with the log away": true} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			r, roll := s.replica("a", 0, nil), &told{}
			r.Journal = openJournal(t, config{Dir: simDir, FS: newMemFS(), Log: r.log, Index: r.index, Now: s.clock(0), Roll: roll})
			s.sync(r)
			r.log.down.Store(true)
			s.revoke(r, "local")
			r.log.down.Store(away)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			must(t, r.Run(ctx))
			want := 1
			if away {
				want = 0
			}
			if len(roll.left) != want || r.Pending() != 1-want {
				t.Errorf("left at %v, %d pending", roll.left, r.Pending())
			}
			if want == 1 && roll.left[0] != (store.Position{Lineage: store.Lineage(r.index.Position().Lineage), Seq: r.index.Position().Seq}) {
				t.Errorf("left at %v, the log was followed up to %v", roll.left[0], r.index.Position())
			}
		})
	}
}

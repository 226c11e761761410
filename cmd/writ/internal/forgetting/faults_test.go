package forgetting_test

import (
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/writbroker/writ/internal/redistest"
)

// storm breaks things, one round after the other. All faults of a round have ended when it
// returns.
type storm struct {
	*load
	t   *testing.T
	rng *rand.Rand
}

// fault is one kind of round.
type fault struct {
	name string
	do   func(*storm)
}

// faults lists every kind: a course has each of them once, in random order.
func faults() []fault {
	return []fault{
		{"redis killed", (*storm).killRedis},
		{"redis stopped", (*storm).stopRedis},
		{"redis asleep", (*storm).sleepRedis},
		{"redis flushed", (*storm).flush},
		{"redis restarted with older data", (*storm).older},
		{"redis restarted empty", (*storm).empty},
		{"redis without power in a transaction", (*storm).tear},
		{"outage beyond max_staleness", (*storm).outage},
		{"failover that loses a tail", (*storm).failover},
		{"failover that one replica misses", (*storm).split},
		{"connection cut", (*storm).cut},
		{"connection refused", (*storm).refuse},
		{"connection half-open", (*storm).stall},
		{"connection delayed", (*storm).delay},
		{"connection slow", (*storm).slow},
		{"replica killed", (*storm).killReplica},
		{"replica stopped and started", (*storm).restartReplica},
		{"replica frozen", (*storm).freezeReplica},
		{"replica killed in an outage that loses all", (*storm).killInOutage},
		{"all replicas killed while redis is flushed", (*storm).killAll},
	}
}

func (s *storm) run(f fault) {
	f.do(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.faults[f.name]++
}

func (s *storm) sleep(least, most time.Duration) {
	time.Sleep(least + time.Duration(s.rng.Int64N(int64(most-least))))
}

func (s *storm) everybody() []int {
	var out []int
	for n := range s.replicas {
		out = append(out, n)
	}
	return out
}

func (s *storm) anybody() (int, *replica) {
	n := s.rng.IntN(len(s.replicas))
	return n, s.replicas[n]
}

// away keeps Redis away for a while, between two ways of ending and beginning it.
func (s *storm) away(end, begin func(*testing.T), least, most time.Duration) {
	unwell := s.trouble(false, s.everybody()...)
	defer unwell()
	end(s.t)
	back := s.trouble(true, s.everybody()...)
	s.sleep(least, most)
	back()
	begin(s.t)
}

func on(f func(testing.TB)) func(*testing.T) { return func(t *testing.T) { f(t) } }

func (s *storm) killRedis() {
	s.away(on(s.primary.Kill), on(s.primary.Restart), 100*time.Millisecond, 1200*time.Millisecond)
}

func (s *storm) stopRedis() {
	s.away(on(s.primary.Stop), on(s.primary.Continue), 100*time.Millisecond, 1200*time.Millisecond)
}

func (s *storm) outage() {
	if s.rng.IntN(2) == 0 {
		s.away(on(s.primary.Kill), on(s.primary.Restart), maxStaleness+600*time.Millisecond, maxStaleness+time.Second)
		return
	}
	s.away(on(s.primary.Stop), on(s.primary.Continue), maxStaleness+600*time.Millisecond, maxStaleness+time.Second)
}

func (s *storm) sleepRedis() {
	defer s.trouble(false, s.everybody()...)()
	d := 200*time.Millisecond + time.Duration(s.rng.IntN(800))*time.Millisecond
	s.primary.Sleep(s.t, d)
	time.Sleep(d)
}

func (s *storm) flush() {
	defer s.trouble(false, s.everybody()...)()
	s.primary.FlushAll(s.t)
}

// older brings back what Redis held before some rules were lifted.
func (s *storm) older() {
	backup := s.primary.Backup(s.t)
	s.awaitLifts(2)
	s.away(on(s.primary.Kill), func(t *testing.T) { s.primary.RestartWith(t, backup) }, 0+time.Millisecond, 300*time.Millisecond)
}

// tear has Redis come back with a part of the last records of a log that it wrote at once. It
// comes to light at the next start.
func (s *storm) tear() {
	part := func(of int) int { return s.rng.IntN(of + 1) }
	const least = 3 // a lineage that is opened with rules has as many, a cell that is changed has less
	s.away(on(s.primary.Kill), func(t *testing.T) {
		if !s.primary.Tear(t, least, part) {
			t.Log("no transaction was there to tear")
		}
	}, time.Millisecond, 300*time.Millisecond)
	s.sleep(100*time.Millisecond, 500*time.Millisecond)
	s.killRedis()
}

func (s *storm) empty() {
	s.away(on(s.primary.Kill), on(s.primary.RestartEmpty), time.Millisecond, 500*time.Millisecond)
}

// failover makes the spare the primary. What the old one was given meanwhile is lost.
func (s *storm) failover() { s.promote(-1) }

// split is a failover that one replica does not see for a while: it goes on with the old
// primary, and what it acknowledges is in a log that is left.
func (s *storm) split() {
	n, _ := s.anybody()
	s.promote(n)
}

func (s *storm) promote(behind int) {
	defer s.trouble(false, s.everybody()...)()
	s.spare.Promote(s.t)
	s.sleep(time.Millisecond, 300*time.Millisecond)
	for n, r := range s.replicas {
		if n != behind {
			r.proxy.Target(s.spare.Addr)
			r.proxy.Cut()
		}
	}
	if behind >= 0 {
		s.sleep(300*time.Millisecond, time.Second)
		s.replicas[behind].proxy.Target(s.spare.Addr)
		s.replicas[behind].proxy.Cut()
	}
	s.primary, s.spare = s.spare, s.primary
	s.spare.Follow(s.t, s.primary)
}

// between breaks the way of one replica to Redis for a while.
func (s *storm) between(cut bool, broken func(*redistest.Proxy), least, most time.Duration) {
	n, r := s.anybody()
	defer s.trouble(false, n)()
	broken(r.proxy)
	over := s.trouble(cut, n)
	s.sleep(least, most)
	over()
	r.proxy.Heal()
}

func (s *storm) cut() {
	for range 3 {
		s.between(false, (*redistest.Proxy).Cut, 50*time.Millisecond, 200*time.Millisecond)
	}
}

func (s *storm) refuse() {
	s.between(true, (*redistest.Proxy).Refuse, 300*time.Millisecond, maxStaleness+time.Second)
}

func (s *storm) stall() {
	s.between(true, (*redistest.Proxy).Stall, 300*time.Millisecond, maxStaleness+time.Second)
}

func (s *storm) delay() {
	d := time.Duration(20+s.rng.IntN(150)) * time.Millisecond
	s.between(false, func(p *redistest.Proxy) { p.Delay(d) }, 300*time.Millisecond, time.Second)
}

func (s *storm) slow() {
	s.between(false, func(p *redistest.Proxy) { p.Slow(2000 + s.rng.IntN(20_000)) }, 300*time.Millisecond, time.Second)
}

func (s *storm) killReplica() { s.without((*replica).kill, 1) }

func (s *storm) restartReplica() { s.without((*replica).stop, 1500) }

func (s *storm) without(end func(*replica), most int) {
	n, r := s.anybody()
	defer s.trouble(false, n)()
	end(r)
	back := s.trouble(true, n)
	s.sleep(time.Millisecond, time.Duration(1+most)*time.Millisecond)
	back()
	r.start(s.t)
	redistest.Until(s.t, r.name+" is ready", func() bool { s.lives(r); return r.ready() })
}

// lives fails the test if a replica ended by itself.
func (s *storm) lives(r *replica) {
	if r.over() {
		s.t.Fatalf("%s has ended by itself:\n%s", r.name, r.out)
	}
}

func (s *storm) freezeReplica() {
	n, r := s.anybody()
	defer s.trouble(false, n)()
	r.signal(syscall.SIGSTOP)
	over := s.trouble(true, n)
	s.sleep(300*time.Millisecond, maxStaleness+500*time.Millisecond)
	over()
	r.signal(syscall.SIGCONT)
}

// killInOutage leaves what one replica acknowledged while Redis was away, and what Redis
// had, to the journals alone.
func (s *storm) killInOutage() {
	n, r := s.anybody()
	defer s.trouble(false, s.everybody()...)()
	s.primary.Kill(s.t)
	back := s.trouble(true, s.everybody()...)
	s.locally(n, 3)
	r.kill()
	r.start(s.t)
	s.sleep(time.Millisecond, 500*time.Millisecond)
	back()
	s.primary.RestartEmpty(s.t)
	redistest.Until(s.t, r.name+" is ready", func() bool { s.lives(r); return r.ready() })
}

// locally waits until a replica has acknowledged so many facts with 202, or is too slow.
func (s *storm) locally(n, facts int) {
	began := time.Now()
	for time.Since(began) < 3*time.Second {
		got := 0
		s.mu.Lock()
		for _, f := range s.ordered {
			if f.by == n && f.answer == http.StatusAccepted && f.acked.After(began) {
				got++
			}
		}
		s.mu.Unlock()
		if got >= facts {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// awaitLifts waits until so many more lifts were acknowledged, or that takes too long.
func (s *storm) awaitLifts(n int) {
	lifts := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.counts.lifts
	}
	for began, want := time.Now(), lifts()+n; lifts() < want && time.Since(began) < 3*time.Second; {
		time.Sleep(20 * time.Millisecond)
	}
}

// killAll leaves everything to the journals.
func (s *storm) killAll() {
	defer s.trouble(false, s.everybody()...)()
	for _, r := range s.replicas {
		r.kill()
	}
	back := s.trouble(true, s.everybody()...)
	s.primary.FlushAll(s.t)
	back()
	for _, r := range s.replicas {
		r.start(s.t)
	}
	for _, r := range s.replicas {
		redistest.Until(s.t, r.name+" is ready", func() bool { s.lives(r); return r.ready() })
	}
}

// replace takes a replica's folder away when everything is whole: what it knows when it is
// ready again it has from Redis alone.
func (s *storm) replace() {
	n, r := s.anybody()
	s.gates[n].Lock()
	defer s.gates[n].Unlock()
	if !s.whole("before a replica is replaced") {
		return
	}
	// One that finds no keys at all would begin a ring of its own.
	redistest.Until(s.t, "key ring is put back", func() bool { return s.primary.Do(s.t, "EXISTS", "{writ}:cell:signing-keys") == int64(1) })
	defer s.trouble(false, n)()
	r.kill()
	back := s.trouble(true, n)
	// It keeps its name: the others would wait for the old one, who will not come.
	name, err := os.ReadFile(filepath.Join(r.dir, "replica-id"))
	if err == nil {
		err = os.RemoveAll(r.dir)
	}
	if err == nil {
		err = os.MkdirAll(r.dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(r.dir, "replica-id"), name, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	back()
	r.start(s.t)
	redistest.Until(s.t, r.name+" is ready", func() bool { s.lives(r); return r.ready() })
}

package journal_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/roll"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

// The simulation drives the shipped journal, index and feed through what can befall
// them, in one goroutine, the same for the same seed:
//
//	WRIT_SIM_SEEDS=2000 go test -run TestSimulation ./revocation/journal   # more seeds
//	WRIT_SIM_SEED=17 go test -v -run TestSimulation ./revocation/journal   # one, with every step
const (
	simSeeds = 100
	simSteps = 300

	simAbsence = 1000 * time.Hour // nobody is given up
)

func TestSimulation(t *testing.T) {
	first, n, loud := uint64(1), uint64(simSeeds), false
	if text := os.Getenv("WRIT_SIM_SEEDS"); text != "" {
		n = parseSeed(t, text)
	}
	if text := os.Getenv("WRIT_SIM_SEED"); text != "" {
		first, n, loud = parseSeed(t, text), 1, true
	}
	t.Logf("seeds %d to %d, %d steps each", first, first+n-1, simSteps)
	total := counts{}
	for seed := first; seed < first+n; seed++ {
		s := newSim(t, seed, loud)
		s.run()
		total.add(&s.counts)
		if t.Failed() {
			t.Fatalf("seed %d; repeat it with WRIT_SIM_SEED=%d", seed, seed)
		}
	}
	t.Logf("%+v", total)
	total.check(t)
}

func parseSeed(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	must(t, err)
	return n
}

type sim struct {
	t     *testing.T
	seed  uint64
	loud  bool
	rng   *rand.Rand
	now   time.Time
	world *world
	step  int

	main      *dataset
	old       []*dataset // logs that were left and may come back
	replicas  []*replica
	verifiers []*reader
	rules     []*simRule
	tokens    []*simToken
	counts    counts
}

// replica is one broker: its disk outlives it.
type replica struct {
	name  string
	skew  time.Duration
	disk  *memFS
	log   *memLog
	index *revocation.Index
	*Journal
	kept   kept
	lifted map[int]bool // rules that it has known to be lifted
	unmet  bool         // it was stopped in order, and was not ready since
	// stopped says that it was stopped in order, and that, since then, it was not ready before the
	// log was lost again; lost is how often that was by then.
	stopped bool
	lost    int
}

// reader is a verifier.
type reader struct {
	index  *revocation.Index
	from   *replica
	sub    *subscription
	lifted map[int]bool
}

type simRule struct {
	revocation.Rule
	acked  bool
	at     time.Time // when it was acknowledged
	unmet  bool      // by a replica that the others had not met
	lifted bool      // the lift was acknowledged
}

// simToken is a token, and what its minter had applied when it read the position.
type simToken struct {
	rev     token.Rev
	issued  time.Time    // by the minter's clock
	applied map[int]bool // at all
	inLog   map[int]bool // as entries of the log
	by      string
	step    int
}

func newSim(t *testing.T, seed uint64, loud bool) *sim {
	s := &sim{t: t, seed: seed, loud: loud, rng: rand.New(rand.NewPCG(seed, 2)), now: simStart}
	s.world = &world{now: func() time.Time { return s.now }}
	s.main = newDataset(s.world)
	for i := range 2 + s.rng.IntN(3) {
		r := &replica{name: fmt.Sprintf("replica-%d", i), disk: newMemFS(), lifted: map[int]bool{},
			skew: time.Duration(s.rng.IntN(40)-20) * time.Second, log: &memLog{data: s.main}}
		s.replicas = append(s.replicas, r)
		s.start(r)
	}
	// One that the others have not met is not ready, and nobody is sent to it.
	for range 4 {
		s.now = s.now.Add(time.Second)
		for _, r := range s.replicas {
			must(t, r.Sync(t.Context()))
		}
	}
	for range 3 {
		s.verifiers = append(s.verifiers, &reader{index: revocation.NewIndex(revocation.Options{}), lifted: map[int]bool{}})
	}
	return s
}

func (s *sim) clock(r *replica) func() time.Time {
	return func() time.Time { return s.now.Add(r.skew) }
}

func (s *sim) start(r *replica) {
	r.index = revocation.NewIndex(revocation.Options{})
	all, err := roll.New(roll.Config{
		Replica: r.name, Cell: &memCell{log: r.log, seen: map[string]uint64{}}, Kept: &r.kept, Absence: simAbsence, Every: time.Duration(s.seed%2) * 20 * time.Millisecond,
		Now: s.clock(r), Logger: slog.New(slog.DiscardHandler),
	})
	must(s.t, err)
	r.Journal = openJournal(s.t, config{Dir: simDir, Log: r.log, Index: r.index, Now: s.clock(r), FS: r.disk, Buffer: 16, Roll: all})
}

// kept is a file that survives a kill.
type kept []byte

func (k *kept) Load() ([]byte, error) { return *k, nil }

func (k *kept) Save(value []byte) error { *k = value; return nil }

func (s *sim) say(format string, args ...any) {
	if s.loud {
		s.t.Logf("step %d: %s", s.step, fmt.Sprintf(format, args...))
	}
}

func (s *sim) run() {
	actions := []struct {
		weight int
		do     func()
	}{
		{40, s.sync}, {20, s.mint}, {12, s.revoke}, {3, s.lift}, {4, s.kill}, {3, s.stop}, {3, s.replaceFile},
		{4, s.flip}, {5, s.failOnce}, {3, s.failover}, {2, s.split}, {3, s.heal}, {2, s.comeBack},
		{1, s.wipe}, {2, s.restart}, {2, s.cutOpen}, {8, s.pass}, {12, s.connect}, {25, s.drain}, {2, s.sweep},
	}
	sum := 0
	for _, a := range actions {
		sum += a.weight
	}
	for s.step = range simSteps {
		s.now = s.now.Add(2 * time.Millisecond)
		pick := s.rng.IntN(sum)
		for _, a := range actions {
			if pick -= a.weight; pick < 0 {
				a.do()
				break
			}
		}
		s.checkAlways()
		if s.t.Failed() {
			return
		}
	}
	s.makeWhole()
	s.checkWhole()
}

func (s *sim) anyReplica() *replica { return s.replicas[s.rng.IntN(len(s.replicas))] }

func (s *sim) sync() {
	r := s.anyReplica()
	err := r.Sync(s.t.Context())
	r.unmet = r.unmet && !r.Ready()
	r.stopped = r.stopped && !(r.Ready() && r.lost == s.losses())
	s.say("%s follows %s: %v, at %v", r.name, r.log.data.instance, err, r.index.Position())
}

// mint does what a broker does: it reads the position first. Sometimes the log brings
// something between that and the rest.
func (s *sim) mint() {
	r := s.anyReplica()
	if !r.Ready() {
		return
	}
	tok := &simToken{rev: r.index.Position(), issued: s.clock(r)(), applied: map[int]bool{}, inLog: map[int]bool{}, by: r.name, step: s.step}
	complete := map[uint64]bool{} // what lies in a lineage without its marker cannot be stamped yet
	for _, g := range r.index.Lineages() {
		complete[g.ID] = true
	}
	for i, rule := range s.rules {
		if live, ok := r.index.Rule(rule.ID); ok {
			tok.applied[i] = true
			tok.inLog[i] = slices.ContainsFunc(live.Entries, func(e token.Rev) bool { return complete[e.Lineage] })
		} else if _, ok := r.index.Lifted(rule.ID); ok {
			tok.applied[i] = true
		}
	}
	if s.rng.IntN(3) == 0 {
		_ = r.Sync(s.t.Context())
	}
	s.tokens = append(s.tokens, tok)
	s.counts.Minted++
	s.say("%s mints token %d at %v", r.name, len(s.tokens)-1, tok.rev)
}

// losses counts how often something that a log held may have gone.
func (s *sim) losses() int {
	return s.counts.Failovers + s.counts.Wipes + s.counts.CameBack + s.counts.Splits
}

func (s *sim) revoke() {
	r := s.anyReplica()
	n := len(s.rules)
	rule := revocation.Rule{ID: simID(s.seed, uint64(n)), CreatedAt: s.clock(r)().Truncate(time.Millisecond)}
	rule.Selector, rule.Value = simSelector(n)
	rule.ExpiresAt = rule.CreatedAt.Add(ruleLife)
	switch s.rng.IntN(10) {
	case 0:
		rule.ExpiresAt = rule.CreatedAt.Add(time.Minute)
	case 1:
		rule.Selector, rule.Value, rule.Quarantine, rule.ExpiresAt = revocation.SelectAgent, fmt.Sprintf("q:%d", n), true, time.Time{}
	}
	res, err := r.Append(s.t.Context(), []revocation.Rule{rule}, nil)
	s.rules = append(s.rules, &simRule{Rule: rule, acked: err == nil, at: s.now, unmet: r.unmet})
	switch {
	case err != nil:
		s.counts.Refused++
	case res.Durability == durableLocal:
		s.counts.Local++
	default:
		s.counts.Logged++
	}
	s.say("%s revokes %d (%s %s): %+v %v", r.name, n, rule.Selector, rule.Value, res, err)
}

func (s *sim) lift() {
	if len(s.rules) == 0 {
		return
	}
	r, n := s.anyReplica(), s.rng.IntN(len(s.rules))
	rule := s.rules[n]
	if _, ok := r.index.Rule(rule.ID); !ok {
		return
	}
	l := revocation.Lift{ID: simID(s.seed, uint64(10_000+s.step)), RuleID: rule.ID, At: s.clock(r)().Truncate(time.Millisecond)}
	_, err := r.Append(s.t.Context(), nil, []revocation.Lift{l})
	if err == nil {
		rule.lifted = true
		s.counts.Lifted++
	}
	s.say("%s lifts %d: %v", r.name, n, err)
}

func (s *sim) kill() {
	r := s.anyReplica()
	s.say("%s is killed", r.name)
	r.disk.fault = nil
	r.disk.kill(s.rng)
	for _, v := range s.verifiers {
		if v.from == r {
			v.from, v.sub = nil, nil
		}
	}
	s.start(r)
	s.counts.Kills++
}

// stop ends a replica in order, with some seeds; it is started again at once. Until the
// others have met it again, they do not wait for it, and nobody is sent to it. And it may not know
// of one that came while it was away, if the log was lost meanwhile.
func (s *sim) stop() {
	if s.seed%3 > 0 {
		return
	}
	r := s.anyReplica()
	ctx, cancel := context.WithCancel(s.t.Context())
	cancel()
	must(s.t, r.Run(ctx))
	must(s.t, r.Close())
	for _, v := range s.verifiers {
		if v.from == r {
			v.from, v.sub = nil, nil
		}
	}
	s.start(r)
	r.unmet, r.stopped, r.lost = true, true, s.losses()
	s.say("%s is stopped, and started again", r.name)
	s.counts.Stops++
}

func (s *sim) replaceFile() {
	r := s.anyReplica()
	s.say("%s replaces its file: %v", r.name, r.Replace())
}

func (s *sim) flip() {
	r := s.anyReplica()
	down := !r.log.down.Load()
	r.log.down.Store(down)
	s.say("%s's log is down: %v", r.name, down)
}

// failOnce makes a coming call fail, before or after it was made.
func (s *sim) failOnce() {
	r := s.anyReplica()
	countdown, made := s.rng.IntN(6), s.rng.IntN(2) == 0
	r.log.fault = func(string) (error, bool) {
		if countdown--; countdown != 0 {
			return nil, false
		}
		r.log.fault = nil
		return errDown, made
	}
	s.say("%s's log will fail once, made %v", r.name, made)
}

// failover loses a tail: a copy that lags takes over. Some replicas do not notice, and
// go on with the old one.
func (s *sim) failover() {
	lost := 0
	if s.rng.IntN(3) > 0 {
		lost = s.rng.IntN(6)
	}
	next := s.main.fork(max(s.main.len()-lost, 0))
	s.say("failover from %s to %s, %d lost", s.main.instance, next.instance, lost)
	s.old = append(s.old, s.main)
	s.main = next
	for _, r := range s.replicas {
		if s.rng.IntN(4) > 0 {
			r.log.data = next
		}
	}
	s.counts.Failovers++
}

// split makes a second writer that the others do not see.
func (s *sim) split() {
	side := s.main.fork(s.main.len())
	s.old = append(s.old, side)
	r := s.anyReplica()
	r.log.data = side
	s.counts.Splits++
	s.say("%s alone goes on with %s", r.name, side.instance)
}

func (s *sim) heal() {
	for _, r := range s.replicas {
		r.log.data = s.main
	}
	s.say("all reach %s", s.main.instance)
}

// comeBack makes a log that was left the one that all use: as it was, by the process
// that served it, or by another from what was on disk.
func (s *sim) comeBack() {
	if len(s.old) == 0 {
		return
	}
	i := s.rng.IntN(len(s.old))
	s.main, s.old[i] = s.old[i], s.main
	if s.rng.IntN(2) == 0 {
		s.main.restart()
	}
	s.counts.CameBack++
	s.heal()
}

func (s *sim) wipe() {
	s.say("%s is wiped", s.main.instance)
	s.main.wipe()
	s.counts.Wipes++
}

func (s *sim) restart() {
	s.main.restart()
	s.say("the log restarts as %s", s.main.instance)
}

// cutOpen makes a coming Open stop in the middle of what it puts back.
func (s *sim) cutOpen() {
	s.anyReplica().log.cutOpen = 1 + s.rng.IntN(3)
	s.main.restart()
}

func (s *sim) pass() { s.now = s.now.Add(time.Duration(s.rng.IntN(20_000)) * time.Millisecond) }

func (s *sim) sweep() {
	r := s.anyReplica()
	r.index.Sweep(s.clock(r)().Add(-time.Minute))
}

// makeWhole ends every fault and lets everybody follow the one log.
func (s *sim) makeWhole() {
	s.say("all faults end")
	s.heal()
	for _, r := range s.replicas {
		r.log.down.Store(false)
		r.log.fault, r.log.cutOpen = nil, 0
	}
	for round := range 6 {
		s.now = s.now.Add(time.Second)
		for _, i := range s.rng.Perm(len(s.replicas)) {
			if err := s.replicas[i].Sync(s.t.Context()); err != nil {
				s.t.Errorf("seed %d: %s in round %d of the end: %v", s.seed, s.replicas[i].name, round, err)
			}
		}
	}
	for _, v := range s.verifiers {
		for v.sub == nil || !s.drainOne(v) {
			s.attach(v, s.anyReplica())
		}
	}
}

var _ store.Log = (*memLog)(nil)

package keys_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
)

const (
	dayReplicas  = 5
	dayRotations = 200
	dayAtMost    = 72 * time.Hour

	mendTime = 30 * time.Second // in which a damaged store is put right
)

// daySchedule rotates some two hundred times in a day.
func daySchedule() keys.Schedule {
	return keys.Schedule{
		RotateEvery: 7 * time.Minute, JWKSMaxAge: time.Minute, MaxTTL: 5 * time.Minute,
		Skew: 20 * time.Second, MaxLag: 20 * time.Second, Jitter: 5 * time.Second,
	}
}

// day is replicas that run for a day, all that can befall them, and a judge who sees it all.
type day struct {
	t        *testing.T
	fleet    *fleet
	rng      *rand.Rand
	sched    keys.Schedule
	replicas []*dayReplica
	judge    *judge
	callers  *callers
	custody  *awayCustody
	calm     atomic.Bool  // the store is damaged: nobody dies or sleeps in the middle of mending it
	epoch    atomic.Int64 // counts the damages to the store
	count    struct{ kills, pauses, cuts, outages, rollbacks, wipes, emergencies, custody, deferred int }
}

// TestADayInAMinute runs five replicas through two hundred rotations while they are killed and
// restarted, stopped and cut off, their clocks are wrong by up to the schedule's skew, and the
// store fails, lies, goes back and is wiped. Whatever happens: no two keys sign for longer
// than the hand-over, no verifier that obeys the JWKS max-age refuses a token, no key goes
// while a token of it lives, and the ring stays small. WRIT_SEED repeats the faults of a run.
func TestADayInAMinute(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WRIT_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatalf("WRIT_SEED: %v", err)
		}
	}
	t.Logf("seed %d", seed)
	began := time.Now()
	synctest.Test(t, func(t *testing.T) { newDay(t, seed).run() })
	t.Logf("it took %v", time.Since(began).Round(time.Millisecond))
}

func newDay(t *testing.T, seed uint64) *day {
	t.Helper()
	f := newFleet(t)
	d := &day{t: t, fleet: f, rng: rand.New(rand.NewPCG(seed, 0)), sched: daySchedule(), custody: &awayCustody{Custody: f.custody.Custody}}
	d.judge = newJudge(t, d.sched, f.secret)
	d.callers = newCallers(d, 6)
	for n := range dayReplicas {
		d.replicas = append(d.replicas, &dayReplica{day: d, n: n, backup: &memory{}})
	}
	return d
}

// run goes on until there were enough rotations.
func (d *day) run() {
	began := time.Now()
	for _, r := range d.replicas {
		r.start()
	}
	for d.judge.scheduled() < dayRotations && !d.t.Failed() {
		if time.Since(began) > dayAtMost {
			d.t.Errorf("only %d rotations in %v", d.judge.scheduled(), dayAtMost)
			break
		}
		d.sleep(time.Second, 9*time.Second)
		synctest.Wait()
		d.reap()
		d.callers.mint()
		d.callers.check()
		d.befall()
	}
	for _, r := range d.replicas {
		r.kill()
	}
	for _, r := range d.replicas {
		r.wait()
	}
	d.report(time.Since(began))
}

func (d *day) report(simulated time.Duration) {
	c, j, v := d.count, d.judge, d.callers
	d.t.Logf("%v: %d rotations on schedule, %d by emergency, %d keys at most", simulated.Round(time.Minute), j.rotations, j.hurried, j.most)
	d.t.Logf("%d kills (%d in the middle of a write), %d pauses, %d cuts, %d outages, %d away custodies, %d emergencies",
		c.kills+j.died, j.died, c.pauses+j.slept, c.cuts, c.outages, c.custody, c.emergencies)
	d.t.Logf("%d writes: %d failed but persisted, %d lost, %d conflicts; %d rollbacks and %d wipes of the store",
		j.writes, j.lied, j.lost, j.conflicts, c.rollbacks, c.wipes)
	d.t.Logf("%d tokens minted, %d refused to sign (stale), %d checks, %d of tokens without claim to pass; violations: %d",
		v.minted, v.stale, v.checked, v.exempt, j.violations)
	if d.t.Failed() {
		return
	}
	for what, n := range map[string]int{
		"kills": c.kills, "deaths in a write": j.died, "pauses": c.pauses, "cuts": c.cuts, "rollbacks": c.rollbacks, "wipes": c.wipes,
		"emergencies": j.hurried, "writes that failed but persisted": j.lied, "writes that were lost": j.lost, "conflicts": j.conflicts,
		"stale refusals": v.stale,
	} {
		if n == 0 {
			d.t.Errorf("no %s: the day was too quiet to show anything", what)
		}
	}
	if v.checked < 50_000 {
		d.t.Errorf("only %d tokens were checked", v.checked)
	}
}

func (d *day) between(least, most time.Duration) time.Duration {
	return least + time.Duration(d.rng.Int64N(int64(most-least)))
}

func (d *day) sleep(least, most time.Duration) { time.Sleep(d.between(least, most)) }

// in is true in so many of ten thousand cases.
func (d *day) in(n int) bool { return d.rng.IntN(10_000) < n }

// reap takes note of the dead, and starts those again whose time has come.
func (d *day) reap() {
	for _, r := range d.replicas {
		r.reap()
	}
}

// befall is what happens between two moments; most often nothing.
func (d *day) befall() {
	r := d.replicas[d.rng.IntN(len(d.replicas))]
	now := time.Now()
	if d.in(80) {
		d.count.kills++
		r.kill()
	}
	if d.in(80) {
		d.count.pauses++
		r.stop(now.Add(d.between(5*time.Second, 90*time.Second)))
	}
	if d.in(100) {
		d.count.cuts++
		r.cut(now.Add(d.between(5*time.Second, 2*time.Minute)))
	}
	if d.in(20) {
		d.count.outages++
		until := now.Add(d.between(5*time.Second, time.Minute))
		for _, r := range d.replicas {
			r.cut(until)
		}
	}
	if d.in(20) {
		d.count.custody++
		d.custody.until.Store(now.Add(d.between(time.Minute, 10*time.Minute)).UnixNano())
	}
	if d.in(40) {
		d.damage()
	}
	if d.in(20) {
		d.emergency(r, "")
	}
	if d.in(10) {
		d.emergency(r, "the active one")
	}
	d.finish()
}

// damage takes the store back, or wipes it, and waits until it is put right. Whoever can
// reach it meanwhile knows the newest ring: one that was away through all the changes that the
// store has lost could not know better, and only what is kept outside of both would tell it.
func (d *day) damage() {
	able := 0
	for _, r := range d.replicas {
		if r.boots() {
			d.count.deferred++
			return
		}
		if !r.reaches() {
			continue
		}
		ring := r.rotator.Load().Ring()
		if r.link.busy() || ring.Version() != d.judge.newest() {
			d.count.deferred++
			return
		}
		able++
	}
	values := len(d.fleet.cell.values)
	if able == 0 || values < 8 {
		return
	}
	for _, r := range d.replicas {
		if !r.reaches() {
			r.cut(time.Now().Add(2 * mendTime))
		}
	}
	d.calm.Store(true)
	defer d.calm.Store(false)
	d.epoch.Add(1)
	before := d.judge.newest()
	if d.rng.IntN(2) == 0 {
		d.count.wipes++
		d.fleet.cell.edit(func() { d.fleet.cell.current = -1 })
	} else {
		d.count.rollbacks++
		back := 1 + d.rng.IntN(6)
		d.fleet.cell.edit(func() { d.fleet.cell.current = max(d.fleet.cell.current-back, 0) })
	}
	for end := time.Now().Add(mendTime); d.judge.newest() == before; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			d.judge.violation("the store was not put right within %v", mendTime)
			return
		}
	}
}

// emergency rotates at once, on a replica that runs, whether it reaches the store or not.
func (d *day) emergency(r *dayReplica, revoke string) {
	rotator := r.rotator.Load()
	if rotator == nil || !r.runs() || r.link.busy() {
		return
	}
	if revoke != "" {
		revoke = rotator.Ring().Active().KeyID()
	}
	d.count.emergencies++
	d.order(r, revoke)
}

func (d *day) order(r *dayReplica, revoke string) {
	d.judge.ask(revoke)
	r.link.quick.Store(true)
	defer r.link.quick.Store(false)
	got, err := r.rotator.Load().RotateNow(d.t.Context(), revoke)
	switch {
	case err == nil:
		d.judge.hasten(got.Active)
	case errors.Is(err, keys.ErrTooManyKeys), errors.Is(err, keys.ErrTooSoon), errors.Is(err, keys.ErrNoNextKey), errors.Is(err, keys.ErrUnknownKey), errors.Is(err, errCustodyAway):
	default:
		d.judge.violation("an emergency rotation failed: %v", err)
	}
}

// finish repeats a revocation that a replica took to its grave, as who ordered it would.
func (d *day) finish() {
	for _, kid := range d.judge.unfinished() {
		i := slices.IndexFunc(d.replicas, func(r *dayReplica) bool { return r.reaches() && !r.link.busy() })
		if i < 0 || !slices.ContainsFunc(d.replicas[i].rotator.Load().List(), func(k keys.KeyInfo) bool { return k.ID == kid }) {
			continue
		}
		d.order(d.replicas[i], kid)
	}
}

// allowed are the errors with which a replica may fail to start.
func allowed(err error) bool {
	return err == nil || errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) ||
		errors.Is(err, store.ErrConflict) || errors.Is(err, errCustodyAway)
}

package forgetting_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

const (
	shortReplicas, longReplicas = 2, 3
	// mostCourses bounds the short form. One course is each kind of fault, once.
	mostCourses = 4
	// between two looks at the whole, so many rounds
	rounds = 5
)

// TestForgetting breaks Redis and replicas at random while everybody works, and holds
// everything that happens to four rules:
//
//   - No resource server accepts a token later than max_staleness after its revocation was
//     acknowledged, with 200 or with 202, by whichever replica; nor once it has a confirmation
//     that is later than the acknowledgement. And nobody accepts anything longer than
//     max_staleness after its replica was cut off from Redis.
//   - When Redis is back and the replicas are ready, no acknowledged rule is missing on any.
//   - What was lifted does not come back.
//   - Every refusal has a live rule, a stale feed or its token's end as its cause.
//
// WRIT_SOAK sets how long it goes on, WRIT_SEED repeats the order of the faults of a run.
func TestForgetting(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WRIT_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	replicas, duration := shortReplicas, time.Duration(0)
	if text := os.Getenv("WRIT_SOAK"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("WRIT_SOAK: %v", err)
		}
		replicas = longReplicas
	}
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, replicas, true)
	r := newRecord(replicas)
	l := startLoad(w, r, rng)
	defer l.stop()
	s := &storm{load: l, t: t, rng: fork(rng)}
	end := time.Now().Add(duration)
	for courses := 1; s.course(); courses++ {
		// A slow machine shows in several courses what others do in one.
		if time.Now().After(end) && (r.showsEnough() || courses >= mostCourses) {
			break
		}
	}
	l.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	t.Logf("seed %d%s", seed, &r.counts)
	for _, v := range r.counts.violations {
		t.Error(v)
	}
	if !t.Failed() && !r.counts.enough() {
		t.Error("that is too little to show anything")
	}
}

// course is every fault once, in some order, and in the end a replica that knows nothing. It
// reports whether nothing has gone wrong.
func (s *storm) course() bool {
	order := faults()
	s.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	order = append(order, fault{"replica replaced by an empty one", (*storm).replace})
	for i, f := range order {
		s.run(f)
		if (i+1)%rounds == 0 || i == len(order)-1 {
			s.whole(f.name)
		} else {
			s.sleep(50*time.Millisecond, 400*time.Millisecond)
		}
		for _, r := range s.replicas {
			s.lives(r)
		}
		if s.failed() {
			s.t.Logf("after: %s", f.name)
			return false
		}
	}
	return true
}

func (s *storm) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.counts.violations) > 0 || s.t.Failed()
}

// whole waits until every replica is ready, and looks for everything that was acknowledged
// on each of them. It reports whether it found all that.
func (s *storm) whole(last string) bool {
	began := time.Now()
	for {
		faults := s.missing(began)
		if len(faults) == 0 {
			break
		}
		if time.Since(began) > settle {
			s.mu.Lock()
			for _, f := range faults {
				s.violation("%v after the end of all faults, the last of them %q: %s", settle, last, f)
			}
			s.mu.Unlock()
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.whole++
	s.counts.slowest = max(s.counts.slowest, time.Since(began))
	return true
}

func (s *storm) missing(before time.Time) []string {
	var lists []map[string]bool
	for n, r := range s.replicas {
		if !r.ready() {
			return []string{r.name + " is not ready"}
		}
		list, err := s.list(n)
		if err != nil {
			return []string{r.name + ": " + err.Error()}
		}
		lists = append(lists, list)
	}
	return s.wholeAgain(lists, before)
}

func replicaName(n int) string { return fmt.Sprintf("replica-%d", n) }

func (r *record) showsEnough() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts.enough()
}

// enough tells a run that shows something.
func (c *counts) enough() bool {
	return c.tokens >= 100 && c.inLog >= 20 && c.local >= 5 && c.lifts >= 5 && c.whole >= 2 &&
		c.refusals["rule"] >= 50 && c.refusals["stale feed"] >= 10 && c.refusals["expired"] > 0
}

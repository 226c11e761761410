package keys_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

// judge knows the true time and sees every write. Its methods may be called concurrently.
type judge struct {
	t      *testing.T
	sched  keys.Schedule
	sealer *store.Sealer

	mu       sync.Mutex
	state    keys.State           // the newest that was ever written
	shown    map[string]time.Time // kid → its first publication in the store
	left     map[string]time.Time // kid → when another key took over from it
	hastened map[string]time.Time // kid → when an emergency made it sign, last
	revoked  map[string]bool
	lives    map[string]time.Time // kid → from when on no verifier accepts a token of it
	asked    []time.Time          // emergencies

	rotations, hurried, most, violations       int
	writes, lied, lost, conflicts, died, slept int
}

func newJudge(t *testing.T, sched keys.Schedule, secret []byte) *judge {
	t.Helper()
	sealer, err := store.NewSealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	return &judge{
		t: t, sched: sched, sealer: sealer, shown: map[string]time.Time{}, left: map[string]time.Time{},
		hastened: map[string]time.Time{}, revoked: map[string]bool{}, lives: map[string]time.Time{},
	}
}

func (j *judge) violation(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.violate(format, args...)
}

// violate is violation with mu held. The first few say enough.
func (j *judge) violate(format string, args ...any) {
	if j.violations++; j.violations <= 5 {
		j.t.Errorf(format, args...)
	}
}

func (j *judge) newest() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.Version
}

func (j *judge) scheduled() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rotations
}

// saw counts what befell a write.
func (j *judge) saw(f fault) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch f {
	case failsBefore:
		j.lost++
	case conflicts:
		j.conflicts++
	case diesBefore, diesAfter:
		j.died++
	case sleepsBefore, sleepsAfter:
		j.slept++
	case failsAfter, none:
	}
	if f == failsAfter {
		j.lied++
	}
}

// ask notes an emergency, and that tokens of a revoked key have no claim to pass any more.
func (j *judge) ask(revoke string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked = append(j.asked, time.Now())
	if revoke != "" {
		j.revoked[revoke] = true
	}
}

func (j *judge) hasten(kid string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.hastened[kid] = time.Now()
}

// unfinished are revoked keys that are in the ring.
func (j *judge) unfinished() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []string
	for _, k := range j.state.Keys {
		if j.revoked[k.ID] {
			out = append(out, k.ID)
		}
	}
	return out
}

// write is a swap in the moment of its effect.
func (j *judge) write(swap func() (uint64, error), raw []byte) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	version, err := swap()
	if err != nil {
		return 0, err
	}
	j.writes++
	payload, err := j.sealer.Open(raw, "writ key ring", ringName)
	var next keys.State
	if err == nil {
		err = json.Unmarshal(payload, &next)
	}
	if err != nil {
		j.violate("what was written is no key ring: %v", err)
		return version, nil
	}
	j.compare(next)
	return version, nil
}

func (j *judge) compare(next keys.State) {
	now := time.Now()
	before, _ := j.state.Find(keys.StageActive)
	active := j.stages(next)
	if next.Version <= j.state.Version {
		j.violate("version %d was written after %d", next.Version, j.state.Version)
	}
	for _, k := range next.Keys {
		if _, ok := j.shown[k.ID]; !ok {
			j.shown[k.ID] = now
		}
	}
	switch {
	case before.ID == "":
		j.hastened[active] = now // the first of the ring: nobody has a set without it
	case active != before.ID:
		j.left[before.ID] = now
		i := slices.IndexFunc(next.Keys, func(k keys.KeyInfo) bool { return k.ID == before.ID })
		if i < 0 || next.Keys[i].Reason == "emergency rotation" {
			j.hurried++
			j.hastened[active] = now
			if !slices.ContainsFunc(j.asked, func(at time.Time) bool { return now.Sub(at) < 20*time.Minute }) {
				j.violate("an emergency that nobody asked for")
			}
		} else {
			j.rotations++
		}
	}
	if at, was := j.left[active]; was {
		j.violate("key %s signs again, %v after another took over", active, now.Sub(at))
	}
	for kid, dead := range j.lives {
		switch {
		case !now.Before(dead):
			delete(j.lives, kid)
		case !next.Has(kid) && !j.revoked[kid]:
			j.violate("key %s is gone %v before its last token is", kid, dead.Sub(now))
		}
	}
	j.state = next
}

// stages holds a state to the bounds, and returns its active key.
func (j *judge) stages(next keys.State) string {
	counts := map[keys.Stage]int{}
	for _, k := range next.Keys {
		counts[k.Stage]++
	}
	active, _ := next.Find(keys.StageActive)
	if counts[keys.StageActive] != 1 || counts[keys.StageNext] > 1 {
		j.violate("the stages are %v", counts)
	}
	// A schedule like this needs four; each emergency of the last while may add one.
	bound := 4
	for _, at := range j.asked {
		if time.Since(at) < 20*time.Minute {
			bound++
		}
	}
	if len(next.Keys) > min(bound, keys.MaxKeys) {
		j.violate("%d keys, %d are enough", len(next.Keys), bound)
	}
	j.most = max(j.most, len(next.Keys))
	return active.ID
}

// signed is told of each signature, with the minter's clock. It says whether the token has a
// claim to be accepted everywhere.
func (j *judge) signed(kid string, minter time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	if active, _ := j.state.Find(keys.StageActive); active.ID != kid {
		since, left := j.left[kid]
		if !left {
			since = j.hastened[kid] // by an emergency that has not reached the store
		}
		if over := now.Sub(since); over > j.sched.MaxLag {
			j.violate("two keys sign: %s does, %v after it should not", kid, over)
		}
	}
	if j.revoked[kid] {
		return false
	}
	if out := now.Sub(j.shown[kid]); out < j.sched.JWKSMaxAge+j.sched.MaxLag {
		if _, ok := j.hastened[kid]; !ok {
			j.violate("key %s signs %v after it was published", kid, out)
		}
		return false // an emergency does not wait for verifiers
	}
	// The minter's clock sets exp; the slowest verifier's, with leeway, ends it.
	j.lives[kid] = maxTime(j.lives[kid], minter.Add(j.sched.MaxTTL+2*j.sched.Skew))
	return true
}

func (j *judge) isRevoked(kid string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.revoked[kid]
}

// callers are agents that get tokens, and verifiers that keep the JWKS as long as they may.
// One goroutine alone calls them.
type callers struct {
	day       *day
	verifiers []*modelVerifier
	tokens    []*minted
	sets      map[string]*token.KeySet // by their text

	minted, stale, checked, exempt int
}

type minted struct {
	raw, kid string
	exp      time.Time
	claim    bool // to be accepted
	verified bool // its signature was looked at
}

// modelVerifier knows a set for the whole max-age, never asks again for a key that it does not
// know, and has a clock of its own.
type modelVerifier struct {
	off  time.Duration
	set  *token.KeySet
	at   time.Time
	keep time.Duration // of this set
	from string        // who published it, for a failure's report
}

func newCallers(d *day, n int) *callers {
	c := &callers{day: d, sets: map[string]*token.KeySet{}}
	for range n {
		c.verifiers = append(c.verifiers, &modelVerifier{off: d.between(-d.sched.Skew, d.sched.Skew)})
	}
	return c
}

// mint has half of those that run sign, and every verifier look at it at once.
func (c *callers) mint() {
	for _, r := range c.day.replicas {
		if !r.runs() || c.day.rng.IntN(2) == 0 {
			continue
		}
		signer, now := r.rotator.Load().Ring().Active(), r.clock()
		raw, err := token.Sign(c.day.t.Context(), token.TypeAccessToken, []byte(`{"sub":"agent"}`), signer)
		if errors.Is(err, keys.ErrStale) {
			c.stale++
			continue
		}
		if err != nil {
			c.day.judge.violation("replica %d does not sign: %v", r.n, err)
			continue
		}
		c.minted++
		m := &minted{raw: raw, kid: signer.KeyID(), exp: now.Add(c.day.sched.MaxTTL)}
		if m.claim = c.day.judge.signed(m.kid, now); !m.claim {
			c.exempt++
		}
		c.tokens = append(c.tokens, m)
		for _, v := range c.verifiers {
			c.look(v, m)
		}
	}
}

// check has a verifier look at each token that may live: at its last moments they all do.
func (c *callers) check() {
	const last = 20 * time.Second
	leeway := c.day.sched.Skew
	c.tokens = slices.DeleteFunc(c.tokens, func(m *minted) bool {
		for i, v := range c.verifiers {
			left := m.exp.Add(leeway).Sub(time.Now().Add(v.off))
			if left > 0 && (left < last || i == c.day.rng.IntN(len(c.verifiers)*8)) {
				c.look(v, m)
			}
		}
		return time.Now().After(m.exp.Add(leeway + 2*c.day.sched.Skew))
	})
}

// look is one verification.
func (c *callers) look(v *modelVerifier, m *minted) {
	if !time.Now().Add(v.off).Before(m.exp.Add(c.day.sched.Skew)) {
		return
	}
	if v.set == nil || time.Since(v.at) > v.keep {
		if !c.fetch(v) {
			return // nobody can be asked: it answers neither yes nor no
		}
	}
	key, ok := v.set.Key(m.kid)
	if !m.claim || c.day.judge.isRevoked(m.kid) {
		return
	}
	c.checked++
	if !ok {
		c.day.judge.violation("a token of key %s is refused by a verifier whose set is %v old: %s", m.kid, time.Since(v.at), v.from)
		return
	}
	if m.verified {
		return
	}
	m.verified = true
	unverified, err := token.Parse(m.raw)
	if err == nil {
		_, err = unverified.Verify(key)
	}
	if err != nil {
		c.day.judge.violation("a token of key %s does not verify: %v", m.kid, err)
	}
}

// fetch asks a replica that is ready and serves its set.
func (c *callers) fetch(v *modelVerifier) bool {
	var ready []*dayReplica
	for _, r := range c.day.replicas {
		if r.ready() && !r.rotator.Load().Ring().Lacks() {
			ready = append(ready, r)
		}
	}
	if len(ready) == 0 {
		return false
	}
	from := ready[c.day.rng.IntN(len(ready))]
	ring := from.rotator.Load().Ring()
	jwks := ring.JWKS()
	v.from = fmt.Sprintf("replica %d published %d of version %d %v", from.n, ring.Public().Len(), ring.Version(), kids(ring))
	set := c.sets[string(jwks)]
	if set == nil {
		var err error
		if set, err = token.ParseJWKS(bytes.Clone(jwks), token.JWKSOptions{}); err != nil {
			c.day.judge.violation("what is published is no JWKS: %v", err)
			return false
		}
		c.sets[string(jwks)] = set
	}
	v.set, v.at, v.keep = set, time.Now(), c.day.between(c.day.sched.JWKSMaxAge/2, c.day.sched.JWKSMaxAge+1)
	return true
}

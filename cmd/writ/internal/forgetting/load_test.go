package forgetting_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/verifier"
)

// load is agents, resource servers and security ops at work.
type load struct {
	*world
	*record
	ctx    context.Context //nolint:containedctx // ends the load; see stop
	cancel context.CancelFunc
	work   sync.WaitGroup
	gates  []sync.RWMutex // by replica: held while no operator may be at work there
}

const (
	serversEach = 2
	agentsEach  = 2
	recent      = 60 // what operators look at
)

func startLoad(w *world, r *record, rng *rand.Rand) *load {
	l := &load{world: w, record: r, gates: make([]sync.RWMutex, len(w.replicas))}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for n, replica := range w.replicas {
		for i := range serversEach {
			name := fmt.Sprintf("server-%d-%d", n, i)
			v := w.server(replica, name)
			rng := fork(rng)
			l.work.Go(func() { l.verify(name, n, v, rng) })
		}
		for range agentsEach {
			rng := fork(rng)
			l.work.Go(func() { l.exchange(n, rng) })
		}
		rng := fork(rng)
		l.work.Go(func() { l.operate(n, rng) })
	}
	return l
}

// fork gives a goroutine randomness of its own.
func fork(rng *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())) }

func (l *load) stop() {
	l.cancel()
	l.work.Wait()
}

// pause waits about so long; false if the load ends.
func (l *load) pause(rng *rand.Rand, d time.Duration) bool {
	select {
	case <-l.ctx.Done():
		return false
	case <-time.After(d/2 + time.Duration(rng.Int64N(int64(d)))):
		return true
	}
}

// crew is the agents and people of one caller. Who is revoked or in quarantine is replaced.
type crew struct {
	rng    *rand.Rand
	n      int
	agents [6]string
	users  [3]string
}

func newCrew(rng *rand.Rand) *crew {
	c := &crew{rng: rng}
	for i := range c.agents {
		c.agents[i] = c.agent()
	}
	for i := range c.users {
		c.users[i] = c.user()
	}
	return c
}

func (c *crew) agent() string {
	c.n++
	return fmt.Sprintf("%c-%x-%d", "abc"[c.rng.IntN(3)], c.rng.Uint32(), c.n)
}

func (c *crew) user() string { c.n++; return fmt.Sprintf("%x-%d", c.rng.Uint32(), c.n) }

// exchange is an agent, for itself or for a person, at one replica.
func (l *load) exchange(n int, rng *rand.Rand) {
	broker, crew := l.replicas[n].client(l.world), newCrew(rng)
	for l.pause(rng, 25*time.Millisecond) {
		i, u := rng.IntN(len(crew.agents)), -1
		agent := crew.agents[i]
		q := client.Request{SubjectToken: l.workload(agent), Scopes: []string{scope}, Task: fmt.Sprintf("task-%x", rng.Uint32())}
		who, roles := []string{"k8s:" + agent}, []string{"team-" + agent[:1]}
		if rng.IntN(3) == 0 {
			u = rng.IntN(len(crew.users))
			q.SubjectToken, q.ActorToken = l.person(crew.users[u]), q.SubjectToken
			who, roles = append(who, "user:"+crew.users[u]), append(roles, "staff")
		}
		if rng.IntN(8) == 0 {
			q.TTL = 3 * time.Second
		}
		asked := time.Now()
		t, err := broker.Exchange(l.ctx, q)
		answered := time.Now()
		if l.ctx.Err() != nil {
			return
		}
		l.exchanged(n, who, roles, asked, err)
		var refused *client.ResponseError
		switch {
		case err == nil:
			claims, err := claimsOf(t.Secret.Reveal())
			if err != nil {
				l.t.Errorf("a token that cannot be read: %v", err)
				return
			}
			l.issued(&grant{Claims: claims, raw: t.Secret.Reveal(), by: n, asked: asked, answered: answered})
		case errors.As(err, &refused) && refused.Status == http.StatusBadRequest && rng.IntN(4) == 0:
			crew.agents[i] = crew.agent()
			if u >= 0 {
				crew.users[u] = crew.user()
			}
		}
	}
}

// verify is a resource server that is asked about tokens, most often about those that were
// taken back.
func (l *load) verify(name string, n int, v *verifier.Verifier, rng *rand.Rand) {
	for l.pause(rng, 6*time.Millisecond) {
		for range 4 {
			g := l.pick(rng, rng.IntN(3) > 0, 600)
			if g == nil {
				continue
			}
			w := &verdict{server: name, follows: n, before: time.Now()}
			if age, ok := v.Staleness(); ok {
				w.confirmed = w.before.Add(-age)
			}
			_, w.err = v.Verify(l.ctx, g.raw)
			w.after = time.Now()
			l.judge(g, w)
		}
	}
}

// pick gives one of the latest tokens.
func (r *record) pick(rng *rand.Rand, doomed bool, among int) *grant {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.tokens
	if doomed && len(r.doomed) > 0 {
		from = r.doomed
	}
	if len(from) == 0 {
		return nil
	}
	from = from[max(0, len(from)-among):]
	return from[rng.IntN(len(from))]
}

// operate is security ops at one replica.
func (l *load) operate(n int, rng *rand.Rand) {
	admin := l.replicas[n].operator(l.world)
	for l.pause(rng, 120*time.Millisecond) {
		l.gates[n].RLock()
		if g := l.pick(rng, false, recent); rng.IntN(4) == 0 {
			l.liftOne(n, admin, rng)
		} else if g != nil {
			l.revoke(n, admin, order(g, rng))
		}
		l.gates[n].RUnlock()
	}
}

// order takes a token back in one of the ways.
func order(g *grant, rng *rand.Rand) wire.RevokeRequest {
	o := wire.RevokeRequest{Apply: true, Reason: "forgetting test", AllowReissue: rng.IntN(2) == 0}
	switch rng.IntN(12) {
	case 0:
		o.Selector, o.Value = "role", g.Roles[rng.IntN(len(g.Roles))]
	case 1, 2:
		o.Selector, o.Value = "subject", g.Subject
	case 3, 4, 5:
		o.Selector, o.Value = "agent", g.ClientID
	case 6, 7, 8:
		o.Selector, o.Value = "task", g.Task
	default:
		o.Selector, o.Value = "token", g.ID
	}
	return o
}

func (l *load) revoke(n int, admin *client.Admin, o wire.RevokeRequest) {
	rule := l.try(n, o.Selector, o.Value, false)
	var quarantine *fact
	if (o.Selector == "agent" || o.Selector == "subject") && !o.AllowReissue {
		quarantine = l.try(n, o.Selector, o.Value, true)
	}
	out, err := admin.Revoke(l.ctx, o)
	if err != nil {
		l.unanswered()
		return
	}
	local := out.Durability == wire.DurabilityLocal
	l.inForce(rule, out.Rule.ID, local)
	if quarantine != nil && out.Quarantine != nil {
		l.inForce(quarantine, out.Quarantine.ID, local)
	}
}

func (r *record) unanswered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.unknown++
}

// liftOne lifts a rule that this replica certainly has.
func (l *load) liftOne(n int, admin *client.Admin, rng *rand.Rand) {
	rule := l.liftable(n, rng)
	if rule == nil {
		return
	}
	lift := l.tryLift(n, rule)
	out, err := admin.Lift(l.ctx, rule.rule, wire.LiftRequest{Apply: true, Reason: "forgetting test"})
	if err != nil {
		l.unanswered()
		return
	}
	l.lifted(lift, rule.rule, out.Durability == wire.DurabilityLocal)
}

func (r *record) lifted(f *fact, rule string, local bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ack(f, rule, local)
	r.counts.lifts++
}

func (r *record) liftable(n int, rng *rand.Rand) *fact {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range 20 {
		if len(r.ordered) == 0 {
			break
		}
		f := r.ordered[max(0, len(r.ordered)-200):][rng.IntN(min(200, len(r.ordered)))]
		if f.lift == nil && r.confirmed[n].After(f.acked) {
			return f
		}
	}
	return nil
}

// list gives the ids of the rules that a replica has in force.
func (l *load) list(n int) (map[string]bool, error) {
	admin, out := l.replicas[n].operator(l.world), map[string]bool{}
	for q := (client.RuleQuery{Limit: 1000}); ; {
		page, err := admin.Rules(l.ctx, q)
		if err != nil {
			return nil, err
		}
		for _, rule := range page.Rules {
			out[rule.ID] = true
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return out, nil
		}
	}
}

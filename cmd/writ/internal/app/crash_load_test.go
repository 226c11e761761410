package app_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/token"
)

// known is what callers of the broker were told, which no kill may unsay.
type known struct {
	mu        sync.Mutex
	delivered []string          // each jti
	samples   map[string]string // some of their tokens, by jti
	rules     map[string]string // each acknowledged rule and quarantine, and what it is
	lifted    map[string]bool   // each acknowledged lift
	lifting   map[string]bool   // lifts that were asked for: either may be
	tasks     []string          // revoked
	suspects  []string          // quarantined
}

func newKnown() *known {
	return &known{samples: map[string]string{}, rules: map[string]string{}, lifted: map[string]bool{}, lifting: map[string]bool{}}
}

// counts is how much there is to lose.
func (k *known) counts() (rules, tokens int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.rules), len(k.delivered)
}

// load is callers at work until they are told to stop. What they were answered after the
// kill counts for nothing: in this process the rest of the broker lives a little longer.
type load struct {
	*world
	known  *known
	killed atomic.Bool
	done   chan struct{}
	wg     sync.WaitGroup
}

const exchangers = 4

func startLoad(t *testing.T, w *world, k *known, rng *rand.Rand) *load {
	t.Helper()
	l := &load{world: w, known: k, done: make(chan struct{})}
	for range exchangers {
		rng := fork(rng)
		l.wg.Go(func() { l.exchange(t.Context(), rng) })
	}
	rng = fork(rng)
	l.wg.Go(func() { l.operate(t.Context(), rng) })
	return l
}

// fork gives a goroutine randomness of its own.
func fork(rng *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())) }

func (l *load) stop() {
	close(l.done)
	l.wg.Wait()
}

func (l *load) going() bool {
	select {
	case <-l.done:
		return false
	default:
		return !l.killed.Load()
	}
}

// heard runs note if the answer that it notes came before the kill.
func (l *load) heard(note func()) {
	l.known.mu.Lock()
	defer l.known.mu.Unlock()
	if !l.killed.Load() {
		note()
	}
}

// once calls a broker without trying again: a second try would hide what became of the first.
func (w *world) once() (*client.Client, error) {
	return client.New(client.Config{Issuer: w.issuer, Attempts: 1, Timeout: time.Minute})
}

func (l *load) exchange(ctx context.Context, rng *rand.Rand) {
	c, err := l.once()
	if err != nil {
		panic(err)
	}
	for n := 0; l.going(); n++ {
		task := fmt.Sprintf("task-%d-%d", rng.Uint32(), n)
		raw, id, err := l.issue(ctx, c, "analyst", "warehouse:read:sales/eu/*", task)
		if err == nil {
			l.heard(func() {
				l.known.delivered = append(l.known.delivered, id)
				if n%50 == 0 {
					l.known.samples[id] = raw
				}
			})
		}
		time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond)
	}
}

// issue exchanges an agent's own token.
func (w *world) issue(ctx context.Context, c *client.Client, account, scope, task string) (raw, id string, err error) {
	proof, err := w.workload(ctx, account)
	if err != nil {
		return "", "", err
	}
	t, err := c.Exchange(ctx, client.Request{SubjectToken: proof, Scopes: []string{scope}, Task: task})
	if err != nil {
		return "", "", err
	}
	unverified, err := token.Parse(t.Secret.Reveal())
	if err != nil {
		return "", "", err
	}
	claims, err := token.DecodeClaims(unverified.UnverifiedPayload())
	if err != nil {
		return "", "", err
	}
	return t.Secret.Reveal(), claims.ID, nil
}

// operator is security ops, with a token of their own.
func (w *world) operator() (*client.Admin, error) {
	c, err := w.once()
	if err != nil {
		return nil, err
	}
	return client.NewAdmin(client.AdminConfig{
		URL: w.admin, Attempts: 1, Timeout: time.Minute,
		Token: func(ctx context.Context) (string, error) {
			proof, err := w.person(ctx)
			if err != nil {
				return "", err
			}
			t, err := c.Exchange(ctx, client.Request{
				SubjectToken: proof, SubjectTokenType: wire.TokenTypeIDToken,
				Scopes: []string{"writ:revoke:**", "writ:lift:**", "writ:keys:**", "writ:audit:read"},
			})
			if err != nil {
				return "", err
			}
			return t.Secret.Reveal(), nil
		},
	})
}

// operate revokes, quarantines, lifts and, seldom, rotates.
func (l *load) operate(ctx context.Context, rng *rand.Rand) {
	admin, err := l.operator()
	if err != nil {
		panic(err)
	}
	for n := 0; l.going(); n++ {
		switch id := fmt.Sprintf("%d-%d", rng.Uint32(), n); rng.IntN(8) {
		case 0:
			l.lift(ctx, admin)
		case 1, 2, 3:
			l.revoke(ctx, admin, wire.RevokeRequest{Selector: "agent", Value: "k8s:prod:agents:suspect-" + id})
		case 4:
			if n > 20 && rng.IntN(4) == 0 {
				_, _ = admin.Rotate(ctx, wire.RotateRequest{Apply: true, Now: true, Reason: "crash test"})
			}
		default:
			l.revoke(ctx, admin, wire.RevokeRequest{Selector: "task", Value: "task-" + id})
		}
	}
}

func (l *load) revoke(ctx context.Context, admin *client.Admin, r wire.RevokeRequest) {
	r.Apply, r.Reason = true, "crash test"
	out, err := admin.Revoke(ctx, r)
	if err != nil {
		return
	}
	l.heard(func() {
		l.known.rules[out.Rule.ID] = r.Selector + " " + r.Value + ", durability " + out.Durability
		if out.Quarantine != nil {
			l.known.rules[out.Quarantine.ID] = "quarantine of " + r.Value + ", durability " + out.Durability
			l.known.suspects = append(l.known.suspects, strings.TrimPrefix(r.Value, "k8s:prod:agents:"))
		} else {
			l.known.tasks = append(l.known.tasks, r.Value)
		}
	})
}

func (l *load) lift(ctx context.Context, admin *client.Admin) {
	l.known.mu.Lock()
	var id string
	for candidate, what := range l.known.rules {
		if strings.HasPrefix(what, "task") && !l.known.lifting[candidate] {
			id = candidate
			break
		}
	}
	if id == "" || len(l.known.rules) < 10 {
		l.known.mu.Unlock()
		return
	}
	l.known.lifting[id] = true
	// What is no longer revoked is not held against the broker below.
	value, _, _ := strings.Cut(strings.TrimPrefix(l.known.rules[id], "task "), ",")
	l.known.tasks = slices.DeleteFunc(l.known.tasks, func(task string) bool { return task == value })
	l.known.mu.Unlock()
	if _, err := admin.Lift(ctx, id, wire.LiftRequest{Apply: true, Reason: "crash test"}); err == nil {
		l.heard(func() { l.known.lifted[id] = true })
	}
}

package revoker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/writbroker/writ/internal/breaker"
	"github.com/writbroker/writ/mint"
)

// Source knows the rules and the live sessions: the broker.
type Source interface {
	// Due is what should stand by what is known now: for rules of other replicas, for sessions
	// that were made by one that had not applied a rule yet, and after a loss. Of the rules that
	// something stands for, it gives those that were lifted: their denies may go as soon as what
	// is due stands, since that holds what else denies the same sessions.
	Due(ctx context.Context, standing []string) (denies []mint.Deny, lifted []string)
	// Taken is called when Cutoff gives what the last Due gave. It returns at once.
	Taken()
}

// Run sees to it that roles deny what the plan says, until ctx ends. It looks at each role when
// the plan grows, and every so often: another's write may have gone over ours.
func (r *Revoker) Run(ctx context.Context, src Source) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	var next, rested time.Time // when the source is to be asked, and may be
	for {
		// What lies far ahead was set before the clock went back.
		if began := r.cfg.Now(); !began.Before(next) || next.Sub(began) > 2*r.cfg.Every {
			r.update(ctx, src)
			now := r.cfg.Now()
			rested, next = now.Add(max(leastRest, restFactor*now.Sub(began))), now.Add(about(r.cfg.Every))
		}
		for _, arn := range r.claim() {
			workers.Go(func() { r.settle(ctx, arn) })
		}
		t := time.NewTimer(next.Sub(r.cfg.Now()))
		select {
		case <-r.kick:
		case <-r.asked:
			if rested.Before(next) {
				next = rested
			}
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Asking the source reads all live sessions, which may be many: most of the time nobody does,
// however often rules change.
const (
	leastRest  = 100 * time.Millisecond
	restFactor = 4
)

// update brings the plan up to what is known here and in the store.
func (r *Revoker) update(ctx context.Context, src Source) {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	r.mu.Lock()
	standing := r.plan.rules()
	r.mu.Unlock()
	due, lifted := src.Due(ctx, standing)
	r.mu.Lock()
	_, err := r.plan.add(due, r.cfg.Now())
	for d := range r.plan.Denies {
		if slices.Contains(lifted, d.Rule) {
			r.plan.lift(d.Rule, d.Expires)
		}
	}
	r.recut()
	r.mu.Unlock()
	src.Taken()
	if err != nil {
		r.cfg.Logger.ErrorContext(ctx, "an AWS session cannot be denied", "error", err)
	}
	if err := r.share(ctx); err != nil && ctx.Err() == nil {
		r.cfg.Logger.WarnContext(ctx, "the plan of AWS denies is not shared", "error", err)
	}
}

const updateTimeout = 10 * time.Second

// claim gives the roles that nobody looks at now and that somebody should.
func (r *Revoker) claim() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, arn := range r.plan.roles() {
		at := r.role(arn)
		done := at.settled && len(at.at.entries) == 0 && !r.anyLive(arn)
		if at.working || done {
			continue
		}
		at.working = true
		out = append(out, arn)
	}
	return out
}

// anyLive reports whether anything should stand in a role. Guarded by mu.
func (r *Revoker) anyLive(arn string) bool {
	return len(r.plan.want(arn, r.cfg.Now()).stand) > 0
}

// role is guarded by mu.
func (r *Revoker) role(arn string) *role {
	if r.roles[arn] == nil {
		r.roles[arn] = &role{}
	}
	return r.roles[arn]
}

// maxLooks bounds one worker; the next round goes on.
const maxLooks = 60

// settle looks at a role, and puts right what is wrong, until nothing was for a while. After a
// failure it looks less and less often.
func (r *Revoker) settle(ctx context.Context, arn string) {
	defer r.release(arn)
	for n := range maxLooks {
		settled, err := r.look(ctx, arn)
		if settled {
			return
		}
		wait := min(r.cfg.Settle/8<<min(n, 3), r.cfg.Settle/2)
		if err != nil {
			wait = min(firstBackoff<<min(n, 10), r.cfg.Every)
		}
		if pause(ctx, about(wait)) != nil {
			return
		}
	}
}

// release ends a worker. What came to be wanted after its last look needs another.
func (r *Revoker) release(arn string) {
	r.mu.Lock()
	at := r.role(arn)
	at.working = false
	again := at.settled && !covers(at.at.entries, r.plan.want(arn, r.cfg.Now()).stand)
	r.mu.Unlock()
	if again {
		signal(r.kick)
	}
}

// wanted is what a role should say, by all that is known after its policy was read: writers share
// a deny before they write it, so that none is there which this plan does not know, and what
// looks like a lifted rule's is no other's.
func (r *Revoker) wanted(ctx context.Context, arn string) want {
	shared := r.share(ctx) == nil
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.plan.want(arn, r.cfg.Now())
	if !shared {
		w.lifted = nil // others may know why a deny stands
	}
	return w
}

// look is one look, and reports whether the role has settled.
func (r *Revoker) look(ctx context.Context, arn string) (settled bool, err error) {
	got, err := r.apply(ctx, arn)
	if err != nil && ctx.Err() != nil {
		return false, err
	}
	now := r.cfg.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.role(arn)
	was := *at
	at.err = err
	switch {
	case err != nil || got.wrote:
		at.cleanAt, at.settled = time.Time{}, false
	case at.cleanAt.IsZero():
		at.cleanAt = now
	}
	if err == nil {
		at.at, at.writing = got, nil
		r.recut()
	}
	at.settled = !at.cleanAt.IsZero() && now.Sub(at.cleanAt) >= r.cfg.Settle
	r.tell(ctx, arn, &was, at)
	return at.settled, err
}

// tell logs what changed, and wakes those who wait. Guarded by mu.
func (r *Revoker) tell(ctx context.Context, arn string, was, at *role) {
	if at.err != nil && (was.err == nil || detailOf(was.err) != detailOf(at.err)) {
		r.cfg.Logger.ErrorContext(ctx, "AWS sessions are not denied yet", "role", arn, "error", at.err)
	}
	if was.err == nil == (at.err == nil) && was.settled == at.settled && slices.Equal(was.at.entries, at.at.entries) {
		return
	}
	if at.settled && !was.settled {
		r.cfg.Logger.InfoContext(ctx, "AWS role denies what it should", "role", arn, "denies", len(at.at.entries), "widened", at.at.widened)
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Revoker) logChange(c breaker.Change) {
	switch c {
	case breaker.Opened:
		r.cfg.Logger.Warn("iam is away: aws denies wait")
	case breaker.Closed:
		r.cfg.Logger.Info("iam is back")
	case breaker.Unchanged:
	}
}

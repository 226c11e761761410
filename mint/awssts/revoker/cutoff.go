package revoker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/writbroker/writ/mint/awssts/denylist"
	"github.com/writbroker/writ/store"
)

// cutoffs are, by role, what is denied by the time of its making alone. They are immutable.
type cutoffs map[string]*roleCutoff

type roleCutoff struct {
	whole    time.Time
	identity map[string]time.Time // by source identity
}

// Cutoff is the time before which a role denies all its sessions, or those of a source identity,
// as far as is known: by the plan, and by what was read of its policy or is to be written. The
// zero time is for a role that denies none of them so.
func (r *Revoker) Cutoff(role, sourceIdentity string) time.Time {
	known := r.cutoffs.Load()
	if known == nil {
		return time.Time{}
	}
	c := (*known)[role]
	if c == nil {
		return time.Time{}
	}
	return later(c.whole, c.identity[sourceIdentity])
}

// Load reads what is shared, so that Cutoff gives it before Run looks. It writes nothing.
func (r *Revoker) Load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	v, err := r.cfg.Cell.Get(ctx, CellName)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the plan of AWS denies: %w", err)
	}
	shared, err := decodePlan(v.Value)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plan.join(shared, r.cfg.Now())
	r.recut()
	return nil
}

// recut has Cutoff give what is known now. It goes through the plan once, which may be long: all
// roles' looks come here. Guarded by mu.
func (r *Revoker) recut() {
	now, all := r.cfg.Now(), cutoffs{}
	of := func(arn string) *roleCutoff {
		if all[arn] == nil {
			all[arn] = &roleCutoff{identity: map[string]time.Time{}}
		}
		return all[arn]
	}
	for d := range r.plan.Denies {
		if c := of(d.Role); r.plan.stands(d) {
			c.add(now, entryOf(d))
		}
	}
	for arn, c := range all {
		at := r.role(arn)
		c.add(now, at.at.entries...)
		c.add(now, at.writing...)
	}
	r.cutoffs.Store(&all)
}

func (c *roleCutoff) add(now time.Time, entries ...denylist.Entry) {
	for _, e := range entries {
		if !e.Expires.After(now) {
			continue
		}
		switch e.Kind {
		case denylist.WholeRole:
			c.whole = later(c.whole, e.Before)
		case denylist.SourceIdentity:
			c.identity[e.Value] = later(c.identity[e.Value], e.Before)
		case denylist.SessionName: // what else has the name is the same session
		}
	}
}

// writes notes what is about to be written into a role: it may deny more than was asked.
func (r *Revoker) writes(arn string, entries []denylist.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.role(arn).writing = entries
	r.recut()
}

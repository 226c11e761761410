package revoker

import (
	"time"

	"github.com/writbroker/writ/mint/awssts/denylist"
)

// cutoffs are, by role, what is denied by the time of its making alone. They are immutable.
type cutoffs map[string]roleCutoff

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
	return later(c.whole, c.identity[sourceIdentity])
}

// recut has Cutoff give what is known now. Guarded by mu.
func (r *Revoker) recut() {
	now, all := r.cfg.Now(), cutoffs{}
	for _, arn := range r.plan.roles() {
		c := roleCutoff{identity: map[string]time.Time{}}
		at := r.role(arn)
		for _, entries := range [][]denylist.Entry{r.plan.want(arn, now).stand, at.at.entries, at.writing} {
			c.add(entries, now)
		}
		all[arn] = c
	}
	r.cutoffs.Store(&all)
}

func (c *roleCutoff) add(entries []denylist.Entry, now time.Time) {
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

package app

import (
	"context"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/cmd/writ/internal/clock"
)

// clockEvery is how often the clocks of this machine are compared.
const clockEvery = 5 * time.Second

func (a *App) watchClocks(opt Options) {
	a.clocks = clock.Watch{Every: clockEvery, Read: clock.NewSystem().Read, Changed: a.clockChanged}
	if opt.readClocks != nil {
		a.clocks.Every, a.clocks.Read = opt.clockEvery, opt.readClocks
	}
}

// clockChanged tells whoever runs the broker that this machine's clock was set, or that it
// stood still: what the log and the audit say around it is dated by that clock.
func (a *App) clockChanged(ctx context.Context, c clock.Change) {
	detail := map[string]string{}
	if c.Step != 0 {
		detail["step"] = c.Step.String()
		a.logger.WarnContext(ctx, "the clock of this machine was set", "step", c.Step)
	}
	if c.Pause != 0 {
		detail["pause"] = c.Pause.String()
		a.logger.WarnContext(ctx, "this machine was suspended, or this process stopped", "pause", c.Pause)
	}
	if a.metrics != nil {
		if c.Step != 0 {
			a.metrics.steps.Inc()
		}
		if c.Pause != 0 {
			a.metrics.pauses.Inc()
		}
	}
	_, err := a.audit.Append(ctx, audit.Event{Time: a.now(), Kind: audit.KindClock, Outcome: audit.Failure, Detail: detail})
	if err != nil && ctx.Err() == nil {
		a.logger.ErrorContext(ctx, "change of the clock not in audit log", "error", err)
	}
}

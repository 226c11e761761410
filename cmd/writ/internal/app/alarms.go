package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/writbroker/writ/store"
)

// newAlarms makes the counter of alarms, with all that there are at zero: a series that begins at
// one shows no increase.
func newAlarms() *prometheus.CounterVec {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "writ_store_alarms_total",
		Help: "Times that the shared store was found to hold what no replica wrote there, or less than before, by what it was.",
	}, []string{"what"})
	for _, what := range []string{"key_ring", "revocation_log", "replica_roll", "verifier_list", "audit_anchor", "greatest_ttl", "tally"} {
		total.WithLabelValues(what)
	}
	return total
}

// alarmCounter counts the records that carry store.AlarmKey on their way to a log. Whoever finds a
// fault of the store has only to say so, and no alarm is counted that is not in the log, or in
// the log and not counted, whatever its level.
type alarmCounter struct {
	slog.Handler
	total *prometheus.CounterVec
}

// Enabled is slog.Handler's.
func (h *alarmCounter) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelError || h.Handler.Enabled(ctx, level)
}

// Handle is slog.Handler's.
func (h *alarmCounter) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == store.AlarmKey {
			h.total.WithLabelValues(a.Value.String()).Inc()
		}
		return true
	})
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs is slog.Handler's.
func (h *alarmCounter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &alarmCounter{h.Handler.WithAttrs(attrs), h.total}
}

// WithGroup is slog.Handler's.
func (h *alarmCounter) WithGroup(name string) slog.Handler {
	return &alarmCounter{h.Handler.WithGroup(name), h.total}
}

// alarmedTally says of counts that are not authentic: its callers go on without them.
type alarmedTally struct {
	store.Tally
	logger *slog.Logger
}

// Add is store.Tally's.
func (t *alarmedTally) Add(ctx context.Context, bucket string, expires time.Time, deltas map[string]int64) error {
	err := t.Tally.Add(ctx, bucket, expires, deltas)
	t.check(ctx, err)
	return err
}

// Sum is store.Tally's.
func (t *alarmedTally) Sum(ctx context.Context, buckets ...string) (map[string]int64, error) {
	sums, err := t.Tally.Sum(ctx, buckets...)
	t.check(ctx, err)
	return sums, err
}

func (t *alarmedTally) check(ctx context.Context, err error) {
	if err != nil && store.IsIntegrity(err) {
		t.logger.ErrorContext(ctx, "shared counts are not authentic", store.AlarmKey, "tally", "error", err)
	}
}

package roll

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/writbroker/writ/store"
)

// get reads the cell. What is not authentic is alarmed of, and read as nothing; nobody's
// silence counts meanwhile.
func (r *Roll) get(ctx context.Context) (uint64, map[string]mark, error) {
	v, err := r.cfg.Cell.Get(ctx, cellName)
	if errors.Is(err, store.ErrNotFound) {
		return v.Version, nil, nil
	}
	if err != nil && !store.IsIntegrity(err) {
		return 0, nil, fmt.Errorf("reading the roll of replicas: %w", err)
	}
	var marks map[string]mark
	if err == nil {
		marks, err = decodeMarks(v.Value)
	}
	if err != nil {
		r.steady = r.cfg.Now()
		if !r.alarmed {
			r.cfg.Logger.ErrorContext(ctx, "roll of replicas is not authentic, or went back; nothing is confirmed by it", store.AlarmKey, "replica_roll", "error", err)
		}
	}
	r.alarmed = err != nil
	return v.Version, marks, nil
}

// write puts this replica's mark into the cell, and takes out those that are gone.
func (r *Roll) write(ctx context.Context, own mark, attempts int) error {
	now := r.cfg.Now()
	r.tried = now
	r.turn++
	own.Turn = r.turn
	r.turns = append(r.turns, turn{own.Turn, now}) // whatever comes of it, nobody sees it earlier
	r.turns = r.turns[max(0, len(r.turns)-maxTurns):]
	version, marks := r.version, r.marks
	for range attempts {
		data, err := encodeMarks(r.next(marks, own))
		if err != nil {
			return err
		}
		_, err = r.cfg.Cell.Swap(ctx, cellName, version, data)
		switch {
		case err == nil:
			r.unbroken(r.wrote, now)
			r.wrote = now
			return nil
		case !errors.Is(err, store.ErrConflict) && !store.IsIntegrity(err):
			return fmt.Errorf("writing the roll of replicas: %w", err)
		}
		// What was read now came after the log was followed: it is written back, not heard.
		if version, marks, err = r.get(ctx); err != nil {
			return err
		}
	}
	return errBusy
}

// next is the marks with this replica's own, without those that are gone. Those of who has
// left stay for a while.
func (r *Roll) next(marks map[string]mark, own mark) map[string]mark {
	out := make(map[string]mark, len(marks)+1)
	left := 0
	for name, m := range marks {
		o := r.others[name]
		gone := o != nil && r.gone(o) && m.Turn == o.turn
		if m.Left && left < maxLeft {
			left++
			gone = false
		}
		if !gone {
			out[name] = m
		}
	}
	out[r.cfg.Replica] = own
	return out
}

// keep saves whom to wait for, where that has changed.
func (r *Roll) keep(ctx context.Context) {
	if r.cfg.Kept == nil {
		return
	}
	var names []string
	for name, o := range r.others {
		if !o.hasLeft() && !o.absent {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	data, err := encodeNames(names)
	if err == nil && string(data) != r.saved {
		if err = r.cfg.Kept.Save(data); err == nil {
			r.saved = string(data)
		}
	}
	if err != nil {
		r.cfg.Logger.ErrorContext(ctx, "roll of replicas cannot be kept; a restart on an empty store would not wait for them", "error", err)
	}
}

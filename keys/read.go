package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/writbroker/writ/store"
)

// alarm names the ring in alarms.
const alarm = "key_ring"

// sealPurpose binds the MAC to this use of the key.
const sealPurpose = "writ key ring"

// seenState is what the cell holds, or what it should hold.
type seenState struct {
	state  State
	raw    []byte
	cell   uint64    // version of the cell to swap against
	at     time.Time // before it was read
	behind bool      // the store has less than this replica has seen: state is ours, and must be put back
}

// read returns the shared state. One that is older than what this replica has
// seen, or another under the same version, or none at all, is refused: then ours
// is put back under a higher version, so that all replicas end at one. One below the
// anchor is refused, and so is putting such a one back.
func (r *Rotator) read(ctx context.Context) (seenState, error) {
	at := r.cfg.Now()
	// Before the store is read: what is anchored by now was in the store before.
	anchored := r.anchored.Load()
	ours := r.known.Version > 0 && r.known.Version >= anchored
	value, err := r.cfg.Cell.Get(ctx, r.cfg.Ring)
	if errors.Is(err, store.ErrNotFound) {
		if !ours {
			return seenState{at: at}, r.belowAnchor(r.known.Version, anchored)
		}
		r.log.Error("the store has lost the key ring; putting it back", store.AlarmKey, alarm, "version", r.known.Version)
		return seenState{state: r.known, at: at, behind: true}, nil
	}
	if ours && (errors.Is(err, store.ErrRollback) || errors.Is(err, store.ErrForged)) {
		r.log.Error("the store holds no key ring of ours; putting ours back", store.AlarmKey, alarm, "error", err, "version", r.known.Version)
		return seenState{state: r.known, cell: value.Version, at: at, behind: true}, nil
	}
	if err != nil {
		return seenState{}, fmt.Errorf("reading key ring: %w", err)
	}
	if r.known.Version > 0 && bytes.Equal(value.Value, r.raw) {
		return seenState{state: r.known, raw: r.raw, cell: value.Version, at: at}, r.belowAnchor(r.known.Version, anchored)
	}
	state, err := r.unseal(value.Value)
	if err != nil {
		return seenState{}, fmt.Errorf("reading key ring: %w", err)
	}
	if state.Version <= r.known.Version && ours {
		r.log.Error("the key ring in the store went back; refusing it and putting ours back", store.AlarmKey, alarm, "stored", state.Version, "seen", r.known.Version)
		return seenState{state: r.known, cell: value.Version, at: at, behind: true}, nil
	}
	if err := r.belowAnchor(state.Version, anchored); err != nil {
		return seenState{}, fmt.Errorf("reading key ring: %w", err)
	}
	r.warnOfClocks(state)
	return seenState{state: state, raw: value.Value, cell: value.Version, at: at}, nil
}

// warnOfClocks names the one thing that a schedule cannot make harmless.
func (r *Rotator) warnOfClocks(state State) {
	horizon := r.cfg.Now().Add(2*r.cfg.Schedule.Skew + time.Second)
	for _, k := range state.Keys {
		if k.Published.After(horizon) || k.Activated.After(horizon) || k.Retired.After(horizon) {
			r.log.Error("a key was changed in the future: a replica's clock is off by more than the schedule's skew", "kid", k.ID)
		}
	}
}

func (r *Rotator) seal(state State) ([]byte, error) {
	payload, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("writing key ring: %w", err)
	}
	return r.sealer.Seal(payload, sealPurpose, r.cfg.Ring), nil
}

func (r *Rotator) unseal(raw []byte) (State, error) {
	payload, err := r.sealer.Open(raw, sealPurpose, r.cfg.Ring)
	if err != nil {
		return State{}, err
	}
	return decodeState(payload)
}

func (r *Rotator) loadBackup() error {
	if r.cfg.Backup == nil {
		return nil
	}
	raw, err := r.cfg.Backup.Load()
	if err != nil || raw == nil {
		return err
	}
	state, err := r.unseal(raw)
	if err != nil {
		return fmt.Errorf("backup of the key ring: %w", err)
	}
	r.known, r.raw = state, raw
	return nil
}

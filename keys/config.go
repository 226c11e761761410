package keys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/writbroker/writ/store"
)

// Cell is the part of store.Cell that a rotator needs; see there for the contract.
type Cell interface {
	Get(ctx context.Context, name string) (store.Versioned, error)
	Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error)
	Watch(ctx context.Context, name string, after uint64) (store.Versioned, error)
}

// Backup keeps one value outside the store: the last state that this replica
// accepted. With it a restarted replica notices a store that went back, and can
// put the ring back into one that was wiped. Save is durable when it returns and
// whole or not done; Load returns nil if nothing was saved.
type Backup interface {
	Load() ([]byte, error)
	Save(value []byte) error
}

// Config is what a Rotator needs. It is not changed.
type Config struct {
	Ring     string           // names the ring, and its cell; the same for all replicas
	Cell     Cell             // shared by all replicas
	MACKey   []byte           // authenticates the state (Root.RingMACKey); at least 32 bytes
	Custody  Custody          // makes keys, and opens those it made
	Others   []Custody        // open keys that they made: those before a change of custody, or after it
	Schedule Schedule         // the same for all replicas
	Backup   Backup           // optional
	Anchor   Anchor           // optional
	Now      func() time.Time // this replica's clock
	Logger   *slog.Logger     // alarms go to it as errors
	OnChange func(*Ring)      // optional; called in order with each new ring; must not block or call the Rotator

	// Lacking says which connected verifiers have not reported a key. A scheduled
	// activation waits while any is behind, up to Schedule.ActivateWithin; an emergency
	// does not. Optional; it must not block, nor call the Rotator.
	Lacking func(kid string) Lacking
}

func (c Config) validate() error {
	var faults []error
	for _, missing := range []struct {
		name string
		is   bool
	}{
		{"Ring", c.Ring == ""}, {"Cell", c.Cell == nil}, {"Custody", c.Custody == nil},
		{"Now", c.Now == nil}, {"Logger", c.Logger == nil},
	} {
		if missing.is {
			faults = append(faults, fmt.Errorf("keys: Config.%s is required", missing.name))
		}
	}
	return errors.Join(append(faults, c.Schedule.Validate())...)
}

// upTo returns a random duration below limit.
func upTo(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return rand.N(limit) //nolint:gosec // it spreads load, and protects nothing
}

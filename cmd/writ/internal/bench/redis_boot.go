package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// boot starts replicas on a log of as many live rules as were asked for: one that has nothing, the
// same again with its journal, and a verifier that begins with their snapshot.
func (w *redisWorld) boot(ctx context.Context) error {
	empty, err := w.bootOnce(ctx, "boot-empty", databaseEmpty, nil)
	if err != nil {
		return err
	}
	if err := w.restore(ctx, databaseFull, w.sizes.Rules); err != nil {
		return err
	}
	f := w.fleet(databaseFull)
	full, err := w.bootOnce(ctx, "boot", databaseFull, f)
	if err != nil {
		return err
	}
	about := fmt.Sprintf("from the start of a replica until it is ready, with %d rules live", w.sizes.Rules)
	w.figure("boot_seconds", full.took.Seconds(), AtMost(10), about+", from Redis alone")
	w.figure("boot_empty_seconds", empty.took.Seconds(), Goal{}, "the same without rules")
	w.figure("rule_bytes", (full.bytes-empty.bytes)/float64(w.sizes.Rules), AtMost(100), "of heap of the replica for each rule")
	b, err := w.startReplica(ctx, "boot", f)
	if err != nil {
		return err
	}
	w.figure("journal_boot_seconds", b.took.Seconds(), AtMost(5), "the same again, with its journal")
	return errors.Join(w.snapshot(ctx, b), b.stop())
}

type booted struct {
	took  time.Duration
	bytes float64 // of heap, that it took
}

func (w *redisWorld) bootOnce(ctx context.Context, name string, database int, f *fleet) (*booted, error) {
	if f == nil {
		f = w.fleet(database)
	}
	before := heap()
	b, err := w.startReplica(ctx, name, f)
	if err != nil {
		return nil, err
	}
	out := &booted{took: b.took, bytes: float64(settledHeap()) - float64(before)}
	return out, b.stop()
}

// settledHeap is what is left when the replica has written its journal anew.
func settledHeap() uint64 {
	least := heap()
	for range 4 {
		time.Sleep(250 * time.Millisecond)
		least = min(least, heap())
	}
	return least
}

// snapshot times a verifier's way from its start to when it may accept tokens; the replica encodes
// the snapshot for it.
func (w *redisWorld) snapshot(ctx context.Context, b *broker) (err error) {
	s := &spread{}
	defer s.close()
	if s.callers, err = b.callers(ctx); err != nil {
		return err
	}
	if _, err := s.callers.server.Token(ctx); err != nil {
		return err
	}
	for _, figure := range []struct{ name, about string }{
		{"snapshot_seconds", "from a verifier's start to when it has every rule, the first to ask"},
		{"snapshot_again_seconds", "the same for the next verifier"},
	} {
		began := time.Now()
		if err := s.serve(ctx, b, 1); err != nil {
			return err
		}
		w.figure(figure.name, time.Since(began).Seconds(), AtMost(5), figure.about)
	}
	return nil
}

package vault

import (
	"context"
	"encoding/base64"
	"fmt"
	"sync"
)

// batch collects what is to be signed with one key while calls are under way, and
// sends it with the next: under load, each call signs for many. It is safe for
// concurrent use.
type batch struct {
	client *Client
	path   string
	// sign makes one call for all inputs, which are base64, and answers each.
	sign func(ctx context.Context, inputs []string) ([]signed, error)

	mu      sync.Mutex
	queue   []*ticket
	flights int // calls under way
}

// ticket is one signature that somebody waits for.
type ticket struct {
	ctx   context.Context //nolint:containedctx // to leave out who has gone; it ends with the wait for it
	input string
	done  chan signed // of capacity 1
}

type signed struct {
	signature []byte
	err       error
}

// Sign waits for the signature of an input, and not longer than ctx. A full queue
// refuses at once: who waits behind so many would give up before its turn.
func (b *batch) Sign(ctx context.Context, input []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("vault sign at %s: %w", b.path, err)
	}
	t := &ticket{ctx: ctx, input: base64.StdEncoding.EncodeToString(input), done: make(chan signed, 1)}
	if !b.enqueue(t) {
		return nil, b.client.refused(&CallError{Kind: ErrQueueFull, Op: "sign", Path: b.path})
	}
	select {
	case s := <-t.done:
		return s.signature, s.err
	case <-ctx.Done():
		return nil, fmt.Errorf("vault sign at %s: %w", b.path, ctx.Err())
	}
}

func (b *batch) enqueue(t *ticket) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) >= b.client.cfg.QueueSize {
		return false
	}
	b.queue = append(b.queue, t)
	if b.flights < b.client.cfg.Flights {
		b.flights++
		b.client.flights.Go(b.fly)
	}
	return true
}

// fly makes calls until nobody waits. Each is bounded, and so is how long a flight can
// go on after everybody has gone.
func (b *batch) fly() {
	for {
		tickets := b.take()
		if tickets == nil {
			return
		}
		inputs := make([]string, len(tickets))
		for i, t := range tickets {
			inputs[i] = t.input
		}
		// One that gives up must not take the others' signatures with it.
		answers, err := b.sign(context.WithoutCancel(tickets[0].ctx), inputs)
		for i, t := range tickets {
			if err != nil {
				t.done <- signed{err: err}
			} else {
				t.done <- answers[i]
			}
		}
	}
}

// take is the next batch; nil ends the flight.
func (b *batch) take() []*ticket {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*ticket
	taken := 0
	for _, t := range b.queue {
		if len(out) == b.client.cfg.BatchSize {
			break
		}
		if taken++; t.ctx.Err() == nil {
			out = append(out, t)
		}
	}
	b.queue = append(b.queue[:0], b.queue[taken:]...)
	clear(b.queue[len(b.queue):cap(b.queue)])
	if out == nil {
		b.flights--
	}
	return out
}

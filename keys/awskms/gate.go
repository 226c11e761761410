package awskms

import "context"

// gate lets so many through at once, and so many more wait for their turn. It is safe
// for concurrent use.
type gate struct {
	inside  chan struct{}
	waiting chan struct{}
}

func newGate(inside, waiting int) *gate {
	return &gate{inside: make(chan struct{}, inside), waiting: make(chan struct{}, waiting)}
}

// enter waits for a turn, and not longer than ctx. full is that nobody else may wait: who
// waits behind so many would give up before its turn. Who entered calls leave.
func (g *gate) enter(ctx context.Context) (full bool, err error) {
	select {
	case g.inside <- struct{}{}:
		return false, nil
	default:
	}
	select {
	case g.waiting <- struct{}{}:
		defer func() { <-g.waiting }()
	default:
		return true, nil
	}
	select {
	case g.inside <- struct{}{}:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (g *gate) leave() { <-g.inside }

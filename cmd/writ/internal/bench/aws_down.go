package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
)

// awsPace is how many sessions a second each broker is asked for while tokens are measured.
const awsPace = 50

// errNotDown is a measurement of something else than what it says.
var errNotDown = errors.New("a session was given where STS is down")

// tokens compares, in turn, tokens of a broker whose STS is down with those of one whose STS answers. Both
// are asked for sessions all the while, at one pace: neither is measured with more beside it than the other.
func (a *awsRun) tokens(ctx context.Context, each time.Duration) error {
	address, stop, err := dropping(ctx)
	if err != nil {
		return err
	}
	defer stop()
	down, err := a.startAWS(ctx, "aws-down", address, a.sts)
	if err != nil {
		return err
	}
	return errors.Join(a.compareTokens(ctx, down, each), down.stop())
}

func (a *awsRun) compareTokens(ctx context.Context, down *broker, each time.Duration) error {
	var sides []turn
	for _, side := range []struct {
		into   *[]*sample
		broker *broker
	}{{&a.besideUp, a.broker}, {&a.besideDown, down}} {
		n := agents(a.sizes.Bindings)
		bodies, err := side.broker.issuer.exchanges(ctx, min(repeated, n), n)
		if err != nil {
			return err
		}
		sides = append(sides, turn{side.into, func(d time.Duration, _ float64) (*sample, error) {
			return a.several.post(ctx, side.broker.url+wire.PathToken, bodies, false, d)
		}})
	}
	l := newLoad(awsPace)
	defer l.close()
	if err := a.askOnce(ctx, l, a.broker); err != nil {
		return err
	}
	switch err := a.askOnce(ctx, l, down); {
	case err == nil:
		return errNotDown
	case !errors.Is(err, errAgain):
		return err
	}
	var callers sync.WaitGroup
	asking, stop := context.WithCancel(ctx)
	callers.Go(func() { a.keepAsking(asking, l, &callers, a.broker, down) })
	err := a.turns(tokenRounds, each*awsRounds/tokenRounds, sides)
	stop()
	callers.Wait()
	return err
}

func (a *awsRun) askOnce(ctx context.Context, l *load, b *broker) error {
	bodies, err := a.requestsTo(ctx, b, 1)
	if err != nil {
		return err
	}
	return l.one(ctx, b.url+wire.PathToken, bodies[0])
}

// keepAsking asks each broker for a session again and again, and waits for no answer.
func (a *awsRun) keepAsking(ctx context.Context, l *load, callers *sync.WaitGroup, brokers ...*broker) {
	ticker := time.NewTicker(time.Second / awsPace)
	defer ticker.Stop()
	for ctx.Err() == nil {
		for _, b := range brokers {
			bodies, err := a.requestsTo(ctx, b, 1)
			if err != nil {
				return
			}
			callers.Go(func() { _ = l.one(ctx, b.url+wire.PathToken, bodies[0]) })
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// dropping is an STS that takes connections and closes them.
func dropping(ctx context.Context) (address string, stop func(), err error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listening: %w", err)
	}
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	})
	return "http://" + ln.Addr().String(), func() {
		_ = ln.Close()
		ended.Wait()
	}, nil
}

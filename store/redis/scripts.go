package redis

import (
	"context"
	_ "embed"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/store"
)

// The scripts are sent whole: Redis keeps what it has compiled, and no server has
// to be taught them after a failover.
var (
	//go:embed scripts/serving.lua
	servingPart string
	//go:embed scripts/status.lua
	statusPart string
	//go:embed scripts/tail.lua
	tailPart string
	//go:embed scripts/append.lua
	appendPart string
	//go:embed scripts/clear.lua
	clearPart string
	//go:embed scripts/place.lua
	placePart string
	//go:embed scripts/trim.lua
	trimPart string
	//go:embed scripts/get.lua
	getPart string
	//go:embed scripts/swap.lua
	swapPart string
	//go:embed scripts/add.lua
	addScript string

	tailScript   = servingPart + statusPart + tailPart
	appendScript = servingPart + statusPart + appendPart
	clearScript  = servingPart + statusPart + clearPart
	placeScript  = servingPart + placePart
	trimScript   = servingPart + statusPart + trimPart
	getScript    = servingPart + getPart
	swapScript   = servingPart + swapPart
)

// read runs a script that writes nothing, or nothing that anybody is told of.
func (db *DB) read(ctx context.Context, what, script string, keys []string, args ...any) (out any, err error) {
	err = db.call(ctx, what, func(ctx context.Context, c *goredis.Client) error {
		out, err = c.Eval(ctx, script, keys, args...).Result()
		return notNil(err)
	})
	return out, err
}

// write runs a script that writes, and waits for the replicas of Redis that must have
// it. The error is store.ErrUnavailable too where they do not confirm it.
func (db *DB) write(ctx context.Context, what, script string, keys []string, args ...any) (out any, err error) {
	if db.cfg.MinReplicas == 0 {
		return db.read(ctx, what, script, keys, args...)
	}
	err = db.call(ctx, what, func(ctx context.Context, c *goredis.Client) error {
		p := c.Pipeline()
		done := p.Eval(ctx, script, keys, args...)
		have := p.Do(ctx, "WAIT", db.cfg.MinReplicas, max((db.cfg.Timeout/2).Milliseconds(), 1))
		_, _ = p.Exec(ctx) // each command has its own error
		if out, err = done.Result(); notNil(err) != nil {
			return err
		}
		n, err := have.Int()
		if err == nil && wrote(out) && n < db.cfg.MinReplicas {
			err = fmt.Errorf("%w: %d of %d replicas of redis have it", store.ErrUnavailable, n, db.cfg.MinReplicas)
		}
		return err
	})
	return out, err
}

// wrote tells whether a script that writes has done so, from its answer.
func wrote(out any) bool {
	if list, ok := out.([]any); ok {
		return len(list) == 1
	}
	return out == int64(1)
}

// notNil tells an absent value from a failure.
func notNil(err error) error {
	if err == goredis.Nil { //nolint:errorlint // the library hands it over as it is
		return nil
	}
	return err
}

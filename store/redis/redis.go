// Package redis is the shared store: the three primitives of package store on
// Redis 7 or later, for any number of replicas of the broker. Redis may be one
// server, a primary watched by Sentinels, or a Cluster.
//
// It owns the layout of the keys, all of which share the hash tag {writ} and so
// live on one node; the scripts that compare and write in one step; and the name
// of the serving instance, by which every event is found that can lose or replace
// what was acknowledged: a restart, a failover, a demotion and promotion, a slot
// that moved, a FLUSHALL. It never reads from a replica, never repeats a write by
// itself, and never trusts what it reads: see package store. No call outlasts its
// bound.
//
// What a Redis had written by halves when its machine lost its power it carries out at a
// later start, before what was written since. So an open makes room first that its
// append-only file knows to be empty, and any part of a trim leaves a log.
//
// What Redis cannot show by itself is a process that went back in time while it
// ran (DEBUG RELOAD, a machine restored from a memory image, keys put back with
// RESTORE). Who has seen more than is there now reports store.ErrRollback, once,
// and begins no record in that lineage again.
//
// The user of the server needs the Rights and no more. Only cmd/writ and tests import
// the package.
package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/store"
)

// Rights are what the user of the server needs, as rules of ACL SETUSER; "on" and a
// password come besides. select is needed only for a database other than 0, wait only
// where Config.MinReplicas is set, cluster|… only in a Cluster, and config|get only to
// report appendfsync.
const Rights = "resetkeys ~{writ}* resetchannels -@all +eval +info +multi +exec" +
	" +xread +xrange +xrevrange +xadd +xdel +xsetid +xgroup|create +xgroup|destroy +xlen +xinfo|stream" +
	" +hget +hset +hdel +hincrby +hmget +hgetall" +
	" +zadd +zrem +zrangebyscore +zrevrangebyscore" +
	" +get +set +getrange +del +pexpire +wait +select +client|setname +cluster|info +cluster|slots +config|get"

const (
	tag = "{writ}"
	// setKey holds the name of the data set: random, and gone with the data.
	setKey = tag + ":set"
	// newsKey is a short stream that says that a cell has changed.
	newsKey = tag + ":cells"

	defaultTimeout = 2 * time.Second
	defaultPool    = 16
)

// DB is a connection to the shared store. Its methods, and those of what it hands
// out, may be called concurrently.
type DB struct {
	cfg    Config
	client goredis.UniversalClient
	log    *slog.Logger

	cells *Cells
	tally *Tally

	server  atomic.Pointer[Server]
	allowed atomic.Pointer[string] // the instance whose eviction policy was found right

	mu   sync.Mutex
	logs map[string]*Log // guarded by mu

	ctx    context.Context //nolint:containedctx // ends what the DB itself runs; see run and Close
	cancel context.CancelFunc
	work   sync.WaitGroup
}

var (
	_ store.LiveLog = (*Log)(nil)
	_ store.Cell    = (*Cells)(nil)
	_ store.Tally   = (*Tally)(nil)
)

// Open checks the configuration and the server: its version, and that it never
// evicts. It fails with store.ErrUnavailable if the server does not answer, unless
// AllowAway, and with ErrEviction or ErrVersion if it must not be used.
func Open(ctx context.Context, c Config) (*DB, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("opening redis store: %w", err)
	}
	client, err := c.client()
	if err != nil {
		return nil, fmt.Errorf("opening redis store: %w", err)
	}
	db := &DB{cfg: c, client: client, log: c.Logger, logs: map[string]*Log{}}
	db.ctx, db.cancel = context.WithCancel(context.Background())
	db.cells = &Cells{db: db, known: map[string]cellState{}, news: newBeacon(db, newsKey)}
	db.tally = &Tally{db: db}
	if err := db.check(ctx); err != nil {
		if !c.AllowAway || !errors.Is(err, store.ErrUnavailable) {
			return nil, errors.Join(fmt.Errorf("opening redis store: %w", err), db.Close())
		}
		db.log.WarnContext(ctx, "redis is away; it is checked when it answers", "error", err)
	}
	return db, nil
}

// Log returns the log of that name. Handles of one name share everything.
func (db *DB) Log(name string) *Log {
	db.mu.Lock()
	defer db.mu.Unlock()
	l := db.logs[name]
	if l == nil {
		l = newLog(db, name)
		db.logs[name] = l
	}
	return l
}

// Cells returns the shared cells.
func (db *DB) Cells() *Cells { return db.cells }

// Tally returns the shared counts.
func (db *DB) Tally() *Tally { return db.tally }

// Close wakes every waiter with store.ErrUnavailable, closes the connections, and
// returns when nothing of the DB runs any more.
func (db *DB) Close() error {
	db.mu.Lock()
	db.cancel()
	db.mu.Unlock()
	err := db.client.Close()
	db.work.Wait()
	if err != nil && !errors.Is(err, goredis.ErrClosed) {
		return fmt.Errorf("closing redis store: %w", err)
	}
	return nil
}

// run has fn run until the DB is closed, which waits for it; false if it is closed already.
func (db *DB) run(fn func()) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.ctx.Err() != nil {
		return false
	}
	db.work.Go(fn)
	return true
}

// call runs one round trip with the node that serves the tag, within Timeout. In a
// Cluster it follows the slot: a node that says MOVED has done nothing.
func (db *DB) call(ctx context.Context, what string, fn func(context.Context, *goredis.Client) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	bounded, cancel := context.WithTimeout(ctx, db.cfg.Timeout)
	defer cancel()
	for {
		err := db.once(bounded, fn)
		switch {
		case err == nil:
			return nil
		case isMoved(err) && pause(bounded, movedPause):
			continue // the cluster has not agreed yet
		}
		return fmt.Errorf("%s: %w", what, classify(err))
	}
}

// movedPause lets the nodes learn where the slot went.
const movedPause = 20 * time.Millisecond

func (db *DB) once(ctx context.Context, fn func(context.Context, *goredis.Client) error) error {
	cluster, ok := db.client.(*goredis.ClusterClient)
	if !ok {
		return fn(ctx, db.client.(*goredis.Client))
	}
	node, err := cluster.MasterForKey(ctx, setKey)
	if err == nil {
		err = fn(ctx, node)
	}
	if to, moved := movedTo(err); moved {
		if node = nodeAt(ctx, cluster, to); node != nil {
			err = fn(ctx, node)
		}
	} else if err != nil && !isReply(err) {
		cluster.ReloadState(ctx)
	}
	return err
}

// nodeAt learns the cluster's shape anew and returns its node at an address, nil if
// there is none.
func nodeAt(ctx context.Context, cluster *goredis.ClusterClient, addr string) *goredis.Client {
	var found atomic.Pointer[goredis.Client]
	err := cluster.ForEachShard(ctx, func(_ context.Context, c *goredis.Client) error {
		if c.Options().Addr == addr {
			found.Store(c)
		}
		return nil
	})
	if err != nil {
		return nil
	}
	return found.Load()
}

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

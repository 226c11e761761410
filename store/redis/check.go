package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/store"
)

// Server is what was last found out about the server that was checked at the start,
// for operators.
type Server struct {
	Version        string
	Mode           string // standalone, sentinel or cluster
	EvictionPolicy string
	AppendOnly     bool
	AppendFsync    string // empty where the user may not ask
	Replicas       int    // connected ones
}

// Warnings says what an operator should know: how much a crash can cost.
func (s Server) Warnings() []string {
	var out []string
	switch {
	case !s.AppendOnly:
		out = append(out, "redis writes no append-only file: a restart loses what its last snapshot does not hold; journals put live rules back")
	case s.AppendFsync == "everysec" || s.AppendFsync == "no":
		out = append(out, "redis syncs its append-only file later (appendfsync "+s.AppendFsync+"): a crash of the machine loses the last writes; journals put live rules back")
	}
	if s.EvictionPolicy != noEviction {
		out = append(out, "redis may evict (maxmemory-policy "+s.EvictionPolicy+")")
	}
	return out
}

const (
	noEviction   = "noeviction"
	leastVersion = 7
)

// Server returns what Open found; the zero value while Redis was away.
func (db *DB) Server() Server {
	if s := db.server.Load(); s != nil {
		return *s
	}
	return Server{}
}

// check looks at the nodes that can serve: in a Cluster all that answer, masters and
// replicas, since each may come to own the slot.
func (db *DB) check(ctx context.Context) error {
	const what = "checking the server"
	var s Server
	err := db.call(ctx, what, func(ctx context.Context, c *goredis.Client) (err error) {
		s, err = look(ctx, c)
		return err
	})
	if err != nil {
		return err
	}
	if err := db.accept(s.Version, s.EvictionPolicy); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := db.checkCluster(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	switch {
	case db.cfg.Cluster:
		s.Mode = "cluster"
	case db.cfg.MasterName != "":
		s.Mode = "sentinel"
	}
	db.server.Store(&s)
	for _, warning := range s.Warnings() {
		db.log.WarnContext(ctx, "redis is not as durable as it could be", "reason", warning)
	}
	return nil
}

func (db *DB) checkCluster(ctx context.Context) error {
	cluster, ok := db.client.(*goredis.ClusterClient)
	if !ok {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, db.cfg.Timeout)
	defer cancel()
	return cluster.ForEachShard(bounded, func(ctx context.Context, c *goredis.Client) error {
		s, err := look(ctx, c)
		if err != nil {
			return nil //nolint:nilerr // a node that is away is checked when it serves
		}
		return db.accept(s.Version, s.EvictionPolicy)
	})
}

// accept refuses what must not be used.
func (db *DB) accept(version, policy string) error {
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < leastVersion {
		return fmt.Errorf("%w: it says %q", ErrVersion, version)
	}
	if policy != noEviction && !db.cfg.InsecureAllowEviction {
		return fmt.Errorf("%w (it is %q), or set InsecureAllowEviction", ErrEviction, policy)
	}
	return nil
}

// allow refuses an instance that is not the one checked before and may evict: a
// failover can lead to a server that is configured otherwise.
func (db *DB) allow(st *status) error {
	if st.policy == "" {
		return nil // the script found the instance that it was asked about
	}
	if st.policy != noEviction && !db.cfg.InsecureAllowEviction {
		return fmt.Errorf("%w: %w (it is %q)", store.ErrUnavailable, ErrEviction, st.policy)
	}
	db.allowed.Store(&st.instance)
	return nil
}

func look(ctx context.Context, c *goredis.Client) (Server, error) {
	text, err := c.Info(ctx, "server", "memory", "persistence", "replication").Result()
	if err != nil {
		return Server{}, err
	}
	info := fields(text)
	replicas, err := strconv.Atoi(info["connected_slaves"])
	if err != nil {
		replicas = 0
	}
	s := Server{
		Version: info["redis_version"], Mode: info["redis_mode"], EvictionPolicy: info["maxmemory_policy"],
		AppendOnly: info["aof_enabled"] == "1", Replicas: replicas,
	}
	// Where the user may not ask, it stays unknown.
	if got, err := c.ConfigGet(ctx, "appendfsync").Result(); err == nil {
		s.AppendFsync = got["appendfsync"]
	}
	return s, nil
}

// clock is the time of the server that serves the log.
func (db *DB) clock(ctx context.Context) (now time.Time, err error) {
	err = db.call(ctx, "reading the server's clock", func(ctx context.Context, c *goredis.Client) error {
		text, err := c.Info(ctx, "server").Result()
		if err != nil {
			return err
		}
		micros, err := strconv.ParseInt(fields(text)["server_time_usec"], 10, 64)
		if err != nil {
			return errReply
		}
		now = time.UnixMicro(micros)
		return nil
	})
	return now, err
}

// fields reads the lines of INFO.
func fields(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			out[name] = value
		}
	}
	return out
}

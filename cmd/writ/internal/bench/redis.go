package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/redis"
)

// Databases of the server, one for each set of replicas.
const (
	databaseSpread = iota
	databaseEmpty
	databaseFull
	databaseFanout
)

// redisWorld is what the measurements on Redis have in common.
type redisWorld struct {
	*run
	redis *redisProcess
	root  string
	load  *load
}

// redis measures replicas that share a Redis server, which this run starts.
func (r *run) redis(ctx context.Context) error {
	server, err := r.startRedis(ctx)
	if err != nil {
		return err
	}
	defer server.close()
	w := &redisWorld{run: r, redis: server, root: filepath.Join(r.dir, "root.key"), load: newLoad(r.sizes.Connections)}
	defer w.load.close()
	if _, err := keys.LoadOrCreateRoot(w.root); err != nil {
		return fmt.Errorf("making root key: %w", err)
	}
	for _, step := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{"exchange", w.compareStores}, {"propagation", w.overReplicas}, {"many connections", w.fanout}, {"start with many rules", w.boot},
	} {
		r.cfg.Progress("redis: " + step.name)
		if err := step.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (w *redisWorld) fleet(database int) *fleet {
	return &fleet{redis: w.redis.addr, database: database, root: w.root}
}

// figure adds a figure. One whose name another part of this run has gets the part's before it.
func (w *redisWorld) figure(name string, value float64, goal Goal, about string) {
	if _, taken := w.report.Figure(name); taken {
		name = PartRedis + "_" + name
	}
	w.report.add(PartRedis, name, value, goal, about)
}

// restore begins the revocation log of a database with so many rules by token, as a replica does
// that puts back what Redis has lost.
func (w *redisWorld) restore(ctx context.Context, database, rules int) error {
	root, err := keys.LoadOrCreateRoot(w.root)
	if err != nil {
		return fmt.Errorf("reading root key: %w", err)
	}
	sealer, err := store.NewSealer(root.StoreMACKey())
	if err != nil {
		return fmt.Errorf("making rules: %w", err)
	}
	db, err := redis.Open(ctx, redis.Config{
		Addrs: []string{w.redis.addr}, DB: database, Sealer: sealer, Now: time.Now, Timeout: startTimeout,
	})
	if err != nil {
		return fmt.Errorf("making rules: %w", err)
	}
	entries := make([]store.Entry, rules)
	for n := range entries {
		rule := tokenRule(n)
		rule.Rule.Entries = nil // it gets its place now
		e := store.Entry{Expires: rule.Rule.ExpiresAt}
		if e.Kind, e.Payload, err = revocation.AppendRecord(nil, &rule); err != nil {
			return errors.Join(fmt.Errorf("making rules: %w", err), db.Close())
		}
		entries[n] = e
	}
	log := db.Log("revocations")
	tail, err := log.Tail(ctx)
	if err == nil {
		_, err = log.Open(ctx, tail, entries)
	}
	if err != nil {
		err = fmt.Errorf("making rules: %w", err)
	}
	return errors.Join(err, db.Close())
}

// callers are those that the measurements on Redis need tokens for.
type callers struct {
	security, server *client.Source
	admin            *client.Admin
}

func (b *broker) callers(ctx context.Context) (*callers, error) {
	c, err := client.New(client.Config{Issuer: b.issuer.audience, Transport: transportTo(b)})
	if err != nil {
		return nil, err
	}
	source := func(workload, scope string) (*client.Source, error) {
		raw, err := b.issuer.token(ctx, workload)
		if err != nil {
			return nil, err
		}
		return client.NewSource(client.SourceConfig{Client: c, Request: client.Request{SubjectToken: raw, Scopes: []string{scope}}})
	}
	out := &callers{}
	if out.security, err = source(securityAgent, "writ:revoke:**"); err != nil {
		return nil, err
	}
	if out.server, err = source(serverAgent, "writ:feed:read"); err != nil {
		out.security.Close()
		return nil, err
	}
	out.admin, err = client.NewAdmin(client.AdminConfig{URL: b.admin, Token: out.security.Bearer})
	if err != nil {
		out.close()
		return nil, err
	}
	return out, nil
}

func (c *callers) close() {
	c.server.Close()
	c.security.Close()
}

// transportTo leads to one replica, whatever address is asked for: all have one issuer.
func transportTo(b *broker) *http.Transport {
	t := client.NewTransport(nil)
	t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, b.host())
	}
	return t
}

func stopAll(brokers ...*broker) error {
	var g errgroup.Group
	for _, b := range brokers {
		if b != nil {
			g.Go(b.stop)
		}
	}
	return g.Wait()
}

package redistest

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

// Watched is a primary with two replicas and three Sentinels.
type Watched struct {
	Name      string // of the primary, for Sentinels
	Nodes     []*Node
	Sentinels []*Node
}

// In milliseconds: how long a primary may be silent until another takes over. A slow machine
// makes it silent for a second where no test wants that.
const calm, eager = 600_000, 1000

// StartWatched runs them and waits until a failover would work; there is none before Moved. The
// settings are the servers'.
func StartWatched(t testing.TB, settings ...string) *Watched {
	t.Helper()
	w := &Watched{Name: "writ"}
	for range 3 {
		w.Nodes = append(w.Nodes, Start(t, settings...))
	}
	for _, replica := range w.Nodes[1:] {
		replica.Follow(t, w.Nodes[0])
	}
	host, port, err := net.SplitHostPort(w.Nodes[0].Addr)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s := start(t, "redis-sentinel")
		s.Do(t, "SENTINEL", "MONITOR", w.Name, host, port, 2)
		s.Do(t, "SENTINEL", "SET", w.Name, "down-after-milliseconds", calm, "failover-timeout", 5000)
		// They look around ten times as often as they would.
		s.Do(t, "SENTINEL", "DEBUG", "info-period", 500, "publish-period", 200, "ping-period", 200)
		w.Sentinels = append(w.Sentinels, s)
	}
	for _, s := range w.Sentinels {
		Until(t, "sentinels know each other and the replicas", func() bool { return w.knowsAll(s) })
	}
	return w
}

func (w *Watched) knowsAll(sentinel *Node) bool {
	ctx := context.Background()
	of := goredis.NewMapStringStringCmd(ctx, "SENTINEL", "MASTER", w.Name)
	if sentinel.client.Process(ctx, of) != nil {
		return false
	}
	m := of.Val()
	return m["flags"] == "master" && m["num-slaves"] == "2" && m["num-other-sentinels"] == "2" && w.replicasUp(sentinel)
}

func (w *Watched) replicasUp(sentinel *Node) bool {
	out, err := sentinel.client.Do(context.Background(), "SENTINEL", "REPLICAS", w.Name).Slice()
	if err != nil {
		return false
	}
	up := 0
	for _, one := range out {
		list, _ := one.([]any)
		for i := 0; i+1 < len(list); i += 2 {
			if list[i] == "master-link-status" && list[i+1] == "ok" {
				up++
			}
		}
	}
	return up == 2
}

// Addrs are those of the Sentinels.
func (w *Watched) Addrs() []string { return addrs(w.Sentinels) }

// Primary is the node that the Sentinels name.
func (w *Watched) Primary(t testing.TB) *Node {
	t.Helper()
	addr := w.primary(w.Sentinels[0])
	for _, n := range w.Nodes {
		if n.Addr == addr {
			return n
		}
	}
	t.Fatalf("sentinels name %q", addr)
	return nil
}

func (w *Watched) primary(sentinel *Node) string {
	got, err := sentinel.client.Do(context.Background(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", w.Name).StringSlice()
	if err != nil || len(got) != 2 {
		return ""
	}
	return net.JoinHostPort(got[0], got[1])
}

// Moved has the Sentinels replace a primary that is gone, and waits until they agree on another primary than before, and that one
// takes writes.
func (w *Watched) Moved(t testing.TB, before *Node) *Node {
	t.Helper()
	for _, s := range w.Sentinels {
		s.Do(t, "SENTINEL", "SET", w.Name, "down-after-milliseconds", eager)
	}
	Until(t, "sentinels name another primary", func() bool {
		for _, s := range w.Sentinels {
			if addr := w.primary(s); addr == before.Addr || addr == "" {
				return false
			}
		}
		info, err := w.Primary(t).Info("replication")
		return err == nil && info["role"] == "master"
	})
	return w.Primary(t)
}

// Cluster is three masters with a replica each.
type Cluster struct{ Nodes []*Node }

const slots = 16384

// StartCluster runs six nodes, the first three of them masters, and waits until the
// cluster serves. No replica takes over before FailOver. The settings are the servers'.
func StartCluster(t testing.TB, settings ...string) *Cluster {
	t.Helper()
	c := &Cluster{}
	for range 6 {
		c.Nodes = append(c.Nodes, Start(t, append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-replica-no-failover", "yes"}, settings...)...))
	}
	ids := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		ids[i], _ = n.Do(t, "CLUSTER", "MYID").(string)
		n.Do(t, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		if i < 3 {
			n.Do(t, "CLUSTER", "ADDSLOTSRANGE", i*slots/3, (i+1)*slots/3-1)
		}
		if i > 0 {
			n.meet(t, c.Nodes[0])
		}
	}
	for _, n := range c.Nodes {
		Until(t, "nodes know each other", func() bool { return n.clusterInfo()["cluster_known_nodes"] == "6" })
	}
	for i, n := range c.Nodes[3:] {
		Until(t, "node knows its master", func() bool {
			return n.client.Do(context.Background(), "CLUSTER", "REPLICATE", ids[i]).Err() == nil
		})
	}
	for i, n := range c.Nodes {
		if i >= 3 {
			n.Synced(t)
		}
		Until(t, "cluster serves", func() bool {
			info := n.clusterInfo()
			return info["cluster_state"] == "ok" && info["cluster_size"] == "3"
		})
	}
	return c
}

// FailOver lets replicas take over from masters that are gone, from now on.
func (c *Cluster) FailOver(t testing.TB) {
	t.Helper()
	for _, n := range c.Nodes {
		if n.runs() {
			n.Do(t, "CONFIG", "SET", "cluster-replica-no-failover", "no")
		}
	}
}

func (n *Node) meet(t testing.TB, other *Node) {
	t.Helper()
	host, port, err := net.SplitHostPort(other.Addr)
	if err != nil {
		t.Fatal(err)
	}
	bus := ""
	for i, arg := range other.args {
		if arg == "--cluster-port" {
			bus = other.args[i+1]
		}
	}
	n.Do(t, "CLUSTER", "MEET", host, port, bus)
}

func (n *Node) clusterInfo() map[string]string {
	out := map[string]string{}
	text, err := n.client.ClusterInfo(context.Background()).Result()
	if err != nil {
		return out
	}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			out[name] = value
		}
	}
	return out
}

// Addrs are those of all nodes.
func (c *Cluster) Addrs() []string { return addrs(c.Nodes) }

// Owner is the master that serves a key, and a replica of it.
func (c *Cluster) Owner(t testing.TB, key string) (master, replica *Node) {
	t.Helper()
	Until(t, "a master and a replica serve "+key, func() bool {
		master, replica = c.owner(key)
		return master != nil && replica != nil
	})
	return master, replica
}

func (c *Cluster) owner(key string) (master, replica *Node) {
	ctx := context.Background()
	for _, n := range c.Nodes {
		slot, err := n.client.ClusterKeySlot(ctx, key).Result()
		if err != nil {
			continue
		}
		shards, err := n.client.ClusterSlots(ctx).Result() //nolint:staticcheck // what replaces it is not in the oldest Redis that is tested
		if err != nil {
			continue
		}
		id, err := n.client.ClusterMyID(ctx).Result()
		if err != nil {
			continue
		}
		for _, s := range shards {
			if int(slot) >= s.Start && int(slot) <= s.End && len(s.Nodes) > 0 && s.Nodes[0].ID == id {
				return n, c.replica(n, id)
			}
		}
	}
	return nil, nil
}

// replica finds a master's replica. CLUSTER SLOTS leaves it out until it has got
// something to replicate.
func (c *Cluster) replica(master *Node, id string) *Node {
	text, err := master.client.ClusterNodes(context.Background()).Result()
	if err != nil {
		return nil
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) > 3 && f[3] == id && strings.TrimSuffix(f[2], ",nofailover") == "slave" {
			addr, _, _ := strings.Cut(f[1], "@")
			return c.byAddr(addr)
		}
	}
	return nil
}

func (c *Cluster) byAddr(addr string) *Node {
	for _, n := range c.Nodes {
		if n.Addr == addr {
			return n
		}
	}
	return nil
}

// TakeOver makes the replica of a key's master the master, in step or not, and waits
// until the old one, if it lives, follows it.
func (c *Cluster) TakeOver(t testing.TB, key string) {
	t.Helper()
	master, replica := c.Owner(t, key)
	replica.Do(t, "CLUSTER", "FAILOVER", "TAKEOVER")
	if master.runs() {
		master.Synced(t)
	}
}

// MoveSlot gives a key's slot, with what is in it, to another master.
func (c *Cluster) MoveSlot(t testing.TB, key string, from, to *Node) {
	t.Helper()
	ctx := context.Background()
	slot, err := to.client.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		t.Fatal(err)
	}
	fromID, toID := from.Do(t, "CLUSTER", "MYID"), to.Do(t, "CLUSTER", "MYID")
	to.Do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	from.Do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	keys, err := from.client.ClusterGetKeysInSlot(ctx, int(slot), 1000).Result()
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(to.Addr)
	if err != nil {
		t.Fatal(err)
	}
	args := []any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}
	for _, k := range keys {
		args = append(args, k)
	}
	if len(keys) > 0 {
		from.Do(t, args...)
	}
	for _, n := range []*Node{to, from} {
		n.Do(t, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	}
	Until(t, "slot "+strconv.FormatInt(slot, 10)+" has moved", func() bool { now, _ := c.owner(key); return now == to })
}

func addrs(nodes []*Node) []string {
	out := make([]string, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n.Addr)
	}
	return out
}

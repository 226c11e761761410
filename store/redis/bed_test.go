package redis_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/writbroker/writ/internal/redistest"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/redis"
	"github.com/writbroker/writ/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sealer(t testing.TB, b byte) *store.Sealer {
	t.Helper()
	s, err := store.NewSealer(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bed is a set of servers, with a proxy before each.
type bed struct {
	config  redis.Config
	proxies map[string]*redistest.Proxy // by the node's address
	// primary is the node that serves.
	primary func(testing.TB) *redistest.Node
	// another makes another instance serve the same data.
	another func(*testing.T)
}

func newBed(t testing.TB, c redis.Config, nodes []*redistest.Node) *bed {
	t.Helper()
	c.Sealer, c.Now, c.Timeout = sealer(t, 1), time.Now, bound
	b := &bed{config: c, proxies: map[string]*redistest.Proxy{}}
	for _, n := range nodes {
		b.proxies[n.Addr] = redistest.NewProxy(t, n.Addr)
	}
	b.config.SetDial(func(ctx context.Context, network, addr string) (net.Conn, error) {
		if p, ok := b.proxies[addr]; ok {
			addr = p.Addr
		}
		return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, addr)
	})
	return b
}

// rights are the settings of a server that has a user with no more than the Rights,
// and the part of a configuration that is that user.
func rights(t testing.TB) (settings []string, c redis.Config) {
	t.Helper()
	c.Username, c.PasswordFile = "writ", filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(c.PasswordFile, []byte("of-a-test\n"), 0o600))
	return append([]string{"--user", c.Username, "on", ">of-a-test"}, strings.Fields(redis.Rights)...), c
}

func alone(t testing.TB, settings ...string) *bed {
	t.Helper()
	allowed, c := rights(t)
	n := redistest.Start(t, append(allowed, settings...)...)
	c.Addrs = []string{n.Addr}
	b := newBed(t, c, []*redistest.Node{n})
	b.primary = func(testing.TB) *redistest.Node { return n }
	b.another = func(t *testing.T) { n.Restart(t) }
	return b
}

func watched(t testing.TB) (*bed, *redistest.Watched) {
	t.Helper()
	settings, config := rights(t)
	w := redistest.StartWatched(t, settings...)
	config.Addrs, config.MasterName = w.Addrs(), w.Name
	b := newBed(t, config, w.Nodes)
	b.primary = w.Primary
	// Demoted and promoted at once: it keeps its run id, and Sentinels see nothing.
	b.another = func(t *testing.T) {
		tx := w.Primary(t).Client().TxPipeline()
		tx.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1")
		tx.Do(t.Context(), "REPLICAOF", "NO", "ONE")
		if _, err := tx.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return b, w
}

func clustered(t testing.TB) (*bed, *redistest.Cluster) {
	t.Helper()
	settings, config := rights(t)
	c := redistest.StartCluster(t, settings...)
	config.Addrs, config.Cluster = c.Addrs(), true
	b := newBed(t, config, c.Nodes)
	b.primary = func(t testing.TB) *redistest.Node { m, _ := c.Owner(t, redis.SetKey); return m }
	b.another = func(t *testing.T) {
		master, _ := c.Owner(t, redis.SetKey)
		master.Fence(t, redis.SetKey+":fence", 1)
		c.TakeOver(t, redis.SetKey)
	}
	return b, c
}

func (b *bed) open(t testing.TB) *redis.DB {
	t.Helper()
	db, err := redis.Open(t.Context(), b.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return db
}

// backend is the bed with all data wiped, for one case of the conformance suite.
func (b *bed) backend(t *testing.T, now func() time.Time) *storetest.Backend {
	b.primary(t).FlushAll(t)
	own := *b
	own.config.Now = now
	var open []*redis.DB
	return &storetest.Backend{
		Replica: func(t *testing.T) storetest.Store {
			db := own.open(t)
			open = append(open, db)
			return storetest.Store{
				Log:   func(name string) store.LiveLog { return db.Log(name) },
				Cells: db.Cells(), Tally: db.Tally(),
			}
		},
		Restart: func(t *testing.T) {
			for _, db := range open {
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			}
			open = nil
			b.another(t)
		},
		FailWrite: func(t *testing.T, persisted bool) {
			b.proxies[b.primary(t).Addr].FailNext("-- writ:write", persisted)
		},
		EditLog: func(t *testing.T, log string, edit func(*storetest.RawLog)) {
			editLog(t, b.primary(t).Client(), log, edit)
		},
		EditCell: func(t *testing.T, cell string, edit func([]byte) []byte) {
			editCell(t, b.primary(t).Client(), redis.CellKey(cell), edit)
		},
	}
}

func editLog(t *testing.T, c *goredis.Client, log string, edit func(*storetest.RawLog)) {
	t.Helper()
	stream, _, notes := redis.Keys(log)
	raw := storetest.RawLog{Records: map[uint64][]byte{}, Notes: map[uint64][]byte{}}
	entries, err := c.XRange(t.Context(), stream, "-", "+").Result()
	must(t, err)
	for _, e := range entries {
		index, err := strconv.ParseUint(strings.TrimSuffix(e.ID, "-0"), 10, 64)
		must(t, err)
		text, _ := e.Values["r"].(string)
		raw.Records[index] = []byte(text)
	}
	members, err := c.ZRange(t.Context(), notes, 0, -1).Result()
	must(t, err)
	for _, m := range members {
		raw.Notes[binary.BigEndian.Uint64([]byte(m))] = []byte(m[8:])
	}
	edit(&raw)
	tx := c.TxPipeline()
	tx.Del(t.Context(), stream, notes)
	for _, index := range slices.Sorted(maps.Keys(raw.Records)) {
		tx.XAdd(t.Context(), &goredis.XAddArgs{
			Stream: stream, ID: strconv.FormatUint(index, 10) + "-0", Values: []any{"r", raw.Records[index]},
		})
	}
	for first, note := range raw.Notes {
		member := append(binary.BigEndian.AppendUint64(nil, first), note...)
		tx.ZAdd(t.Context(), notes, goredis.Z{Score: float64(first), Member: member})
	}
	_, err = tx.Exec(t.Context())
	must(t, err)
}

func editCell(t *testing.T, c *goredis.Client, key string, edit func([]byte) []byte) {
	t.Helper()
	raw, err := c.Get(t.Context(), key).Bytes()
	must(t, err)
	if raw = edit(raw); raw == nil {
		must(t, c.Del(t.Context(), key).Err())
		return
	}
	must(t, c.Set(t.Context(), key, raw, 0).Err())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

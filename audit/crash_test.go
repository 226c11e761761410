package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/audit/crashfs"
)

// Crashes at random moments, each losing what was not synced but for a torn part
// of it: what was acknowledged is there after each, and the log verifies up to its
// last anchor.
func TestNothingAcknowledgedIsLostInACrash(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			files := &crashfs.FS{}
			life := lives{anchors: map[uint64]audit.Checkpoint{}}
			for round := range 6 {
				files = life.live(t, files, rnd, round)
			}
			l := open(t, audit.Config{FS: files, SegmentBytes: 20_000})
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			life.check(t, files)
		})
	}
}

type lives struct {
	mu      sync.Mutex
	acked   []string                    // guarded by mu
	anchors map[uint64]audit.Checkpoint // guarded by mu
}

func (v *lives) live(t *testing.T, files *crashfs.FS, rnd *rand.Rand, round int) *crashfs.FS {
	t.Helper()
	var ops atomic.Int64
	limit := 5 + rnd.Int64N(60)
	dying := make(chan struct{})
	var after *crashfs.FS
	var once sync.Once
	cut, garbage := rnd.Float64(), rnd.IntN(3)
	files.Hook = func(crashfs.Op, string) error {
		if ops.Add(1) >= limit {
			once.Do(func() {
				after = files.Crash(func(unsynced []byte) []byte {
					torn := unsynced[:int(cut*float64(len(unsynced)))]
					if garbage == 0 && len(torn) > 10 {
						clear(torn[len(torn)/2:]) // a page that never came
					}
					return torn
				})
				close(dying)
			})
		}
		return nil
	}
	l, err := audit.Open(t.Context(), audit.Config{
		FS: files, Signer: signer(1), Now: time.Now, SegmentBytes: 20_000, CheckpointEvery: time.Millisecond,
		Anchor: func(_ context.Context, c audit.Checkpoint) error {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.anchors[c.Seq] = c
			return nil
		},
	})
	if err != nil {
		select {
		case <-dying:
			return after
		default:
			t.Fatalf("round %d: open: %v", round, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run, writers sync.WaitGroup
	run.Go(func() { _ = l.Run(ctx) })
	for w := range 4 {
		writers.Go(func() { v.write(ctx, l, fmt.Sprintf("%d/%d", round, w)) })
	}
	writers.Wait() // each ends at its first error
	cancel()
	run.Wait()
	_ = l.Close()
	select {
	case <-dying:
	default:
		t.Fatalf("round %d: refused before the crash", round)
	}
	return after
}

func (v *lives) write(ctx context.Context, l *audit.Log, name string) {
	for i := 0; ; i++ {
		e := event()
		e.DecisionID = fmt.Sprintf("%s/%d", name, i)
		if _, err := l.Append(ctx, e); err != nil {
			return
		}
		v.mu.Lock()
		v.acked = append(v.acked, e.DecisionID)
		v.mu.Unlock()
	}
}

func (v *lives) check(t *testing.T, files *crashfs.FS) {
	t.Helper()
	var anchors []audit.Checkpoint
	for _, a := range v.anchors {
		anchors = append(anchors, a)
	}
	r := verify(t, files, anchors...)
	wantWhole(t, r)
	got := map[string]int{}
	for _, rec := range query(t, files, audit.Filter{Kind: audit.KindExchange}) {
		got[rec.DecisionID]++
	}
	for _, id := range v.acked {
		if got[id] != 1 {
			t.Errorf("record %q was acknowledged and is there %d times", id, got[id])
		}
	}
	t.Logf("%d records acknowledged, %d anchors, %d segments, last record %d", len(v.acked), len(anchors), len(files.Names()), r.Last)
}

func TestTornEndIsCutAndRecorded(t *testing.T) {
	for name, torn := range map[string]string{
		"half a line":        `{"seq":4,"prev":"`,
		"zeros":              strings.Repeat("\x00", 5000),
		"a line of rubbish":  "rubbish\n",
		"a line out of turn": "{\"seq\":9,\"prev\":\"" + strings.Repeat("A", 43) + "\",\"kind\":\"use\"}\n",
	} {
		t.Run(name, func(t *testing.T) {
			files := &crashfs.FS{}
			l := open(t, audit.Config{FS: files})
			appendN(t, l, "a")
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			segment := names(files)[0]
			files.Edit(segment, func(b []byte) []byte { return append(b, torn...) })
			l = open(t, audit.Config{FS: files})
			appendN(t, l, "b")
			wantWhole(t, verify(t, files))
			got := query(t, files, audit.Filter{})
			if decisions(got) != "open a checkpoint open b checkpoint" && decisions(got) != "open a checkpoint open b" {
				t.Fatalf("recorded %q", decisions(got))
			}
			if d := got[3].Detail; d["torn_bytes"] != fmt.Sprint(len(torn)) || d["log"] != l.ID() || d["torn_sha256"] == "" {
				t.Errorf("open says %v", d)
			}
		})
	}
}

func TestDamageThatNoCrashExplainsIsLeftAlone(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"megabytes lost": func(b []byte) []byte { return append(b, bytes.Repeat([]byte("x\n"), 4<<20)...) },
		"first line":     func(b []byte) []byte { b[3] ^= 1; return b },
		"no log's name":  func(b []byte) []byte { return bytes.Replace(b, []byte(`"log"`), []byte(`"gol"`), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			files := &crashfs.FS{}
			l := open(t, audit.Config{FS: files})
			appendN(t, l, "a")
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			var want []byte
			files.Edit(names(files)[0], func(b []byte) []byte { want = damage(b); return want })
			_, err := audit.Open(t.Context(), audit.Config{FS: files, Signer: signer(1), Now: time.Now})
			if !errors.Is(err, audit.ErrDamaged) {
				t.Fatalf("open: %v, want ErrDamaged", err)
			}
			files.Edit(names(files)[0], func(got []byte) []byte {
				if !bytes.Equal(got, want) {
					t.Error("the damaged file was changed")
				}
				return got
			})
		})
	}
}

func TestCrashWhileASegmentBegins(t *testing.T) {
	for name, left := range map[string]string{"empty": "", "torn": `{"seq":`} {
		t.Run(name, func(t *testing.T) {
			files := &crashfs.FS{}
			l := open(t, audit.Config{FS: files})
			appendN(t, l, "a")
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			next := verify(t, files).Last + 1
			files.Edit(fmt.Sprintf("audit-%020d.jsonl", next), func([]byte) []byte { return []byte(left) })
			l = open(t, audit.Config{FS: files})
			appendN(t, l, "b")
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			wantWhole(t, verify(t, files))
			if got := decisions(query(t, files, audit.Filter{})); got != "open a checkpoint open open b checkpoint" && got != "open a checkpoint open open b checkpoint checkpoint" {
				t.Errorf("recorded %q", got)
			}
		})
	}
}

func TestDirectoryBelongsToOneProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l := open(t, audit.Config{Dir: dir, SegmentBytes: 2000})
	if _, err := audit.OpenDir(dir); err == nil {
		t.Fatal("opened twice")
	}
	appendN(t, l, "a", "b", "c", "d", "e")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, audit.Config{Dir: dir, SegmentBytes: 2000})
	appendN(t, l, "f")
	wantWhole(t, verify(t, l.Files()))
	found, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil || len(found) < 2 {
		t.Fatalf("segments %v, %v", found, err)
	}
	for _, name := range append(found, filepath.Join(dir, "lock")) {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	full := audit.Config{FS: &crashfs.FS{}, Signer: signer(1), Now: time.Now}
	for name, c := range map[string]audit.Config{
		"no signer": {FS: full.FS, Now: time.Now},
		"no clock":  {FS: full.FS, Signer: full.Signer},
		"no files":  {Signer: full.Signer, Now: time.Now},
	} {
		if _, err := audit.Open(t.Context(), c); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := audit.Open(ctx, full); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

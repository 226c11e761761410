package audit_test

import (
	"context"
	"io"
	"io/fs"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/writbroker/writ/audit"
)

// nullFS takes writes and syncs for nothing, so that what is left is our own cost.
type nullFS struct{ fstest.MapFS }

type nullFile struct{ io.Writer }

func (nullFS) Append(string) (audit.File, error) { return nullFile{io.Discard}, nil }
func (nullFS) SyncDir() error                    { return nil }
func (nullFS) Close() error                      { return nil }
func (nullFile) Sync() error                     { return nil }
func (nullFile) Truncate(int64) error            { return nil }
func (nullFile) Close() error                    { return nil }

var _ fs.FS = nullFS{}

type slowFS struct{ nullFS }

type slowFile struct{ nullFile }

func (slowFS) Append(string) (audit.File, error) { return slowFile{nullFile{io.Discard}}, nil }
func (slowFile) Sync() error                     { time.Sleep(500 * time.Microsecond); return nil }

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchAppend(b *testing.B, c audit.Config) {
	c.Signer, c.Now = signer(1), time.Now
	l, err := audit.Open(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	e := event()
	b.ReportAllocs()
	b.SetParallelism(16) // 32 writers on two cores
	var failed atomic.Int64
	before := cpu()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			if _, err := l.Append(ctx, e); err != nil {
				failed.Add(1)
			}
		}
	})
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	if failed.Load() > 0 {
		b.Fatalf("%d failed", failed.Load())
	}
}

func BenchmarkAppendNoDisk(b *testing.B) { benchAppend(b, audit.Config{FS: nullFS{fstest.MapFS{}}}) }
func BenchmarkAppendSlowDisk(b *testing.B) {
	benchAppend(b, audit.Config{FS: slowFS{nullFS{fstest.MapFS{}}}})
}
func BenchmarkAppendDisk(b *testing.B) { benchAppend(b, audit.Config{Dir: b.TempDir()}) }

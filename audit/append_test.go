package audit_test

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/audit/crashfs"
)

func TestRecordHoldsTheEvent(t *testing.T) {
	files := &crashfs.FS{}
	l := open(t, audit.Config{FS: files})
	want := event()
	ref, err := l.Append(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if ref.Log != l.ID() || ref.Seq == 0 {
		t.Fatalf("recorded as %+v", ref)
	}
	got, err := l.Decision(t.Context(), want.DecisionID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Seq != ref.Seq || !json.Valid(got.Raw) {
		t.Fatalf("record %d: %s", got.Seq, got.Raw)
	}
	want.Attributes["tier"] = float64(2) // numbers come back as JSON's
	if !reflect.DeepEqual(got.Event, want) {
		t.Fatalf("recorded\n%+v\nwant\n%+v", got.Event, want)
	}
	v := reflect.ValueOf(event())
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("field %s is not part of this test", v.Type().Field(i).Name)
		}
	}
}

func TestEncodingOfOddValues(t *testing.T) {
	type level int
	e := audit.Event{
		Kind:    audit.KindUse,
		Subject: "bad\xffutf8\u2028",
		Attributes: map[string]any{
			"int": 7, "list": []string{"a"}, "own": level(3), "f": 1e300, "empty": map[string]any{},
			"deep": map[string]any{"b": map[string]any{"d": "4", "c": "3"}, "a": []any{map[string]any{"x": 1, "y": 2}}, "z": "last"},
		},
		Trace: json.RawMessage("[\n 1,\n 2]"),
	}
	files := &crashfs.FS{}
	l := open(t, audit.Config{FS: files, Now: func() time.Time { return time.Unix(1e9, 0) }})
	if _, err := l.Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	r := query(t, files, audit.Filter{Kind: audit.KindUse})[0]
	if r.Subject != "bad\ufffdutf8\u2028" || !r.Time.Equal(time.Unix(1e9, 0)) {
		t.Errorf("subject %q at %v", r.Subject, r.Time)
	}
	want, err := json.Marshal(e.Attributes)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(r.Attributes)
	if err != nil || string(got) != string(want) {
		t.Errorf("attributes %s, want %s (%v)", got, want, err)
	}
	if raw, ok := r.Trace.(json.RawMessage); !ok || string(raw) != "[1,2]" {
		t.Errorf("trace %s", r.Trace)
	}
}

type failingTrace struct{}

func (failingTrace) MarshalJSON() ([]byte, error) { return nil, errors.New("no trace") }

func TestAppendRefusesWhatItCannotRecord(t *testing.T) {
	l := open(t, audit.Config{FS: &crashfs.FS{}})
	deep := map[string]any{}
	for at, i := deep, 0; i < 20; i++ {
		next := map[string]any{}
		at["x"] = next
		at = next
	}
	for name, c := range map[string]struct {
		event audit.Event
		want  error
	}{
		"no kind":      {audit.Event{}, audit.ErrInvalid},
		"own kind":     {audit.Event{Kind: audit.KindCheckpoint}, audit.ErrInvalid},
		"not a number": {audit.Event{Kind: audit.KindUse, Attributes: map[string]any{"n": math.NaN()}}, audit.ErrInvalid},
		"not JSON":     {audit.Event{Kind: audit.KindUse, Attributes: map[string]any{"f": func() {}}}, audit.ErrInvalid},
		"too deep":     {audit.Event{Kind: audit.KindUse, Attributes: deep}, audit.ErrInvalid},
		"bad trace":    {audit.Event{Kind: audit.KindUse, Trace: failingTrace{}}, audit.ErrInvalid},
		"broken trace": {audit.Event{Kind: audit.KindUse, Trace: json.RawMessage("{\n")}, audit.ErrInvalid},
		"too large":    {audit.Event{Kind: audit.KindUse, Task: strings.Repeat("x", audit.MaxRecord)}, audit.ErrTooLarge},
	} {
		if _, err := l.Append(t.Context(), c.event); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	appendN(t, l, "still works")
}

// A token or a key that slips into any field must not reach the disk.
func TestNoFieldKeepsATokenOrKey(t *testing.T) {
	secrets := map[string]string{
		"JWS": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
		"JWE": "eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn",
		"PEM": "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBsecretsecret\n-----END EC PRIVATE KEY-----",
		"JWK": `{"kty":"EC","crv":"P-256","d":"c2VjcmV0c2VjcmV0c2VjcmV0"}`,
	}
	for name, secret := range secrets {
		v := reflect.TypeFor[audit.Event]()
		for i := range v.NumField() {
			e := audit.Event{Kind: audit.KindUse}
			field := reflect.ValueOf(&e).Elem().Field(i)
			text := "Bearer " + secret
			switch at := field.Addr().Interface().(type) {
			case *time.Time, *audit.Kind:
				continue
			case *audit.Outcome:
				*at = audit.Outcome(text)
			case *string:
				*at = text
			case *[]string:
				*at = []string{"ok", text}
			case *map[string]string:
				*at = map[string]string{text: "key", "value": text}
			case *map[string]any:
				*at = map[string]any{"nested": []any{map[string]any{"claim": text}, []string{text}}}
			case *json.Marshaler:
				data, err := json.Marshal(map[string]string{"detail": text})
				if err != nil {
					t.Fatal(err)
				}
				if name == "JWK" {
					data = []byte(secret) // else its quotes are escaped
				}
				*at = json.RawMessage(data)
			default:
				t.Fatalf("field %s: this test does not know how to fill a %s", v.Field(i).Name, field.Type())
			}
			files := &crashfs.FS{}
			l := open(t, audit.Config{FS: files})
			if _, err := l.Append(t.Context(), e); err != nil {
				t.Fatalf("%s in %s: %v", name, v.Field(i).Name, err)
			}
			raw := string(query(t, files, audit.Filter{Kind: audit.KindUse})[0].Raw)
			for _, part := range []string{"eyJ", "c2VjcmV0", "MHcCAQ"} {
				if strings.Contains(raw, part) {
					t.Errorf("%s in %s was recorded: %s", name, v.Field(i).Name, raw)
				}
			}
			if !strings.Contains(raw, "[redacted]") {
				t.Errorf("%s in %s vanished without a sign: %s", name, v.Field(i).Name, raw)
			}
		}
	}
}

func TestConcurrentAppendsShareSyncs(t *testing.T) {
	files := &crashfs.FS{}
	l := open(t, audit.Config{FS: files})
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[uint64]bool{}
	const writers, each = 32, 20
	for range writers {
		wg.Go(func() {
			for range each {
				ref, err := l.Append(t.Context(), event())
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				if seen[ref.Seq] {
					t.Errorf("record %d was given twice", ref.Seq)
				}
				seen[ref.Seq] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n := files.Syncs(); n > writers*each/2 {
		t.Errorf("%d syncs for %d records", n, writers*each)
	}
	wantWhole(t, verify(t, files))
}

func TestHungDiskBlocksNobodyBeyondTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var hang atomic.Bool
		files := &crashfs.FS{}
		files.Hook = func(op crashfs.Op, _ string) error {
			if hang.Load() && op == crashfs.OpSync {
				<-release
			}
			return nil
		}
		l := open(t, audit.Config{FS: files, MaxWait: time.Second, QueueBytes: 4096})
		hang.Store(true)
		began := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := l.Append(t.Context(), event()); !errors.Is(err, audit.ErrUnavailable) {
					t.Errorf("append on a hung disk: %v", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took > time.Second {
			t.Errorf("appends took %v", took)
		}
		time.Sleep(10 * time.Millisecond)
		if err := l.Healthy(); !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("healthy says %v", err)
		}
		began = time.Now()
		if _, err := l.Append(t.Context(), event()); !errors.Is(err, audit.ErrUnavailable) || time.Since(began) > 0 {
			t.Errorf("append while a write is overdue: %v after %v, want a refusal at once", err, time.Since(began))
		}
		hang.Store(false)
		close(release)
		time.Sleep(10 * time.Millisecond) // the writer paces the batches that had piled up
		synctest.Wait()
		if err := l.Healthy(); err != nil {
			t.Errorf("after the disk came back: %v", err)
		}
		appendN(t, l, "after")
		wantWhole(t, verify(t, files))
	})
}

// A wall clock that steps says nothing of how long a write has taken.
func TestAClockStepIsNotAHungDisk(t *testing.T) {
	clock := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	var ahead atomic.Int64
	var stepped *audit.Log
	files := &crashfs.FS{}
	files.Hook = func(op crashfs.Op, _ string) error {
		if op == crashfs.OpSync && stepped != nil {
			ahead.Add(int64(6 * time.Hour))
			if err := stepped.Healthy(); err != nil {
				t.Errorf("the clock stepped during a write: %v", err)
			}
		}
		return nil
	}
	l := open(t, audit.Config{FS: files, Now: func() time.Time { return clock.Add(time.Duration(ahead.Load())) }})
	stepped = l
	appendN(t, l, "a", "b", "c")
	wantWhole(t, verify(t, files))
}

func TestAppendEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	files := &crashfs.FS{}
	var hang atomic.Bool
	files.Hook = func(op crashfs.Op, _ string) error {
		if hang.Load() && op == crashfs.OpWrite {
			<-release
		}
		return nil
	}
	l := open(t, audit.Config{FS: files})
	hang.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for range 2 { // one that waits, and one whose context has ended before
		_, err := l.Append(ctx, event())
		if !errors.Is(err, audit.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("append: %v", err)
		}
	}
	close(release)
}

func TestFailedWriteIsTakenBack(t *testing.T) {
	boom := errors.New("no space left on device")
	for _, op := range []crashfs.Op{crashfs.OpWrite, crashfs.OpSync} {
		for name, fault := range map[string]error{"failed": boom, "failed but persisted": &crashfs.PersistedError{Err: boom}} {
			t.Run(string(op)+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var failing atomic.Pointer[error]
					files := &crashfs.FS{}
					files.Hook = func(at crashfs.Op, _ string) error {
						if err := failing.Load(); at == op && err != nil {
							return *err
						}
						return nil
					}
					l := open(t, audit.Config{FS: files})
					appendN(t, l, "before")
					failing.Store(&fault)
					e := event()
					e.DecisionID = "refused"
					if _, err := l.Append(t.Context(), e); !errors.Is(err, audit.ErrUnavailable) || !errors.Is(err, boom) {
						t.Fatalf("append: %v", err)
					}
					if err := l.Healthy(); !errors.Is(err, audit.ErrUnavailable) {
						t.Errorf("healthy says %v", err)
					}
					time.Sleep(time.Minute)
					if _, err := l.Append(t.Context(), e); !errors.Is(err, audit.ErrUnavailable) {
						t.Errorf("append while the disk still fails: %v", err)
					}
					failing.Store(nil)
					time.Sleep(5 * time.Second)
					if err := l.Healthy(); err != nil {
						t.Fatalf("after the disk came back: %v", err)
					}
					appendN(t, l, "after")
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
					wantWhole(t, verify(t, files))
					if got, want := decisions(query(t, files, audit.Filter{})), "open before checkpoint repair after checkpoint"; got != want {
						t.Errorf("recorded %q, want %q", got, want)
					}
				})
			})
		}
	}
}

func TestClosedLogRefuses(t *testing.T) {
	l := open(t, audit.Config{FS: &crashfs.FS{}})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), event()); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("append: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestStrangersAreCountedAndCostNoSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := &crashfs.FS{}
		l := open(t, audit.Config{FS: files})
		appendN(t, l, "a")
		before := files.Syncs()
		for range 10_000 {
			l.Unauthenticated(audit.KindExchange, "invalid_client", "203.0.113.9")
		}
		for i := range 1000 { // whatever they vary, memory stays bounded
			l.Unauthenticated(audit.KindIntrospect, strings.Repeat("x", i), "203.0.113.10")
		}
		time.Sleep(10 * time.Minute)
		if n := files.Syncs() - before; n != 0 {
			t.Errorf("%d syncs for strangers", n)
		}
		appendN(t, l, "b")
		l.Unauthenticated(audit.KindExchange, "invalid_client", "203.0.113.9")
		appendN(t, l, "c") // less than a minute later: not yet
		got := query(t, files, audit.Filter{Kind: audit.KindUnauthenticated})
		if len(got) != 1 || got[0].Detail["exchange invalid_client"] != "10000" || got[0].RemoteIP != "203.0.113.9" || len(got[0].Detail) > 70 {
			t.Fatalf("recorded %+v", got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got := query(t, files, audit.Filter{Kind: audit.KindUnauthenticated}); len(got) != 2 || got[1].Detail["exchange invalid_client"] != "1" {
			t.Fatalf("after Close: %+v", got)
		}
		wantWhole(t, verify(t, files))
	})
}

// brokenSigner is a signer that can fail.
type brokenSigner struct {
	crypto.Signer
	broken *atomic.Bool
}

func (s brokenSigner) Sign(r io.Reader, message []byte, o crypto.SignerOpts) ([]byte, error) {
	if s.broken.Load() {
		return nil, errors.New("the records key is away")
	}
	return s.Signer.Sign(r, message, o)
}

// Counts whose record was not written are added to those that came meanwhile.
func TestStrangersAreCountedThoughAWriteFails(t *testing.T) {
	for _, what := range []string{"write", "signature"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var disk, key atomic.Bool
				var l *audit.Log
				count := func() { l.Unauthenticated(audit.KindExchange, "invalid_client", "203.0.113.9") }
				files := &crashfs.FS{}
				files.Hook = func(op crashfs.Op, _ string) error {
					if op == crashfs.OpWrite && disk.Load() {
						count()
						return errors.New("no space left on device")
					}
					return nil
				}
				l = open(t, audit.Config{FS: files, Signer: brokenSigner{signer(1), &key}})
				time.Sleep(time.Hour) // a record and a checkpoint are due
				count()
				disk.Store(what == "write")
				key.Store(what == "signature")
				if _, err := l.Append(t.Context(), event()); !errors.Is(err, audit.ErrUnavailable) {
					t.Fatalf("append: %v", err)
				}
				disk.Store(false)
				key.Store(false)
				count()
				time.Sleep(time.Hour)
				appendN(t, l, "after")
				want := map[string]string{"write": "3", "signature": "2"}[what]
				got := query(t, files, audit.Filter{Kind: audit.KindUnauthenticated})
				if len(got) != 1 || got[0].Detail["exchange invalid_client"] != want || got[0].RemoteIP != "203.0.113.9" {
					t.Errorf("recorded %+v, want %s", got, want)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// anchors is a place for checkpoints that can be down.
type anchors struct {
	fail atomic.Bool
	mu   sync.Mutex
	kept []audit.Checkpoint // guarded by mu
}

func (a *anchors) keep(_ context.Context, c audit.Checkpoint) error {
	if a.fail.Load() {
		return errors.New("webhook down")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept = append(a.kept, c)
	return nil
}

func (a *anchors) all() []audit.Checkpoint {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.kept)
}

func TestCheckpointsAreAnchoredEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := &crashfs.FS{}
		var kept anchors
		kept.fail.Store(true)
		l := open(t, audit.Config{FS: files, Anchor: kept.keep})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		appendN(t, l, "a")
		time.Sleep(2500 * time.Millisecond)
		if got := kept.all(); len(got) != 0 {
			t.Fatalf("anchored %v", got)
		}
		kept.fail.Store(false)
		time.Sleep(time.Second)
		if got := kept.all(); len(got) != 1 {
			t.Fatalf("%d anchors after the webhook came back, want 1", len(got))
		}
		for range 5 {
			appendN(t, l, "b")
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute) // nothing new
		n := len(kept.all())
		if n < 5 || n > 7 {
			t.Errorf("%d anchors", n)
		}
		syncs := files.Syncs()
		time.Sleep(time.Minute)
		if len(kept.all()) != n || files.Syncs() != syncs {
			t.Errorf("an idle log wrote checkpoints")
		}
		r := verify(t, files, kept.all()...)
		wantWhole(t, r)
		if r.Tail != 1 || r.Anchored+1 != r.Last || r.Signed != r.Anchored { // the checkpoint's own line
			t.Errorf("report %+v", r)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		appendN(t, l, "c")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if last := kept.all()[len(kept.all())-1]; last.Seq != verify(t, files).Last-1 {
			t.Errorf("Close anchored record %d of %d", last.Seq, verify(t, files).Last)
		}
	})
}

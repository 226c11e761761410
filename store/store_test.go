package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/writbroker/writ/store"
)

func sealer(t testing.TB, b byte) *store.Sealer {
	t.Helper()
	s, err := store.NewSealer(bytes.Repeat([]byte{b}, store.MinKey))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealBindsKeyContextAndPayload(t *testing.T) {
	s := sealer(t, 1)
	sealed := s.Seal([]byte("payload"), "cell", "ring", "7")
	if got, err := s.Open(sealed, "cell", "ring", "7"); err != nil || string(got) != "payload" {
		t.Fatalf("opened %q, %v", got, err)
	}
	for name, try := range map[string]func() ([]byte, error){
		"another key":        func() ([]byte, error) { return sealer(t, 2).Open(sealed, "cell", "ring", "7") },
		"another context":    func() ([]byte, error) { return s.Open(sealed, "cell", "ring", "8") },
		"fewer contexts":     func() ([]byte, error) { return s.Open(sealed, "cell", "ring") },
		"contexts run on":    func() ([]byte, error) { return s.Open(sealed, "cell", "ring7", "") },
		"context in payload": func() ([]byte, error) { return s.Open(s.Seal([]byte("xpayload"), "c"), "c", "x") },
		"truncated":          func() ([]byte, error) { return s.Open(sealed[:len(sealed)-1], "cell", "ring", "7") },
		"empty":              func() ([]byte, error) { return s.Open(nil, "cell", "ring", "7") },
	} {
		if got, err := try(); !errors.Is(err, store.ErrForged) {
			t.Errorf("%s: opened %q, %v", name, got, err)
		}
	}
	if _, err := store.NewSealer(make([]byte, store.MinKey-1)); err == nil {
		t.Error("a short key was accepted")
	}
	if text := fmt.Sprintf("%v %+v %#v", s, s, s); bytes.Contains([]byte(text), []byte{1, 1}) || text != "[sealer] [sealer] [sealer]" {
		t.Errorf("prints as %s", text)
	}
}

func TestChain(t *testing.T) {
	s := sealer(t, 1)
	made := store.NewChain(s, "log")
	raw := made.Begin(7, []store.Entry{{Kind: 1, Payload: []byte("a")}}, store.Marker{Instance: "i", Opened: time.Unix(9, 0)})
	raw = append(raw, made.Extend(store.Entry{Kind: 2, Payload: []byte("b"), Expires: time.Unix(100, 1)}))
	read := store.NewChain(s, "log")
	for i, data := range raw {
		r, err := read.Next(data)
		if err != nil || r.Seq != uint64(i)+1 || r.Lineage != 7 || r.Marker != (i == 1) {
			t.Fatalf("record %d: %+v, %v", i, r, err)
		}
		if i == 2 && !r.Expires.Equal(time.Unix(101, 0)) {
			t.Errorf("expires %v, want rounded up", r.Expires)
		}
	}
	if read.Position() != made.Position() || read.MAC() != made.MAC() {
		t.Error("the reader ends elsewhere than the writer")
	}
	resumed := store.NewChain(s, "log")
	if _, err := resumed.Resume(raw[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := resumed.Next(raw[2]); err != nil {
		t.Errorf("after Resume: %v", err)
	}
	if _, err := store.NewChain(s, "other").Next(raw[0]); !errors.Is(err, store.ErrForged) {
		t.Errorf("in another log: %v", err)
	}
	data := store.NewChain(s, "log").Extend(store.Entry{Kind: 1})
	if _, err := store.NewChain(s, "log").Next(data); !errors.Is(err, store.ErrOrder) {
		t.Errorf("a record without a lineage: %v", err)
	}
	var fault *store.IntegrityError
	_, err := store.NewChain(s, "log").Next(raw[2])
	if !errors.As(err, &fault) || fault.Log != "log" || !fault.After.IsZero() || !store.IsIntegrity(err) {
		t.Errorf("fault is %v", err)
	}
}

func TestMarkerRoundTrip(t *testing.T) {
	want := store.Marker{Instance: "run:1", Opened: time.Unix(1e9, 0).UTC()}
	if got, err := store.DecodeMarker(store.EncodeMarker(want)); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := store.DecodeMarker([]byte("short")); err == nil {
		t.Error("a short marker decoded")
	}
}

func FuzzChain(f *testing.F) {
	s := sealer(f, 1)
	f.Add(store.NewChain(s, "log").Begin(1, nil, store.Marker{})[0])
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		other := sealer(t, 2)
		if r, err := store.NewChain(other, "log").Next(data); err == nil {
			t.Errorf("accepted %+v, which nobody sealed", r)
		}
		if n, err := other.OpenNote("log", data); err == nil {
			t.Errorf("accepted %+v, which nobody sealed", n)
		}
		if v, err := other.Open(data, "x"); err == nil {
			t.Errorf("accepted %q, which nobody sealed", v)
		}
	})
}

func BenchmarkChainNext(b *testing.B) {
	s := sealer(b, 1)
	c := store.NewChain(s, "log")
	raw := c.Begin(1, []store.Entry{{Kind: 1, Payload: make([]byte, 150)}}, store.Marker{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := store.NewChain(s, "log").Next(raw[0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	s, payload := sealer(b, 1), make([]byte, 150)
	b.ReportAllocs()
	for b.Loop() {
		s.Seal(payload, "cell", "ring", "7")
	}
}

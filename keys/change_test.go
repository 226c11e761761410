package keys_test

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/file"
)

// named is a custody of another name, with its own secret, that is told of what is no
// longer needed.
type named struct {
	*file.Custody
	name string

	mu        sync.Mutex
	discarded []string
}

func newNamed(t *testing.T, name string) *named {
	t.Helper()
	c, err := file.New(bytes.Repeat([]byte(name[:1]), 32))
	if err != nil {
		t.Fatal(err)
	}
	return &named{Custody: c, name: name}
}

func (v *named) Name() string { return v.name }

func (v *named) Discard(_ context.Context, _ string, k keys.KeyInfo) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.discarded = append(v.discarded, k.ID)
	return nil
}

func (v *named) gone() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.discarded)
}

// TestCustodyChangesByRotation: replicas are told of another custody one after the other,
// and then to use it. Tokens of the keys before verify all the while.
func TestCustodyChangesByRotation(t *testing.T) {
	f, now := newFleet(t), &clock{now: epoch}
	before, after := newNamed(t, "before"), newNamed(t, "later")
	start := func(makes keys.Custody, others ...keys.Custody) *keys.Rotator {
		cfg := f.config(now)
		cfg.Custody, cfg.Others = makes, others
		r, err := keys.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := start(before).Ring().Active().KeyID()
	// All learn of the new one before any uses it.
	b := start(before, after)
	a := start(after, before)
	for range 3 {
		now.add(schedule().RotateEvery + time.Second)
		for _, r := range []*keys.Rotator{a, b} {
			if err := r.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r.Ring().Lacks() {
				t.Fatal("a replica does not open a key that another has made")
			}
		}
	}
	active := a.Ring().Active()
	if _, err := active.Sign(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	list := a.List()
	i := slices.IndexFunc(list, func(k keys.KeyInfo) bool { return k.ID == active.KeyID() })
	if list[i].Custody != after.Name() || active.KeyID() == first {
		t.Errorf("after three rotations %s of %s signs", list[i].ID, list[i].Custody)
	}

	// One who was not told does not start with a key that it cannot open.
	cfg := f.config(now)
	cfg.Custody = before
	if _, err := keys.New(t.Context(), cfg); err == nil {
		t.Error("a replica without the custody of the active key has started")
	}
}

// TestCustodyIsToldOfWhatIsLeftOver: of a key that left the ring, by who took it out; and of one
// that was made for a state that another has overtaken.
func TestCustodyIsToldOfWhatIsLeftOver(t *testing.T) {
	f, now := newFleet(t), &clock{now: epoch}
	custody := newNamed(t, "custody")
	cfg := f.config(now)
	cfg.Custody = custody
	overtaken := &overtakenCell{Cell: f.cell}
	cfg.Cell = overtaken
	r, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	other, err := keys.New(t.Context(), func() keys.Config { c := cfg; c.Cell = f.cell; return c }())
	if err != nil {
		t.Fatal(err)
	}
	now.add(schedule().RotateEvery + time.Second)
	overtaken.first = func() {
		if err := other.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	deadline := time.Now().Add(time.Minute)
	for len(custody.gone()) == 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	gone := custody.gone()
	if len(gone) != 1 {
		t.Fatalf("told of %v", gone)
	}
	for _, k := range r.List() {
		if k.ID == gone[0] {
			t.Errorf("told of %s, which is in the ring", k.ID)
		}
	}
}

// overtakenCell lets somebody else go first, once.
type overtakenCell struct {
	keys.Cell
	once  sync.Once
	first func()
}

func (c *overtakenCell) Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error) {
	if c.first != nil {
		c.once.Do(c.first)
	}
	return c.Cell.Swap(ctx, name, old, value)
}

var _ keys.Cell = (*overtakenCell)(nil)

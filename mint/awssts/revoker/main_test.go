package revoker_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/goleak"

	"github.com/writbroker/writ/internal/iamtest"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts/denylist"
	"github.com/writbroker/writ/mint/awssts/revoker"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/bolt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	lake    = "arn:aws:iam::123456789012:role/writ-lake"
	reports = "arn:aws:iam::123456789012:role/team/writ-reports"
	idle    = "arn:aws:iam::123456789012:role/writ-idle"
)

// cells is a real store's, which can be made to fail.
type cells struct {
	store.Cell
	away   atomic.Bool
	forged atomic.Bool // what is there does not verify, until it is written over
}

func (c *cells) Get(ctx context.Context, name string) (store.Versioned, error) {
	if c.away.Load() {
		return store.Versioned{}, store.ErrUnavailable
	}
	v, err := c.Cell.Get(ctx, name)
	if err == nil && c.forged.Load() {
		return store.Versioned{Version: v.Version}, store.ErrForged
	}
	return v, err
}

func (c *cells) Swap(ctx context.Context, name string, old uint64, value []byte) (uint64, error) {
	if c.away.Load() {
		return 0, store.ErrUnavailable
	}
	v, err := c.Cell.Swap(ctx, name, old, value)
	if err == nil {
		c.forged.Store(false)
	}
	return v, err
}

// source is a broker that knows of nothing but what it is told.
type source struct {
	due    func() []mint.Deny
	lifted func(string) bool
}

func (s source) Due(_ context.Context, standing []string) (denies []mint.Deny, lifted []string) {
	if s.due != nil {
		denies = s.due()
	}
	for _, id := range standing {
		if s.lifted != nil && s.lifted(id) {
			lifted = append(lifted, id)
		}
	}
	return denies, lifted
}

func (source) Taken() {}

// lifts are the rules that a broker has lifted.
type lifts struct{ sync.Map }

func (l *lifts) lift(r *revoker.Revoker, rule string) {
	l.Store(rule, true)
	r.Wake()
}

func (l *lifts) source() source {
	return source{lifted: func(id string) bool { _, ok := l.Load(id); return ok }}
}

// account is an IAM and a store, and the replicas on them.
type account struct {
	tb    testing.TB
	iam   *iamtest.Server
	cells *cells
}

// newAccount has the three roles. Within a synctest bubble its clock is the bubble's.
func newAccount(tb testing.TB, opt iamtest.Options) *account {
	tb.Helper()
	opt.Roles = []string{lake, reports, idle}
	sealer, err := store.NewSealer(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		tb.Fatal(err)
	}
	db, err := bolt.Open(tb.Context(), bolt.Config{Path: filepath.Join(tb.TempDir(), "store.db"), Sealer: sealer, Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &account{tb, iamtest.New(opt), &cells{Cell: db.Cells()}}
}

func (a *account) replica(changes ...func(*revoker.Config)) *revoker.Revoker {
	a.tb.Helper()
	cfg := revoker.Config{
		Region: "eu-central-1", Endpoint: "http://iam.test", Credentials: credentials.NewStaticCredentialsProvider("AKIAREVOKER", "secret", ""),
		HTTP: &http.Client{Transport: a.iam}, Cell: a.cells, Now: time.Now,
	}
	for _, change := range changes {
		change(&cfg)
	}
	r, err := revoker.New(cfg)
	if err != nil {
		a.tb.Fatal(err)
	}
	return r
}

// run runs a replica until stop is called, or the test ends.
func (a *account) run(r *revoker.Revoker, src source) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx, src); !errors.Is(err, context.Canceled) {
			a.tb.Errorf("Run: %v", err)
		}
	}()
	return func() { cancel(); <-done }
}

// says is what a role's policy says in truth.
func (a *account) says(arn string) []denylist.Entry {
	a.tb.Helper()
	entries, err := denylist.Parse(a.iam.Policy(arn, denylist.PolicyName))
	if err != nil {
		a.tb.Fatal(err)
	}
	return entries
}

// denies reports whether a role denies at least what is asked.
func (a *account) denies(d mint.Deny) bool {
	want := denylist.Entry{Value: d.Value, Before: d.Before, Expires: d.Expires}
	switch d.Kind {
	case mint.DenySession:
		want.Kind = denylist.SessionName
	case mint.DenyIdentity:
		want.Kind = denylist.SourceIdentity
	case mint.DenyRole:
		want.Kind = denylist.WholeRole
	}
	want, err := want.Rounded()
	if err != nil {
		a.tb.Fatal(err)
	}
	for _, e := range a.says(d.Role) {
		if e.Holds(want) {
			return true
		}
	}
	return false
}

// deny is one of an agent, of a rule of the agent's name, for an hour.
func deny(role, agent string) mint.Deny {
	now := time.Now()
	return mint.Deny{Rule: "rule-" + agent, Role: role, Kind: mint.DenyIdentity, Value: agent, Before: now.Add(time.Minute), Expires: now.Add(time.Hour)}
}

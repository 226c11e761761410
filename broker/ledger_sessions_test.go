package broker_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/token"
)

// atAWS is a session of an agent for a subject.
func atAWS(subject, agent, task string, expires time.Time) *mint.Session {
	c := issued(subject, agent, task, expires)
	c.Rev = token.Rev{Lineage: 7, Seq: 9}
	c.Ancestors = []token.Ancestor{{ID: "019f4199-6600-791d-910d-197cf8fb8b2c", KeyID: "k0"}}
	return &mint.Session{
		Claims: c, KeyID: "k1", Credentials: mint.NewCredentials("ASIA"+c.ID, "hush-secret", "hush-token"),
		Issued: brokertest.Noon, Expires: expires, Role: "arn:aws:iam::123456789012:role/writ-lake", Name: "d-" + c.ID, UserID: "AROA:d-" + c.ID, SourceIdentity: "source-" + task,
	}
}

func TestLedgerFindsSessions(t *testing.T) {
	now := brokertest.Noon
	l := broker.NewLedger(broker.LedgerConfig{Now: func() time.Time { return now }})
	var all []*mint.Session
	for i := range 6 {
		s := atAWS(fmt.Sprintf("user:%d", i%2), "k8s:a", fmt.Sprintf("t%d", i%3), now.Add(time.Duration(i+1)*10*time.Minute))
		l.Session(t.Context(), s)
		all = append(all, s)
	}
	for name, row := range map[string]struct {
		rule revocation.Rule
		want int64
	}{
		"a subject":      {rule(revocation.SelectSubject, "user:1"), 3},
		"an agent":       {rule(revocation.SelectAgent, "k8s:a"), 6},
		"an issuer":      {rule(revocation.SelectIssuer, "k8s:"), 6},
		"a role":         {rule(revocation.SelectRole, "reader"), 6},
		"an audience":    {rule(revocation.SelectAudience, warehouse), 6},
		"a scope":        {rule(revocation.SelectScope, "warehouse:*:sales/**"), 6},
		"another scope":  {rule(revocation.SelectScope, "warehouse:write:sales/**"), 0},
		"its key":        {rule(revocation.SelectKey, "k1"), 6},
		"an older key":   {rule(revocation.SelectKey, "k0"), 6},
		"another key":    {rule(revocation.SelectKey, "k2"), 0},
		"a policy":       {rule(revocation.SelectPolicy, "0123456789abcdef"), 6},
		"a task":         {rule(revocation.SelectTask, "t1"), 2},
		"a session":      {rule(revocation.SelectToken, all[2].Claims.ID), 1},
		"a parent token": {rule(revocation.SelectToken, all[2].Claims.Ancestors[0].ID), 6},
		"a stranger":     {rule(revocation.SelectSubject, "user:9"), 0},
		"all":            {rule(revocation.SelectAll, ""), 6},
	} {
		p := l.PreviewAll(t.Context(), row.rule)
		if p.STSSessions != row.want || p.Tokens != 0 {
			t.Errorf("%s: %d sessions, %d tokens, want %d", name, p.STSSessions, p.Tokens, row.want)
		}
		if row.want > 0 && (len(p.Agents) != 1 || len(p.Subjects) == 0 || p.LongestExpiry.IsZero()) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	now = now.Add(35 * time.Minute)
	if p := l.PreviewAll(t.Context(), rule(revocation.SelectAll, "")); p.STSSessions != 3 {
		t.Errorf("%d sessions after some have ended", p.STSSessions)
	}
}

// Another replica, and this one after a restart, finds all that taking a session back needs.
func TestReplicasShareSessions(t *testing.T) {
	w := brokertest.New(t, brokertest.Options{})
	one := broker.NewLedger(broker.LedgerConfig{Now: w.Now, Tally: w.Store.Tally(), MaxTTL: time.Hour})
	other := broker.NewLedger(broker.LedgerConfig{Now: w.Now, Tally: w.Store.Tally(), MaxTTL: time.Hour})
	s := atAWS("user:1", "k8s:a", "t1", w.Now().Add(time.Hour))
	one.Session(t.Context(), s)
	hit, incomplete := other.Sessions(t.Context(), rule(revocation.SelectAgent, "k8s:a"))
	if len(hit) != 1 || incomplete != "" {
		t.Fatalf("%d found, %q", len(hit), incomplete)
	}
	got, c := hit[0], s.Claims
	if got.Role != s.Role || got.Name != s.Name || got.UserID != s.UserID || got.SourceIdentity != s.SourceIdentity || got.AccessKeyID != s.Credentials.ID() ||
		!got.Issued.Equal(s.Issued) || !got.Expires.Equal(s.Expires) || got.KeyID != s.KeyID {
		t.Errorf("got %+v", got)
	}
	if got.Claims.ID != c.ID || got.Claims.Rev != c.Rev || got.Claims.Task != c.Task || !reflect.DeepEqual(got.Claims.Ancestors, c.Ancestors) ||
		got.Claims.Scope.String() != c.Scope.String() || !reflect.DeepEqual(got.Claims.Actor, c.Actor) {
		t.Errorf("its claims are %+v", got.Claims)
	}
	sums, err := w.Store.Tally().Sum(t.Context(), fmt.Sprintf("ledger/aws/%d", s.Expires.Unix()/3600))
	if err != nil || len(sums) != 1 {
		t.Fatalf("%v, %v", sums, err)
	}
	for text := range sums {
		if strings.Contains(text, "hush") {
			t.Error("the store has a secret")
		}
	}
	for _, r := range []revocation.Rule{rule(revocation.SelectToken, c.ID), rule(revocation.SelectTask, "t1"), rule(revocation.SelectToken, c.Ancestors[0].ID)} {
		if p := other.PreviewAll(t.Context(), r); p.STSSessions != 1 {
			t.Errorf("%s %s: %d sessions", r.Selector, r.Value, p.STSSessions)
		}
	}
	w.Advance(2 * time.Hour)
	if hit, _ := other.Sessions(t.Context(), rule(revocation.SelectAll, "")); len(hit) != 0 {
		t.Errorf("%d found after their end", len(hit))
	}
}

// brittle is a tally whose store is away when it is told so.
type brittle struct {
	store.Tally
	away bool
}

func (b *brittle) Add(ctx context.Context, bucket string, expires time.Time, deltas map[string]int64) error {
	if b.away {
		return store.ErrUnavailable
	}
	return b.Tally.Add(ctx, bucket, expires, deltas)
}

func (b *brittle) Sum(ctx context.Context, buckets ...string) (map[string]int64, error) {
	if b.away {
		return nil, store.ErrUnavailable
	}
	return b.Tally.Sum(ctx, buckets...)
}

// With the store away a session is known here, and to others once it is back.
func TestSessionsOutliveAnOutageOfTheStore(t *testing.T) {
	w := brokertest.New(t, brokertest.Options{})
	tally := &brittle{Tally: w.Store.Tally(), away: true}
	l := broker.NewLedger(broker.LedgerConfig{Now: w.Now, Tally: tally, MaxTTL: time.Hour})
	l.Session(t.Context(), atAWS("user:1", "k8s:a", "t1", w.Now().Add(time.Hour)))
	hit, incomplete := l.Sessions(t.Context(), rule(revocation.SelectAll, ""))
	if len(hit) != 1 || incomplete == "" {
		t.Errorf("%d found, %q", len(hit), incomplete)
	}
	tally.away = false
	l.PreviewAll(t.Context(), rule(revocation.SelectAll, ""))
	other := broker.NewLedger(broker.LedgerConfig{Now: w.Now, Tally: w.Store.Tally(), MaxTTL: time.Hour})
	if hit, incomplete := other.Sessions(t.Context(), rule(revocation.SelectAll, "")); len(hit) != 1 || incomplete != "" {
		t.Errorf("%d found by another replica, %q", len(hit), incomplete)
	}
}

func TestSessionsInMemoryAreBounded(t *testing.T) {
	now := brokertest.Noon
	l := broker.NewLedger(broker.LedgerConfig{Now: func() time.Time { return now }, Sessions: 3})
	for i := range 5 {
		l.Session(t.Context(), atAWS("user:1", "k8s:a", fmt.Sprint(i), now.Add(time.Hour)))
	}
	hit, incomplete := l.Sessions(t.Context(), rule(revocation.SelectAll, ""))
	if len(hit) != 3 || incomplete == "" {
		t.Errorf("%d kept, %q", len(hit), incomplete)
	}
}

// What a store makes up is no session, nor is what another version wrote: that is said.
func TestForeignTextsAreNoSessions(t *testing.T) {
	w := brokertest.New(t, brokertest.Options{})
	end := w.Now().Add(time.Hour)
	bucket := fmt.Sprintf("ledger/aws/%d", end.Unix()/3600)
	err := w.Store.Tally().Add(t.Context(), bucket, end, map[string]int64{"": 1, "{}": 1, `{"t":{"o":"%%"}}`: 1, `{"t":{"o":"a:b:c"},"v":"x"}`: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := broker.NewLedger(broker.LedgerConfig{Now: w.Now, Tally: w.Store.Tally(), MaxTTL: time.Hour})
	if hit, incomplete := l.Sessions(t.Context(), rule(revocation.SelectAll, "")); len(hit) != 0 || incomplete == "" {
		t.Errorf("%+v, %q", hit, incomplete)
	}
}

package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

func rule(sel revocation.Selector, value string) revocation.Rule {
	return revocation.Rule{
		ID: uuid.Must(uuid.NewV7()).String(), Selector: sel, Value: value,
		CreatedAt: brokertest.Noon, ExpiresAt: brokertest.Noon.Add(time.Hour),
	}
}

func issued(subject, agent, task string, expires time.Time) *token.Claims {
	set, err := scopes.ParseSet(readEU)
	if err != nil {
		panic(err)
	}
	return &token.Claims{
		ID: uuid.Must(uuid.NewV7()).String(), Subject: subject, ClientID: agent, Audience: []string{warehouse}, Task: task,
		Scope: set, Roles: []string{"reader"}, Policy: "0123456789abcdef", Expiry: expires.Unix(),
		Actor: &token.Actor{Subject: agent},
	}
}

func TestLedgerPreviews(t *testing.T) {
	now := brokertest.Noon
	l := broker.NewLedger(broker.LedgerConfig{Now: func() time.Time { return now }})
	var first *token.Claims
	for i := range 10 {
		c := issued(fmt.Sprintf("user:%d", i%2), "k8s:a", fmt.Sprintf("t%d", i%5), now.Add(time.Duration(i+1)*time.Minute))
		if first == nil {
			first = c
		}
		l.Issued(c, "k1")
	}
	for name, row := range map[string]struct {
		rule revocation.Rule
		want int64
	}{
		"a subject":       {rule(revocation.SelectSubject, "user:1"), 5},
		"an agent":        {rule(revocation.SelectAgent, "k8s:a"), 10},
		"an issuer":       {rule(revocation.SelectIssuer, "k8s:"), 10},
		"a role":          {rule(revocation.SelectRole, "reader"), 10},
		"an audience":     {rule(revocation.SelectAudience, warehouse), 10},
		"a scope":         {rule(revocation.SelectScope, "warehouse:*:sales/**"), 10},
		"another scope":   {rule(revocation.SelectScope, "warehouse:write:sales/**"), 0},
		"a key":           {rule(revocation.SelectKey, "k1"), 10},
		"a policy":        {rule(revocation.SelectPolicy, "0123456789abcdef"), 10},
		"a task":          {rule(revocation.SelectTask, "t1"), 2},
		"a token":         {rule(revocation.SelectToken, first.ID), 1},
		"an unknown one":  {rule(revocation.SelectToken, uuid.NewString()), 0},
		"a stranger":      {rule(revocation.SelectSubject, "user:9"), 0},
		"all":             {rule(revocation.SelectAll, ""), 10},
		"an odd token id": {rule(revocation.SelectToken, "odd"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := l.Preview(row.rule); got.Tokens != row.want {
				t.Errorf("%d tokens, want %d", got.Tokens, row.want)
			}
		})
	}
	p := l.Preview(rule(revocation.SelectAll, ""))
	if !slices.Equal(p.Subjects, []string{"user:0", "user:1"}) || p.BySubject["user:1"] != 5 || p.Incomplete != "" ||
		!p.LongestExpiry.Equal(now.Add(10*time.Minute)) {
		t.Errorf("preview %+v", p)
	}
	now = now.Add(6*time.Minute + time.Second) // those of one minute go together, when the last has
	if got := l.Preview(rule(revocation.SelectAll, "")).Tokens; got != 4 {
		t.Errorf("%d tokens live on", got)
	}
	if got := l.Preview(rule(revocation.SelectToken, first.ID)).Tokens; got != 0 {
		t.Error("an expired token is counted")
	}
	now = now.Add(time.Hour)
	if got := l.Preview(rule(revocation.SelectTask, "t1")).Tokens; got != 0 {
		t.Errorf("%d tokens of the task live for ever", got)
	}
}

func TestLedgerIsBounded(t *testing.T) {
	l := broker.NewLedger(broker.LedgerConfig{
		Shapes: 3, IDs: 3, Tasks: 3, Now: func() time.Time { return brokertest.Noon },
	})
	for i := range 10 {
		l.Issued(issued(fmt.Sprintf("user:%d", i), "k8s:a", fmt.Sprintf("t%d", i), brokertest.Noon.Add(time.Minute)), "k1")
	}
	if p := l.Preview(rule(revocation.SelectAll, "")); p.Tokens != 3 || p.Incomplete == "" {
		t.Errorf("preview %+v", p)
	}
}

// Issued never blocks, and Run takes in what it gave.
func TestLedgerRun(t *testing.T) {
	l := broker.NewLedger(broker.LedgerConfig{Now: func() time.Time { return brokertest.Noon }})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				l.Issued(issued("user:a", "k8s:a", "", brokertest.Noon.Add(time.Minute)), "k1")
			}
		})
	}
	wg.Wait()
	if p := l.Preview(rule(revocation.SelectAll, "")); p.Tokens != 2000 {
		t.Errorf("%d tokens", p.Tokens)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNewReportsEveryFault(t *testing.T) {
	_, err := broker.New(broker.Config{})
	if err == nil {
		t.Fatal("nothing is enough")
	}
	for _, want := range []string{"issuer", "identity", "policy", "key ring", "revocation", "minter", "audit", "clock", "max_ttl", "max_staleness", "depth"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported: %v", want, err)
		}
	}
}

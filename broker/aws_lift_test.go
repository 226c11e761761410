package broker_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/internal/iamtest"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/mint/awssts"
	"github.com/writbroker/writ/mint/awssts/denylist"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/store"
)

// shelf is a real tally, that something happens to while it is read.
type shelf struct {
	store.Tally
	read atomic.Pointer[func() error]
}

func (s *shelf) Sum(ctx context.Context, buckets ...string) (map[string]int64, error) {
	if read := s.read.Load(); read != nil {
		if err := (*read)(); err != nil {
			return nil, err
		}
	}
	return s.Tally.Sum(ctx, buckets...)
}

func (s *shelf) while(read func() error) { s.read.Store(&read) }

// newShelved is a cloud whose ledger reads from a shelf. Its revoker runs, if it has one.
func newShelved(t *testing.T, a *brokertest.AWS) (*cloud, *shelf) {
	t.Helper()
	s := &shelf{}
	o := a.Options(t)
	join := o.Config
	var own *broker.Ledger
	o.Config = func(c *broker.Config) {
		join(c)
		s.Tally = newTally(t, c.Now)
		own = broker.NewLedger(broker.LedgerConfig{Now: c.Now, Tally: s, MaxTTL: brokertest.MaxTTL})
		c.Ledger = own
	}
	c := &cloud{newWorld(t, o), a}
	c.Ledger = own
	return c, s
}

// Two rules hit a session, and it is denied for one of them alone. When that is lifted, the deny
// goes only together with a look at the sessions that began after the lift: else nothing denies
// what the other rule hits.
func TestALiftWaitsForALookAtTheSessions(t *testing.T) {
	c, s := newShelved(t, brokertest.NewAWS(awssts.AssumeRole))
	session, _ := c.session(c.person("alice"), actor(c.workload("analyst")), task("t"))
	agent := c.Revoke(t, revocation.SelectAgent, "k8s:analyst")
	c.Revoke(t, revocation.SelectTask, "t")
	standing := []string{agent.ID}
	if denies, lifted := c.Due(t.Context(), standing); len(denies) == 0 || len(lifted) != 0 {
		t.Fatalf("before: %v, %v", denies, lifted)
	}

	s.while(func() error { c.lift(agent.ID); return nil })
	c.Revoke(t, revocation.SelectSubject, "user:nobody") // so that there is a look
	if _, lifted := c.Due(t.Context(), standing); len(lifted) != 0 {
		t.Error("a rule goes that was lifted after the look began")
	}
	s.while(func() error { return store.ErrUnavailable })
	if _, lifted := c.Due(t.Context(), standing); len(lifted) != 0 {
		t.Error("a rule goes though the sessions cannot be read")
	}
	s.while(func() error { return nil })
	for range 2 { // as long as its denies stand
		denies, lifted := c.Due(t.Context(), standing)
		if !slices.Equal(lifted, standing) || len(denies) != 1 || denies[0].Value != session.Name {
			t.Errorf("after: %v, %v", denies, lifted)
		}
		c.Pass(t, brokertest.MaxStaleness+2*brokertest.Skew+2*time.Minute) // until looks rest
	}
}

// Another replica has AWS deny an agent for a rule that this one has applied, and has not looked yet
// whom it hits: what it gave out now would be dead.
func TestNoSessionsBeforeALook(t *testing.T) {
	a := brokertest.NewAWS(awssts.WebIdentity)
	a.Every = time.Hour
	a.IAM = iamtest.New(iamtest.Options{Roles: []string{brokertest.LakeRole, brokertest.AuditRole}})
	c, s := newShelved(t, a)
	c.revoking(t)
	first, _ := c.session(c.workload("analyst"))
	held := make(chan struct{})
	look := sync.OnceFunc(func() { close(held) })
	defer look()
	s.while(func() error { <-held; return nil })
	c.Revoke(t, revocation.SelectAgent, "k8s:analyst")
	c.Pass(t, 2*brokertest.Skew) // so that a new proof is newer than the rule
	c.noSession(broker.ErrUnavailable, c.workload("analyst"))
	c.session(c.workload("helper")) // no rule names it
	look()
	c.eventually("the cutoff", func() bool { return !c.Revoker.Cutoff(brokertest.LakeRole, first.SourceIdentity).IsZero() })
	c.Pass(t, c.cutOff("analyst"))
	c.session(c.workload("analyst"))
}

// held is a source whose answers are held up on their way to the revoker.
type held struct {
	*broker.Broker
	way atomic.Pointer[func()]
}

func (h *held) Due(ctx context.Context, standing []string) (denies []mint.Deny, lifted []string) {
	denies, lifted = h.Broker.Due(ctx, standing)
	if way := h.way.Load(); way != nil {
		(*way)()
	}
	return denies, lifted
}

// What a look has found is denied, and nobody knows by when, until the revoker has it.
func TestNoSessionsBeforeTheRevokerKnowsWhatALookFound(t *testing.T) {
	a := brokertest.NewAWS(awssts.WebIdentity)
	a.Every = time.Hour
	a.IAM = iamtest.New(iamtest.Options{Roles: []string{brokertest.LakeRole, brokertest.AuditRole}})
	c := &cloud{newWorld(t, a.Options(t)), a}
	source := &held{Broker: c.Broker}
	c.revokingBy(t, source)
	first, _ := c.session(c.workload("analyst"))
	found, goOn := make(chan struct{}, 1), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	defer release()
	source.way.Store(new(func() {
		select {
		case found <- struct{}{}:
		default:
		}
		<-goOn
	}))
	c.Revoke(t, revocation.SelectAgent, "k8s:analyst")
	c.Pass(t, 2*brokertest.Skew)
	c.noSession(broker.ErrUnavailable, c.workload("analyst"))
	<-found
	c.noSession(broker.ErrUnavailable, c.workload("analyst"))
	release()
	c.eventually("the cutoff", func() bool { return !c.Revoker.Cutoff(brokertest.LakeRole, first.SourceIdentity).IsZero() })
	c.Pass(t, c.cutOff("analyst"))
	c.session(c.workload("analyst"))
}

// AWS denies the session all the time, however slowly the sessions are read.
func TestLiftingLeavesNoGapAtAWS(t *testing.T) {
	a := brokertest.NewAWS(awssts.WebIdentity)
	a.IAM = iamtest.New(iamtest.Options{Roles: []string{brokertest.LakeRole, brokertest.AuditRole}})
	c, s := newShelved(t, a)
	c.revoking(t)
	session, _ := c.session(c.person("alice"), actor(c.workload("analyst")), task("t"))
	agent := c.takeBack(revocation.SelectAgent, "k8s:analyst", reissued)
	c.Revoke(t, revocation.SelectTask, "t")                            // elsewhere: this replica has noted no denies for it
	c.Pass(t, brokertest.MaxStaleness+2*brokertest.Skew+2*time.Minute) // until looks rest
	s.while(func() error { time.Sleep(300 * time.Millisecond); return nil })
	lifted := make(chan error, 1)
	go func() {
		_, _, err := c.Lift(t.Context(), broker.BreakGlass(0), agent.Rule.ID, "test", true)
		lifted <- err
	}()
	denied := func() bool {
		entries, err := denylist.Parse(c.IAM.Policy(brokertest.LakeRole, denylist.PolicyName))
		if err != nil {
			t.Error(err)
		}
		return slices.ContainsFunc(entries, func(e denylist.Entry) bool {
			return e.Kind == denylist.SourceIdentity && e.Value == session.SourceIdentity ||
				e.Kind == denylist.SessionName && e.Value == session.Name
		})
	}
	c.eventually("the lift", func() bool {
		if !denied() {
			t.Fatal("for a while, nothing denied the session")
		}
		return slices.Equal(c.denied(brokertest.LakeRole), []string{"session " + session.Name})
	})
	if err := <-lifted; err != nil {
		t.Error(err)
	}
}

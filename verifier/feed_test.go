package verifier_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
	"github.com/writbroker/writ/verifier"
)

// atomicDuration is a clock's offset that a test moves.
type atomicDuration struct{ n atomic.Int64 }

func (d *atomicDuration) store(x time.Duration) { d.n.Store(int64(x)) }
func (d *atomicDuration) load() time.Duration   { return time.Duration(d.n.Load()) }

func TestARevocationBeatsTheCache(t *testing.T) {
	for _, tc := range []struct {
		selector revocation.Selector
		value    func(*token.Claims) string
	}{
		{revocation.SelectToken, func(c *token.Claims) string { return c.ID }},
		{revocation.SelectSubject, func(c *token.Claims) string { return c.Subject }},
		{revocation.SelectAgent, func(c *token.Claims) string { return c.ClientID }},
		{revocation.SelectTask, func(c *token.Claims) string { return c.Task }},
		{revocation.SelectIssuer, func(*token.Claims) string { return "user:" }},
		{revocation.SelectRole, func(c *token.Claims) string { return c.Roles[0] }},
		{revocation.SelectAudience, func(c *token.Claims) string { return c.Audience[0] }},
		{revocation.SelectKey, func(*token.Claims) string { return "k1" }},
		{revocation.SelectScope, func(*token.Claims) string { return "warehouse:read:sales/**" }},
		{revocation.SelectPolicy, func(c *token.Claims) string { return c.Policy }},
		{revocation.SelectAll, func(*token.Claims) string { return "" }},
	} {
		t.Run(string(tc.selector), func(t *testing.T) {
			b := newBroker(t)
			v := b.run()
			raw := b.mint()
			for range 2 {
				if _, err := v.Verify(t.Context(), raw); err != nil {
					t.Fatal(err)
				}
			}
			c, err := v.Verify(t.Context(), raw)
			must(t, err)
			rule := b.revoke(tc.selector, tc.value(c.Claims))
			b.reached(v)
			_, err = v.Verify(t.Context(), raw)
			var revoked *verifier.RevokedError
			if !errors.Is(err, verifier.ErrRevoked) || !errors.As(err, &revoked) || revoked.RuleID != rule.ID {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(verifier.Reason(err), rule.ID) {
				t.Error("the reason names the rule")
			}
			if _, err := v.Verify(t.Context(), raw); !errors.Is(err, verifier.ErrRevoked) {
				t.Errorf("the second time: %v", err)
			}
			// One minted after its minter applied the rule lives, but for a key and a policy.
			_, err = v.Verify(t.Context(), b.mint())
			if ignoresRev := tc.selector == revocation.SelectKey || tc.selector == revocation.SelectPolicy; (err != nil) != ignoresRev {
				t.Errorf("a later token: %v", err)
			}
		})
	}
}

func TestARevokedParentTakesItsDescendants(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	child := b.mint(func(c *token.Claims) {
		c.Ancestors = []token.Ancestor{{ID: "01890000-0000-7000-8000-000000000001", KeyID: "k0"}}
	})
	if _, err := v.Verify(t.Context(), child); err != nil {
		t.Fatal(err)
	}
	b.revoke(revocation.SelectToken, "01890000-0000-7000-8000-000000000001")
	b.reached(v)
	if _, err := v.Verify(t.Context(), child); !errors.Is(err, verifier.ErrRevoked) {
		t.Errorf("got %v", err)
	}
}

func TestALiftedRuleLetsGo(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	raw := b.mint()
	rule := b.revoke(revocation.SelectSubject, "user:alice")
	b.reached(v)
	if _, err := v.Verify(t.Context(), raw); !errors.Is(err, verifier.ErrRevoked) {
		t.Fatalf("got %v", err)
	}
	b.publish(revocation.Event{Type: revocation.EventLift, Lift: &revocation.Lift{ID: newRule(revocation.SelectAll, "").ID, RuleID: rule.ID, At: time.Now(), ExpiresAt: rule.ExpiresAt}})
	b.reached(v)
	if _, err := v.Verify(t.Context(), raw); err != nil {
		t.Errorf("after the lift: %v", err)
	}
}

// A rule that a replica took while its log was away has no position; it counts
// at once, and its application is acknowledged by name.
func TestALocalRule(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	raw := b.mint()
	rule := newRule(revocation.SelectSubject, "user:alice")
	b.set(func() {
		for c := range b.streams {
			c <- revocation.Event{Type: revocation.EventRule, Rule: rule}
		}
	})
	eventually(t, "the local rule counts", func() bool {
		_, err := v.Verify(t.Context(), raw)
		return errors.Is(err, verifier.ErrRevoked)
	})
	eventually(t, "it is acknowledged", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, a := range b.acks {
			if len(a.Local) == 1 && a.Local[0] == rule.ID {
				return true
			}
		}
		return false
	})
}

func TestResumesWhereItWas(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	b.revoke(revocation.SelectSubject, "user:bob")
	b.reached(v)
	reached := v.Position()
	b.cutStreams()
	raw := b.mint()
	b.revoke(revocation.SelectSubject, "user:alice")
	b.reached(v)
	if _, err := v.Verify(t.Context(), raw); !errors.Is(err, verifier.ErrRevoked) {
		t.Errorf("what happened meanwhile was missed: %v", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.opened) != 2 || b.opened[0].Get(wire.HeaderLastEventID) != "" || b.opened[1].Get(wire.HeaderLastEventID) != reached.String() {
		t.Errorf("asked after %q", b.opened)
	}
	if !strings.Contains(b.queries[0], "name=warehouse-1") || b.queries[0] != b.queries[1] {
		t.Errorf("named itself %q", b.queries)
	}
}

func TestAStartTakesASnapshot(t *testing.T) {
	b := newBroker(t)
	raw := b.mint()
	for range 250 { // three parts
		b.revoke(revocation.SelectSubject, "user:nobody")
	}
	b.revoke(revocation.SelectSubject, "user:alice")
	v := b.run()
	b.reached(v)
	if _, err := v.Verify(t.Context(), raw); !errors.Is(err, verifier.ErrRevoked) {
		t.Errorf("got %v", err)
	}
}

func TestSnapshotsThatAreRefused(t *testing.T) {
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	forger, err := token.NewLocalSigner("r1", token.Ed25519, stranger)
	must(t, err)
	for name, change := range map[string]func(*broker){
		"a stranger's signature":          func(b *broker) { b.records = forger },
		"signed by a token-signing key":   func(b *broker) { b.records = b.signer },
		"no records keys in the metadata": func(b *broker) { b.recordSet, _ = token.NewKeySet() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			b.set(func() { change(b) })
			v := b.idle()
			start(t, v)
			eventually(t, "it tries again", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.opened) >= 2 })
			if _, err := v.Verify(t.Context(), b.mint()); !errors.Is(err, verifier.ErrStale) {
				t.Errorf("without the list: %v", err)
			}
			if v.Ready() {
				t.Error("ready")
			}
		})
	}
}

func TestPinnedRecordsKeys(t *testing.T) {
	b := newBroker(t)
	pinned := b.recordSet
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	b.set(func() {
		b.recordSet, err = token.NewKeySet(token.Key{ID: "r1", Algorithm: token.Ed25519, Public: stranger.Public()})
	})
	must(t, err)
	b.run(func(c *verifier.Config) { c.RecordsKeys = pinned })
}

func TestStale(t *testing.T) {
	b := newBroker(t)
	var offset atomicDuration
	began := time.Now() // the clock stands, so that how long the test takes says nothing
	clock := func(c *verifier.Config) { c.Now = func() time.Time { return began.Add(offset.load()) } }
	v := b.run(clock)
	trusting := b.run(clock, func(c *verifier.Config) { c.InsecureTrustUntilExpiry = true })
	raw := b.mint()
	for _, v := range []*verifier.Verifier{v, trusting} {
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	b.revoke(revocation.SelectSubject, "user:bob")
	b.reached(trusting)
	b.set(func() { b.silent = true })
	b.revoke(revocation.SelectSubject, "user:carol") // comes after what was on its way
	b.reached(v)
	b.reached(trusting)
	offset.store(29 * time.Second)
	if _, err := v.Verify(t.Context(), raw); err != nil {
		t.Errorf("within the bound: %v", err)
	}
	offset.store(31 * time.Second)
	if _, err := v.Verify(t.Context(), raw); !errors.Is(err, verifier.ErrStale) {
		t.Errorf("cached, past the bound: %v", err)
	}
	if _, err := v.Verify(t.Context(), b.mint()); !errors.Is(err, verifier.ErrStale) {
		t.Errorf("cold, past the bound: %v", err)
	}
	if _, err := v.Verify(t.Context(), raw[:len(raw)-4]); errors.Is(err, verifier.ErrStale) || err == nil {
		t.Errorf("a broken token, past the bound: %v", err)
	}
	if _, err := trusting.Verify(t.Context(), raw); err != nil {
		t.Errorf("trusting until expiry: %v", err)
	}
	bobs := b.mint(func(c *token.Claims) { c.Subject, c.Rev = "user:bob", token.Rev{} })
	if _, err := trusting.Verify(t.Context(), bobs); !errors.Is(err, verifier.ErrRevoked) {
		t.Errorf("trusting, but the rule is known: %v", err)
	}
	offset.store(0)
	b.set(func() { b.silent = false })
	eventually(t, "it recovers", func() bool { _, err := v.Verify(t.Context(), raw); return err == nil })
}

// The replica is up, but has lost its log: its heartbeats say so.
func TestAReplicaThatIsStaleItself(t *testing.T) {
	b := newBroker(t)
	b.set(func() { b.agoMS = 31_000 })
	v := b.idle()
	start(t, v)
	eventually(t, "the feed is open", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.opened) > 0 })
	time.Sleep(100 * time.Millisecond)
	if _, err := v.Verify(t.Context(), b.mint()); !errors.Is(err, verifier.ErrStale) {
		t.Errorf("got %v", err)
	}
	b.set(func() { b.agoMS = -1 })
	time.Sleep(50 * time.Millisecond)
	if v.Ready() {
		t.Error("ready on a heartbeat that says never")
	}
	b.set(func() { b.agoMS = 0 })
	eventually(t, "it recovers with the replica", v.Ready)
}

// A network that holds the stream back delivers old heartbeats. They are dated
// from the stream's opening, so they do not pass for fresh ones.
func TestADelayedStreamIsStale(t *testing.T) {
	b := newBroker(t)
	var offset atomicDuration
	frozen := atomic.Int64{}
	b.set(func() {
		b.ageMS = func(d time.Duration) int64 {
			if f := frozen.Load(); f > 0 {
				return f
			}
			return d.Milliseconds() + 1
		}
	})
	v := b.run(func(c *verifier.Config) { c.Now = func() time.Time { return time.Now().Add(offset.load()) } })
	frozen.Store(100) // from here on every heartbeat was sent when the stream was 100 ms old
	offset.store(40 * time.Second)
	time.Sleep(100 * time.Millisecond)
	if _, err := v.Verify(t.Context(), b.mint()); !errors.Is(err, verifier.ErrStale) {
		t.Errorf("old heartbeats passed for fresh ones: %v", err)
	}
}

// A heartbeat for a position that this verifier has not reached confirms nothing.
func TestAGapIsNotConfirmed(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	raw := b.mint()
	// The event gets into the log, but never onto the stream.
	b.mu.Lock()
	streams := b.streams
	b.streams = map[chan revocation.Event]struct{}{}
	b.mu.Unlock()
	b.revoke(revocation.SelectSubject, "user:alice")
	b.set(func() {
		for c := range streams {
			b.streams[c] = struct{}{}
		}
	})
	eventually(t, "it notices and starts over from a snapshot", func() bool {
		_, err := v.Verify(t.Context(), raw)
		return errors.Is(err, verifier.ErrRevoked)
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.opened) < 2 || b.opened[len(b.opened)-1].Get(wire.HeaderLastEventID) != "" {
		t.Errorf("reopened with %q", b.opened)
	}
}

func TestARefusedFeedTokenIsRenewed(t *testing.T) {
	b := newBroker(t)
	src := &source{text: "spent", renewed: "feed-1"}
	b.run(func(c *verifier.Config) { c.FeedToken = src })
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.discarded != 1 {
		t.Errorf("discarded %d times", src.discarded)
	}
}

func TestAcknowledgesPositions(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	b.revoke(revocation.SelectSubject, "user:bob")
	want := b.index.Position()
	eventually(t, "the position is acknowledged", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.acks) > 0 && b.acks[len(b.acks)-1].Position == want
	})
	if v.Position() != want {
		t.Error("acknowledged before it was applied")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.acks[0]
	if a.Name != "warehouse-1" || a.Verifier == "" || !strings.Contains(b.queries[0], "verifier="+a.Verifier) {
		t.Errorf("acknowledged as %+v, connected as %q", a, b.queries)
	}
}

// Who serves a new stream may know nothing of what was acknowledged on the old one.
func TestEachStreamIsAcknowledged(t *testing.T) {
	b := newBroker(t)
	v := b.idle()
	v.AckOnce()
	start(t, v)
	for streams := 1; streams <= 3; streams++ {
		eventually(t, "the stream is acknowledged", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.ackedAt >= streams
		})
		b.cutStreams()
	}
}

func TestStartsWhileTheBrokerIsDown(t *testing.T) {
	b := newBroker(t)
	b.set(func() { b.down = true })
	v := b.idle()
	start(t, v)
	if _, err := v.Verify(t.Context(), b.mint()); !errors.Is(err, verifier.ErrStale) {
		t.Errorf("without keys: %v", err)
	}
	b.set(func() { b.down = false })
	eventually(t, "it comes up", v.Ready)
}

func TestRunAndClose(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	if err := v.Run(t.Context()); err == nil {
		t.Error("Run ran twice at once")
	}
	v.Close()
	v.Close()
	if err := v.Run(t.Context()); !errors.Is(err, verifier.ErrClosed) {
		t.Errorf("Run after Close: %v", err)
	}
}

package verifier_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
	"github.com/writbroker/writ/verifier"
)

func TestKeyRotation(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	old := b.mint()
	if _, err := v.Verify(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	next := b.newKey("k2")
	b.publish(b.keysEvent())
	b.reported("k1", "k2")
	b.set(func() { b.signer = next })
	raw := b.mint()
	if _, err := v.Verify(t.Context(), raw); err != nil {
		t.Fatalf("the new key's token: %v", err)
	}
	if _, err := v.Verify(t.Context(), old); err != nil {
		t.Errorf("a token of the retired key: %v", err)
	}
	b.set(func() { b.keys = b.keys[1:] }) // k1 is gone
	b.publish(b.keysEvent())
	eventually(t, "a token of the key that is gone dies, though it is cached", func() bool {
		_, err := v.Verify(t.Context(), old)
		return errors.Is(err, verifier.ErrUnknownKey)
	})
	if _, err := v.Verify(t.Context(), raw); err != nil {
		t.Errorf("the other key's token: %v", err)
	}
}

// reported waits until the last acknowledgement names exactly these keys.
func (b *broker) reported(kids ...string) {
	b.t.Helper()
	eventually(b.t, "the verifier reports its keys", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.acks) > 0 && slices.Equal(b.acks[len(b.acks)-1].Keys, kids)
	})
}

func TestARotationThatWasMissedIsLearntOnTheNextStream(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	b.reported("k1")
	b.set(func() { b.down = true })
	b.cutStreams()
	next := b.newKey("k2")
	b.set(func() { b.down, b.signer = false, next })
	b.reported("k1", "k2")
	if _, err := v.Verify(t.Context(), b.mint()); err != nil {
		t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fetches != 1 {
		t.Errorf("it fetched the keys %d times", b.fetches)
	}
}

// TestKeysThatTheFeedMayNotSay: keys come from where the issuer publishes them, so a
// feed on another server can say that they changed, and not what they are. Nor is a set that
// holds none believed.
func TestKeysThatTheFeedMayNotSay(t *testing.T) {
	for name, tc := range map[string]struct {
		elsewhere bool
		says      func(*broker) revocation.Event
	}{
		"the feed is elsewhere": {true, (*broker).keysEvent},
		"a set without keys": {false, func(*broker) revocation.Event {
			return revocation.Event{Type: revocation.EventKeys, Keys: []byte(`{"keys":[]}`)}
		}},
		"no set": {false, func(*broker) revocation.Event {
			return revocation.Event{Type: revocation.EventKeys, Keys: []byte(`[]`)}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t)
			if tc.elsewhere {
				other := httptest.NewServer(http.HandlerFunc(b.feed))
				t.Cleanup(func() { b.cutStreams(); other.Close() })
				b.elsewhere = other.URL + "/feed"
			}
			v := b.run()
			planted := b.newKey("planted")
			event := tc.says(b)
			b.set(func() { b.keys = b.keys[:1] })
			next := b.newKey("k2")
			b.publish(event)
			deadline := time.Now().Add(time.Minute)
			for held := false; !held; time.Sleep(10 * time.Millisecond) {
				b.mu.Lock()
				held = len(b.acks) > 0 && slices.Equal(b.acks[len(b.acks)-1].Keys, []string{"k1", "k2"})
				b.mu.Unlock()
				if time.Now().After(deadline) {
					t.Fatal("it did not fetch the keys")
				}
			}
			if _, err := v.Verify(t.Context(), b.sign(token.TypeAccessToken, b.claims(), next)); err != nil {
				t.Errorf("a key that is published: %v", err)
			}
			if _, err := v.Verify(t.Context(), b.sign(token.TypeAccessToken, b.claims(), planted)); !errors.Is(err, verifier.ErrUnknownKey) {
				t.Errorf("a key that is not published: %v", err)
			}
		})
	}
}

func TestUnknownKeysDoNotMakeItFetch(t *testing.T) {
	b := newBroker(t)
	v := b.run()
	raw := b.mint()
	header := strings.SplitN(raw, ".", 2)
	for i := range 1000 {
		forged := compact(`{"alg":"ES256","typ":"at+jwt","kid":"made-up-`+strings.Repeat("x", i%50)+`"}`, []byte("{}"), func([]byte) []byte { return []byte(header[1]) })
		if _, err := v.Verify(t.Context(), forged); err == nil {
			t.Fatal("accepted")
		}
	}
	time.Sleep(300 * time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fetches > 1 {
		t.Errorf("a stranger's key ids made it fetch %d times", b.fetches)
	}
}

// However many strangers ask, what the feed says of the keys is what they are fetched for.
func TestARotationIsNotLostBehindStrangers(t *testing.T) {
	v := newBroker(t).idle()
	over := make(chan struct{})
	var strangers sync.WaitGroup
	for range 4 {
		strangers.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					v.StrangerAsks()
				}
			}
		})
	}
	for range 500_000 {
		if !v.RotationIsHeard() {
			t.Error("a stranger was heard instead")
			break
		}
	}
	close(over)
	strangers.Wait()
}

package verifier_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
	"github.com/writbroker/writ/verifier"
)

const (
	herd       = 200
	herdIssuer = "https://writ.example"
)

// paddock is a broker in memory, on a bubble's clock: it counts who asks for keys, and when.
type paddock struct {
	t    *testing.T
	feed string // its address

	mu      sync.Mutex // guards what follows
	jwks    []byte
	keys    []token.Key
	asked   []time.Time
	streams map[*io.PipeWriter]bool
	holds   map[string][]string // by verifier: the keys that it has reported
}

func newPaddock(t *testing.T, feed string) *paddock {
	p := &paddock{t: t, feed: feed, streams: map[*io.PipeWriter]bool{}, holds: map[string][]string{}}
	p.add("k1")
	return p
}

// add publishes one more key and gives the event that says so.
func (p *paddock) add(kid string) revocation.Event {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(p.t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append(p.keys, token.Key{ID: kid, Algorithm: token.ES256, Public: key.Public()})
	set, err := token.NewKeySet(p.keys...)
	must(p.t, err)
	p.jwks, err = json.Marshal(set)
	must(p.t, err)
	return revocation.Event{Type: revocation.EventKeys, Keys: p.jwks}
}

func (p *paddock) publish(e revocation.Event) {
	data, err := revocation.AppendSSE(nil, e)
	must(p.t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.streams {
		_, _ = w.Write(data)
	}
}

// RoundTrip answers as a broker would.
func (p *paddock) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.URL.Path {
	case wire.PathMetadata:
		must(p.t, json.NewEncoder(w).Encode(wire.Metadata{Issuer: herdIssuer, JWKSURI: herdIssuer + wire.PathJWKS,
			RevocationFeed: p.feed, RevocationAck: herdIssuer + wire.PathAck, MaxTokenTTL: 3600}))
	case wire.PathJWKS:
		p.asked = append(p.asked, time.Now())
		w.Header().Set("Cache-Control", "public, max-age=900")
		_, _ = w.Write(p.jwks)
	case wire.PathAck:
		var ack revocation.Ack
		must(p.t, json.NewDecoder(r.Body).Decode(&ack))
		p.holds[ack.Verifier] = ack.Keys
		w.WriteHeader(http.StatusNoContent)
	case wire.PathFeed:
		return p.stream(r.Context()), nil
	default:
		w.WriteHeader(http.StatusNotFound)
	}
	return w.Result(), nil
}

// stream is a feed that begins with all that there is, and beats.
func (p *paddock) stream(ctx context.Context) *http.Response {
	out, in := io.Pipe()
	go func() {
		defer in.Close()
		at := token.Rev{Lineage: lineage, Seq: 1}
		line, _ := revocation.AppendSSE(nil, revocation.Event{Type: revocation.EventLineage, Position: at,
			Lineage: &revocation.Lineage{ID: lineage, Marker: 1, OpenedAt: time.Now()}})
		for began := time.Now(); ; line = nil {
			line, _ = revocation.AppendSSE(line, revocation.Event{Type: revocation.EventHeartbeat,
				Heartbeat: &revocation.Heartbeat{Position: at, StreamAgeMS: time.Since(began).Milliseconds() + 1}})
			p.mu.Lock()
			_, err := in.Write(line)
			p.streams[in] = err == nil
			p.mu.Unlock()
			select {
			case <-ctx.Done():
				p.mu.Lock()
				delete(p.streams, in)
				p.mu.Unlock()
				return
			case <-time.After(5 * time.Second):
			}
		}
	}()
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {wire.TypeEventStream}}, Body: out, Request: &http.Request{}}
}

// holding counts the verifiers that have reported exactly these keys.
func (p *paddock) holding(kids ...string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, held := range p.holds {
		if slices.Equal(held, kids) {
			n++
		}
	}
	return n
}

// TestARotationIsNoHerd: two hundred verifiers hear of one rotation. Where the feed may say what
// the keys are, none of them asks; else each asks once, spread over seconds.
func TestARotationIsNoHerd(t *testing.T) {
	for name, tc := range map[string]struct {
		feed string
		asks int
	}{
		"the feed brings the keys": {herdIssuer + wire.PathFeed, 0},
		"the feed is elsewhere":    {"https://feed.example" + wire.PathFeed, herd},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPaddock(t, tc.feed)
				for range herd {
					v, err := verifier.New(t.Context(), verifier.Config{Issuer: herdIssuer, Audience: []string{audience},
						FeedToken: &source{text: "feed-1"}, Transport: p})
					must(t, err)
					start(t, v)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if p.holding("k1") != herd || len(p.asked) != herd {
					t.Fatalf("at the start: %d of %d have the key, and asked %d times", p.holding("k1"), herd, len(p.asked))
				}
				p.asked = nil
				event, began := p.add("k2"), time.Now()
				p.publish(event)
				p.publish(event) // every replica says it, and a reader may hear it twice
				time.Sleep(time.Minute)
				synctest.Wait()
				if p.holding("k1", "k2") != herd || len(p.asked) != tc.asks {
					t.Fatalf("after the rotation: %d of %d have the key, and asked %d times, want %d", p.holding("k1", "k2"), herd, len(p.asked), tc.asks)
				}
				perSecond := map[int]int{}
				for _, at := range p.asked {
					perSecond[int(at.Sub(began)/time.Second)]++
				}
				for second, n := range perSecond {
					if n > herd/3 {
						t.Errorf("%d of %d asked in second %d", n, herd, second)
					}
				}
			})
		})
	}
}

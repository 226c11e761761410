package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// stream serves text as an event stream, then holds the connection open until
// the reader goes, if hold is set.
func stream(t *testing.T, text string, hold bool) (*httptest.Server, func() *http.Request) {
	t.Helper()
	requests := make(chan *http.Request, 8)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		w.Header().Set("Content-Type", wire.TypeEventStream+"; charset=utf-8")
		_, _ = fmt.Fprint(w, text)
		w.(http.Flusher).Flush()
		if hold {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(s.Close)
	return s, func() *http.Request { return <-requests }
}

func heartbeat(t *testing.T, ago, age int64) string {
	t.Helper()
	text, err := revocation.AppendSSE(nil, revocation.Event{Type: revocation.EventHeartbeat,
		Heartbeat: &revocation.Heartbeat{Position: token.Rev{Lineage: 7, Seq: 9}, ConfirmedAgoMS: ago, StreamAgeMS: age}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWatchNamesItselfAndResumes(t *testing.T) {
	s, request := stream(t, heartbeat(t, 0, 1), false)
	after := token.Rev{Lineage: 0xabc, Seq: 12}
	var got []client.FeedEvent
	err := newClient(t, s).Watch(t.Context(), client.Watch{URL: s.URL + wire.PathFeed, After: after, Verifier: "v1", Name: "a b",
		Handle: func(e client.FeedEvent) error { got = append(got, e); return nil }}, "tok")
	if !errors.Is(err, client.ErrFeedEnded) {
		t.Errorf("got %v", err)
	}
	r := request()
	if r.Header.Get(wire.HeaderLastEventID) != "0000000000000abc.12" || r.Header.Get("Authorization") != "Bearer tok" ||
		r.URL.Query().Get(wire.ParamVerifier) != "v1" || r.URL.Query().Get(wire.ParamVerifierName) != "a b" {
		t.Errorf("asked %s %v", r.URL, r.Header)
	}
	if len(got) != 1 || got[0].Heartbeat.Position != (token.Rev{Lineage: 7, Seq: 9}) {
		t.Errorf("got %+v", got)
	}
}

// Confirmed is never later than the truth, whatever the network did.
func TestHeartbeatsAreDated(t *testing.T) {
	for _, tc := range []struct {
		name     string
		ago, age int64
		at       time.Duration // from the request, by a clock on which the event arrives after a minute
		never    bool
	}{
		{"fresh", 0, 60_000, time.Minute, false},
		{"confirmed two seconds before", 2000, 60_000, 58 * time.Second, false},
		{"held back by the network", 0, 5000, 5 * time.Second, false},
		{"an age that cannot be is the time of arrival", 0, 3_600_000, time.Minute, false},
		{"no age is the time of arrival", 1000, 0, 59 * time.Second, false},
		{"never", -1, 5000, 0, true},
		{"so long ago that it overflows", 1 << 62, 5000, 0, true},
		{"an age that overflows", 0, 1 << 62, time.Minute, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _ := stream(t, heartbeat(t, tc.ago, tc.age), false)
			epoch := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			calls := 0
			transport := client.NewTransport(nil)
			t.Cleanup(transport.CloseIdleConnections)
			c, err := client.New(client.Config{Issuer: s.URL, Transport: transport, Now: func() time.Time {
				calls++
				if calls == 1 {
					return epoch // when the request was sent
				}
				return epoch.Add(time.Minute)
			}})
			if err != nil {
				t.Fatal(err)
			}
			var got client.FeedEvent
			_ = c.Watch(t.Context(), client.Watch{URL: s.URL, Handle: func(e client.FeedEvent) error { got = e; return nil }}, "")
			if tc.never != got.Confirmed.IsZero() {
				t.Fatalf("confirmed %v", got.Confirmed)
			}
			if !tc.never && !got.Confirmed.Equal(epoch.Add(tc.at)) {
				t.Errorf("confirmed %v after the request", got.Confirmed.Sub(epoch))
			}
		})
	}
}

func TestWatchEndsWhenTheStreamIsSilent(t *testing.T) {
	s, _ := stream(t, heartbeat(t, 0, 1), true)
	began := time.Now()
	err := newClient(t, s).Watch(t.Context(), client.Watch{URL: s.URL, Idle: 100 * time.Millisecond, Handle: func(client.FeedEvent) error { return nil }}, "")
	if !errors.Is(err, client.ErrFeedEnded) || !strings.Contains(err.Error(), "silent") || time.Since(began) > 5*time.Second {
		t.Errorf("got %v", err)
	}
}

func TestWatchReturnsTheHandlersError(t *testing.T) {
	s, _ := stream(t, heartbeat(t, 0, 1), true)
	want := errors.New("enough")
	if err := newClient(t, s).Watch(t.Context(), client.Watch{URL: s.URL, Handle: func(client.FeedEvent) error { return want }}, ""); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	s, _ := stream(t, heartbeat(t, 0, 1), true)
	ctx, cancel := context.WithCancel(t.Context())
	err := newClient(t, s).Watch(ctx, client.Watch{URL: s.URL, Handle: func(client.FeedEvent) error { cancel(); return nil }}, "")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestFeedsThatAreNone(t *testing.T) {
	for name, a := range map[string]answer{
		"401":       refusal(401, wire.ErrCodeInvalidToken),
		"503":       refusal(503, wire.ErrCodeTemporarilyUnavailable, "Retry-After", "7"),
		"redirect":  {status: 302, header: map[string]string{"Location": "http://127.0.0.1:1/"}},
		"JSON":      {status: 200, header: map[string]string{"Content-Type": "application/json"}, body: "{}"},
		"malformed": {status: 200, header: map[string]string{"Content-Type": wire.TypeEventStream}, body: "event: rule\ndata: {\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b, s := serve(t, a)
			err := newClient(t, s).Watch(t.Context(), client.Watch{URL: s.URL, Handle: func(client.FeedEvent) error {
				t.Error("an event")
				return nil
			}}, "tok")
			if err == nil || len(b.requests()) != 1 {
				t.Errorf("got %v after %d requests", err, len(b.requests()))
			}
			var refused *client.ResponseError
			if name == "503" && (!errors.As(err, &refused) || refused.RetryAfter != 7*time.Second) {
				t.Errorf("got %v", err)
			}
		})
	}
	c, err := client.New(client.Config{Issuer: "https://writ.example"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Watch(t.Context(), client.Watch{URL: "http://writ.example/feed"}, "tok"); !errors.Is(err, client.ErrInsecureURL) {
		t.Errorf("plain HTTP: %v", err)
	}
	if err := c.Ack(t.Context(), "http://writ.example/ack", revocation.Ack{}, "tok"); !errors.Is(err, client.ErrInsecureURL) {
		t.Errorf("plain HTTP: %v", err)
	}
}

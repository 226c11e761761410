package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

const (
	// feedWrite bounds one write to a reader: one that does not read is cut off, resumes,
	// and never slows another.
	feedWrite = 10 * time.Second
	// snapshotRules is how many rules one snapshot event holds.
	snapshotRules = 20_000
	maxName       = 128
	maxDrain      = 8192 // above the buffer of a subscription
)

func adminScope(action, resource string) scopes.Scope {
	s, err := scopes.Make("writ", action, resource)
	if err != nil {
		panic(fmt.Sprintf("constant scope: %v", err)) // only constants of this package come here
	}
	return s
}

// feed serves the revocation feed as Server-Sent Events until its reader goes, is too slow,
// or loses its right to it.
func (a *API) feed(w http.ResponseWriter, r *http.Request) {
	a.feedFor(w, r, adminScope("feed", "read"))
}

func (a *API) feedFor(w http.ResponseWriter, r *http.Request, need scopes.Scope) {
	cred, op, err := a.feedReader(r, need)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	after, err := lastEventID(r)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	q := r.URL.Query()
	id, name := q.Get(wire.ParamVerifier), q.Get(wire.ParamVerifierName)
	if len(id) > maxName || len(name) > maxName {
		a.writeError(w, r, fmt.Errorf("%w: verifier and name are at most %d bytes", broker.ErrRequest, maxName))
		return
	}
	sub := a.cfg.Feed.Subscribe(after)
	defer sub.Close()
	if id != "" {
		defer a.cfg.Acks.Join(verifierID(op, id), name, op.Agent)()
	}
	h := w.Header()
	h.Set("Content-Type", wire.TypeEventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	out := &feedWriter{w: w, rc: http.NewResponseController(w), opened: a.cfg.Now()}
	if err := a.stream(r.Context(), out, sub, reader{cred, op, need}); err != nil && r.Context().Err() == nil {
		a.cfg.Logger.InfoContext(r.Context(), "feed ended", "verifier", name, "principal", op.Agent, "reason", err)
	}
}

// verifierID keeps verifiers of different principals apart: nobody can acknowledge for another.
func verifierID(op *broker.Operator, id string) string { return op.Agent + " " + id }

func (a *API) feedReader(r *http.Request, need scopes.Scope) (broker.Credentials, *broker.Operator, error) {
	cred, err := a.bearerOf(r)
	if err != nil {
		return cred, nil, err
	}
	// A stale replica serves its feed too: its heartbeats say how stale it is.
	op, err := a.cfg.Broker.Authorize(r.Context(), cred, need, broker.AllowStale)
	return cred, op, err
}

func lastEventID(r *http.Request) (token.Rev, error) {
	id := r.Header.Get(wire.HeaderLastEventID)
	if id == "" {
		return token.Rev{}, nil
	}
	rev, err := token.ParseRev(id)
	if err != nil {
		return token.Rev{}, fmt.Errorf("%w: Last-Event-ID is not a position", broker.ErrRequest)
	}
	return rev, nil
}

// reader is whoever reads a feed, and the right that it must keep.
type reader struct {
	cred broker.Credentials
	op   *broker.Operator
	need scopes.Scope
}

type feedWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
	// opened is when the stream began. A reader dates a heartbeat by its own request and the
	// stream's age, so that one that was delayed on the way cannot pass for fresh.
	opened time.Time
}

func (f *feedWriter) write(b []byte, now time.Time) error {
	if err := f.rc.SetWriteDeadline(now.Add(feedWrite)); err != nil {
		return fmt.Errorf("bounding a write: %w", err)
	}
	if _, err := f.w.Write(b); err != nil {
		return err
	}
	if err := f.rc.Flush(); err != nil {
		return err
	}
	// Between two writes there is none to bound, and HTTP/2 resets a stream whose deadline passes.
	return f.rc.SetWriteDeadline(time.Time{})
}

var (
	errSlowReader = errors.New("reader too slow")
	errFeedRight  = errors.New("the reader's token has ended")
	errStopping   = errors.New("shutting down")
)

func (a *API) stream(ctx context.Context, out *feedWriter, sub *journal.Subscription, who reader) error {
	if err := a.catchUp(ctx, out, sub); err != nil {
		return err
	}
	if err := a.beat(out, sub); err != nil {
		return err
	}
	tick := time.NewTicker(a.cfg.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case frame, ok := <-sub.C:
			if err := a.forward(out, frame, ok); err != nil {
				return err
			}
		case <-tick.C:
			if err := a.stillAllowed(ctx, who); err != nil {
				return err
			}
			if err := a.beat(out, sub); err != nil {
				return err
			}
		case <-a.cfg.Stop:
			return errStopping
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *API) forward(out *feedWriter, frame journal.Frame, ok bool) error {
	if !ok {
		return errSlowReader
	}
	return out.write(frame.SSE, a.cfg.Now())
}

// drain sends what waits.
func (a *API) drain(out *feedWriter, sub *journal.Subscription) error {
	for range maxDrain {
		select {
		case frame, ok := <-sub.C:
			if err := a.forward(out, frame, ok); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// stillAllowed ends the feed of a reader whose token has expired or was revoked.
func (a *API) stillAllowed(ctx context.Context, who reader) error {
	if !a.cfg.Now().Before(who.op.Until()) {
		return errFeedRight
	}
	if _, err := a.cfg.Broker.Authorize(ctx, who.cred, who.need, broker.AllowStale); err != nil {
		return fmt.Errorf("%w: %w", errFeedRight, err)
	}
	return nil
}

// beat sends a heartbeat, and before it whatever lies before its position.
func (a *API) beat(out *feedWriter, sub *journal.Subscription) error {
	h := a.cfg.Feed.Heartbeat()
	h.StreamAgeMS = a.cfg.Now().Sub(out.opened).Milliseconds() // of the moment that it speaks of
	if err := a.drain(out, sub); err != nil {
		return err
	}
	buf, err := revocation.AppendSSE(nil, revocation.Event{Type: revocation.EventHeartbeat, Heartbeat: &h})
	if err != nil {
		return fmt.Errorf("encoding heartbeat: %w", err)
	}
	return out.write(buf, a.cfg.Now())
}

// catchUp gives the reader what it missed: the events since its position, or, where that is
// not known here, everything.
func (a *API) catchUp(ctx context.Context, out *feedWriter, sub *journal.Subscription) error {
	if sub.Snapshot {
		frames, err := a.snapshot.frames(ctx, a)
		if err != nil {
			return err
		}
		for _, f := range frames {
			if err := out.write(f, a.cfg.Now()); err != nil {
				return err
			}
		}
	}
	for _, f := range sub.Backlog {
		if err := out.write(f.SSE, a.cfg.Now()); err != nil {
			return err
		}
	}
	return nil
}

// snapshotCache keeps the last encoded and signed snapshot, so that many readers that come
// at once are served from one. It is valid for one position of the log, and only while
// nothing is local: a rule that has no position yet would not show in it. A change that comes
// while it is sent reaches the reader as an event, since it subscribed before.
type snapshotCache struct {
	mu       sync.Mutex
	position token.Rev
	encoded  [][]byte
}

func (c *snapshotCache) frames(ctx context.Context, a *API) ([][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	position, pending := a.cfg.Index.Position(), a.cfg.Feed.Heartbeat().Pending
	if c.encoded != nil && c.position == position && pending == 0 {
		return c.encoded, nil
	}
	c.encoded = nil
	var out [][]byte
	id, taken := mint.NewID(a.cfg.Now()), a.cfg.Now()
	for part := range a.cfg.Index.Snapshots(snapshotRules) {
		part.ID, part.TakenAt = id, taken
		payload, err := json.Marshal(part)
		if err != nil {
			return nil, fmt.Errorf("encoding snapshot: %w", err)
		}
		signed, err := token.Sign(ctx, revocation.TypeSnapshot, payload, a.cfg.Records)
		if err != nil {
			return nil, fmt.Errorf("signing snapshot: %w", err)
		}
		frame, err := revocation.AppendSSE(nil, revocation.Event{
			Type: revocation.EventSnapshot, Position: part.Position, Snapshot: signed,
		})
		if err != nil {
			return nil, fmt.Errorf("framing snapshot: %w", err)
		}
		out = append(out, frame)
	}
	if pending == 0 {
		c.position, c.encoded = position, out
	}
	return out, nil
}

// ack takes a verifier's word of how far it has got.
func (a *API) ack(w http.ResponseWriter, r *http.Request) {
	_, op, err := a.feedReader(r, adminScope("feed", "read"))
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	var ack revocation.Ack
	if err := decode(w, r, &ack); err != nil {
		a.writeError(w, r, err)
		return
	}
	if ack.Verifier == "" || len(ack.Verifier) > maxName || len(ack.Name) > maxName {
		a.writeError(w, r, fmt.Errorf("%w: verifier must be 1 to %d bytes", broker.ErrRequest, maxName))
		return
	}
	ack.Verifier = verifierID(op, ack.Verifier)
	if !a.cfg.Acks.Report(ack) {
		a.writeError(w, r, fmt.Errorf("%w: this verifier is not connected, to this replica or to one that it knows of", broker.ErrNotFound))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

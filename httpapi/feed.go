package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

const (
	// feedWrite bounds one write to a reader: one that does not read is cut off, resumes,
	// and never slows another.
	feedWrite = 10 * time.Second
	// feedLast is how long a reader is still told what it missed by a moment, once its right to
	// the feed has ended.
	feedLast    = 250 * time.Millisecond
	maxName     = 128
	maxDrain    = 8192 // above the buffer of a subscription
	maxGathered = 64 << 10
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
	sub, snapshot, err := a.subscribe(r.Context(), after)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	defer sub.Close()
	if id != "" {
		defer a.cfg.Acks.Join(verifierID(op, id), name, op.Agent)()
	}
	h := w.Header()
	h.Set("Content-Type", wire.TypeEventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	out := &feedWriter{w: w, rc: http.NewResponseController(w), opened: a.cfg.Now()}
	if err := a.stream(r.Context(), out, sub, snapshot, reader{cred, op, need, id != ""}); err != nil && r.Context().Err() == nil {
		a.cfg.Logger.InfoContext(r.Context(), "feed ended", "verifier", name, "principal", op.Agent, "reason", err)
	}
}

// subscribe starts a stream, with a snapshot for a reader whose position is not known here.
// One that was encoded a moment ago does, if the feed can go on from its position.
func (a *API) subscribe(ctx context.Context, after token.Rev) (*journal.Subscription, *encoded, error) {
	sub := a.cfg.Feed.Subscribe(after)
	if !sub.Snapshot {
		return sub, nil, nil
	}
	e, err := a.events.recent(ctx, a)
	if err == nil {
		if resumed := a.cfg.Feed.Subscribe(e.position); !resumed.Snapshot {
			sub.Close()
			return resumed, e, nil
		} else {
			resumed.Close()
		}
		// What changes from here on comes through the subscription.
		e, err = a.events.current(ctx, a)
	}
	if err != nil {
		sub.Close()
		return nil, nil, err
	}
	return sub, e, nil
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
	// verifies: it named itself as a verifier, and begins with the keys as they are now.
	verifies bool
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
	if _, err := f.w.Write(b); err != nil { //nolint:gosec // events and signed records, of a type that no browser renders
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

func (a *API) stream(ctx context.Context, out *feedWriter, sub *journal.Subscription, snapshot *encoded, who reader) error {
	if err := a.catchUp(out, sub, snapshot); err != nil {
		return err
	}
	if who.verifies {
		if err := a.sendKeys(out); err != nil {
			return err
		}
	}
	if err := a.beat(out, sub); err != nil {
		return err
	}
	tick := time.NewTicker(a.cfg.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case frame, ok := <-sub.C:
			if err := a.forward(out, sub, frame, ok); err != nil {
				return err
			}
		case <-tick.C:
			if err := a.stillAllowed(ctx, who); err != nil {
				return a.lastWords(ctx, out, sub, err)
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

// lastWords ends the stream of a reader that may no longer read, after a moment. A rule is in force here
// before it is on its way to readers: one whose own token it hits, as a key that leaked hits all, would
// be cut off before it, and go on accepting what it revokes until it has come back.
func (a *API) lastWords(ctx context.Context, out *feedWriter, sub *journal.Subscription, why error) error {
	timer := time.NewTimer(feedLast)
	defer timer.Stop()
	for {
		select {
		case frame, ok := <-sub.C:
			if err := a.forward(out, sub, frame, ok); err != nil {
				return err
			}
		case <-timer.C:
			// However long that moment was: with the feed's next word, what is in force by now waits here.
			a.cfg.Feed.Heartbeat()
			if err := a.drain(out, sub); err != nil {
				return err
			}
			return why
		case <-a.cfg.Stop:
			return errStopping
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// forward sends an event, and with it those that wait already: a burst costs few writes.
func (a *API) forward(out *feedWriter, sub *journal.Subscription, frame *journal.Frame, ok bool) error {
	if !ok {
		return errSlowReader
	}
	buf := frame.SSE
	for shared := true; len(buf) < maxGathered; {
		select {
		case more, ok := <-sub.C:
			if !ok {
				return errSlowReader
			}
			if shared { // the frame is every reader's: the first addition copies it
				buf, shared = slices.Clone(buf), false
			}
			buf = append(buf, more.SSE...)
			continue
		default:
		}
		break
	}
	return out.write(buf, a.cfg.Now())
}

// drain sends what waits.
func (a *API) drain(out *feedWriter, sub *journal.Subscription) error {
	for range maxDrain {
		select {
		case frame, ok := <-sub.C:
			if err := a.forward(out, sub, frame, ok); err != nil {
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
	a.events.release(a.cfg.Now())
	a.bulk.release(a.cfg.Now())
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

// catchUp gives the reader what it missed: the events since its position, and before them,
// where that is not known here, everything.
func (a *API) catchUp(out *feedWriter, sub *journal.Subscription, snapshot *encoded) error {
	if snapshot != nil {
		for _, part := range snapshot.chunks {
			if err := out.write(part, a.cfg.Now()); err != nil {
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

// sendKeys tells a verifier the keys as they are now: it may have missed a change while it was
// not connected, and need not ask. What changes from here on comes through its subscription.
func (a *API) sendKeys(out *feedWriter) error {
	ring := a.cfg.Keys.Ring()
	if ring.Lacks() {
		return nil // what the verifier has is better
	}
	buf, err := revocation.AppendSSE(nil, revocation.Event{Type: revocation.EventKeys, Keys: ring.JWKS()})
	if err != nil {
		return fmt.Errorf("encoding keys: %w", err)
	}
	return out.write(buf, a.cfg.Now())
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

// refusals takes what a verifier refused, for the record and for whoever asks what a rule
// has done.
func (a *API) refusals(w http.ResponseWriter, r *http.Request) {
	_, op, err := a.feedReader(r, adminScope("feed", "read"))
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	var in wire.RefusalReport
	if err := decode(w, r, &in); err != nil {
		a.writeError(w, r, err)
		return
	}
	report := broker.RefusalReport{Verifier: in.Verifier, Name: in.Name, Dropped: max(in.Dropped, 0)}
	for _, one := range in.Refusals {
		report.Refusals = append(report.Refusals, broker.Refusal{RuleID: one.RuleID, TokenID: one.TokenID, At: one.At})
	}
	if err := a.cfg.Broker.ReportRefusals(r.Context(), op, report); err != nil {
		a.writeError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

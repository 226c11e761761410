package journal

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// Subscription is a reader of the feed. See Journal.Subscribe.
type Subscription struct {
	// Snapshot says that the reader must first be given the whole index
	// (Index.Snapshots), before Backlog: its position is not known here.
	Snapshot bool
	// Backlog is what it missed, to be sent before what C brings.
	Backlog []*Frame
	// C brings events; it is closed when the subscriber was too slow, or Close was
	// called, or the journal's.
	C <-chan *Frame

	journal *Journal
	c       chan *Frame
	once    sync.Once
}

// Frame is an event and its encoding. It is shared: treat it as immutable.
type Frame struct {
	Event revocation.Event
	SSE   []byte
}

// feed is what readers of the feed see. Guarded by Journal.mu.
type feed struct {
	ring  []revocation.Event // the last events, oldest first
	limit int
	gap   bool // the log is being read again
	subs  map[*Subscription]struct{}
}

// maxPendingBacklog is how many local rules a resuming reader is given one by one;
// with more it gets a snapshot.
const maxPendingBacklog = 1024

// maxWaiting is how many events wait for one subscriber: 8 KB, whether they do or not.
// What a slower one lacks, it reads again from where it was.
const maxWaiting = 1024

func (f *feed) init(limit int) {
	f.limit, f.subs = limit, map[*Subscription]struct{}{}
}

// publish remembers an event and gives it to every subscriber; one that has no room
// is cut off: it reads again from where it was.
func (f *feed) publish(e *revocation.Event) {
	public := forFeed(e)
	if len(f.ring) >= 2*f.limit {
		f.ring = append(f.ring[:0], f.ring[len(f.ring)-f.limit:]...)
	}
	if !f.gap {
		f.ring = append(f.ring, public)
	}
	f.send(public)
}

// forget makes every reader that comes back begin with a snapshot. While the log is
// read again, events leave out what is known here, so nobody may resume among them.
func (f *feed) forget(gap bool) { f.ring, f.gap = nil, gap }

func (f *feed) send(e revocation.Event) {
	if len(f.subs) == 0 {
		return
	}
	frame, err := newFrame(e)
	for s := range f.subs {
		if err == nil {
			select {
			case s.c <- frame:
				continue
			default:
			}
		}
		f.cut(s)
	}
}

func (f *feed) cut(s *Subscription) {
	if _, ok := f.subs[s]; ok {
		delete(f.subs, s)
		close(s.c)
	}
}

func (f *feed) closeAll() {
	for s := range f.subs {
		f.cut(s)
	}
}

func newFrame(e revocation.Event) (*Frame, error) {
	sse, err := revocation.AppendSSE(nil, e)
	return &Frame{Event: e, SSE: sse}, err
}

// forFeed is the event without what resource servers need not know.
func forFeed(e *revocation.Event) revocation.Event {
	out := *e
	switch {
	case e.Rule != nil:
		r := e.Rule.ForFeed()
		out.Rule = &r
	case e.Lift != nil:
		l := e.Lift.ForFeed()
		out.Lift = &l
	}
	return out
}

// after gives the events that follow a position, if it is remembered.
func (f *feed) after(at token.Rev) ([]revocation.Event, bool) {
	for i, v := range slices.Backward(f.ring) {
		if v.Position == at {
			return f.ring[i+1:], true
		}
	}
	return nil, false
}

// Subscribe starts a stream of events for a reader that has applied the log up to a
// position; zero is nothing. What happens from now on comes through C, so a snapshot
// that is taken after Subscribe has no gap. Close it when done.
func (j *Journal) Subscribe(after token.Rev) *Subscription {
	c := make(chan *Frame, min(j.cfg.Buffer, maxWaiting))
	s := &Subscription{C: c, c: c, journal: j}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.feed.subs[s] = struct{}{}
	if backlog, ok := j.resume(after); ok {
		s.Backlog = backlog
	} else {
		s.Snapshot = true
	}
	return s
}

// resume gives what a reader at a position lacks: what is local here, and every event
// since. It must have applied all that the log holds up to there, whoever told it.
func (j *Journal) resume(after token.Rev) ([]*Frame, bool) {
	events, ok := j.lacks(after)
	if !ok {
		return nil, false
	}
	out := make([]*Frame, 0, len(events))
	for i := range events {
		frame, err := newFrame(forFeed(&events[i]))
		if err != nil {
			return nil, false
		}
		out = append(out, frame)
	}
	return out, true
}

func (j *Journal) lacks(after token.Rev) ([]revocation.Event, bool) {
	if after.IsZero() || j.feed.gap || j.pending.len() > maxPendingBacklog {
		return nil, false
	}
	events, ok := j.feed.after(after)
	if !ok && after != j.cur.stampable() {
		return nil, false
	}
	reached := after
	for i := range events {
		if at := events[i].Position; !at.IsZero() {
			reached = at
		}
	}
	if !j.cfg.Index.Covers(reached, j.cfg.Index.Position()) {
		return nil, false // the index has been further, in a log that is lost
	}
	return slices.Concat(j.pending.events(j.cfg.Index, all, false), events), true
}

// Since gives what a reader at a position lacks, and the position that it then has reached;
// false where that is not known here any more.
func (j *Journal) Since(after token.Rev) (events []revocation.Event, reached token.Rev, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	events, ok = j.lacks(after)
	reached = after
	for i := range events {
		events[i] = forFeed(&events[i])
		if at := events[i].Position; !at.IsZero() {
			reached = at
		}
	}
	return events, reached, ok
}

// Close ends the subscription. It may be called again.
func (s *Subscription) Close() {
	s.once.Do(func() {
		s.journal.mu.Lock()
		defer s.journal.mu.Unlock()
		s.journal.feed.cut(s)
	})
}

// Publish sends an event that is not of the log (keys) to every subscriber there is
// now.
func (j *Journal) Publish(e revocation.Event) error {
	if e.Type != revocation.EventKeys {
		return fmt.Errorf("journal: a %q event is not published by hand", e.Type)
	}
	if _, err := newFrame(e); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.feed.send(e)
	return nil
}

// Heartbeat says how fresh this replica is. Every event up to its position is in the
// subscribers' channels by then: a handler sends what is in C before it sends the
// heartbeat, or the reader finds that it lacks events.
func (j *Journal) Heartbeat() revocation.Heartbeat {
	j.mu.Lock()
	defer j.mu.Unlock()
	h := revocation.Heartbeat{Position: j.cfg.Index.Position(), ConfirmedAgoMS: -1, Replica: j.cfg.Replica, Pending: j.pending.len()}
	if at := j.confirmed.Load(); at != nil { // once: it may be taken back meanwhile
		ago := staleness(*at, j.cfg.Now())
		h.ConfirmedAgoMS = (ago + time.Millisecond - 1).Milliseconds() // rounded up: never younger than it is
	}
	return h
}

package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// LiveSession is an AWS session that has not ended: what taking it back needs. It holds no
// secret.
type LiveSession struct {
	Role           string // ARN
	Name           string
	UserID         string // aws:userid; empty where the target does not say
	SourceIdentity string
	AccessKeyID    string
	Issued         time.Time
	Expires        time.Time
	Claims         *token.Claims // what rules are tried on; Rev is that of its minting
	KeyID          string
}

// Where replicas share sessions, and how long one waits for that. A session is one name of a
// count, about 1.2 KB.
const (
	ledgerSessions = "ledger/aws/"
	sessionTimeout = 500 * time.Millisecond
	// Windows of sessions depend on no setting, unlike those of tokens: replicas with another
	// greatest life find each other's sessions, and those from before it was raised.
	sessionWindow = time.Hour
	longestLife   = 12 * time.Hour // AWS's own limit
)

// sessionBucket is where sessions that end at a time are shared, and when that may go.
func sessionBucket(expires time.Time) (name string, end time.Time) {
	n := expires.Unix() / int64(sessionWindow/time.Second)
	return ledgerSessions + strconv.FormatInt(n, 10), time.Unix((n+1)*int64(sessionWindow/time.Second), 0)
}

// sessionText is a session as replicas share it.
type sessionText struct {
	Shape     shapeText   `json:"t"`
	ID        string      `json:"j"`
	Task      string      `json:"x,omitempty"`
	Rev       string      `json:"v"`
	Ancestors [][2]string `json:"d,omitempty"` // jti and kid
	Role      string      `json:"ro"`
	Name      string      `json:"na"`
	UserID    string      `json:"us,omitempty"`
	Source    string      `json:"so"`
	Access    string      `json:"ak"`
	Issued    int64       `json:"i"`
	Expires   int64       `json:"e"`
}

// Session notes an AWS session that was made. Unlike Issued it waits, within a bound, until
// other replicas can know: nobody but AWS refuses a session, so that one which no ledger knows
// could not be taken back alone. Where the store is away, it goes there later.
func (l *Ledger) Session(ctx context.Context, s *mint.Session) {
	live := LiveSession{
		Role: s.Role, Name: s.Name, UserID: s.UserID, SourceIdentity: s.SourceIdentity, AccessKeyID: s.Credentials.ID(),
		Issued: s.Issued, Expires: s.Expires, Claims: s.Claims, KeyID: s.KeyID,
	}
	l.mu.Lock()
	l.addSession(&live)
	l.mu.Unlock()
	l.shareSession(ctx, &live)
}

// addSession keeps a session in memory, if there is room. Guarded by l.mu.
func (l *Ledger) addSession(s *LiveSession) {
	if len(l.sessions) >= l.cfg.Sessions {
		l.sweepSessions(l.cfg.Now())
	}
	if len(l.sessions) >= l.cfg.Sessions {
		l.lost++
		return
	}
	l.sessions[s.Claims.ID] = s
}

func (l *Ledger) sweepSessions(now time.Time) {
	for id, s := range l.sessions {
		if !s.Expires.After(now) {
			delete(l.sessions, id)
		}
	}
}

func (l *Ledger) shareSession(ctx context.Context, s *LiveSession) {
	if l.out.tally == nil {
		return
	}
	text, err := s.encode()
	bucket, end := sessionBucket(s.Expires)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sessionTimeout)
		defer cancel()
		if l.out.tally.Add(ctx, bucket, end, map[string]int64{text: 1}) == nil || l.out.add(bucket, end, text, 1) {
			return
		}
	}
	l.out.add(bucket, end, markDropped, 1)
	l.mu.Lock()
	l.untold++
	l.mu.Unlock()
}

// Sessions gives the live AWS sessions that a rule hits, of every replica, in the order of
// their making; incomplete says why there may be more, or is empty.
func (l *Ledger) Sessions(ctx context.Context, r revocation.Rule) (hit []LiveSession, incomplete string) {
	all, incomplete := l.liveSessions(ctx)
	alone := revocation.NewIndex(revocation.Options{})
	if err := alone.Apply(revocation.Event{Type: revocation.EventRule, Rule: &r}); err != nil {
		return nil, "the rule could not be tried on the live sessions"
	}
	for _, s := range all {
		if _, dead := alone.Revoked(s.Claims, s.KeyID); dead {
			hit = append(hit, *s)
		}
	}
	slices.SortFunc(hit, func(a, b LiveSession) int { return a.Issued.Compare(b.Issued) })
	return hit, incomplete
}

// What may be missing of the sessions.
const (
	sessionsUnread = "the shared sessions cannot be read: these are the AWS sessions that this replica made since its start"
	sessionsLost   = "more AWS sessions were made than the ledger keeps, or can read"
)

// liveSessions are those of this replica, and of the others where they can be read.
func (l *Ledger) liveSessions(ctx context.Context) (all map[string]*LiveSession, incomplete string) {
	all, dropped, err := l.sharedSessions(ctx)
	if err != nil {
		incomplete = sessionsUnread
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweepSessions(l.cfg.Now())
	maps.Copy(all, l.sessions)
	if incomplete == "" && (dropped+l.untold > 0 || l.lost > 0 && l.out.tally == nil) {
		incomplete = sessionsLost
	}
	return all, incomplete
}

func (l *Ledger) sharedSessions(ctx context.Context) (map[string]*LiveSession, int64, error) {
	all := map[string]*LiveSession{}
	if l.out.tally == nil {
		return all, 0, nil
	}
	now := l.cfg.Now()
	var buckets []string
	for at := now; !at.After(now.Add(longestLife + sessionWindow)); at = at.Add(sessionWindow) {
		bucket, _ := sessionBucket(at)
		buckets = append(buckets, bucket)
	}
	texts, err := l.out.tally.Sum(ctx, buckets...)
	if err != nil {
		return all, 0, fmt.Errorf("reading shared AWS sessions: %w", err)
	}
	dropped := texts[markDropped]
	delete(texts, markDropped)
	for text := range texts {
		switch s, err := decodeSession(text); {
		case err != nil:
			dropped++
		case s.Expires.After(now):
			all[s.Claims.ID] = s
		}
	}
	return all, dropped, nil
}

func (s *LiveSession) encode() (string, error) {
	c := s.Claims
	t := sessionText{
		Shape: shapeOf(c, s.KeyID), ID: c.ID, Task: c.Task, Rev: c.Rev.String(),
		Role: s.Role, Name: s.Name, UserID: s.UserID, Source: s.SourceIdentity, Access: s.AccessKeyID,
		Issued: s.Issued.Unix(), Expires: s.Expires.Unix(),
	}
	t.Shape.Ancestors = nil
	for _, a := range c.Ancestors {
		t.Ancestors = append(t.Ancestors, [2]string{a.ID, a.KeyID})
	}
	data, err := json.Marshal(t)
	return string(data), err
}

func decodeSession(text string) (*LiveSession, error) {
	var t sessionText
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return nil, err
	}
	c, err := t.Shape.claims()
	if err != nil {
		return nil, err
	}
	if c.Rev, err = token.ParseRev(t.Rev); err != nil {
		return nil, err
	}
	c.ID, c.Task, c.IssuedAt, c.Expiry = t.ID, t.Task, t.Issued, t.Expires
	for _, a := range t.Ancestors {
		c.Ancestors = append(c.Ancestors, token.Ancestor{ID: a[0], KeyID: a[1]})
	}
	return &LiveSession{
		Role: t.Role, Name: t.Name, UserID: t.UserID, SourceIdentity: t.Source, AccessKeyID: t.Access,
		Issued: time.Unix(t.Issued, 0), Expires: time.Unix(t.Expires, 0), Claims: c, KeyID: t.Shape.Key,
	}, nil
}

// addSessions counts the sessions that a rule hits into its preview.
func (p *Preview) addSessions(hit []LiveSession, incomplete string) {
	p.STSSessions, p.hit = int64(len(hit)), hit
	for i := range hit {
		s := &hit[i]
		p.Agents = append(p.Agents, s.Claims.ClientID)
		p.Subjects = append(p.Subjects, s.Claims.Subject)
		p.Roles = append(p.Roles, s.Claims.Roles...)
		if s.Expires.After(p.LongestExpiry) {
			p.LongestExpiry = s.Expires
		}
	}
	for _, list := range []*[]string{&p.Agents, &p.Subjects, &p.Roles} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if p.Incomplete == "" {
		p.Incomplete = incomplete
	}
}

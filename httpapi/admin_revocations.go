package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/revocation/journal"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

const (
	maxWait    = 60 * time.Second
	maxAgents  = 20
	maxLagging = 50
	pageSize   = 100
	maxPage    = 1000
)

func (a *API) revoke(ctx context.Context, op *broker.Operator, _ *http.Request, in wire.RevokeRequest) (int, any, error) {
	wait := time.Duration(in.WaitSeconds) * time.Second
	if wait < 0 || wait > maxWait {
		return 0, nil, fmt.Errorf("%w: wait_seconds must be 0 to %d", broker.ErrRequest, int(maxWait.Seconds()))
	}
	out, err := a.cfg.Broker.Revoke(ctx, op, broker.RevokeOrder{
		Selector: revocation.Selector(in.Selector), Value: in.Value, Reason: in.Reason,
		Apply: in.Apply, AllowReissue: in.AllowReissue, Wait: wait,
	})
	if err != nil {
		return 0, nil, err
	}
	status := http.StatusOK
	if out.Applied && out.Result.Durability == journal.DurableLocal {
		status = http.StatusAccepted
	}
	return status, a.revocation(out), nil
}

func (a *API) revocation(r *broker.Revocation) *wire.RevokeResponse {
	rule := a.wireRule(r.Rule)
	out := &wire.RevokeResponse{Applied: r.Applied, Rule: &rule, Preview: a.preview(r.Preview)}
	if r.Quarantine != nil {
		q := a.wireRule(*r.Quarantine)
		out.Quarantine = &q
	}
	if r.Applied {
		out.Durability = string(r.Result.Durability)
		if !r.Result.Position.IsZero() {
			out.Position = r.Result.Position.String()
		}
	}
	out.AWS = a.wireAWS(r.AWS, r.Applied)
	if r.Ack != nil {
		out.Ack = a.ackReport(*r.Ack, r.Applied && r.Result.Durability == journal.DurableLocal)
	}
	return out
}

// wireRule shows a rule as the index knows it now: with its places in the log.
func (a *API) wireRule(r revocation.Rule) wire.Rule {
	if live, ok := a.cfg.Index.Rule(r.ID); ok {
		r.Entries = live.Entries
	}
	out := wire.Rule{
		ID: r.ID, Selector: string(r.Selector), Value: r.Value, Quarantine: r.Quarantine,
		CreatedAt: r.CreatedAt.UTC(), Reason: r.Reason, By: r.By,
	}
	if !r.ExpiresAt.IsZero() {
		out.ExpiresAt = new(r.ExpiresAt.UTC())
	}
	for _, e := range r.Entries {
		out.Positions = append(out.Positions, e.String())
	}
	return out
}

func (a *API) preview(p broker.Preview) wire.Preview {
	out := wire.Preview{Tokens: p.Tokens, STSSessions: p.STSSessions, Agents: int64(len(p.Agents)), Incomplete: p.Incomplete}
	out.AgentIDs = p.Agents[:min(len(p.Agents), maxAgents)]
	out.Roles = p.Roles[:min(len(p.Roles), maxAgents)]
	for _, subject := range p.Subjects {
		if !a.cfg.Broker.IsPerson(subject) {
			continue
		}
		if out.Users++; len(out.UserIDs) < maxAgents {
			out.UserIDs = append(out.UserIDs, subject)
		}
	}
	if !p.LongestExpiry.IsZero() {
		out.LongestExpiry = new(p.LongestExpiry.UTC())
	}
	for subject, n := range p.BySubject {
		if out.BySource == nil {
			out.BySource = map[string]int64{}
		}
		out.BySource[a.cfg.Broker.SourceName(subject)] += n
	}
	return out
}

// ackReport names those that lag, and, for a rule that is only local, those that have it.
func (a *API) ackReport(s revocation.AckSummary, local bool) *wire.AckReport {
	out := &wire.AckReport{
		Complete: s.Count == s.Connected, Verifiers: s.Connected, Acknowledged: s.Count,
		P50MS: millis(s.P50), P99MS: millis(s.P99),
	}
	for _, v := range s.Lagging[:min(len(s.Lagging), maxLagging)] {
		out.Lagging = append(out.Lagging, a.wireVerifier(v))
	}
	if local {
		for _, v := range s.Applied[:min(len(s.Applied), maxLagging)] {
			out.AppliedBy = append(out.AppliedBy, a.wireVerifier(v))
		}
	}
	return out
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (a *API) wireVerifier(v revocation.VerifierState) wire.Verifier {
	out := wire.Verifier{
		ID: v.ID, Name: v.Name, Principal: v.Principal, Replica: cmp.Or(v.Replica, a.cfg.Replica),
		Connected: v.Connected.UTC(), LastAck: v.LastAck.UTC(), Keys: v.Keys,
	}
	if !v.Position.IsZero() {
		out.Position = v.Position.String()
	}
	return out
}

func (a *API) lift(ctx context.Context, op *broker.Operator, r *http.Request, in wire.LiftRequest) (int, any, error) {
	rule, res, err := a.cfg.Broker.Lift(ctx, op, r.PathValue("id"), in.Reason, in.Apply)
	if err != nil {
		return 0, nil, err
	}
	out := wire.LiftResponse{Applied: in.Apply, Rule: a.wireRule(rule), Durability: string(res.Durability)}
	status := http.StatusOK
	if !res.Position.IsZero() {
		out.Position = res.Position.String()
	}
	if res.Durability == journal.DurableLocal {
		status = http.StatusAccepted
	}
	return status, out, nil
}

// rules lists what is in force, oldest first. A rule's id is a UUIDv7, so that ids order as
// their times do, and the last id of a page is the cursor of the next.
func (a *API) rules(_ context.Context, _ *broker.Operator, r *http.Request, _ none) (int, any, error) {
	q := r.URL.Query()
	limit, err := pageLimit(q.Get("limit"))
	if err != nil {
		return 0, nil, err
	}
	var all []revocation.Rule
	for rule := range a.cfg.Index.Rules() {
		if (q.Get("selector") == "" || q.Get("selector") == string(rule.Selector)) &&
			(q.Get("value") == "" || q.Get("value") == rule.Value) {
			all = append(all, rule)
		}
	}
	slices.SortFunc(all, func(x, y revocation.Rule) int { return cmp.Compare(x.ID, y.ID) })
	out := wire.RuleList{Position: a.cfg.Index.Position().String(), Total: len(all), Rules: []wire.Rule{}}
	for _, rule := range all {
		if rule.ID <= q.Get("cursor") {
			continue
		}
		if len(out.Rules) == limit {
			out.Next = out.Rules[limit-1].ID
			break
		}
		out.Rules = append(out.Rules, a.wireRule(rule))
	}
	return http.StatusOK, out, nil
}

func pageLimit(text string) (int, error) {
	if text == "" {
		return pageSize, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, fmt.Errorf("%w: limit must be 1 to %d", broker.ErrRequest, maxPage)
	}
	return n, nil
}

func (a *API) rule(ctx context.Context, _ *broker.Operator, r *http.Request, _ none) (int, any, error) {
	rule, ok := a.cfg.Index.Rule(r.PathValue("id"))
	if !ok {
		return 0, nil, fmt.Errorf("%w: no live rule has this id", broker.ErrNotFound)
	}
	out := wire.RuleStatus{Rule: a.wireRule(rule)}
	var position token.Rev // zero while the rule is local
	if n := len(rule.Entries); n > 0 {
		position = rule.Entries[n-1]
	}
	out.Ack = a.ackReport(a.cfg.Acks.Status(position, rule.ID, rule.CreatedAt), position.IsZero())
	out.Refusals = a.refused(ctx, rule.ID)
	if !rule.Quarantine {
		out.AWS = a.wireAWS(a.cfg.Broker.AtAWS(ctx, rule), true)
	}
	return http.StatusOK, out, nil
}

func (a *API) refused(ctx context.Context, rule string) *wire.Refused {
	by, incomplete := a.cfg.Broker.Refused(ctx, rule)
	out := &wire.Refused{Incomplete: incomplete}
	for _, r := range by {
		out.Total += r.Refusals
		out.Tokens += r.Tokens
		out.By = append(out.By, wire.RefusedBy{
			Verifier: r.Verifier, Name: r.Name, Principal: r.Principal, Refusals: r.Refusals,
			Tokens: r.Tokens, TokenIDs: r.TokenIDs, More: r.More,
		})
	}
	return out
}

func (a *API) verifiers(context.Context, *broker.Operator, *http.Request, none) (int, any, error) {
	tail := a.cfg.Index.Position()
	out := wire.VerifierList{Position: tail.String(), Verifiers: []wire.Verifier{}}
	for _, v := range a.cfg.Acks.Verifiers() {
		w := a.wireVerifier(v)
		if v.Position.Lineage == tail.Lineage && v.Position.Seq < tail.Seq {
			w.Behind = tail.Seq - v.Position.Seq
		}
		if !v.LastAck.IsZero() && !a.cfg.Index.Covers(v.Position, tail) {
			w.LagMS = millis(a.cfg.Now().Sub(v.LastAck))
		}
		out.Verifiers = append(out.Verifiers, w)
	}
	return http.StatusOK, out, nil
}

// adminFeed is the feed for a person who watches: it needs writ:revoke:read instead.
func (a *API) adminFeed(w http.ResponseWriter, r *http.Request) {
	a.feedFor(w, r, adminScope("revoke", "read"))
}

// recordBreakGlass leaves a trace in the journal, or, where that fails, in the broker's own log:
// access is taken away all the same, since the disk may be what is broken.
func (a *API) recordBreakGlass(op *broker.Operator, r *http.Request, need scopes.Scope) {
	err := a.cfg.Feed.RecordBreakGlass(journal.BreakGlass{
		At: a.cfg.Now(), Peer: op.ID, Action: r.Method + " " + r.URL.Path, Detail: need.String(),
	})
	if err != nil {
		a.cfg.Logger.ErrorContext(r.Context(), "break glass not in the journal", "peer", op.ID,
			"action", r.Method+" "+r.URL.Path, "detail", need.String(), "error", err)
	}
}

package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/policy"
)

func (a *API) keys(context.Context, *broker.Operator, *http.Request, none) (int, any, error) {
	ring := a.cfg.Keys.Ring()
	out := wire.KeyList{Version: ring.Version(), Keys: wireKeys(ring)}
	if active, ok := keyIn(ring, keys.StageActive); ok {
		out.Algorithm, out.Custody = active.Algorithm, active.Custody
		out.NextRotation = new(active.Activated.Add(a.cfg.RotateEvery).UTC())
	}
	if w, waits := a.cfg.Keys.Awaited(); waits {
		out.Waiting = &wire.KeyWait{
			ID: w.ID, Due: w.Due.UTC(), Until: w.Until.UTC(), Total: len(w.Verifiers),
			Verifiers: w.Verifiers[:min(len(w.Verifiers), wire.MaxKeyWait)],
		}
	}
	return http.StatusOK, out, nil
}

func wireKeys(r *keys.Ring) []wire.Key {
	all := r.Keys()
	out := make([]wire.Key, 0, len(all))
	for _, k := range all {
		out = append(out, wire.Key{
			ID: k.ID, Algorithm: k.Algorithm, State: string(k.Stage), Custody: k.Custody, Created: k.Published.UTC(),
			Published: moment(k.Published), Activated: moment(k.Activated), Retired: moment(k.Retired),
			DropAfter: moment(k.DropAfter), Reason: k.Reason,
		})
	}
	return out
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}

func (a *API) rotate(ctx context.Context, op *broker.Operator, _ *http.Request, in wire.RotateRequest) (int, any, error) {
	before := a.cfg.Keys.Ring()
	out := wire.RotateResponse{Applied: in.Apply, Retired: idIn(before, keys.StageActive)}
	if !in.Apply {
		out.Activated, out.Keys = idIn(before, keys.StageNext), wireKeys(before)
		return http.StatusOK, out, nil
	}
	r, err := a.cfg.Broker.RotateKeys(ctx, op, broker.RotateOrder{Revoke: in.RevokeKID, Now: in.Now, Reason: in.Reason})
	if err != nil {
		return 0, nil, err
	}
	if r != nil {
		out.Revocation = a.revocation(r)
	}
	after := a.cfg.Keys.Ring()
	out.Activated, out.Keys = idIn(after, keys.StageActive), wireKeys(after)
	return http.StatusOK, out, nil
}

func keyIn(r *keys.Ring, want keys.Stage) (keys.KeyInfo, bool) {
	for _, k := range r.Keys() {
		if k.Stage == want {
			return k, true
		}
	}
	return keys.KeyInfo{}, false
}

func idIn(r *keys.Ring, want keys.Stage) string {
	k, _ := keyIn(r, want)
	return k.ID
}

func (a *API) policy(context.Context, *broker.Operator, *http.Request, none) (int, any, error) {
	return http.StatusOK, a.cfg.Policy(), nil
}

// decision opens a decision for the owner of the policy: the record, and every rule that
// took part.
func (a *API) decision(ctx context.Context, _ *broker.Operator, r *http.Request, _ none) (int, any, error) {
	rec, err := a.cfg.Audit.Decision(ctx, r.PathValue("id"))
	switch {
	case errors.Is(err, audit.ErrNotFound):
		return 0, nil, fmt.Errorf("%w: no decision has this id; it may be in another replica's log", broker.ErrNotFound)
	case err != nil:
		return 0, nil, fmt.Errorf("reading decision: %w", err)
	}
	out := wire.Decision{Record: wireRecord(rec, true)}
	if out.Record.Trace != nil {
		var trace policy.Trace
		if err := json.Unmarshal(out.Record.Trace, &trace); err != nil {
			return 0, nil, fmt.Errorf("reading trace of a decision: %w", err)
		}
		out.Text = trace.String()
	}
	return http.StatusOK, out, nil
}

func wireRecord(r audit.Record, withTrace bool) wire.AuditRecord {
	out := wire.AuditRecord{
		Seq: r.Seq, Time: r.Time.UTC(), Kind: string(r.Kind), Outcome: string(r.Outcome), Error: r.Error,
		DecisionID: r.DecisionID, TokenID: r.TokenID, Subject: r.Subject, Source: r.Source,
		ClientID: r.ClientID, Actors: r.Actors, Scopes: r.Scopes, Refused: r.Refused, Audience: r.Audience,
		Task: r.Task, Policy: r.PolicyVersion, RemoteIP: r.RemoteIP, Expires: moment(r.Expires),
		Tags: r.Tags, Attributes: r.Attributes, Detail: r.Detail,
	}
	if withTrace && r.Trace != nil {
		if raw, err := r.Trace.MarshalJSON(); err == nil {
			out.Trace = raw
		}
	}
	return out
}

// audit searches this replica's log.
func (a *API) audit(ctx context.Context, _ *broker.Operator, r *http.Request, _ none) (int, any, error) {
	f, err := auditFilter(r)
	if err != nil {
		return 0, nil, err
	}
	records, err := a.cfg.Audit.Query(ctx, f)
	if err != nil {
		return 0, nil, fmt.Errorf("searching the audit log: %w", err)
	}
	out := wire.AuditPage{Records: make([]wire.AuditRecord, 0, len(records))}
	for _, rec := range records {
		out.Records = append(out.Records, wireRecord(rec, false))
	}
	return http.StatusOK, out, nil
}

func auditFilter(r *http.Request) (audit.Filter, error) {
	q := r.URL.Query()
	limit, err := pageLimit(q.Get("limit"))
	if err != nil {
		return audit.Filter{}, err
	}
	f := audit.Filter{
		Agent: q.Get("agent"), Subject: q.Get("subject"), Tool: q.Get("tool"),
		Outcome: audit.Outcome(q.Get("outcome")), Kind: audit.Kind(q.Get("kind")), TokenID: q.Get("jti"),
		DecisionID: q.Get("decision_id"), Limit: limit,
	}
	if f.Since, err = queryTime(q.Get("since")); err != nil {
		return f, err
	}
	f.Until, err = queryTime(q.Get("until"))
	return f, err
}

func queryTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%w: since and until are RFC 3339 times", broker.ErrRequest)
	}
	return t, nil
}

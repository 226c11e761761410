package audit

import (
	"encoding/json"
	"fmt"
	"time"
)

// recordLine is the JSON of a line.
type recordLine struct {
	Seq           uint64            `json:"seq"`
	Time          time.Time         `json:"time"`
	Kind          Kind              `json:"kind"`
	Outcome       Outcome           `json:"outcome"`
	Error         string            `json:"error"`
	DecisionID    string            `json:"decision"`
	TokenID       string            `json:"jti"`
	Subject       string            `json:"sub"`
	Source        string            `json:"source"`
	Actors        []string          `json:"act"`
	ClientID      string            `json:"client_id"`
	Scopes        []string          `json:"scope"`
	Refused       []string          `json:"refused"`
	Audience      []string          `json:"aud"`
	Task          string            `json:"task"`
	PolicyVersion string            `json:"pol"`
	Tags          map[string]string `json:"tags"`
	Attributes    map[string]any    `json:"attributes"`
	Trace         json.RawMessage   `json:"trace"`
	RemoteIP      string            `json:"ip"`
	Detail        map[string]string `json:"detail"`
	Expires       time.Time         `json:"exp"`
}

// decodeRecord reads a line; the record keeps none of it.
func decodeRecord(line []byte) (Record, error) {
	raw := append(json.RawMessage(nil), line...)
	var v recordLine
	if err := json.Unmarshal(raw, &v); err != nil {
		return Record{}, fmt.Errorf("decoding audit record: %w", err)
	}
	r := Record{Seq: v.Seq, Raw: raw, Event: Event{
		Time: v.Time, Kind: v.Kind, Outcome: v.Outcome, Error: v.Error, DecisionID: v.DecisionID,
		TokenID: v.TokenID, Subject: v.Subject, Source: v.Source, Actors: v.Actors, ClientID: v.ClientID,
		Scopes: v.Scopes, Refused: v.Refused, Audience: v.Audience, Task: v.Task, PolicyVersion: v.PolicyVersion,
		Tags: v.Tags, Attributes: v.Attributes, RemoteIP: v.RemoteIP, Detail: v.Detail, Expires: v.Expires,
	}}
	if len(v.Trace) > 0 {
		r.Trace = v.Trace
	}
	return r, nil
}

package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Parse reads a policy document. It takes what Encode writes and what others write that means
// the same, refuses what it does not know (a member, a shape), and sorts conditions.
func Parse(text string) (Document, error) {
	var raw struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if err := strict([]byte(text), &raw); err != nil {
		return Document{}, fmt.Errorf("reading policy document: %w", err)
	}
	var written []json.RawMessage
	if json.Unmarshal(raw.Statement, &written) != nil {
		written = []json.RawMessage{raw.Statement} // one statement may stand without a list
	}
	var d Document
	for i, w := range written {
		s, err := parseStatement(w)
		if err != nil {
			return Document{}, fmt.Errorf("reading policy document: statement %d: %w", i+1, err)
		}
		d.Statements = append(d.Statements, s)
	}
	return d, nil
}

func parseStatement(text []byte) (Statement, error) {
	var raw struct {
		Sid          string
		Effect       Effect
		Principal    map[string]texts
		Action       texts
		NotAction    texts
		Resource     texts
		NotResource  texts
		Condition    map[string]map[string]texts
		NotPrincipal json.RawMessage // known, so that the error says what is wrong with it
	}
	if err := strict(text, &raw); err != nil {
		return Statement{}, err
	}
	if raw.NotPrincipal != nil || raw.Effect != Allow && raw.Effect != Deny {
		return Statement{}, fmt.Errorf("effect %q, or a NotPrincipal", raw.Effect)
	}
	s := Statement{
		Sid: raw.Sid, Effect: raw.Effect, Actions: raw.Action, NotActions: raw.NotAction,
		Resources: raw.Resource, NotResources: raw.NotResource,
	}
	for _, kind := range slices.Sorted(maps.Keys(raw.Principal)) {
		s.Principals = append(s.Principals, Principal{kind, raw.Principal[kind]})
	}
	for _, operator := range slices.Sorted(maps.Keys(raw.Condition)) {
		for _, key := range slices.Sorted(maps.Keys(raw.Condition[operator])) {
			s.Conditions = append(s.Conditions, Condition{operator, key, raw.Condition[operator][key]})
		}
	}
	return s, nil
}

// texts is a text or a list of them.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(t))
}

func strict(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("something follows the document")
	}
	return nil
}

package denylist

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/writbroker/writ/mint/awssts/iam"
)

// sidPrefix begins the Sid of every statement. Behind it stand the kind, and in base 36 when
// the entries expire and their cutoff: a Sid is unique in its document, and AWS keeps it.
const sidPrefix = "Writ"

// kindLetters stand for the kinds, the first for the first.
const kindLetters = "NSR"

// Encode writes joined entries as a policy document; "" for none. Entries of one kind, cutoff
// and end share a statement.
func Encode(entries []Entry) string {
	if len(entries) == 0 {
		return ""
	}
	var d iam.Document
	var before Entry
	for _, e := range entries {
		together := e.Kind == before.Kind && e.Before.Equal(before.Before) && e.Expires.Equal(before.Expires)
		if before = e; together {
			last := &d.Statements[len(d.Statements)-1]
			values := &last.Conditions[len(last.Conditions)-1].Values
			*values = append(*values, e.pattern())
			continue
		}
		d.Statements = append(d.Statements, e.statement())
	}
	return d.Encode()
}

func (e Entry) sid() string {
	return sidPrefix + kindLetters[e.Kind-1:e.Kind] + strconv.FormatInt(e.Expires.Unix(), 36) + "X" + strconv.FormatInt(e.Before.Unix(), 36)
}

// pattern is the value of the condition on who it is. The user id of a session is the role's
// id, a colon, and the session's name.
func (e Entry) pattern() string {
	if e.Kind == SessionName {
		return "*:" + e.Value
	}
	return e.Value
}

func (e Entry) statement() iam.Statement {
	s := iam.Statement{
		Sid: e.sid(), Effect: iam.Deny, Actions: []string{"*"}, Resources: []string{"*"},
		Conditions: []iam.Condition{{Operator: "DateLessThan", Key: "aws:TokenIssueTime", Values: []string{e.Before.Format(time.RFC3339)}}},
	}
	switch e.Kind {
	case SessionName:
		s.Conditions = append(s.Conditions, iam.Condition{Operator: "StringLike", Key: "aws:userid", Values: []string{e.pattern()}})
	case SourceIdentity:
		s.Conditions = append(s.Conditions, iam.Condition{Operator: "StringEquals", Key: "aws:SourceIdentity", Values: []string{e.pattern()}})
	case WholeRole:
	}
	return s
}

// Parse reads back what Encode wrote, in whatever layout AWS gives it back; "" is no entries.
// The error wraps ErrForeign where the document is not one of those.
func Parse(document string) ([]Entry, error) {
	if document == "" {
		return nil, nil
	}
	d, err := iam.Parse(document)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	var entries []Entry
	for i := range d.Statements {
		read, err := parseStatement(&d.Statements[i])
		if err != nil {
			return nil, fmt.Errorf("%w: statement %q: %w", ErrForeign, d.Statements[i].Sid, err)
		}
		entries = append(entries, read...)
	}
	return entries, nil
}

// parseStatement takes the entries from the Sid and the values, and accepts the statement
// only if it is what those entries are written as.
func parseStatement(s *iam.Statement) ([]Entry, error) {
	e, err := parseSid(s.Sid)
	if err != nil {
		return nil, err
	}
	values := []string{""}
	for _, c := range s.Conditions {
		if c.Key != "aws:TokenIssueTime" {
			values = slices.Clone(c.Values)
		}
	}
	var entries []Entry
	var again iam.Statement
	for i, v := range values {
		one := e
		one.Value = v
		if e.Kind == SessionName {
			one.Value = strings.TrimPrefix(v, "*:")
		}
		if _, err := one.Rounded(); err != nil {
			return nil, err
		}
		entries = append(entries, one)
		if i == 0 {
			again = one.statement()
			continue
		}
		last := &again.Conditions[len(again.Conditions)-1]
		last.Values = append(last.Values, one.pattern())
	}
	written := iam.Document{Statements: []iam.Statement{again}}.Encode()
	if sorted, err := iam.Parse(written); err != nil || sorted.Encode() != (iam.Document{Statements: []iam.Statement{*s}}).Encode() {
		return nil, errors.New("it does not say what its Sid does")
	}
	return entries, nil
}

func parseSid(sid string) (Entry, error) {
	rest, ok := strings.CutPrefix(sid, sidPrefix)
	if !ok || rest == "" {
		return Entry{}, errors.New("the Sid is not ours")
	}
	kind := Kind(strings.IndexByte(kindLetters, rest[0]) + 1)
	expires, before, found := strings.Cut(rest[1:], "X")
	end, err1 := strconv.ParseInt(expires, 36, 64)
	cutoff, err2 := strconv.ParseInt(before, 36, 64)
	if kind == 0 || !found || err1 != nil || err2 != nil {
		return Entry{}, errors.New("the Sid is not ours")
	}
	return Entry{Kind: kind, Before: time.Unix(cutoff, 0).UTC(), Expires: time.Unix(end, 0).UTC()}, nil
}

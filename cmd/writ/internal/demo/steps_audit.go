package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/writbroker/writ/audit"
)

// anchorWait is how long to wait for the witness to hear of the last record: it is told every
// second.
const anchorWait = 5 * time.Second

// auditLog: every credential, refusal and order is in the log; the log is whole up to what
// the witness was told; and a copy that was tampered with is not.
func auditLog(ctx context.Context, s *story) error {
	ops, err := s.operator(ctx, "writ:audit:read")
	if err != nil {
		return err
	}
	last, err := s.found(ctx, ops)
	if err != nil {
		return err
	}
	if err := s.recorded(); err != nil {
		return err
	}
	anchors, err := s.anchored(ctx, last)
	if err != nil {
		return err
	}
	report, err := audit.Verify(os.DirFS(s.world.AuditDir()), s.world.RecordsKey(), anchors)
	if err != nil {
		return err
	}
	if err := firstOf(
		that(report.OK(), "the log has faults: %v", report.Faults),
		that(report.Anchored >= last, "the log is anchored up to record %d, and %d was written before", report.Anchored, last),
		that(report.Checkpoints > 0, "the log has no checkpoint"),
	); err != nil {
		return err
	}
	s.exchanges = append(s.exchanges, Exchange{Method: "writ audit verify", URL: s.world.AuditDir(), Got: []Field{
		{"records", strconv.FormatUint(report.Last, 10)}, {"anchored", strconv.FormatUint(report.Anchored, 10)},
		{"checkpoints", strconv.Itoa(report.Checkpoints)}, {"faults", "0"},
	}})
	return s.tampered(anchors)
}

// found looks the token of the operator up over the admin API: the newest record there is.
func (s *story) found(ctx context.Context, ops *granted) (uint64, error) {
	r, err := s.send(ctx, call{
		method: http.MethodGet, url: s.world.Admin() + "/admin/v1/audit?jti=" + ops.ID, bearer: ops.raw, tell: []string{"records"},
	})
	if err != nil {
		return 0, err
	}
	if err := r.is(http.StatusOK); err != nil {
		return 0, err
	}
	list, _ := r.member("records")
	records, _ := list.([]any)
	if len(records) != 1 {
		return 0, fmt.Errorf("%s answered %d records of token %s, not one", r.what, len(records), ops.ID)
	}
	record := reply{what: r.what}
	record.members, _ = records[0].(map[string]any)
	if err := record.is(0, "kind", "exchange", "outcome", "allow", "jti", ops.ID, "sub", ops.Subject, "scopes", ops.Scope); err != nil {
		return 0, err
	}
	seq, _ := record.member("seq")
	return strconv.ParseUint(text(seq), 10, 64)
}

// holdsToken reports whether a text has what begins like a token and goes on like one: three
// letters alone may stand in any hash.
func holdsToken(text []byte) bool {
	for {
		_, after, found := bytes.Cut(text, []byte("eyJ"))
		if !found {
			return false
		}
		end := bytes.IndexFunc(after, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
		})
		if end > 0 && after[end] == '.' {
			return true
		}
		text = after
	}
}

// recorded is an error unless the log holds everything that happened, and no token.
func (s *story) recorded() error {
	tokens, refusals, rules, rotated := map[string]bool{}, map[string]bool{}, map[string]bool{}, false
	for r, err := range audit.Query(os.DirFS(s.world.AuditDir()), audit.Filter{}) {
		if err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		switch r.Kind {
		case audit.KindExchange:
			tokens[r.TokenID] = r.Outcome == audit.Allow
		case audit.KindRefusal:
			refusals[r.DecisionID] = r.Outcome == audit.Deny
		case audit.KindRevocation:
			rules[r.Detail["rule"]] = true
		case audit.KindKeys:
			rotated = rotated || r.Detail[s.oldKey] == "retired"
		default:
		}
		if holdsToken(r.Raw) {
			return fmt.Errorf("record %d of the log holds a token", r.Seq)
		}
	}
	for id := range s.issued {
		if !tokens[id] {
			return fmt.Errorf("token %s is not in the log", id)
		}
	}
	for _, id := range s.refused {
		if !refusals[id] {
			return fmt.Errorf("the refusal %s is not in the log", id)
		}
	}
	for _, id := range s.rules {
		if !rules[id] {
			return fmt.Errorf("the revocation %s is not in the log", id)
		}
	}
	return that(rotated, "the rotation of the key is not in the log")
}

// anchored waits until the witness knows a checkpoint of the record last, or of a later one.
func (s *story) anchored(ctx context.Context, last uint64) ([]audit.Checkpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, anchorWait)
	defer cancel()
	for {
		anchors := s.world.Anchors()
		if slices.ContainsFunc(anchors, func(c audit.Checkpoint) bool { return c.Seq >= last }) {
			return anchors, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no checkpoint of record %d left the broker within %v", last, anchorWait)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// tampered changes copies of the log: a check that finds nothing would pass everything.
func (s *story) tampered(anchors []audit.Checkpoint) error {
	for _, t := range []struct {
		name   string
		kind   audit.FaultKind
		change func(log []byte) []byte
	}{
		{"a refusal that was turned into a grant", audit.FaultChanged, func(log []byte) []byte {
			return bytes.Replace(log, []byte(`"deny"`), []byte(`"allow"`), 1)
		}},
		{"a record that was taken out", audit.FaultRemoved, func(log []byte) []byte {
			lines := bytes.SplitAfter(log, []byte("\n"))
			return bytes.Join(slices.Delete(lines, len(lines)/2, len(lines)/2+1), nil)
		}},
		{"a tail that was cut off", audit.FaultTruncated, func(log []byte) []byte {
			lines := bytes.SplitAfter(log, []byte("\n"))
			return bytes.Join(lines[:len(lines)/2], nil)
		}},
	} {
		report, err := s.verifyCopy(t.change, anchors)
		if err != nil {
			return fmt.Errorf("in a copy of the log with %s: %w", t.name, err)
		}
		if !slices.ContainsFunc(report.Faults, func(f audit.Fault) bool { return f.Kind == t.kind }) {
			return fmt.Errorf("%s was not found in a copy of the log", t.name)
		}
	}
	return nil
}

func (s *story) verifyCopy(change func([]byte) []byte, anchors []audit.Checkpoint) (_ audit.Report, err error) {
	dir, err := os.MkdirTemp("", "writ-demo-")
	if err != nil {
		return audit.Report{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.CopyFS(dir, os.DirFS(s.world.AuditDir())); err != nil {
		return audit.Report{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return audit.Report{}, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		log, err := root.ReadFile(path)
		if err != nil || len(log) == 0 {
			return err
		}
		return root.WriteFile(path, change(log), 0o600)
	})
	if err != nil {
		return audit.Report{}, err
	}
	return audit.Verify(root.FS(), s.world.RecordsKey(), anchors)
}

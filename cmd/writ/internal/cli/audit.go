package cli

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/httpapi/wire"
)

func (e *env) auditCommand() *cobra.Command {
	group := &cobra.Command{Use: "audit", Short: "search and verify the audit log"}
	group.AddCommand(e.auditQueryCommand(), e.auditVerifyCommand())
	return group
}

type auditFlags struct {
	access
	q            client.AuditQuery
	since, until string
	dir          string
}

func (e *env) auditQueryCommand() *cobra.Command {
	var f auditFlags
	c := &cobra.Command{
		Use: "query", Short: "search the records, newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return e.auditQuery(c.Context(), &f) },
	}
	f.flags(c.Flags())
	c.Flags().StringVar(&f.dir, "dir", "", "read the files of this audit folder instead of asking a broker")
	c.Flags().StringVar(&f.q.Agent, "agent", "", "records in which this agent takes part")
	c.Flags().StringVar(&f.q.Subject, "subject", "", "records about this subject")
	c.Flags().StringVar(&f.q.Tool, "tool", "", "records with a scope of this tool")
	c.Flags().StringVar(&f.q.Outcome, "outcome", "", "allow, deny or error")
	c.Flags().StringVar(&f.q.Kind, "kind", "", "exchange, refusal, revocation, lift, keys, policy, clock, …")
	c.Flags().StringVar(&f.q.TokenID, "jti", "", "the record of this token")
	c.Flags().StringVar(&f.q.DecisionID, "decision", "", "the record of this decision")
	c.Flags().StringVar(&f.since, "since", "", "RFC 3339 time, or how long ago: 1h")
	c.Flags().StringVar(&f.until, "until", "", "RFC 3339 time, or how long ago")
	c.Flags().IntVar(&f.q.Limit, "limit", 100, "at most this many")
	return c
}

func (e *env) auditQuery(ctx context.Context, f *auditFlags) error {
	var err error
	if f.q.Since, err = moment(f.since); err != nil {
		return err
	}
	if f.q.Until, err = moment(f.until); err != nil {
		return err
	}
	if f.dir != "" {
		return e.auditFiles(f)
	}
	admin, err := f.connect("writ:audit:read")
	if err != nil {
		return err
	}
	page, err := admin.Audit(ctx, f.q)
	if err != nil {
		return err
	}
	return e.print(page, func(w io.Writer) {
		for _, r := range page.Records {
			printRecord(w, r)
		}
	})
}

func printRecord(w io.Writer, r wire.AuditRecord) {
	line(w, "%s  %-10s %-5s %s  subject=%s agent=%s jti=%s scope=%s %s", r.Time.Format(time.RFC3339Nano), r.Kind, r.Outcome,
		r.DecisionID, r.Subject, r.ClientID, r.TokenID, strings.Join(r.Scopes, " "), r.Error)
}

// moment reads a time, or how long ago.
func moment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usage("%q is neither an RFC 3339 time nor a duration", text)
	}
	return t, nil
}

func (e *env) auditFiles(f *auditFlags) error {
	filter := audit.Filter{
		Agent: f.q.Agent, Subject: f.q.Subject, Tool: f.q.Tool, Outcome: audit.Outcome(f.q.Outcome), Kind: audit.Kind(f.q.Kind),
		TokenID: f.q.TokenID, DecisionID: f.q.DecisionID, Since: f.q.Since, Until: f.q.Until, Limit: f.q.Limit, NewestFirst: true,
	}
	for rec, err := range audit.Query(os.DirFS(f.dir), filter) {
		if err != nil {
			return fmt.Errorf("reading %s: %w", f.dir, err)
		}
		if e.json {
			line(e.out, "%s", rec.Raw)
			continue
		}
		printRecord(e.out, wire.AuditRecord{
			Time: rec.Time, Kind: string(rec.Kind), Outcome: string(rec.Outcome), DecisionID: rec.DecisionID,
			Subject: rec.Subject, ClientID: rec.ClientID, TokenID: rec.TokenID, Scopes: rec.Scopes, Error: rec.Error,
		})
	}
	return nil
}

func (e *env) auditVerifyCommand() *cobra.Command {
	var configFile, keyFile string
	var anchors []string
	c := &cobra.Command{
		Use: "verify DIR", Short: "find every change, removal or truncation of an audit log", Args: cobra.ExactArgs(1),
		Long: "Needs the public half of the records key: from --config where the broker runs (its anchors in the\nstore are read too, if no broker has it open), or from a --jwks file: the records_jwks of the\nbroker's discovery document. --anchor names files with checkpoints that were kept elsewhere.",
		RunE: func(c *cobra.Command, args []string) error {
			return e.auditVerify(c.Context(), args[0], configFile, keyFile, anchors)
		},
	}
	c.Flags().StringVar(&configFile, "config", "", "configuration of the broker")
	c.Flags().StringVar(&keyFile, "jwks", "", "file with the records key, or the whole discovery document")
	c.Flags().StringArrayVar(&anchors, "anchor", nil, "file with one checkpoint a line, as JSON; repeatable")
	return c
}

func (e *env) auditVerify(ctx context.Context, dir, configFile, keyFile string, anchorFiles []string) error {
	pub, anchors, err := recordsKey(ctx, configFile, keyFile)
	if err != nil {
		return err
	}
	for _, file := range anchorFiles {
		more, err := readAnchors(file)
		if err != nil {
			return err
		}
		anchors = append(anchors, more...)
	}
	report, err := audit.Verify(os.DirFS(dir), pub, anchors)
	if err != nil {
		return fmt.Errorf("verifying %s: %w", dir, err)
	}
	err = e.print(report, func(w io.Writer) {
		line(w, "log %s: records %d to %d; signed up to %d, anchored up to %d", report.Log, report.First, report.Last, report.Signed, report.Anchored)
		for _, f := range report.Faults {
			line(w, "FAULT %s: %s line %d seq %d: %s", f.Kind, f.Segment, f.Line, f.Seq, f.Message)
		}
		if report.OK() {
			line(w, "whole")
		}
	})
	if err == nil && !report.OK() {
		return hinted(ExitFailed, fmt.Errorf("%d faults", len(report.Faults)), "keep a copy of the folder as it is: it is evidence")
	}
	return err
}

func recordsKey(ctx context.Context, configFile, keyFile string) (ed25519.PublicKey, []audit.Checkpoint, error) {
	switch {
	case configFile != "":
		cfg, err := loadConfig(configFile)
		if err != nil {
			return nil, nil, err
		}
		return app.AuditAnchors(ctx, cfg)
	case keyFile != "":
		pub, err := readRecordsKey(keyFile)
		return pub, nil, err
	}
	return nil, nil, hinted(ExitUsage, errors.New("which key signs the checkpoints?"), "set --config or --jwks")
}

func readAnchors(file string) ([]audit.Checkpoint, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading anchors: %w", err)
	}
	defer func() { _ = f.Close() }()
	var out []audit.Checkpoint
	for d := json.NewDecoder(f); ; {
		var c audit.Checkpoint
		err := d.Decode(&c)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading anchors of %s: %w", file, err)
		}
		out = append(out, c)
	}
}
